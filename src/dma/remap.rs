//! Remap: what H_PUT_TCE, H_PUT_TCE_INDIRECT and H_STUFF_TCE mean. Entries are
//! replaced, and an entry without rights is an unmap.

use super::error::DmaError;
use super::map::link_where;
use super::operation::Operation;
use super::patience::Patience;
use super::reserve::Reserve;
use super::state::State;
use super::unmap::release_scattered;
use super::wanted::{From, Listed, NewPins, Run, Same, Wanted};
use super::window::{CHUNK, Window};
use crate::addr::{BusAddr, HostAddr};
use crate::memory::ledger::{Pages, PinError, Place, RegionCounts, Scan};
use crate::seam::{Platform, TableMemory};
use crate::tce::entry::{self, RIGHTS};
use crate::tce::segments::Segment;
use crate::tce::tree::{Leaf, Missing};
use crate::tce::{Access, Entry, Slot, SlotRange, Stamp, Tce, Tree, leaf};

/// What a remap finds before it changes anything.
struct Scanned {
    /// No entry of the range is in use.
    is_empty: bool,
    missing: Missing,
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
        let pins = window
            .holdings
            .pin_each(entries, window.page_shift())
            .map_err(|(index, error)| window.refused_entry(range, entries, index, error))?;
        let mappings = pins.pages();
        self.replace(window, range, &Listed { entries, mappings }, pins)
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
        let (host, shift) = (entry.host(), window.page_shift());
        let pins = window.holdings.pin_repeatedly(host, pages, shift);
        let pins = pins.map_err(|error| DmaError::Pin { bus, error })?;
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
        let (mut state, stamp, found) = loop {
            let (mut state, stamp) = window.lock_with_stamp()?;
            let found = match self.scan(window, &state, range, wanted) {
                Ok(found) if reserve.covers(found.missing) => break (state, stamp, found),
                other => other,
            };
            state.stamps.give(stamp);
            drop(state);
            if let Err(error) = &found
                && patience.bears(error)
            {
                continue;
            }
            reserve.fill(found?.missing)?;
        };
        let links = found.missing != Missing::default();
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
        let changes = if found.is_empty && wanted.map_all() {
            self.store_new(&state.tree, range, wanted)
        } else {
            self.store_all(window, &state.tree, range, wanted, stamp, &mut replaced)
        };
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

