//! Errors of PHBs and PEs: noticed, told, stopped, and recovered on request.
//!
//! A PE with an error is frozen by its PHB. It stays so, DMA and MMIO, until a
//! person asks for `recover`: whatever the device did, it did to nobody else.

use super::list::List;
use super::platform::engine;
use super::{Host, bridges, faults, host, hosts, windows};
use crate::addr::BusAddr;
use crate::boot::banner::plural;
use crate::boot::runtime;
use crate::dma::DetachMode;
use crate::opal::pci::NextError;
use crate::pci::{FunctionId, GroupIndex, GroupKind};
use crate::phb::{Diag, MOST_BYTES, Pest};
use crate::seam::PeId;
use crate::{error, info};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

/// OPAL_EEH_SEV_*
const NONE: u16 = 0;
const INFORMATION: u16 = 5;
const PE: u16 = 4;
const FENCED: u16 = 3;

/// Errors that are taken of a PHB at a time: one that makes them without end
/// must not keep the prompt.
const MOST: usize = 16;

/// Between two looks without an event: an interrupt may have been lost.
const INTERVAL_US: u64 = 1_000_000;

/// PEs with an error, not recovered yet.
static FAILED: List<PeId> = List::new();

/// PHBs that are fenced or dead, and were told so.
static DEAD: List<u16> = List::new();

/// How often a line of the same kind may come from one PHB. Functions that are
/// given to nobody are thawed at once, so a device that goes on makes an error a
/// look; so does a link that is bad but works.
const QUIET_US: u64 = 60_000_000;

/// PHB and kind of error, when it was told last, and how often it came since.
static TOLD: List<(u16, Repeated, u64, u32)> = List::new();

/// Errors that come again and again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeated {
    /// Of the reserved PE.
    Reserved,
    /// Without consequence.
    Information,
}

static LOOKED: AtomicU64 = AtomicU64::new(0);

/// PEs with an error that were not recovered yet.
pub fn failed() -> Vec<PeId> {
    FAILED.all()
}

/// From the prompt's loop: looks for errors once a second, events or not.
pub fn look_now_and_then() {
    let now = runtime::microseconds();
    if now.wrapping_sub(LOOKED.load(Ordering::Relaxed)) >= INTERVAL_US {
        LOOKED.store(now, Ordering::Relaxed);
        serve();
    }
}

/// Asks each PHB for its errors and deals with them.
pub fn serve() {
    for (index, host) in hosts() {
        if DEAD.all().contains(&index) {
            continue;
        }
        for _ in 0..MOST {
            match host.phb.next_error() {
                Ok(error) if error.severity != NONE => {
                    if !take(index, host, error) {
                        break;
                    }
                }
                Ok(_) => break,
                Err(error) => {
                    crate::debug!("PHB {}: {error}", host.info.id());
                    break;
                }
            }
        }
    }
}

/// Whether there may be more behind it.
fn take(index: u16, host: &Host, error: NextError) -> bool {
    let phb = host.info.id();
    match error.severity {
        INFORMATION => {
            let told = may_tell(index, Repeated::Information);
            if let Some(more) = told {
                info!(
                    "PHB {phb}: error without consequence, kind {}{}",
                    error.kind,
                    and_more(more)
                );
            }
            // Reading its record is what ends it.
            diagnose(index, host, told.is_some())
        }
        PE => match u16::try_from(error.pe) {
            Ok(pe) if pe < host.info.pes() => stop(index, host, pe),
            _ => {
                error!(
                    "PHB {phb}: error of PE {:#x}, which it does not have",
                    error.pe
                );
                false
            }
        },
        severity => {
            let what = if severity == FENCED { "fenced" } else { "dead" };
            error!("PHB {phb} is {what}: nothing below it works until a reboot");
            diagnose(index, host, true);
            DEAD.push(index);
            false
        }
    }
}

/// Whether an error that may come each second is to be told now, and how many of
/// its kind were not since the last one.
fn may_tell(index: u16, kind: Repeated) -> Option<u32> {
    let now = runtime::microseconds();
    let mut told = Some(0);
    let mut found = false;
    TOLD.update(|(phb, what, last, more)| {
        if (*phb, *what) != (index, kind) {
            return;
        }
        found = true;
        if now.wrapping_sub(*last) < QUIET_US {
            *more = more.saturating_add(1);
            told = None;
        } else {
            told = Some(*more);
            (*last, *more) = (now, 0);
        }
    });
    if !found {
        TOLD.push((index, kind, now, 0));
    }
    told
}

