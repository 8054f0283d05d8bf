//! Functions that are taken out while the machine runs: noticed, told, and what
//! led from them to memory is closed.

use super::list::List;
use super::platform::engine;
use super::{Host, errors, pe_of, windows};
use crate::boot::banner::{Size, plural};
use crate::boot::{monitor, partitions};
use crate::dma::DetachMode;
use crate::pci::FunctionId;
use crate::seam::PeId;
use crate::{error, info, warning};
use alloc::format;

/// Functions that were told of, until the next scan.
static NOTICED: List<FunctionId> = List::new();

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
    if any && host.is_deserted(pe.pe) {
        close(host, pe);
    } else if any {
        info!("  others of its group are still there, in the same windows");
    }
}

/// Detaches a PE without functions from all its windows, which end as they do
/// when an owner gives a device back: TVEs off, killed, empty, pins released.
fn close(host: &Host, pe: PeId) {
    let Some(engine) = engine() else { return };
    for window in windows::of(pe) {
        let mut pages = 0u64;
        engine.mappings(&window, |mapping| {
            pages += u64::from(mapping.access.is_some());
        });
        let range = window.range();
        let name = format!(
            "window of {} at {} of {}",
            Size(range.bytes()),
            range.base(),
            monitor::owner_name(window.owner())
        );
        match engine.detach(&window, pe, DetachMode::Reset) {
            Ok(()) => {
                let text = plural(pages as usize, "page");
                info!("  {name} is closed to it: {pages} {text} were mapped");
            }
            Err(error) => error!("  {name} stays open to it: {error}"),
        }
    }
    if let Err(error) = host.clear_freeze(pe.pe) {
        error!("  its PE stays frozen: {error}");
    }
    errors::forget(pe);
}