    /// Busy if a mapping is wanted where a tombstone is; else what is there, and what
    /// the mappings lack.
    #[inline]
    fn scan(
        &self,
        window: &Window<P>,
        state: &State,
        range: SlotRange,
        wanted: &impl Wanted,
    ) -> Result<Scanned, DmaError> {
        let memory = &self.platform;
        let mut done = 0u64;
        let (mut lacking, mut any) = (false, 0);
        for segment in state.tree.segments(memory, range) {
            if let Some(at) = segment.leaf {
                let here = leaf::any_bits(memory, at.table, at.index, segment.pages as usize);
                if entry::any_buried(here) {
                    self.check_tombstones(window, &segment, at, done, wanted)?;
                }
                any |= here;
            } else {
                lacking |= wanted.maps(done, segment.pages);
            }
            done = done.wrapping_add(segment.pages);
        }
        let maps = |first, pages| wanted.maps(first, pages);
        Ok(Scanned {
            is_empty: any == 0,
            missing: if lacking {
                state.tree.missing_where(memory, range, maps)
            } else {
                Missing::default()
            },
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

    /// Stores the wanted entries, all of them mappings, where nothing is.
    #[inline]
    fn store_new(&self, tree: &Tree, range: SlotRange, wanted: &impl Wanted) -> Changes {
        let memory = &self.platform;
        let mut done = 0u64;
        for segment in tree.segments(memory, range) {
            // Not to be: a leaf was made wherever a mapping is.
            if let Some(at) = segment.leaf {
                wanted.store(memory, &at, done, segment.pages);
                tree.used(memory, &at, segment.pages);
            }
            done = done.wrapping_add(segment.pages);
        }
        Changes {
            mapped: true,
            ..Changes::default()
        }
    }

    /// Stores the wanted entries. What was live and is replaced is counted in
    /// `replaced`; what is only unmapped becomes a tombstone of `stamp`.
    #[inline]
    fn store_all(
        &self,
        window: &Window<P>,
        tree: &Tree,
        range: SlotRange,
        wanted: &impl Wanted,
        stamp: Stamp,
        replaced: &mut RegionCounts,
    ) -> Changes {
        let memory = &self.platform;
        let mut changes = Changes::default();
        let mut done = 0u64;
        for segment in tree.segments(memory, range) {
            let mut used = 0u64;
            let mut offset = 0u64;
            // Where no leaf is, none was wanted.
            while let Some(at) = segment.leaf.filter(|_| offset < segment.pages) {
                // The regions' lock is let go in between: a writer that waits
                // for it holds the books of the whole machine.
                let end = segment.pages.min(offset.wrapping_add(CHUNK));
                let held = window.holdings.hold();
                let mut tally = held.tally(window.page_shift(), replaced);
                while offset < end {
                    let index = at.index.wrapping_add(offset as usize);
                    let old = memory.load(at.table, index);
                    let new = wanted.bits(done.wrapping_add(offset));
                    offset = offset.wrapping_add(1);
                    if old & RIGHTS != 0 {
                        if new != 0 {
                            let wrote = entry::wrote(old);
                            let place = tally.take(entry::address(old), wrote);
                            memory.store(at.table, index, new);
                            changes.mapped = true;
                            let rest = Replacing {
                                memory,
                                at,
                                wanted,
                                done,
                                offset,
                                end,
                            };
                            let more = match place {
                                Place::First => 0,
                                Place::Same => tally.take_like(old, wrote, rest),
                                Place::Other => tally.take_each(rest),
                            };
                            offset = offset.wrapping_add(more);
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
                }
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

/// Replaces live entries by wanted ones, as long as both are mappings.
struct Replacing<'m, M, W> {
    memory: &'m M,
    at: Leaf,
    wanted: &'m W,
    // Pages of the range before the leaf's, and those of the leaf to be replaced.
    done: u64,
    offset: u64,
    end: u64,
}

impl<M: TableMemory, W: Wanted> Scan for Replacing<'_, M, W> {
    #[inline]
    fn like(&mut self, mut is_like: impl FnMut(u64) -> bool) -> u64 {
        if !self.wanted.map_all() {
            return self.each(|bits, _| is_like(bits));
        }
        let first = self.done.wrapping_add(self.offset);
        let count = leaf::replace_while(
            self.memory,
            self.at.table,
            self.at.index.wrapping_add(self.offset as usize),
            self.end.wrapping_sub(self.offset) as usize,
            &From {
                first,
                wanted: self.wanted,
            },
            is_like,
        ) as u64;
        self.offset = self.offset.wrapping_add(count);
        count
    }

    #[inline]
    fn each(&mut self, mut take: impl FnMut(u64, bool) -> bool) -> u64 {
        let Self { memory, at, .. } = self;
        let mut offset = self.offset;
        while offset < self.end {
            let index = at.index.wrapping_add(offset as usize);
            let old = memory.load(at.table, index);
            let new = self.wanted.bits(self.done.wrapping_add(offset));
            if old & RIGHTS == 0 || new == 0 || !take(old, entry::wrote(old)) {
                break;
            }
            memory.store(at.table, index, new);
            offset = offset.wrapping_add(1);
        }
        let count = offset.wrapping_sub(self.offset);
        self.offset = offset;
        count
    }
}

impl<P: Platform> Window<P> {
    /// Why `entries` were not pinned, where `error` is about entry `index`: the first
    /// whose page is none is told rather than the first that is not pinned.
    #[cold]
    fn refused_entry(
        &self,
        range: SlotRange,
        entries: &[Tce],
        index: usize,
        error: PinError,
    ) -> DmaError {
        let shift = self.page_shift();
        let misaligned = |entry: &&Tce| !entry.host().is_aligned(shift);
        match (0..).zip(entries).find(|(_, entry)| misaligned(entry)) {
            Some((index, entry)) => self.misaligned(self.bus_of_index(range, index), entry.host()),
            None => DmaError::Pin {
                bus: self.bus_of_index(range, index as u64),
                error,
            },
        }
    }

    /// The bus address of page `index` of a range.
    #[cold]
    fn bus_of_index(&self, range: SlotRange, index: u64) -> BusAddr {
        self.range
            .bus(Slot::new(range.first().get().wrapping_add(index)))
    }
}
