//! The machine's PHBs: taken at the start, shown at the console.

pub mod check;
pub mod describe;
pub mod device;
pub mod errors;
pub mod faults;
mod list;
pub mod msi;
pub mod passed;
pub mod platform;
pub mod recover;
mod removal;
mod report;
mod show;
pub mod vectors;
pub mod windows;
mod withdraw;

pub use show::{print_bridges, print_functions, print_groups, print_summary};

use super::runtime::{self, OPAL, TimebaseWaiter};
use super::{banner, handover, start};
use crate::machine::{Machine, Phb as Described, listed_functions};
use crate::opal::{Firmware, Token};
use crate::pci::{Bdfn, FunctionId, GroupIndex, PhbId, ScanPolicy};
use crate::phb::{KillPath, Mapped, Phb, Spied, Taken};
use crate::seam::PeId;
use crate::spy::Spy;
use crate::{info, warning};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use spin::Once;

/// A PHB that works.
pub type Host = Taken<'static, Spied<'static, Mapped>, &'static Firmware, TimebaseWaiter>;

/// The spy on all PHBs' registers: asleep but in tests.
pub static SPY: Spy = Spy::new();

/// What became of a PHB.
#[allow(
    clippy::large_enum_variant,
    reason = "most are taken, and none is moved"
)]
pub enum Fate {
    /// It works.
    Taken(Box<Host>),
    /// It is left alone, for this reason.
    LeftAlone(String),
}

/// A PHB of the device tree, and what became of it.
pub struct Bridge {
    /// What the tree says.
    pub described: &'static Described,
    /// What became of it.
    pub fate: Fate,
}

impl Bridge {
    /// The PHB, if it works.
    pub fn host(&self) -> Option<&Host> {
        match &self.fate {
            Fate::Taken(host) => Some(host),
            Fate::LeftAlone(_) => None,
        }
    }
}

/// In the order of the device tree: a [`PeId`]'s PHB is an index into it.
static BRIDGES: Once<Vec<Bridge>> = Once::new();

/// All PHBs that the tree describes in a way that makes sense.
pub fn bridges() -> &'static [Bridge] {
    BRIDGES.get().map_or(&[], Vec::as_slice)
}

/// The PHB with this index, if it works.
pub fn host(index: u16) -> Option<&'static Host> {
    bridges().get(usize::from(index))?.host()
}

/// The PHBs that work, with their indices.
pub fn hosts() -> impl Iterator<Item = (u16, &'static Host)> {
    let all = bridges().iter().zip(0..);
    all.filter_map(|(bridge, index)| Some((index, bridge.host()?)))
}

/// The PE of a group that is up.
pub fn pe_of(index: u16, at: GroupIndex) -> Option<PeId> {
    let host = host(index)?;
    let pe = host.plan.group(at).pe.filter(|_| host.is_up(at))?;
    Some(PeId {
        phb: index,
        pe: pe.get(),
    })
}

/// Takes each PHB of the machine; one that fails is named and left alone, with
/// nothing below it mastering the bus.
pub fn take(machine: &'static Machine) {
    for master in &machine.masters {
        info!(
            "{}: {}: reaches memory past all PHBs; it is given to nobody",
            master.node, master.what
        );
    }
    let bridges = machine.phbs.iter().map(|described| {
        let fate = match take_one(machine, described) {
            Ok(host) => Fate::Taken(Box::new(host)),
            Err(why) => {
                warning!("{} is left alone: {why}", described.name());
                handover::quiesce(described);
                Fate::LeftAlone(why)
            }
        };
        if let Fate::Taken(host) = &fate {
            name_absent(host, described);
            tell(host);
        }
        Bridge { described, fate }
    });
    let bridges: Vec<Bridge> = bridges.collect();
    let bridges = BRIDGES.call_once(|| bridges);
    let pes: Vec<u16> = bridges
        .iter()
        .map(|bridge| bridge.host().map_or(0, |host| host.info.pes()))
        .collect();
    platform::init(&pes);
}

