//! The windows that there are, for a person.

use super::list::List;
use super::platform::{Platform, engine};
use crate::dma::{Liobn, Window};
use crate::println;
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

/// `windows`: each with its PEs, addresses, and what is mapped.
pub fn print() {
    let (windows, Some(engine)) = (all(), engine()) else {
        return;
    };
    if windows.is_empty() {
        println!("No windows.");
        return;
    }
    println!("  owner  first bus address   bytes         page  levels  mapped  buried  PEs");
    for window in &windows {
        let range = window.range();
        let (mut live, mut buried) = (0u64, 0u64);
        engine.mappings(window, |mapping| match mapping.access {
            Some(_) => live += 1,
            None => buried += 1,
        });
        let mut pes = alloc::string::String::new();
        window.each_pe(|pe| pes.push_str(&alloc::format!("{pe}  ")));
        println!(
            "  {:>5}  {:#018x}  {:<#12x}  {:>4}  {:>6}  {live:>6}  {buried:>6}  {}",
            window.owner().0,
            range.base(),
            range.bytes(),
            alloc::format!("{}", range.shape().page()),
            range.shape().levels(),
            if pes.is_empty() {
                "none"
            } else {
                pes.trim_end()
            }
        );
        if let Some(pe) = window.failed() {
            println!("         stopped: a kill for {pe} failed; it waits for recovery");
        }
    }
}
