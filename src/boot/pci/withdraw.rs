//! What leads from a PE to memory is closed for a purpose of Pinion's own, and
//! opened again, whoever has the PE.

use super::platform::{Platform, engine};
use super::{Host, windows};
use crate::boot::partitions::{self, Withdrawn};
use crate::dma::{DetachMode, Window};
use crate::pci::GroupIndex;
use crate::seam::PeId;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A PE that uses no window, and that nobody lets use one meanwhile.
pub(super) struct Closed {
    pe: PeId,
    held: Held,
}

enum Held {
    /// A partition's group.
    Group(Withdrawn),
    /// Windows that no partition has, which it was detached from.
    Windows(Vec<Arc<Window<Platform>>>),
}

/// Ends the use of all windows by a PE, as when its owner gives it back: TVEs off,
/// killed, functions reset, entries cleared, pins released. A partition that has it
/// cannot change its windows from the first step on.
///
/// # Errors
/// Why it does not become quiet. It is frozen and its partition's windows stay
/// closed; this may be tried again.
pub(super) fn close(host: &Host, pe: PeId) -> Result<Closed, String> {
    let engine = engine().ok_or("no engine")?;
    let used = windows::of(pe);
    let withdrawn = partitions::withdraw(pe).map_err(|error| error.to_string())?;
    let held = match withdrawn {
        Some(group) => Held::Group(group),
        None => {
            for window in &used {
                engine
                    .detach(window, pe, DetachMode::Reset)
                    .map_err(|error| error.to_string())?;
            }
            Held::Windows(used.clone())
        }
    };
    if used.is_empty() && !host.is_deserted(pe.pe) {
        // No detach has reset what is there.
        host.bus_master_off(pe.pe)
            .and_then(|()| host.reset_functions(pe.pe))
            .map_err(|error| error.to_string())?;
    }
    host.clear_freeze(pe.pe)
        .map_err(|error| error.to_string())?;
    Ok(Closed { pe, held })
}

impl Closed {
    /// Lets the PE, which is `at` of `host`, use windows again, which are empty: the
    /// default one of a partition that runs, or those that it was detached from.
    /// Returns how many.
    ///
    /// # Errors
    /// Why it does not work; it may be closed again.
    pub(super) fn reopen(self, host: &Host, at: GroupIndex) -> Result<usize, String> {
        let used = match self.held {
            Held::Group(group) => {
                let opened = group.give_back().map_err(|error| error.to_string())?;
                return Ok(opened.into());
            }
            Held::Windows(used) => used,
        };
        let engine = engine().ok_or("no engine")?;
        for window in &used {
            engine
                .attach(window, self.pe)
                .map_err(|error| error.to_string())?;
        }
        if !used.is_empty() {
            host.start(at)
                .map_err(|(step, error)| alloc::format!("{step:?}: {error}"))?;
        }
        Ok(used.len())
    }
}
