//! The regions of one owner, as hot paths use them.

use alloc::vec::Vec;

use super::counts::RegionCounts;
use super::dirty::{TAKEN, Taken};
use super::gate::{GateError, GateState};
use super::region::{Region, RegionInfo};
use super::release::{Releaser, Tally};
use super::{LedgerError, OwnerId, REGIONS_PER_OWNER};
use crate::addr::HostAddr;
use crate::kill::Killed;
use crate::seam::Interrupts;
use crate::seam::sync::{AtomicU64, Ordering, Rank, Shared};

/// One owner's regions, sorted by address.
///
/// Each owner has its own lock: a partition that maps all day delays changes
/// to its own regions only.
pub struct Holdings<I: Interrupts> {
    owner: OwnerId,
    regions: Shared<Vec<Region>, I>,
    // Operations that marked pages before their kill: a device may write them
    // after the mark, so no mark is taken away until they are over.
    replacing: AtomicU64,
    // Regions on their way here, which have their room. Under the books' lock.
    arriving: AtomicU64,
}

/// Why pages were not pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PinError {
    /// The page is not wholly in one region of the owner.
    #[error("page {host:#x} is not in a region of partition {}", owner.0)]
    NotOwned {
        /// The first such page.
        host: HostAddr,
        /// Who asked.
        owner: OwnerId,
    },
    /// The region is being taken back.
    #[error("page {host:#x} is in a region that is being taken back")]
    Closing {
        /// The first such page.
        host: HostAddr,
    },
    /// The end is beyond 2^64.
    #[error("{bytes:#x} bytes from {host:#x} end beyond 2^64")]
    Overflow {
        /// First address.
        host: HostAddr,
        /// Bytes.
        bytes: u64,
    },
    /// The region has 2^62 pins.
    #[error("{pins} more pins do not fit on page {host:#x}")]
    TooMany {
        /// The first page.
        host: HostAddr,
        /// Pins asked for.
        pins: u64,
    },
}

impl PinError {
    /// The page that it is about.
    pub fn host(&self) -> HostAddr {
        match *self {
            Self::NotOwned { host, .. }
            | Self::Closing { host }
            | Self::Overflow { host, .. }
            | Self::TooMany { host, .. } => host,
        }
    }
}

/// Index of the region that `host` is in, of regions sorted by start.
#[inline]
pub(super) fn index_of(regions: &[Region], host: HostAddr) -> Option<usize> {
    index_where(regions, |region| {
        let above = region.start() <= host;
        (above, above && region.offset(host).is_some())
    })
}

/// `look` says of a region whether it starts at or below an address, and whether
/// it holds it. At most ten looks for 256 regions.
#[inline]
fn index_where<T>(regions: &[T], look: impl Fn(&T) -> (bool, bool)) -> Option<usize> {
    if let [only] = regions {
        return look(only).1.then_some(0);
    }
    let above = regions.partition_point(|region| look(region).0);
    let index = above.checked_sub(1)?;
    look(regions.get(index)?).1.then_some(index)
}

impl<I: Interrupts> Holdings<I> {
    pub(super) fn new(owner: OwnerId) -> Self {
        Self {
            owner,
            // No allocation under the lock later.
            regions: Shared::new(Rank::Regions, Vec::with_capacity(REGIONS_PER_OWNER)),
            replacing: AtomicU64::new(0),
            arriving: AtomicU64::new(0),
        }
    }

    /// Whose regions these are.
    pub fn owner(&self) -> OwnerId {
        self.owner
    }

