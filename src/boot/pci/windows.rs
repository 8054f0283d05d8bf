//! The windows that there are.

use super::list::List;
use super::platform::Platform;
use crate::dma::{Liobn, Window};
use crate::seam::PeId;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

static WINDOWS: List<Arc<Window<Platform>>> = List::new();

/// The last number that was given to a window without a partition's own: from 1,
/// far below those that guests use.
static LAST_NUMBER: AtomicU32 = AtomicU32::new(0);

/// Makes a window known, and gives it a LIOBN if it has none.
pub fn add(window: &Arc<Window<Platform>>) {
    if window.liobn().is_none() {
        let number = LAST_NUMBER.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        window.set_liobn(Liobn(number));
    }
    WINDOWS.push(Arc::clone(window));
}

/// Forgets a window that is being removed.
pub fn forget(window: &Arc<Window<Platform>>) {
    WINDOWS.retain(|it| !Arc::ptr_eq(it, window));
}

/// All windows.
pub fn all() -> Vec<Arc<Window<Platform>>> {
    WINDOWS.all()
}

/// The windows that lead out of a PE.
pub fn of(pe: PeId) -> Vec<Arc<Window<Platform>>> {
    let mut found = all();
    found.retain(|window| {
        let mut has_it = false;
        window.each_pe(|it| has_it |= it == pe);
        has_it
    });
    found
}