fn and_more(more: u32) -> String {
    match more {
        0 => String::new(),
        more => format!(", and {more} more"),
    }
}

/// Takes the PHB's own record of an error, and tells what is set in it if it is
/// to be told. `false` if there is none to be had.
fn diagnose(index: u16, host: &Host, is_told: bool) -> bool {
    let bridge = bridges().get(usize::from(index));
    let bytes = bridge.map_or(0, |bridge| bridge.described.diag_bytes) as usize;
    if !(1..=MOST_BYTES).contains(&bytes) {
        return false;
    }
    let mut buffer = vec![0; bytes];
    if let Err(error) = host.phb.diag_data(&mut buffer) {
        crate::debug!("PHB {}: no error record: {error}", host.info.id());
        return false;
    }
    match Diag::new(&buffer) {
        _ if !is_told => {}
        Ok(diag) => {
            for (name, value) in diag.set() {
                error!("  {name} {value:#x}");
            }
        }
        Err(error) => error!("  {error}"),
    }
    true
}

/// A PE with an error. Firmware names the same one until it is thawed: then the
/// others are looked at here.
fn stop(index: u16, host: &Host, pe: u16) -> bool {
    if stop_one(index, host, pe) {
        return true;
    }
    for (at, _) in host.groups.iter() {
        let Some(other) = host.plan.group(at).pe else {
            continue;
        };
        let frozen = host.phb.freeze_status(other.get());
        if frozen.is_ok_and(|status| status.is_frozen()) {
            stop_one(index, host, other.get());
        }
    }
    false
}

/// Freezes and tells; `false` if that was done before.
fn stop_one(index: u16, host: &Host, pe: u16) -> bool {
    let group = host.group_of(pe);
    // A companion is frozen with its group, and named by it.
    let pe = group
        .and_then(|at| host.plan.group(at).pe)
        .map_or(pe, |pe| pe.get());
    let id = PeId { phb: index, pe };
    if FAILED.all().contains(&id) {
        return false;
    }
    let is_reserved = pe == host.info.reserved().get();
    let told = match is_reserved {
        true => may_tell(index, Repeated::Reserved),
        false => Some(0),
    };
    FAILED.push(id);
    if let Some(more) = told {
        let record = host.phb.pest(pe).filter(|pest| !pest.is_empty());
        tell(host, id, group, record);
        diagnose(index, host, true);
        if more > 0 {
            error!("  and {more} more of these before it, not told");
        }
    }
    if let Err(error) = host.freeze(pe) {
        error!(
            "PHB {}: PE {pe:03x} cannot be frozen: {error}",
            host.info.id()
        );
    }
    if is_reserved {
        // Nobody's functions: ready to be told of the next.
        if host.clear_freeze(pe).is_ok() {
            FAILED.retain(|it| *it != id);
        }
        return false;
    }
    true
}

fn tell(host: &Host, id: PeId, group: Option<GroupIndex>, record: Option<Pest>) {
    let phb = host.info.id();
    let pe = id.pe;
    let who = group.map_or_else(
        || String::from("functions that are given to nobody"),
        |at| members(host, at),
    );
    faults::note(id, &who, record);
    error!("PHB {phb}: PE {pe:03x} is frozen: {who}");
    match record {
        None => error!("  the PHB recorded no cause"),
        Some(pest) => {
            let requester = FunctionId::new(phb, pest.requester());
            error!(
                "  {} by {requester} at bus address {:#x} ({:#018x} {:#018x})",
                pest.cause(),
                pest.address(),
                pest.word0,
                pest.word1
            );
        }
    }
    let mut owned = false;
    for window in windows::all() {
        let mut has_it = false;
        window.each_pe(|it| has_it |= it == id);
        if !has_it {
            continue;
        }
        owned = true;
        let range = window.range();
        error!(
            "  owner {}, window of {:#x} bytes at {}",
            window.owner().0,
            range.bytes(),
            range.base()
        );
        let Some(pest) = record else { continue };
        let bus = BusAddr::new(pest.address());
        match window.last_unmap(bus) {
            Some(last) => error!(
                "  that page was unmapped: {} {} from {}, {} {} ago",
                last.pages,
                plural(last.pages as usize, "page"),
                last.bus,
                last.later + 1,
                plural(last.later as usize + 1, "unmap")
            ),
            None if bus
                .checked_sub(range.base())
                .is_some_and(|at| at < range.bytes()) =>
            {
                error!("  that page is not among the window's last unmaps");
            }
            None => {}
        }
    }
    if !owned {
        error!("  it has no window and no owner");
    }
    if group.is_some_and(|at| host.groups.get(at).kind == GroupKind::Endpoint) {
        error!(
            "  its DMA is stopped; recover {phb}:{pe:03x} resets it and opens its windows again"
        );
    }
}

