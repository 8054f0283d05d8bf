//! Remap: what H_PUT_TCE, H_PUT_TCE_INDIRECT and H_STUFF_TCE mean. Entries are
//! replaced, and an entry without rights is an unmap.

use super::error::DmaError;
use super::map::link_where;
use super::operation::Operation;
use super::patience::Patience;
use super::reserve::Reserve;
use super::state::State;
use super::unmap::release_scattered;
use super::window::{CHUNK, Window};
use crate::addr::{BusAddr, HostAddr};
use crate::memory::ledger::{Pins, RegionCounts, ScatteredPins};
use crate::seam::Platform;
use crate::tce::entry::{self, RIGHTS};
use crate::tce::segments::Segment;
use crate::tce::tree::{Leaf, Missing};
use crate::tce::{Access, Entry, Slot, SlotRange, Stamp, Tce, leaf};

/// The entries that a remap is to store.
trait Wanted {
    /// The bits of entry `index`; live or 0.
    fn bits(&self, index: u64) -> u64;

    /// Whether any of the `pages` entries from `first` is a mapping.
    fn maps(&self, first: u64, pages: u64) -> bool {
        (0..pages).any(|offset| self.bits(first.wrapping_add(offset)) != 0)
    }
}

/// Any entries, in a list.
struct Listed<'a>(&'a [Tce]);
/// The same entry each time.
struct Same(Tce);
/// A run of pages.
struct Run {
    first: u64,
    page_shift: u32,
}

impl Wanted for Listed<'_> {
    #[inline]
    fn bits(&self, index: u64) -> u64 {
        self.0.get(index as usize).map_or(0, |entry| entry.bits())
    }
}

impl Wanted for Same {
    #[inline]
    fn bits(&self, _index: u64) -> u64 {
        self.0.bits()
    }
}

impl Wanted for Run {
    #[inline]
    fn bits(&self, index: u64) -> u64 {
        self.first.wrapping_add(index << self.page_shift)
    }
}

/// Pins of the new pages, until entries stand for them.
trait NewPins {
    fn keep(self);
}

impl<P: Platform> NewPins for Pins<'_, P> {
    #[inline]
    fn keep(self) {
        Pins::keep(self);
    }
}

impl<P: Platform, L: Iterator<Item = HostAddr>> NewPins for ScatteredPins<'_, P, L> {
    #[inline]
    fn keep(self) {
        ScatteredPins::keep(self);
    }
}

/// What a remap has done to the entries.
#[derive(Default)]
struct Changes {
    mapped: bool,
    buried: bool,
    foreign: bool,
}

impl<P: Platform> super::Engine<P> {
    /// [`Engine::remap`](super::Engine::remap), not noted.
    pub(super) fn do_remap(
        &self,
        window: &Window<P>,
        bus: BusAddr,
        entries: &[Tce],
    ) -> Result<(), DmaError> {
        let range = window.slots(bus, entries.len() as u64)?;
        let mask = window.range.shape().page().bytes().wrapping_sub(1);
        let all = entries
            .iter()
            .fold(0, |all, entry| all | entry.host().get());
        if all & mask != 0 {
            return Err(window.misaligned_entry(range, entries, mask));
        }
        let mappings = entries.iter().filter(|entry| entry.is_mapping());
        let pins = window
            .holdings
            .pin_each(mappings.map(|entry| entry.host()), window.page_shift())
            .map_err(|(nth, error)| {
                let index = entries
                    .iter()
                    .enumerate()
                    .filter(|(_, entry)| entry.is_mapping())
                    .nth(nth);
                DmaError::Pin {
                    bus: window.bus_of_index(range, index.map_or(0, |(index, _)| index as u64)),
                    error,
                }
            })?;
        self.replace(window, range, &Listed(entries), pins)
    }

    /// [`Engine::remap_same`](super::Engine::remap_same), not noted.
    pub(super) fn do_remap_same(
        &self,
        window: &Window<P>,
        bus: BusAddr,
        entry: Tce,
        pages: u64,
    ) -> Result<(), DmaError> {
        let range = window.slots(bus, pages)?;
        if !entry.is_mapping() {
            return self.unmap_slots(window, range).map(|_| ());
        }
        if !entry.host().is_aligned(window.page_shift()) {
            return Err(window.misaligned(bus, entry.host()));
        }
        let hosts = (0..pages).map(|_| entry.host());
        let pins = window.holdings.pin_each(hosts, window.page_shift());
        let pins = pins.map_err(|(_, error)| DmaError::Pin { bus, error })?;
        self.replace(window, range, &Same(entry), pins)
    }

    /// [`Engine::remap_run`](super::Engine::remap_run), not noted.
    pub(super) fn do_remap_run(
        &self,
        window: &Window<P>,
        bus: BusAddr,
        host: HostAddr,
        pages: u64,
        access: Access,
    ) -> Result<(), DmaError> {
        let range = window.slots(bus, pages)?;
        let first = window.entry(bus, host, access)?.bits();
        let page_shift = window.page_shift();
        let pins = window.pin_run(bus, host, pages)?;
        self.replace(window, range, &Run { first, page_shift }, pins)
    }

