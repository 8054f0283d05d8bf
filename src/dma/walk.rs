//! The walk of a PHB through a window's table, step by step, for people.

use super::error::DmaError;
use super::window::Window;
use crate::addr::{BusAddr, HostAddr};
use crate::seam::Platform;
use crate::tce::{Entry, entry};

/// One step: an entry of one table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalkStep {
    /// 0 is the root.
    pub level: u32,
    /// The table.
    pub table: HostAddr,
    /// Index of the entry in it.
    pub index: usize,
    /// The entry.
    pub bits: u64,
    /// What it means.
    pub meaning: Meaning,
}

/// What an entry of some level means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// Above the leaves: nothing is mapped below it.
    NoTable,
    /// Above the leaves: the next table.
    Table(HostAddr),
    /// In a leaf.
    Page(Entry),
}

impl<P: Platform> super::Engine<P> {
    /// Walks from the root to what is known of `bus`, and calls `visit` with each
    /// step, under the window's lock.
    ///
    /// # Errors
    /// The address is not in the window, or the window has no table any more.
    pub fn walk(
        &self,
        window: &Window<P>,
        bus: BusAddr,
        mut visit: impl FnMut(WalkStep),
    ) -> Result<(), DmaError> {
        let page = window.page_shift();
        let first = BusAddr::new(bus.get() >> page << page);
        let slot = window.slots(first, 1)?.first();
        let state = window.state.lock();
        state.exists()?;
        let shape = state.tree.shape();
        let mut table = state.tree.root();
        for level in 0..shape.levels() {
            let index = shape.index(slot, level);
            let bits = self.platform.load(table, index);
            let meaning = match bits {
                _ if shape.is_leaf(level) => Meaning::Page(Entry::from_bits(bits)),
                0 => Meaning::NoTable,
                _ => Meaning::Table(entry::address(bits)),
            };
            visit(WalkStep {
                level,
                table,
                index,
                bits,
                meaning,
            });
            match meaning {
                Meaning::Table(next) => table = next,
                Meaning::NoTable | Meaning::Page(_) => break,
            }
        }
        Ok(())
    }
}