fn members(host: &Host, at: GroupIndex) -> String {
    let group = host.groups.get(at);
    let functions = group
        .functions
        .iter()
        .map(|at| host.topology[*at].id.to_string());
    let virtuals = group.virtuals.iter().map(|at| {
        let bdfn = host.topology.virtuals[at.get()].bdfn;
        FunctionId::new(host.topology.phb, bdfn).to_string()
    });
    let mut text = String::new();
    for name in functions.chain(virtuals) {
        text.push_str(if text.is_empty() { "" } else { ", " });
        text.push_str(&name);
    }
    text
}

/// Whether a window leads out of a PE.
fn is_used(id: PeId) -> bool {
    let mut has_it = false;
    for window in windows::all() {
        window.each_pe(|it| has_it |= it == id);
    }
    has_it
}

/// Resets the functions of a PE and creates its windows anew, empty. Returns how
/// many there are.
///
/// # Errors
/// Why it stays frozen.
pub fn recover(id: PeId) -> Result<usize, String> {
    let engine = engine().ok_or("no engine")?;
    let host = host(id.phb).ok_or("no such PHB")?;
    let at = host.group_of(id.pe).ok_or("no group has this PE")?;
    let others = host.setup();
    if let Some((function, _)) = others.stopped_by(at).find(|(_, other)| {
        let pe = host.plan.group(*other).pe.map(|pe| pe.get());
        pe.is_some_and(|pe| is_used(PeId { phb: id.phb, pe }))
    }) {
        return Err(format!(
            "a reset would stop its virtual function {function}, which has windows"
        ));
    }
    // Configuration space of a frozen PE reads as all ones. DMA stays stopped.
    for pe in host.with_companions(id.pe) {
        host.phb.thaw_mmio(pe).map_err(|error| error.to_string())?;
    }
    let mut used = windows::all();
    used.retain(|window| {
        let mut has_it = false;
        window.each_pe(|it| has_it |= it == id);
        has_it
    });
    for window in &used {
        engine
            .detach(window, id, DetachMode::Reset)
            .map_err(|error| error.to_string())?;
    }
    if used.is_empty() {
        host.bus_master_off(id.pe)
            .and_then(|()| host.reset_functions(id.pe))
            .map_err(|error| error.to_string())?;
    }
    host.clear_freeze(id.pe)
        .map_err(|error| error.to_string())?;
    // Its windows are closed and its pages released: that is all there is to do.
    if let Some(gone) = host.find_gone(id.pe).first() {
        FAILED.retain(|it| *it != id);
        return Err(format!(
            "{gone} was taken out: its windows are closed, and its pages are free again"
        ));
    }
    if host.phb.freeze_status(id.pe).is_ok_and(|it| it.is_frozen()) {
        return Err("it is still frozen".into());
    }
    for window in &used {
        engine
            .attach(window, id)
            .map_err(|error| error.to_string())?;
    }
    if !used.is_empty() {
        host.start(at)
            .map_err(|(step, error)| format!("{step:?}: {error}"))?;
    }
    FAILED.retain(|it| *it != id);
    info!(
        "PHB {}: PE {:03x} was reset; {} {} open again",
        host.info.id(),
        id.pe,
        used.len(),
        plural(used.len(), "window")
    );
    Ok(used.len())
}
