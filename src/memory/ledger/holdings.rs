//! The regions of one owner, as hot paths use them.

use alloc::sync::Arc;

use super::dirty::{TAKEN, Taken};
use super::gate::GateState;
use super::region::{Region, RegionInfo};
use super::regions::Regions;
use super::{LedgerError, OwnerId, REGIONS_PER_OWNER};
use crate::addr::HostAddr;
use crate::kill::Killed;
use crate::seam::Interrupts;
use crate::seam::sync::{AtomicU64, Ordering, Rank, Shared};

/// One owner's regions.
///
/// Each owner has its own lock: a partition that maps all day delays changes
/// to its own regions only.
pub struct Holdings<I: Interrupts> {
    owner: OwnerId,
    pub(super) regions: Shared<Regions, I>,
    // Operations that marked pages before their kill: a device may write them
    // after the mark, so no mark is taken away until they are over.
    pub(super) replacing: AtomicU64,
    // Regions on their way here, which have their room. Under the books' lock.
    arriving: AtomicU64,
}

impl<I: Interrupts> Holdings<I> {
    pub(super) fn new(owner: OwnerId) -> Self {
        Self {
            owner,
            // No allocation under the lock later.
            regions: Shared::new(Rank::Regions, Regions::new()),
            replacing: AtomicU64::new(0),
            arriving: AtomicU64::new(0),
        }
    }

    /// Whose regions these are.
    pub fn owner(&self) -> OwnerId {
        self.owner
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

    pub(super) fn unpin_pieces(&self, host: HostAddr, pages: u64, page_shift: u32) {
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
            region.mark(offset, pages.wrapping_shl(page_shift));
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
            let Some(region) = regions.find(HostAddr::new(at)) else {
                debug_assert!(false, "pinned page {at:#x} is in no region");
                return;
            };
            let offset = at.wrapping_sub(region.start().get());
            let here = left.min(region.room(HostAddr::new(at)).wrapping_shr(page_shift));
            if here == 0 {
                debug_assert!(false, "pinned page {at:#x} is in two regions");
                return;
            }
            piece(region, offset, here);
            left = left.wrapping_sub(here);
            at = at.wrapping_add(here.wrapping_shl(page_shift));
        }
    }

    /// The kills of `operations` that marked pages before are over.
    #[cold]
    pub(super) fn end_replacing(&self, operations: u64) {
        // Release: who sees this sees what devices wrote.
        self.replacing.fetch_sub(operations, Ordering::Release);
    }

    /// Whether a device may have written the page at `host`. Pages that a live
    /// entry lets a device write are to be taken as dirty too: the mark comes
    /// when the entry goes.
    pub fn is_dirty(&self, host: HostAddr) -> bool {
        let regions = self.regions.read();
        regions.find(host).is_some_and(|region| {
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
        self.regions.read().find(host).map(Region::info)
    }

    /// Whether there is no region, and none is on its way here.
    pub fn is_empty(&self) -> bool {
        self.arriving.load(Ordering::Relaxed) == 0 && self.regions.read().len() == 0
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
    pub(super) fn insert_expected(&self, region: Arc<Region>) -> Result<(), LedgerError> {
        self.arriving.fetch_sub(1, Ordering::Relaxed);
        self.insert(region)
    }

    /// Adds a region that overlaps none.
    pub(super) fn insert(&self, region: Arc<Region>) -> Result<(), LedgerError> {
        self.regions.write().insert(region, self.owner)
    }

    /// Removes the closed, unpinned and quiet region at `start`.
    pub(super) fn remove(&self, start: HostAddr) -> Result<Arc<Region>, LedgerError> {
        self.regions
            .write()
            .remove(start, |region| match region.gate().state() {
                GateState::Quiet => Ok(()),
                state => Err(LedgerError::of(start, state)),
            })
    }

    /// Calls `with` with the region that starts at `start`.
    pub(super) fn with_region<R>(
        &self,
        start: HostAddr,
        with: impl FnOnce(&Region) -> R,
    ) -> Result<R, LedgerError> {
        self.regions.read().at(start).map(with)
    }
}
