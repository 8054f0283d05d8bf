//! Errors of PHBs and PEs: noticed, told, and stopped.
//!
//! A PE with an error is frozen by its PHB. It stays so, DMA and MMIO, until a
//! person asks for `recover`: whatever the device did, it did to nobody else.

use super::list::List;
use super::report::tell;
use super::{Host, bridges, hosts, removal};
use crate::boot::runtime;
use crate::console::repeats::Repeats;
use crate::opal::pci::NextError;
use crate::phb::{Diag, MOST_BYTES};
use crate::seam::PeId;
use crate::{error, info};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::{Mutex, Once};

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

/// Of the errors that come again and again, which were told. Functions that are
/// given to nobody are thawed at once, so a device that goes on makes an error a
/// look; so does a link that is bad but works.
static TOLD: Once<Mutex<Repeats<(u16, Repeated)>>> = Once::new();

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

/// A PE works again, or is nobody's any more.
pub(super) fn forget(pe: PeId) {
    FAILED.retain(|it| *it != pe);
}

/// From the prompt's loop, once a second: looks for errors, events or not, and
/// for functions that were taken out.
pub fn look_now_and_then() {
    let now = runtime::microseconds();
    if now.wrapping_sub(LOOKED.load(Ordering::Relaxed)) >= INTERVAL_US {
        LOOKED.store(now, Ordering::Relaxed);
        serve();
        removal::look();
    }
}

/// The PHBs that are neither fenced nor dead.
pub(super) fn living() -> impl Iterator<Item = (u16, &'static Host)> {
    let dead = DEAD.all();
    hosts().filter(move |(index, _)| !dead.contains(index))
}

/// Asks each PHB for its errors and deals with them.
pub fn serve() {
    for (index, host) in living() {
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
    let told = TOLD.call_once(Mutex::default);
    told.lock().tell((index, kind), runtime::microseconds())
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
    freeze(host, pe);
    if is_reserved {
        // Nobody's functions: ready to be told of the next.
        if host.clear_freeze(pe).is_ok() {
            forget(id);
        }
        return false;
    }
    // A link that goes down is an error too, of which nothing can recover.
    if !removal::look_behind_freeze(host, id) {
        freeze(host, pe);
    }
    true
}

fn freeze(host: &Host, pe: u16) {
    if let Err(error) = host.freeze(pe) {
        error!(
            "PHB {}: PE {pe:03x} cannot be frozen: {error}",
            host.info.id()
        );
    }
}