    /// The pages of all mappings in `wanted` are pinned.
    #[inline]
    fn replace(
        &self,
        window: &Window<P>,
        range: SlotRange,
        wanted: &impl Wanted,
        pins: impl NewPins,
    ) -> Result<(), DmaError> {
        let mut replaced = RegionCounts::new();
        let mut reserve = Reserve::new(self, window);
        let mut patience = Patience::default();
        let (mut state, stamp, missing) = loop {
            let (mut state, stamp) = window.lock_with_stamp()?;
            let missing = match self.scan_tombstones(window, &state, range, wanted) {
                Ok(missing) if reserve.covers(missing) => break (state, stamp, missing),
                other => other,
            };
            state.stamps.give(stamp);
            drop(state);
            if let Err(error) = &missing
                && patience.bears(error)
            {
                continue;
            }
            reserve.fill(missing?)?;
        };
        let links = missing != Missing::default();
        if links
            && let Err(error) = link_where(
                &self.platform,
                &state.tree,
                range,
                &mut reserve.spare,
                |first, pages| wanted.maps(first, pages),
            )
        {
            state.stamps.give(stamp);
            return Err(error);
        }
        let mut operation = Operation::begin(self, window, range, Some(stamp), true);
        let changes = self.store_all(window, &mut state, range, wanted, stamp, &mut replaced);
        if !changes.buried {
            operation.give_stamp(&mut state);
        }
        if !(changes.mapped || changes.buried || changes.foreign) {
            operation.cancel(&mut state);
            return Ok(());
        }
        operation.linked = links;
        operation.seal(&mut state);
        drop(state);
        pins.keep();
        drop(reserve);
        operation.settle(Some(&mut replaced), |operation, killed| {
            if changes.buried {
                release_scattered(&self.platform, operation, stamp, killed);
            }
        })
    }

    /// Busy if a mapping is wanted where a tombstone is; else the tables that
    /// the mappings lack.
    #[inline]
    fn scan_tombstones(
        &self,
        window: &Window<P>,
        state: &State,
        range: SlotRange,
        wanted: &impl Wanted,
    ) -> Result<Missing, DmaError> {
        let memory = &self.platform;
        let mut done = 0u64;
        let mut lacking = false;
        for segment in state.tree.segments(memory, range) {
            if let Some(at) = segment.leaf {
                if leaf::any_buried(memory, at.table, at.index, segment.pages as usize) {
                    self.check_tombstones(window, &segment, at, done, wanted)?;
                }
            } else {
                lacking |= wanted.maps(done, segment.pages);
            }
            done = done.wrapping_add(segment.pages);
        }
        Ok(if lacking {
            state
                .tree
                .missing_where(memory, range, |first, pages| wanted.maps(first, pages))
        } else {
            Missing::default()
        })
    }

    /// Busy if a mapping is wanted where `segment`, from page `done` of the range on,
    /// has a tombstone.
    #[cold]
    fn check_tombstones(
        &self,
        window: &Window<P>,
        segment: &Segment,
        at: Leaf,
        done: u64,
        wanted: &impl Wanted,
    ) -> Result<(), DmaError> {
        for offset in 0..segment.pages {
            let index = at.index.wrapping_add(offset as usize);
            let entry = Entry::from_bits(self.platform.load(at.table, index));
            if matches!(entry, Entry::Tombstone { .. })
                && wanted.bits(done.wrapping_add(offset)) != 0
            {
                return Err(window.busy(segment.first, offset, entry));
            }
        }
        Ok(())
    }

    /// Stores the wanted entries. What was live and is replaced is counted in
    /// `replaced`; what is only unmapped becomes a tombstone of `stamp`.
    #[inline]
    fn store_all(
        &self,
        window: &Window<P>,
        state: &mut State,
        range: SlotRange,
        wanted: &impl Wanted,
        stamp: Stamp,
        replaced: &mut RegionCounts,
    ) -> Changes {
        let memory = &self.platform;
        let mut changes = Changes::default();
        let mut done = 0u64;
        let tree = state.tree;
        for segment in tree.segments(memory, range) {
            let mut used = 0u64;
            let mut offset = 0u64;
            // Where no leaf is, none was wanted.
            while let Some(at) = segment.leaf.filter(|_| offset < segment.pages) {
                // The regions' lock is let go in between: a writer that waits
                // for it holds the books of the whole machine.
                let end = segment.pages.min(offset.wrapping_add(CHUNK));
                let held = window.holdings.hold();
                let mut tally = held.tally(window.page_shift());
                while offset < end {
                    let index = at.index.wrapping_add(offset as usize);
                    let old = memory.load(at.table, index);
                    let new = wanted.bits(done.wrapping_add(offset));
                    if old & RIGHTS != 0 {
                        if new != 0 {
                            tally.count(replaced, entry::address(old), entry::wrote(old));
                            memory.store(at.table, index, new);
                            changes.mapped = true;
                        } else {
                            memory.store(at.table, index, stamp.bury(old));
                            changes.buried = true;
                        }
                    } else if old != 0 {
                        changes.foreign = true;
                    } else if new != 0 {
                        memory.store(at.table, index, new);
                        used = used.wrapping_add(1);
                        changes.mapped = true;
                    }
                    offset = offset.wrapping_add(1);
                }
                tally.finish(replaced);
            }
            if let Some(at) = segment.leaf
                && used != 0
            {
                tree.used(memory, &at, used);
            }
            done = done.wrapping_add(segment.pages);
        }
        changes
    }
}

impl<P: Platform> Window<P> {
    /// The first of `entries` whose page is none.
    #[cold]
    fn misaligned_entry(&self, range: SlotRange, entries: &[Tce], mask: u64) -> DmaError {
        let misaligned = |entry: &&Tce| entry.host().get() & mask != 0;
        let found = (0..).zip(entries).find(|(_, entry)| misaligned(entry));
        let (index, host) = found.map_or((0, HostAddr::new(0)), |(index, entry)| {
            (index, entry.host())
        });
        self.misaligned(self.bus_of_index(range, index), host)
    }

    /// The bus address of page `index` of a range.
    #[cold]
    fn bus_of_index(&self, range: SlotRange, index: u64) -> BusAddr {
        self.range
            .bus(Slot::new(range.first().get().wrapping_add(index)))
    }
}
