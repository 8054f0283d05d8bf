//! Native map: all or nothing, never over a live entry.

use super::error::DmaError;
use super::operation::Operation;
use super::reserve::Reserve;
use super::state::State;
use super::window::Window;
use crate::addr::{BusAddr, HostAddr};
use crate::memory::ledger::Pins;
use crate::seam::sync::LockGuard;
use crate::seam::{Platform, TableMemory};
use crate::tce::chain::Tables;
use crate::tce::tree::{Leaf, Missing};
use crate::tce::{Access, Entry, Slot, SlotRange, Tree, leaf};

impl<P: Platform> super::Engine<P> {
    /// [`Engine::map`](super::Engine::map), not noted.
    #[inline]
    pub(super) fn do_map(
        &self,
        window: &Window<P>,
        bus: BusAddr,
        host: HostAddr,
        pages: u64,
        access: Access,
    ) -> Result<(), DmaError> {
        let range = window.slots(bus, pages)?;
        let first = window.entry(bus, host, access)?.bits();
        let pins = window.pin_run(bus, host, pages)?;
        let state = window.state.lock();
        state.admit()?;
        let Some(leaf) = state.tree.one_leaf(&self.platform, range) else {
            drop(state);
            return self.map_parts(window, range, first, pins);
        };
        self.check_empty(window, range.first(), &leaf, pages)?;
        let operation = Operation::begin(self, window, range, None, true);
        self.store_part(&state.tree, &leaf, first, pages);
        self.finish_map(operation, state, pins)
    }

    /// Maps a range that is in several leaves, or some of whose leaves are to be made.
    fn map_parts(
        &self,
        window: &Window<P>,
        range: SlotRange,
        first: u64,
        pins: Pins<'_, P>,
    ) -> Result<(), DmaError> {
        let mut reserve = Reserve::new(self, window);
        let (state, missing) = loop {
            let state = window.state.lock();
            state.admit()?;
            let missing = self.scan_empty(window, &state.tree, range)?;
            if reserve.covers(missing) {
                break (state, missing);
            }
            drop(state);
            reserve.fill(missing)?;
        };
        let links = missing != Missing::default();
        if links {
            let (tree, spare) = (&state.tree, &mut reserve.spare);
            link_where(&self.platform, tree, range, spare, |_, _| true)?;
        }
        let mut operation = Operation::begin(self, window, range, None, true);
        self.store_run(&state.tree, range, first);
        operation.linked = links;
        self.finish_map(operation, state, pins)
    }

    /// The entries are stored: kills, as a PHB may have cached them as invalid, with
    /// their neighbours.
    #[inline(always)] // Not to move what it takes.
    fn finish_map(
        &self,
        mut operation: Operation<'_, P>,
        mut state: LockGuard<'_, State, P>,
        pins: Pins<'_, P>,
    ) -> Result<(), DmaError> {
        operation.seal(&mut state);
        drop(state);
        pins.keep();
        operation.settle(None, |_, _| ())
    }

    /// Busy if any of the `pages` entries from `leaf` on is in use, which are those
    /// from slot `first` on.
    #[inline]
    fn check_empty(
        &self,
        window: &Window<P>,
        first: Slot,
        leaf: &Leaf,
        pages: u64,
    ) -> Result<(), DmaError> {
        let memory = &self.platform;
        match leaf::first_used(memory, leaf.table, leaf.index, pages as usize) {
            None => Ok(()),
            Some(index) => {
                let entry = Entry::from_bits(memory.load(leaf.table, index));
                let further = index.wrapping_sub(leaf.index) as u64;
                Err(window.busy(first, further, entry))
            }
        }
    }

    /// Stores the entries of a run of `pages` pages, the first of them `first`, from
    /// `leaf` on.
    #[inline]
    fn store_part(&self, tree: &Tree, leaf: &Leaf, first: u64, pages: u64) {
        let (memory, step) = (&self.platform, tree.shape().page().bytes());
        leaf::fill(memory, leaf.table, leaf.index, pages as usize, first, step);
        tree.used(memory, leaf, pages);
    }

    /// Busy if any entry of `range` is in use; else the tables it lacks.
    fn scan_empty(
        &self,
        window: &Window<P>,
        tree: &Tree,
        range: SlotRange,
    ) -> Result<Missing, DmaError> {
        let memory = &self.platform;
        let mut holes = false;
        for segment in tree.segments(memory, range) {
            let Some(at) = segment.leaf else {
                holes = true;
                continue;
            };
            self.check_empty(window, segment.first, &at, segment.pages)?;
        }
        Ok(if holes {
            tree.missing(memory, range)
        } else {
            Missing::default()
        })
    }

    /// Stores the entries of a contiguous run into `range`, whose leaves exist.
    fn store_run(&self, tree: &Tree, range: SlotRange, first: u64) {
        let step = tree.shape().page().bytes();
        let mut value = first;
        for segment in tree.segments(&self.platform, range) {
            let Some(at) = segment.leaf else {
                debug_assert!(false, "no leaf after linking");
                continue;
            };
            self.store_part(tree, &at, value, segment.pages);
            value = value.wrapping_add(segment.pages.wrapping_mul(step));
        }
    }
}

/// Links spare tables wherever `range` has no leaf and `wanted` says so: it gets
/// the first page of the leaf, counted from the start of `range`, and how many.
#[cold]
pub(super) fn link_where<M: TableMemory>(
    memory: &M,
    tree: &Tree,
    range: SlotRange,
    spare: &mut Tables,
    wanted: impl Fn(u64, u64) -> bool,
) -> Result<(), DmaError> {
    let mut done = 0;
    while let Some(rest) = range.part(done, u64::MAX) {
        let shape = tree.shape();
        let room = (shape.entries() - shape.leaf_index(rest.first())) as u64;
        let pages = room.min(rest.pages());
        if wanted(done, pages) {
            // Not to be: the reserve covers the range. Only empty tables are
            // added.
            let bytes = 1 << shape.level_shift();
            tree.ensure(memory, rest.first(), spare)
                .ok_or(DmaError::NoTableMemory { bytes })?;
        }
        done += pages;
    }
    Ok(())
}