    /// Pins `pages` pages of `1 << page_shift` bytes from `host`: one range
    /// check and one addition for each region that they are in, usually one.
    #[inline]
    pub fn pin(
        &self,
        host: HostAddr,
        pages: u64,
        page_shift: u32,
    ) -> Result<Pins<'_, I>, PinError> {
        let regions = self.regions.read();
        let mut pins = Pins {
            holdings: self,
            host,
            pages: 0,
            page_shift,
        };
        let bytes = pages
            .checked_mul(1 << page_shift)
            .ok_or(PinError::Overflow {
                host,
                bytes: u64::MAX,
            })?;
        if bytes == 0 || host.checked_add(bytes - 1).is_none() {
            pins.forget();
            return Err(PinError::Overflow { host, bytes });
        }
        let result = pin_pieces(&regions, host, pages, page_shift, &mut pins.pages);
        drop(regions);
        match result {
            Ok(()) => Ok(pins),
            Err(stop) => Err(stop.at(self.owner)),
        }
    }

    /// Pins the pages that `pages` yields, each of `1 << page_shift` bytes, in any
    /// order: one addition for each change of region. On failure, nothing is
    /// pinned. `scratch` is empty before and after, or as the result says.
    #[inline]
    pub fn pin_each<'a>(
        &'a self,
        pages: impl Iterator<Item = HostAddr>,
        page_shift: u32,
        scratch: &'a mut RegionCounts,
    ) -> Result<ScatteredPins<'a, I>, (usize, PinError)> {
        let regions = self.regions.read();
        let pins = ScatteredPins {
            holdings: self,
            counts: scratch,
        };
        let result = pin_scattered(&regions, pages, page_shift, pins.counts);
        // The release on failure takes the lock again.
        drop(regions);
        match result {
            Ok(()) => Ok(pins),
            Err((index, stop)) => Err((index, stop.at(self.owner))),
        }
    }

    /// Whether `killed` is of a window of this owner. No other releases a pin.
    #[inline]
    pub(super) fn believes(&self, killed: &Killed) -> bool {
        let mine = killed.is_for(self.owner);
        debug_assert!(mine, "released for a kill of another owner");
        mine
    }

    /// Removes the pins of `pages` pages from `host`, all pinned, that entries
    /// stood for.
    pub fn unpin(&self, host: HostAddr, pages: u64, page_shift: u32, killed: &Killed) {
        if self.believes(killed) {
            self.unpin_pieces(host, pages, page_shift);
        }
    }

    fn unpin_pieces(&self, host: HostAddr, pages: u64, page_shift: u32) {
        self.each_piece(host, pages, page_shift, |region, _, pages| {
            region.gate().unpin(pages)
        });
    }

    /// As [`Holdings::unpin`], of pages that a device may have written.
    pub fn unpin_dirty(&self, host: HostAddr, pages: u64, page_shift: u32, killed: &Killed) {
        if !self.believes(killed) {
            return;
        }
        self.each_piece(host, pages, page_shift, |region, offset, pages| {
            region.mark(offset, pages << page_shift);
            region.gate().unpin(pages);
        });
    }

    fn each_piece(
        &self,
        host: HostAddr,
        pages: u64,
        page_shift: u32,
        mut piece: impl FnMut(&Region, u64, u64),
    ) {
        let regions = self.regions.read();
        let mut at = host.get();
        let mut left = pages;
        while left != 0 {
            // A pinned region cannot go away.
            let found = index_of(&regions, HostAddr::new(at)).and_then(|index| regions.get(index));
            let Some(region) = found else {
                debug_assert!(false, "pinned page {at:#x} is in no region");
                return;
            };
            let offset = at.wrapping_sub(region.start().get());
            let here = left.min((region.bytes() - offset) >> page_shift);
            if here == 0 {
                debug_assert!(false, "pinned page {at:#x} is in two regions");
                return;
            }
            piece(region, offset, here);
            left = left.wrapping_sub(here);
            at = at.wrapping_add(here << page_shift);
        }
    }

    /// Starts to release pages one by one, that entries stood for. `None` if the
    /// kill was for another owner.
    #[inline]
    pub fn releaser(&self, page_shift: u32, killed: &Killed) -> Option<Releaser<'_, I>> {
        let mine = self.believes(killed);
        mine.then(|| Releaser::new(self.regions.read(), page_shift))
    }

    /// Starts to count pages one by one, by region.
    #[inline]
    pub fn tally(&self, page_shift: u32) -> Tally<'_, I> {
        Tally::new(self.regions.read(), page_shift, &self.replacing)
    }

    /// The kills of `operations` that marked pages before are over.
    #[cold]
    pub(super) fn end_replacing(&self, operations: u64) {
        // Release: who sees this sees what devices wrote.
        self.replacing.fetch_sub(operations, Ordering::Release);
    }

    /// Removes `pins` pins of the region that `start` is in.
    pub(super) fn unpin_region(&self, start: HostAddr, pins: u64) {
        let regions = self.regions.read();
        match index_of(&regions, start).and_then(|index| regions.get(index)) {
            Some(region) => region.gate().unpin(pins),
            None => debug_assert!(false, "pinned region {start:#x} is gone"),
        }
    }

    /// Whether a device may have written the page at `host`. Pages that a live
    /// entry lets a device write are to be taken as dirty too: the mark comes
    /// when the entry goes.
    pub fn is_dirty(&self, host: HostAddr) -> bool {
        let regions = self.regions.read();
        let found = index_of(&regions, host).and_then(|index| regions.get(index));
        found.is_some_and(|region| {
            region
                .offset(host)
                .is_some_and(|offset| region.is_dirty(offset))
        })
    }

    /// Calls `dirty` with address and log2 of the bytes of each dirty granule
    /// of the region at `start`. They are clean then, unless a remap of this
    /// owner has replaced writable entries and its kill is not over: devices
    /// may still write then, and the marks stay for the next call.
    ///
    /// A mark comes when an entry goes, after its kill. So, for a copy that
    /// misses nothing: take the marks, then copy; copy each page with a live
    /// writable entry too, each time. The last time, stop the devices first:
    /// unmap, or detach, which kill, and let posted writes land
    /// (`Engine::land_writes`). One thread at a time. `dirty` is called with no
    /// lock held; the error may come in the middle, if the region goes then.
    pub fn take_dirty(
        &self,
        start: HostAddr,
        mut dirty: impl FnMut(HostAddr, u32),
    ) -> Result<(), LedgerError> {
        for first in (0..).step_by(TAKEN) {
            let mut found: Taken = [0; TAKEN / 64];
            let (more, granule) = self.with_region(start, |region| {
                let more = region.dirty().take(&self.replacing, first, &mut found);
                (more, region.dirty().granule())
            })?;
            if !more {
                break;
            }
            for (word, mut bits) in (first..).step_by(64).zip(found) {
                while bits != 0 {
                    let index = word + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let offset = (index as u64) << granule;
                    dirty(HostAddr::new(start.get().wrapping_add(offset)), granule);
                }
            }
        }
        Ok(())
    }

    /// What is known about region `index`, the lowest address first.
    pub fn region(&self, index: usize) -> Option<RegionInfo> {
        self.regions.read().get(index).map(Region::info)
    }

    /// What is known about the region that `host` is in.
    pub fn region_of(&self, host: HostAddr) -> Option<RegionInfo> {
        let regions = self.regions.read();
        index_of(&regions, host)
            .and_then(|index| regions.get(index))
            .map(Region::info)
    }

    /// Whether there is no region, and none is on its way here.
    pub fn is_empty(&self) -> bool {
        self.arriving.load(Ordering::Relaxed) == 0 && self.regions.read().is_empty()
    }

    /// Whether it has no room for another region, besides those that arrive.
    pub(super) fn is_full(&self) -> bool {
        let arriving = self.arriving.load(Ordering::Relaxed) as usize;
        self.regions.read().len() + arriving >= REGIONS_PER_OWNER
    }

    /// A region is on its way: it has its room.
    pub(super) fn expect(&self) {
        self.arriving.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a region that was expected.
    pub(super) fn insert_expected(&self, region: Region) -> Result<(), LedgerError> {
        self.arriving.fetch_sub(1, Ordering::Relaxed);
        self.insert(region)
    }

    /// Adds a region that overlaps none.
    pub(super) fn insert(&self, region: Region) -> Result<(), LedgerError> {
        let mut regions = self.regions.write();
        // Room was looked for before: it would be an allocation.
        if regions.len() >= REGIONS_PER_OWNER {
            return Err(LedgerError::TooManyRegions(self.owner));
        }
        let index = regions.partition_point(|other| other.start() < region.start());
        regions.insert(index, region);
        Ok(())
    }

    /// Removes the closed, unpinned and quiet region at `start`.
    pub(super) fn remove(&self, start: HostAddr) -> Result<Region, LedgerError> {
        let mut regions = self.regions.write();
        let index = regions
            .binary_search_by_key(&start, Region::start)
            .map_err(|_| LedgerError::NoRegion(start))?;
        let gate = regions
            .get(index)
            .ok_or(LedgerError::NoRegion(start))?
            .gate();
        match gate.state() {
            GateState::Quiet => Ok(regions.remove(index)),
            state => Err(LedgerError::of(start, state)),
        }
    }

    /// Calls `with` with the region that starts at `start`.
    pub(super) fn with_region<R>(
        &self,
        start: HostAddr,
        with: impl FnOnce(&Region) -> R,
    ) -> Result<R, LedgerError> {
        let regions = self.regions.read();
        let index = regions
            .binary_search_by_key(&start, Region::start)
            .map_err(|_| LedgerError::NoRegion(start))?;
        regions
            .get(index)
            .map(with)
            .ok_or(LedgerError::NoRegion(start))
    }
}