fn take_one(machine: &Machine, described: &'static Described) -> Result<Host, String> {
    let info = describe::info(described)?;
    let kill = kill_path(machine, described);
    let setup = describe::setup(described, &info, kill);
    // SAFETY: the checked tree says that a PHB's registers are there, and that
    // its tables, which firmware made, are in memory.
    let registers = crate::addr::HostAddr::new(described.registers);
    // SAFETY: as above.
    let hardware = Spied::new(unsafe { Mapped::new(registers) }, registers, &SPY);
    let phb = Phb::new(setup, hardware, &OPAL, runtime::firmware().gate());
    let wanted = machine.bootargs.virtuals;
    let policy = ScanPolicy {
        virtuals: &|_: FunctionId| wanted,
        ..ScanPolicy::default()
    };
    Taken::take(phb, info, &policy).map_err(|error| format!("{error}"))
}

/// Names what firmware found and what does not answer any more.
fn name_absent(host: &Host, described: &Described) {
    let Some(tree) = start::tree() else { return };
    for listed in listed_functions(tree, described.id) {
        let bdfn = Bdfn::from_rid(listed.rid);
        if host.topology.find(bdfn).is_none() {
            warning!(
                "{} ({:04x}:{:04x}) is in the device tree and does not answer",
                FunctionId::new(host.info.id(), bdfn),
                listed.vendor,
                listed.device
            );
        }
    }
}

/// What a person has to know of a PHB that was taken.
fn tell(host: &Host) {
    for problem in host.topology.problems.iter().chain(&host.plan.problems) {
        warning!("{problem}");
    }
    for broken in &host.broken {
        warning!(
            "{}: a group stays without DMA: {:?}: {}",
            host.info.id(),
            broken.step,
            broken.error
        );
    }
}

/// `tce-kill=opal` where firmware can do it.
fn kill_path(machine: &Machine, described: &Described) -> KillPath {
    if !machine.bootargs.kill_by_firmware {
        return KillPath::Register;
    }
    // PHB3's part of firmware refuses it (skiboot hw/phb3.c has no tce_kill).
    if described.tce_kill.is_some() || runtime::firmware().is_absent(Token::PciTceKill) {
        warning!(
            "{}: tce-kill=opal: firmware kills no TCEs of this PHB; the register is used",
            described.name()
        );
        return KillPath::Register;
    }
    KillPath::Firmware
}

/// A PE as people name it: its PHB's own number, and its own: `0000:001`.
pub fn pe_text(pe: PeId) -> String {
    match host(pe.phb) {
        Some(host) => format!("{}:{:03x}", host.info.id(), pe.pe),
        None => format!("{pe}"),
    }
}

/// The group with the function of this name, on a PHB that works.
pub fn find(function: FunctionId) -> Option<(u16, GroupIndex)> {
    let (index, host) = hosts().find(|(_, host)| host.info.id() == function.phb)?;
    if let Some(at) = host.topology.find(function.bdfn) {
        return Some((index, host.groups.of(at)));
    }
    let is_it = |(at, _): &(GroupIndex, &crate::pci::Group)| {
        let mut members = host.groups.get(*at).virtuals.iter();
        members.any(|at| host.topology.virtuals[at.get()].bdfn == function.bdfn)
    };
    let (at, _) = host.groups.iter().find(is_it)?;
    Some((index, at))
}

/// Before the machine goes to other hands: nothing masters the bus.
pub fn leave(machine: &Machine) {
    for (_, host) in hosts() {
        let failed = host.quiet_virtuals();
        if failed > 0 {
            let functions = banner::plural(failed, "virtual function");
            warning!(
                "PHB {}: bus mastering stayed on at {failed} {functions}",
                host.info.id()
            );
        }
    }
    for described in &machine.phbs {
        handover::quiesce(described);
    }
}

/// `ibm,opal-phbid` as PCI code names it.
fn phb_id(described: &Described) -> Result<PhbId, String> {
    u16::try_from(described.id)
        .map(PhbId::new)
        .map_err(|_| format!("ibm,opal-phbid {:#x} has more than 16 bits", described.id))
}
