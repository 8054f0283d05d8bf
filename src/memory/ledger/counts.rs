//! Pins by region: what is left to release when a kill is complete.

use arrayvec::ArrayVec;

use super::REGIONS_PER_OWNER;
use super::holdings::Holdings;
use super::region::RegionNumber;
use crate::kill::Killed;
use crate::seam::Interrupts;

/// Numbers of pins by region, of one owner. It cannot be too small: an owner
/// has no more regions than fit. A region that is counted here keeps its number,
/// as it is pinned.
#[derive(Debug, Default)]
pub struct RegionCounts {
    // In the order in which the regions came.
    counts: ArrayVec<(RegionNumber, u64), REGIONS_PER_OWNER>,
    // By a region's number, where in `counts` it is, if it is in there. Made when
    // a second region comes: most operations never need it.
    places: ArrayVec<u8, REGIONS_PER_OWNER>,
    // Operations of these that keep the owner's dirty marks from being taken.
    replacing: u64,
}

impl RegionCounts {
    /// No pins.
    #[inline]
    pub fn new() -> Self {
        Self {
            counts: ArrayVec::new_const(),
            places: ArrayVec::new_const(),
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

    /// Pins of the region with this number.
    pub fn of(&self, number: RegionNumber) -> u64 {
        let place = self.places.get(number.index()).map_or(0, |&place| place);
        match self.counts.get(usize::from(place)) {
            Some(&(known, pins)) if known == number => pins,
            _ => 0,
        }
    }

    /// Adds `pins` for the region with this number.
    #[inline]
    pub fn add(&mut self, number: RegionNumber, pins: u64) {
        let place = self.places.get(number.index()).map_or(0, |&place| place);
        match self.counts.get_mut(usize::from(place)) {
            Some((known, sum)) if *known == number => *sum = sum.wrapping_add(pins),
            _ => self.admit(number, pins),
        }
    }

    /// The first pins of a region.
    #[cold]
    fn admit(&mut self, number: RegionNumber, pins: u64) {
        let place = self.counts.len();
        if place != 0 && self.places.is_empty() {
            // The region at place 0 has company.
            self.places.extend([0; REGIONS_PER_OWNER]);
        }
        if let Some(known) = self.places.get_mut(number.index()) {
            *known = place as u8;
        }
        // Never full: no number is in there twice.
        let added = self.counts.try_push((number, pins));
        debug_assert!(added.is_ok(), "{added:?}");
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

    /// Moves all pins of `other` here, of the same owner.
    pub fn append(&mut self, other: &mut Self) {
        self.replacing += core::mem::take(&mut other.replacing);
        for (number, pins) in other.counts.drain(..) {
            self.add(number, pins);
        }
    }

    /// Adds all pins to `other`, and keeps them.
    pub fn copy_into(&self, other: &mut Self) {
        for &(number, pins) in &self.counts {
            other.add(number, pins);
        }
    }

    /// Removes all pins from the regions of `holdings`: of pages that entries
    /// stood for. They stay if the kill was for another owner.
    #[inline]
    pub fn release<I: Interrupts>(&mut self, holdings: &Holdings<I>, killed: &Killed) {
        if !holdings.believes(killed) {
            return;
        }
        if !self.counts.is_empty() {
            holdings.unpin_regions(self.counts.drain(..));
        }
        if self.replacing != 0 {
            holdings.end_replacing(core::mem::take(&mut self.replacing));
        }
    }
}
