//! Functions that a self-test or a benchmark may use.

use crate::addr::HostAddr;
use crate::boot::partitions;
use crate::boot::pci::device::{Bar, Order};
use crate::boot::pci::{host, hosts, pe_of};
use crate::pci::topology::Function;
use crate::pci::{FunctionId, FunctionIndex, GroupIndex, GroupKind};
use crate::seam::PeId;

/// A function that answers, and whose group has a PE and is nobody's.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Index of its PHB.
    pub phb: u16,
    /// Where it is in the PHB's topology.
    pub at: FunctionIndex,
    /// Its name.
    pub id: FunctionId,
    /// Its group.
    pub group: GroupIndex,
    /// The group's PE.
    pub pe: PeId,
    /// The registers behind BAR 0.
    pub registers: HostAddr,
    /// Bytes of them.
    pub bytes: u64,
    /// Whether its group can be reset, without which it is given to nobody.
    pub resets: bool,
}

impl Candidate {
    /// Its registers.
    pub fn bar(&self, order: Order) -> Bar {
        // SAFETY: the plan gives these addresses to this function alone, and the
        // function is nobody's but the self-test's that found it.
        unsafe { Bar::new(self.registers, self.bytes, order) }
    }
}

/// The functions that `is_wanted` wants and no partition has, with registers at BAR 0.
pub fn functions(is_wanted: impl Fn(&Function) -> bool + Copy) -> impl Iterator<Item = Candidate> {
    hosts().flat_map(move |(phb, host)| {
        let all = host.topology.iter();
        all.filter_map(move |(at, function)| {
            if !is_wanted(function) || !host.plan.is_active(&host.topology, at) {
                return None;
            }
            let group = host.groups.of(at);
            let bar = host.plan.bars_of(at).find(|it| it.bar.index == 0)?;
            Some(Candidate {
                phb,
                at,
                id: function.id,
                group,
                pe: free_pe(phb, group)?,
                registers: bar.host,
                bytes: bar.bytes(),
                resets: host.setup().cannot_reset(group).is_none(),
            })
        })
    })
}

/// The PE of a group that is up, unless a partition has the group, or one with a
/// virtual function that a reset of this one would stop.
fn free_pe(phb: u16, at: GroupIndex) -> Option<PeId> {
    let setup = host(phb)?.setup();
    let mut touched = core::iter::once(at).chain(setup.stopped_by(at).map(|(_, other)| other));
    let is_held = touched.any(|at| partitions::owner_of((phb, at)).is_some());
    pe_of(phb, at).filter(|_| !is_held)
}

/// A group of devices that is nobody's on each PHB that has one, by its PE.
pub fn groups() -> impl Iterator<Item = PeId> {
    hosts().filter_map(|(phb, host)| {
        let mut groups = host.groups.iter();
        groups.find_map(|(at, group)| {
            let is_usable =
                group.kind == GroupKind::Endpoint && host.setup().cannot_reset(at).is_none();
            free_pe(phb, at).filter(|_| is_usable)
        })
    })
}