/// Where pinning stopped.
enum Stop {
    NotOwned(HostAddr),
    Gate(HostAddr, GateError),
}

impl Stop {
    fn at(self, owner: OwnerId) -> PinError {
        match self {
            Self::NotOwned(host) => PinError::NotOwned { host, owner },
            Self::Gate(host, GateError::Closed) => PinError::Closing { host },
            Self::Gate(host, GateError::Overflow(pins)) => PinError::TooMany { host, pins },
        }
    }
}

/// Pins region by region; `done` counts the pages.
#[inline]
fn pin_pieces(
    regions: &[Region],
    host: HostAddr,
    pages: u64,
    page_shift: u32,
    done: &mut u64,
) -> Result<(), Stop> {
    while *done < pages {
        let at = HostAddr::new(host.get().wrapping_add(*done << page_shift));
        let region = index_of(regions, at)
            .and_then(|index| regions.get(index))
            .ok_or(Stop::NotOwned(at))?;
        let room = region.bytes() - at.get().wrapping_sub(region.start().get());
        // A page that only begins in the region is not owned.
        let here = (pages - *done).min(room >> page_shift);
        if here == 0 {
            return Err(Stop::NotOwned(at));
        }
        region
            .gate()
            .pin(here)
            .map_err(|error| Stop::Gate(at, error))?;
        *done += here;
    }
    Ok(())
}

