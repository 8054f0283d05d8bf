//! Native map: all or nothing, never over a live entry.

use super::error::DmaError;
use super::operation::Operation;
use super::reserve::Reserve;
use super::state::State;
use super::window::Window;
use crate::addr::{BusAddr, HostAddr};
use crate::seam::{Platform, TableMemory};
use crate::tce::chain::Tables;
use crate::tce::tree::Missing;
use crate::tce::{Access, Entry, SlotRange, Tree, leaf};

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
        let mut reserve = Reserve::new(self, window);
        let operation = loop {
            let mut state = window.state.lock();
            state.admit()?;
            let missing = self.scan_empty(window, &state.tree, range)?;
            if !reserve.covers(missing) {
                drop(state);
                reserve.fill(missing)?;
                continue;
            }
            if missing != Missing::default() {
                let (tree, spare) = (&state.tree, &mut reserve.spare);
                link_where(&self.platform, tree, range, spare, |_, _| true)?;
            }
            let mut operation = Operation::begin(self, window, range, None, true);
            self.store_run(&mut state, range, first);
            operation.linked = missing != Missing::default();
            operation.seal(&mut state);
            break operation;
        };
        pins.keep();
        drop(reserve);
        // A PHB may have cached the entries as invalid, with their neighbours.
        operation.settle(None, |_, _| ())
    }

    /// Busy if any entry of `range` is in use; else the tables it lacks.
    #[inline]
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
            if let Some(index) =
                leaf::first_used(memory, at.table, at.index, segment.pages as usize)
            {
                let slot = crate::tce::Slot::new(segment.first.get() + (index - at.index) as u64);
                let entry = Entry::from_bits(memory.load(at.table, index));
                return Err(DmaError::Busy {
                    bus: window.range.bus(slot),
                    entry,
                });
            }
        }
        Ok(if holes {
            tree.missing(memory, range)
        } else {
            Missing::default()
        })
    }

    /// Stores the entries of a contiguous run into `range`, whose leaves exist.
    #[inline]
    fn store_run(&self, state: &mut State, range: SlotRange, first: u64) {
        let memory = &self.platform;
        let tree = state.tree;
        let step = tree.shape().page().bytes();
        let mut value = first;
        for segment in tree.segments(memory, range) {
            let Some(at) = segment.leaf else {
                debug_assert!(false, "no leaf after linking");
                continue;
            };
            leaf::fill(
                memory,
                at.table,
                at.index,
                segment.pages as usize,
                value,
                step,
            );
            tree.used(memory, &at, segment.pages);
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
