//! Functions that are taken out while the machine runs: noticed, told, and what
//! led from them to memory is closed.

use super::list::List;
use super::platform::{Platform, engine};
use super::{Host, errors, pe_of, windows, withdraw};
use crate::boot::banner::{Size, plural};
use crate::boot::{monitor, partitions};
use crate::dma::Window;
use crate::pci::FunctionId;
use crate::seam::PeId;
use crate::{error, info, warning};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Functions that were told of, until the next scan.
static NOTICED: List<FunctionId> = List::new();

/// PEs without functions that could not be closed yet.
static OPEN: List<PeId> = List::new();

/// Looks whether the functions of all groups are still there. PEs that are
/// frozen are left as they are.
pub(super) fn look() {
    for (index, host) in errors::living() {
        for (at, _) in host.groups.iter() {
            if let Some(pe) = pe_of(index, at) {
                notice(host, pe, &host.find_gone(pe.pe));
            }
        }
    }
}

/// Looks at a PE that an error froze. Returns whether nothing is left of it: then
/// its windows are closed, and nobody needs to recover it.
pub(super) fn look_behind_freeze(host: &Host, pe: PeId) -> bool {
    notice(host, pe, &host.find_gone_behind_freeze(pe.pe));
    host.is_deserted(pe.pe)
}

/// Tells of functions that were not told of, and closes the windows of a PE that
/// lost its last one. Others of the group may go on: what they reach is theirs.
fn notice(host: &Host, pe: PeId, gone: &[FunctionId]) {
    let before = NOTICED.all();
    let new = gone.iter().filter(|it| !before.contains(it));
    let mut any = false;
    for function in new {
        any = true;
        NOTICED.push(*function);
        let owner = partitions::owner_of_pe(pe);
        let whose = owner.map_or("".into(), |owner| format!(", which is {owner}'s,"));
        warning!("{function}{whose} was taken out");
    }
    if (any || OPEN.all().contains(&pe)) && host.is_deserted(pe.pe) {
        close(host, pe);
    } else if any {
        info!("  others of its group are still there, in the same windows");
    }
}

/// Ends what led from a PE without functions to memory, or tries again next time.
fn close(host: &Host, pe: PeId) {
    let names: Vec<String> = windows::of(pe).iter().map(|it| describe(it)).collect();
    let is_first = !OPEN.all().contains(&pe);
    match withdraw::close(host, pe) {
        Ok(_closed) => {
            for name in names {
                info!("  {name} were mapped");
            }
            OPEN.retain(|it| *it != pe);
            errors::forget(pe);
        }
        // The engine has frozen it, and it keeps its pins.
        Err(error) if is_first => {
            error!("  its windows stay open to it: {error}; this is tried again");
            OPEN.push(pe);
        }
        Err(_) => {}
    }
}

/// A window that is being closed, for people.
fn describe(window: &Window<Platform>) -> String {
    let mut pages = 0u64;
    if let Some(engine) = engine() {
        engine.mappings(window, |mapping| {
            pages += u64::from(mapping.access.is_some());
        });
    }
    let range = window.range();
    format!(
        "window of {} at {} of {} is closed to it: {pages} {}",
        Size(range.bytes()),
        range.base(),
        monitor::owner_name(window.owner()),
        plural(pages as usize, "page")
    )
}