/// Pins of a run of pages that no table entry stands for yet: they go when this
/// is dropped, on any path.
#[must_use = "dropping this removes the pins"]
pub struct Pins<'a, I: Interrupts> {
    holdings: &'a Holdings<I>,
    host: HostAddr,
    pages: u64,
    page_shift: u32,
}

impl<I: Interrupts> Pins<'_, I> {
    /// Leaves the pins to the table entries that were stored.
    #[inline]
    pub fn keep(mut self) {
        self.forget();
    }

    #[inline]
    fn forget(&mut self) {
        self.pages = 0;
    }
}

impl<I: Interrupts> Drop for Pins<'_, I> {
    #[inline]
    fn drop(&mut self) {
        if self.pages != 0 {
            self.holdings
                .unpin_pieces(self.host, self.pages, self.page_shift);
        }
    }
}

/// Pins pages in any order, region by region, and notes them in `pinned`.
#[inline]
fn pin_scattered(
    regions: &[Region],
    pages: impl Iterator<Item = HostAddr>,
    page_shift: u32,
    pinned: &mut RegionCounts,
) -> Result<(), (usize, Stop)> {
    let page_bytes = 1u64 << page_shift;
    let mut current: Option<&Region> = None;
    // Where the run in the current region began.
    let (mut count, mut from) = (0u64, (0, HostAddr::new(0)));
    let mut flush = |region: Option<&Region>, count: u64, (index, host): (usize, HostAddr)| {
        let Some(region) = region.filter(|_| count != 0) else {
            return Ok(());
        };
        region
            .gate()
            .pin(count)
            .map_err(|error| (index, Stop::Gate(host, error)))?;
        pinned.add(region.start(), count);
        Ok(())
    };
    for (index, host) in pages.enumerate() {
        let inside = |region: &&Region| {
            region
                .offset(host)
                .is_some_and(|at| region.bytes() - at >= page_bytes)
        };
        if current.filter(inside).is_none() {
            flush(current, count, from)?;
            let found = index_of(regions, host)
                .and_then(|at| regions.get(at))
                .filter(inside);
            current = Some(found.ok_or((index, Stop::NotOwned(host)))?);
            (count, from) = (0, (index, host));
        }
        count = count.wrapping_add(1);
    }
    flush(current, count, from)
}

/// Pins of pages in any order that no table entries stand for yet: they go when
/// this is dropped, on any path.
#[must_use = "dropping this removes the pins"]
pub struct ScatteredPins<'a, I: Interrupts> {
    holdings: &'a Holdings<I>,
    counts: &'a mut RegionCounts,
}

impl<I: Interrupts> ScatteredPins<'_, I> {
    /// Leaves the pins to the table entries that were stored.
    #[inline]
    pub fn keep(self) {
        self.counts.clear();
    }
}

impl<I: Interrupts> Drop for ScatteredPins<'_, I> {
    #[inline]
    fn drop(&mut self) {
        self.counts.remove_from(self.holdings);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn f20_a_look_up_looks_at_few_of_many_regions() {
        let starts: Vec<u64> = (0..REGIONS_PER_OWNER as u64).map(|n| n * 16).collect();
        for (regions, most) in [(1, 1), (2, 3), (16, 6), (256, 10)] {
            let starts = &starts[..regions];
            for address in 0..regions as u64 * 16 + 20 {
                let looks = Cell::new(0);
                let found = index_where(starts, |&start| {
                    looks.set(looks.get() + 1);
                    (start <= address, (start..start + 8).contains(&address))
                });
                let index = (address / 16) as usize;
                let inside = address % 16 < 8 && index < regions;
                assert_eq!(found, inside.then_some(index), "{address}");
                assert!(looks.get() <= most, "{} looks at {regions}", looks.get());
            }
        }
    }
}
