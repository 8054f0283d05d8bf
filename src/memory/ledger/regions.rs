//! One owner's list of regions: found by address and by number, without a search.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::index::Index;
use super::region::{Region, RegionNumber};
use super::{LedgerError, OwnerId, REGIONS_PER_OWNER};
use crate::addr::HostAddr;

/// No region has this number.
const NOBODY: u16 = u16::MAX;

/// The regions, sorted by address. Changes take as long as the list is; nothing
/// allocates after it is made.
pub(super) struct Regions {
    sorted: Vec<Arc<Region>>,
    index: Index,
    // Where in `sorted` the region with a number is.
    places: Box<[u16]>,
}

impl Regions {
    /// Room for as many as there can be.
    pub(super) fn new() -> Self {
        Self {
            sorted: Vec::with_capacity(REGIONS_PER_OWNER),
            index: Index::new(),
            places: vec![NOBODY; REGIONS_PER_OWNER].into_boxed_slice(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Region `index`, the lowest address first.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Region> {
        self.sorted.get(index).map(|region| &**region)
    }

    /// The region that `host` is in, to be kept.
    pub(super) fn shared(&self, host: HostAddr) -> Option<Arc<Region>> {
        self.sorted.get(self.index_of(host)?).cloned()
    }

    /// Index of the region that `host` is in.
    #[inline]
    pub(super) fn index_of(&self, host: HostAddr) -> Option<usize> {
        let index = if self.sorted.len() == 1 {
            0
        } else {
            let start = |index: usize| self.sorted.get(index).map(|region| region.start().get());
            self.index.find(host.get(), start)?
        };
        self.sorted.get(index)?.offset(host)?;
        Some(index)
    }

    /// The region that `host` is in.
    #[inline]
    pub(super) fn find(&self, host: HostAddr) -> Option<&Region> {
        self.get(self.index_of(host)?)
    }

    /// The region that starts at `start`.
    pub(super) fn at(&self, start: HostAddr) -> Result<&Region, LedgerError> {
        self.find(start)
            .filter(|region| region.start() == start)
            .ok_or(LedgerError::NoRegion(start))
    }

    /// The region with this number.
    #[inline]
    pub(super) fn numbered(&self, number: RegionNumber) -> Option<&Region> {
        self.get(usize::from(*self.places.get(number.index())?))
    }

    /// Adds a region of `owner` that nobody knows yet and which overlaps none, and
    /// gives it a number.
    pub(super) fn insert(
        &mut self,
        mut region: Arc<Region>,
        owner: OwnerId,
    ) -> Result<(), LedgerError> {
        let full = LedgerError::TooManyRegions(owner);
        // Room was looked for before: it would be an allocation.
        if self.sorted.len() >= REGIONS_PER_OWNER {
            return Err(full);
        }
        let free = self.places.iter().position(|&place| place == NOBODY);
        let number = free.and_then(RegionNumber::new);
        let (Some(number), Some(unknown)) = (number, Arc::get_mut(&mut region)) else {
            return Err(full);
        };
        unknown.set_number(number);
        let index = self
            .sorted
            .partition_point(|other| other.start() < region.start());
        self.sorted.insert(index, region);
        self.rebuild();
        Ok(())
    }

    /// Takes the region at `start` out, if `check` finds nothing against it.
    pub(super) fn remove(
        &mut self,
        start: HostAddr,
        check: impl FnOnce(&Region) -> Result<(), LedgerError>,
    ) -> Result<Arc<Region>, LedgerError> {
        check(self.at(start)?)?;
        let index = self.index_of(start).ok_or(LedgerError::NoRegion(start))?;
        let region = self.sorted.remove(index);
        self.rebuild();
        Ok(region)
    }

    fn rebuild(&mut self) {
        let starts = self.sorted.iter().map(|region| region.start().get());
        let last = self.sorted.last().map_or(0, |region| region.last().get());
        self.index.rebuild(starts, last);
        self.places.fill(NOBODY);
        for (index, region) in (0..).zip(&self.sorted) {
            if let Some(place) = self.places.get_mut(region.number().index()) {
                *place = index;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_region_keeps_its_number_when_others_come_and_go() {
        let mut regions = Regions::new();
        let start = |number: u64| HostAddr::new(number << 16);
        let add = |regions: &mut Regions, number| {
            let region = Region::new(start(number), 0x2000, 12).unwrap();
            regions.insert(Arc::new(region), OwnerId(1)).unwrap();
            regions.at(start(number)).unwrap().number()
        };
        let first = add(&mut regions, 5);
        let second = add(&mut regions, 3);
        let third = add(&mut regions, 9);
        assert!(first != second && second != third && first != third);
        let of = |regions: &Regions, number| regions.numbered(number).map(Region::start);
        assert_eq!(of(&regions, first), Some(start(5)));
        let refused = regions.remove(start(3), |_| Err(LedgerError::Open(start(3))));
        assert_eq!(refused.err(), Some(LedgerError::Open(start(3))));
        assert_eq!(of(&regions, second), Some(start(3)));
        // Not at its start: no region's name.
        let inside = HostAddr::new(start(3).get() + 0x1000);
        assert!(regions.find(inside).is_some());
        assert_eq!(
            regions.at(inside).err(),
            Some(LedgerError::NoRegion(inside))
        );
        regions.remove(start(3), |_| Ok(())).unwrap();
        assert_eq!(of(&regions, second), None);
        assert_eq!(of(&regions, first), Some(start(5)));
        assert_eq!(of(&regions, third), Some(start(9)));
        assert!(regions.find(start(3)).is_none());
        // Its number is free again.
        assert_eq!(add(&mut regions, 1), second);
        assert_eq!(of(&regions, third), Some(start(9)));
        assert_eq!(regions.len(), 3);
    }
}
