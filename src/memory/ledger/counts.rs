//! Pins by region: what is left to release when a kill is complete.

use arrayvec::ArrayVec;

use super::REGIONS_PER_OWNER;
use super::gate::GateError;
use super::holdings::Holdings;
use super::region::RegionNumber;
use super::regions::Regions;
use crate::kill::Killed;
use crate::seam::Interrupts;

type Counts = ArrayVec<(RegionNumber, u64), REGIONS_PER_OWNER>;
type Places = ArrayVec<u16, REGIONS_PER_OWNER>;

/// No place in a list of [`REGIONS_PER_OWNER`].
const NOWHERE: u16 = u16::MAX;

/// Numbers of pins by region, of one owner. It cannot be too small: an owner
/// has no more regions than fit. A region that is counted here keeps its number,
/// as it is pinned.
#[derive(Debug, Default)]
pub struct RegionCounts {
    // In the order in which the regions came.
    counts: Counts,
    // By a region's number, where in `counts` it is. Made when a second region comes:
    // most operations never need it.
    places: Places,
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
        let mut counts = self.counts.iter();
        let found = counts.find(|(known, _)| *known == number);
        found.map_or(0, |&(_, pins)| pins)
    }

    /// Adds `pins` for the region with this number.
    #[inline]
    pub fn add(&mut self, number: RegionNumber, pins: u64) {
        if !self.places.is_empty() {
            return self.of_many().add(number, pins);
        }
        match self.counts.first_mut() {
            None => {
                let added = self.counts.try_push((number, pins));
                debug_assert!(added.is_ok(), "{added:?}");
            }
            Some((known, sum)) if *known == number => *sum = sum.wrapping_add(pins),
            Some(_) => self.of_many().add(number, pins),
        }
    }

    /// To add pins of many regions, each time of another one.
    #[inline]
    pub(super) fn of_many(&mut self) -> ManyCounts<'_> {
        if self.places.is_empty() {
            self.make_places();
        }
        ManyCounts {
            counts: &mut self.counts,
            places: &mut self.places,
        }
    }

    #[cold]
    fn make_places(&mut self) {
        self.places.extend([NOWHERE; REGIONS_PER_OWNER]);
        // One that was alone.
        if let &[(number, _)] = self.counts.as_slice()
            && let Some(place) = self.places.get_mut(number.index())
        {
            *place = 0;
        }
    }

    fn drain(&mut self) -> impl Iterator<Item = (RegionNumber, u64)> {
        self.places.clear();
        self.counts.drain(..)
    }

    /// Adds all pins to the regions. If one of them admits none, nothing is added: the
    /// error is the first such region, in the order in which they came here.
    pub(super) fn pin(&self, regions: &Regions) -> Result<(), (RegionNumber, GateError)> {
        for (done, &(number, pins)) in self.counts.iter().enumerate() {
            let region = regions.numbered(number);
            debug_assert!(region.is_some(), "counted region {number:?} is gone");
            let admitted = region.map_or(Err(GateError::Closed), |it| it.gate().pin(pins));
            if let Err(error) = admitted {
                unpin(regions, self.counts.iter().take(done).copied());
                return Err((number, error));
            }
        }
        Ok(())
    }

    /// Removes all pins from the regions.
    pub(super) fn unpin(&mut self, regions: &Regions) {
        unpin(regions, self.drain());
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
        for (number, pins) in other.drain() {
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
            self.unpin(&holdings.regions.read());
        }
        if self.replacing != 0 {
            holdings.end_replacing(core::mem::take(&mut self.replacing));
        }
    }
}

fn unpin(regions: &Regions, counts: impl Iterator<Item = (RegionNumber, u64)>) {
    for (number, pins) in counts {
        match regions.numbered(number) {
            Some(region) => region.gate().unpin(pins),
            None => debug_assert!(false, "pinned region {number:?} is gone"),
        }
    }
}

/// [`RegionCounts`] in which there may be several regions.
pub(super) struct ManyCounts<'c> {
    counts: &'c mut Counts,
    places: &'c mut [u16],
}

impl ManyCounts<'_> {
    /// As [`RegionCounts::add`].
    #[inline]
    pub(super) fn add(&mut self, number: RegionNumber, pins: u64) {
        let Some(place) = self.places.get_mut(number.index()) else {
            debug_assert!(false, "region {number:?} has no place");
            return;
        };
        match self.counts.get_mut(usize::from(*place)) {
            Some((_, sum)) => *sum = sum.wrapping_add(pins),
            None => admit(self.counts, place, number, pins),
        }
    }
}

/// The first pins of a region.
#[cold]
fn admit(counts: &mut Counts, place: &mut u16, number: RegionNumber, pins: u64) {
    *place = counts.len() as u16;
    // Never full: no number is in there twice.
    let added = counts.try_push((number, pins));
    debug_assert!(added.is_ok(), "{added:?}");
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn counts(of: &[(usize, u64)]) -> RegionCounts {
        let mut counts = RegionCounts::new();
        for &(number, pins) in of {
            counts.add(RegionNumber::new(number).unwrap(), pins);
        }
        counts
    }

    fn list(counts: &RegionCounts) -> Vec<(usize, u64)> {
        let mut list: Vec<_> = counts
            .counts
            .iter()
            .map(|&(it, n)| (it.index(), n))
            .collect();
        list.sort();
        list
    }

    #[test]
    fn each_region_is_counted_once_whenever_it_comes() {
        assert_eq!(list(&counts(&[(5, 1), (5, 2)])), [(5, 3)]);
        let one_of_many = counts(&[(5, 1), (0, 2), (5, 4), (255, 8), (0, 16), (255, 32)]);
        assert_eq!(list(&one_of_many), [(0, 18), (5, 5), (255, 40)]);
        assert_eq!(one_of_many.total(), 63);
        let of = |number| one_of_many.of(RegionNumber::new(number).unwrap());
        assert_eq!([0, 1, 5, 255].map(of), [18, 0, 5, 40]);
        let all = counts(&(0..512).map(|it| (it % 256, 1)).collect::<Vec<_>>());
        assert_eq!(list(&all), (0..256).map(|it| (it, 2)).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_moved_away_leaves_nothing_behind() {
        let mut from = counts(&[(7, 1), (9, 2), (3, 4)]);
        let mut to = counts(&[(9, 8)]);
        to.append(&mut from);
        assert_eq!(list(&to), [(3, 4), (7, 1), (9, 10)]);
        assert!(from.is_empty() && from.total() == 0);
        // The places that the regions had are others' now.
        for (number, pins) in [(3, 1), (7, 2), (3, 4), (9, 8)] {
            from.add(RegionNumber::new(number).unwrap(), pins);
        }
        assert_eq!(list(&from), [(3, 5), (7, 2), (9, 8)]);
        let mut copy = counts(&[]);
        from.copy_into(&mut copy);
        assert_eq!(list(&copy), list(&from));
    }
}
