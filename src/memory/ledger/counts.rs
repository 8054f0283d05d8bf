//! Pins by region: what is left to release when a kill is complete.

use arrayvec::ArrayVec;

use super::REGIONS_PER_OWNER;
use super::holdings::Holdings;
use crate::addr::HostAddr;
use crate::kill::Killed;
use crate::seam::Interrupts;

/// Numbers of pins by region, of one owner. It cannot be too small: an owner
/// has no more regions than fit.
#[derive(Debug, Default)]
pub struct RegionCounts {
    // Start of a region and pins, sorted.
    counts: ArrayVec<(HostAddr, u64), REGIONS_PER_OWNER>,
    // Operations of these that keep the owner's dirty marks from being taken.
    replacing: u64,
}

impl RegionCounts {
    /// No pins.
    #[inline]
    pub fn new() -> Self {
        Self {
            counts: ArrayVec::new_const(),
            replacing: 0,
        }
    }

    /// Whether there are no pins.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// All pins.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|&(_, pins)| pins).sum()
    }

    /// Pins of the region that starts at `start`.
    pub fn of(&self, start: HostAddr) -> u64 {
        self.counts
            .binary_search_by_key(&start, |&(at, _)| at)
            .map_or(0, |index| self.counts[index].1)
    }

    /// Adds `pins` for the region that starts at `start`.
    pub fn add(&mut self, start: HostAddr, pins: u64) {
        match self.counts.binary_search_by_key(&start, |&(at, _)| at) {
            Ok(index) => {
                if let Some((_, sum)) = self.counts.get_mut(index) {
                    *sum = sum.wrapping_add(pins);
                }
            }
            Err(index) => {
                // Full: only if the regions are not of one owner. Their pins
                // stay then, which is safe.
                let added = self.counts.try_insert(index, (start, pins));
                debug_assert!(added.is_ok(), "counts of more than one owner");
            }
        }
    }

    /// Forgets all pins.
    pub(super) fn clear(&mut self) {
        self.counts.clear();
    }

    /// Whether dirty marks are kept for these pages.
    #[inline]
    pub(super) fn is_replacing(&self) -> bool {
        self.replacing != 0
    }

    /// Notes that dirty marks are kept until the release.
    #[inline]
    pub(super) fn begin_replacing(&mut self) {
        self.replacing = 1;
    }

    /// Moves all pins of `other` here.
    pub fn append(&mut self, other: &mut Self) {
        self.replacing += core::mem::take(&mut other.replacing);
        for (start, pins) in other.counts.drain(..) {
            self.add(start, pins);
        }
    }

    /// Adds all pins to `other`, and keeps them.
    pub fn copy_into(&self, other: &mut Self) {
        for &(start, pins) in &self.counts {
            other.add(start, pins);
        }
    }

    /// Removes all pins from the regions of `holdings`: of pages that entries
    /// stood for. They stay if the kill was for another owner.
    #[inline]
    pub fn release<I: Interrupts>(&mut self, holdings: &Holdings<I>, killed: &Killed) {
        if holdings.believes(killed) {
            self.remove_from(holdings);
        }
    }

    /// As [`RegionCounts::release`], of pages that no entry has stood for.
    #[inline]
    pub(super) fn remove_from<I: Interrupts>(&mut self, holdings: &Holdings<I>) {
        for (start, pins) in self.counts.drain(..) {
            holdings.unpin_region(start, pins);
        }
        if self.replacing != 0 {
            holdings.end_replacing(core::mem::take(&mut self.replacing));
        }
    }
}
