//! One owner's list of regions: found by number, and by address with one look where
//! they are of like size, with a few where many are close together.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::index::{Guesses, Index};
use super::region::{Region, RegionNumber};
use super::{LedgerError, OwnerId, REGIONS_PER_OWNER};
use crate::addr::HostAddr;

/// A region with a number, and where it is: a look-up needs no more to know whether it
/// is the one.
struct Spot {
    start: u64,
    // 0 if there is none.
    bytes: u64,
    region: Option<Arc<Region>>,
}

impl Spot {
    const NONE: Self = Self {
        start: 0,
        bytes: 0,
        region: None,
    };

    fn of(region: &Arc<Region>) -> Self {
        Self {
            start: region.start().get(),
            bytes: region.bytes(),
            region: Some(Arc::clone(region)),
        }
    }

    /// Bytes from the region's start to `host`, if it is inside.
    #[inline]
    fn offset(&self, host: HostAddr) -> Option<u64> {
        let offset = host.get().wrapping_sub(self.start);
        (offset < self.bytes).then_some(offset)
    }
}

/// The regions, sorted by address. Changes take as long as the list is; nothing
/// allocates after it is made.
pub(super) struct Regions {
    sorted: Vec<Arc<Region>>,
    // Their numbers: a search looks at spots only, not at the regions, whose gates other
    // threads write.
    order: Vec<RegionNumber>,
    // By number.
    spots: Box<[Spot; REGIONS_PER_OWNER]>,
    index: Index,
}

impl Regions {
    /// Room for as many as there can be.
    pub(super) fn new() -> Self {
        Self {
            sorted: Vec::with_capacity(REGIONS_PER_OWNER),
            order: Vec::with_capacity(REGIONS_PER_OWNER),
            spots: Box::new([const { Spot::NONE }; REGIONS_PER_OWNER]),
            index: Index::new(),
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
    fn index_of(&self, host: HostAddr) -> Option<usize> {
        let index = last_from(&self.order, host, |number| self.spot(number))?;
        self.spot(*self.order.get(index)?)?.offset(host)?;
        Some(index)
    }

    #[inline]
    fn spot(&self, number: RegionNumber) -> Option<&Spot> {
        self.spots.get(number.index())
    }

    /// The region that `host` is in.
    #[inline]
    pub(super) fn find(&self, host: HostAddr) -> Option<&Region> {
        if let [region] = &*self.sorted {
            return region.offset(host).is_some().then_some(region);
        }
        let finder = self.finder();
        finder.region(finder.find(host)?.number)
    }

    /// To find many of them.
    #[inline]
    pub(super) fn finder(&self) -> Finder<'_> {
        Finder {
            guesses: self.index.guesses(),
            spots: &self.spots,
            regions: self,
        }
    }

    #[cold]
    fn search(&self, host: HostAddr) -> Option<Found> {
        let number = *self.order.get(self.index_of(host)?)?;
        let spot = self.spot(number)?;
        Some(Found {
            number,
            offset: spot.offset(host)?,
            bytes: spot.bytes,
        })
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
        self.finder().region(number)
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
        let free = self.spots.iter().position(|spot| spot.region.is_none());
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
        let name = |region: &Arc<Region>| (region.start().get(), region.number().get());
        let last = self.sorted.last().map_or(0, |region| region.last().get());
        self.index.rebuild(self.sorted.iter().map(name), last);
        self.order.clear();
        self.order
            .extend(self.sorted.iter().map(|region| region.number()));
        self.spots.fill_with(|| Spot::NONE);
        for region in &self.sorted {
            if let Some(spot) = self.spots.get_mut(region.number().index()) {
                *spot = Spot::of(region);
            }
        }
    }
}

/// Index of the last number in `order` whose region starts at or below `host`. `look`
/// gives a region's place: it is asked at most nine times for 256.
fn last_from<'s>(
    order: &[RegionNumber],
    host: HostAddr,
    look: impl Fn(RegionNumber) -> Option<&'s Spot>,
) -> Option<usize> {
    let is_below = |&number: &RegionNumber| look(number).is_some_and(|at| at.start <= host.get());
    order.partition_point(is_below).checked_sub(1)
}

/// Where an address was found.
pub(super) struct Found {
    /// The region that it is in.
    pub(super) number: RegionNumber,
    /// Bytes from the region's start.
    pub(super) offset: u64,
    /// The region's bytes.
    pub(super) bytes: u64,
}

/// Finds regions by address. A copy: loops have it in registers.
#[derive(Clone, Copy)]
pub(super) struct Finder<'r> {
    guesses: Guesses<'r>,
    spots: &'r [Spot; REGIONS_PER_OWNER],
    regions: &'r Regions,
}

impl<'r> Finder<'r> {
    /// The region with this number.
    #[inline]
    pub(super) fn region(&self, number: RegionNumber) -> Option<&'r Region> {
        self.spots.get(number.index())?.region.as_deref()
    }

    /// The region that `host` is in.
    #[inline]
    pub(super) fn find(&self, host: HostAddr) -> Option<Found> {
        let number = RegionNumber::named(self.guesses.guess(host.get())?);
        let spot = self.spots.get(number.index())?;
        match spot.offset(host) {
            Some(offset) => Some(Found {
                number,
                offset,
                bytes: spot.bytes,
            }),
            None => self.regions.search(host),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// All but one in one bucket of the index, which names the last of them: the
    /// others are searched by halves.
    #[test]
    fn f20_a_look_up_looks_at_few_of_regions_in_a_heap() {
        let mut regions = Regions::new();
        let far = HostAddr::new(1 << 50);
        // Not by address, so that a number is not an index.
        let near = |number: u64| HostAddr::new((1 + number * 101 % 255) << 13);
        for start in (0..255).map(near).chain([far]) {
            let region = Region::new(start, 0x1000, 12).unwrap();
            regions.insert(Arc::new(region), OwnerId(1)).unwrap();
        }
        let log2 = REGIONS_PER_OWNER.ilog2();
        let (mut most, mut searched) = (0, 0);
        for start in (0..255).map(near).chain([far]) {
            let guess = regions.index.guesses().guess(start.get());
            let number = regions.at(start).unwrap().number();
            searched += u32::from(guess != Some(number.get()));
            for host in [start.get() - 1, start.get(), start.get() + 0xfff].map(HostAddr::new) {
                let looks = Cell::new(0);
                let index = last_from(&regions.order, host, |number| {
                    looks.set(looks.get() + 1);
                    regions.spot(number)
                });
                let region = index.and_then(|index| regions.get(index));
                let inside = region.filter(|region| region.offset(host).is_some());
                let expected = (host >= start).then_some(start);
                assert_eq!(inside.map(Region::start), expected, "{host:#x}");
                assert_eq!(regions.find(host).map(Region::start), expected);
                // And one to see whether the end is above it.
                most = most.max(looks.get() + 1);
            }
        }
        assert!((log2..=log2 + 2).contains(&most), "{most} looks");
        assert_eq!(searched, 254);
    }

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

    /// Regions that touch or have holes between them, all but one in one bucket of the
    /// index: each byte's region is found, and no other.
    #[test]
    fn a_region_is_found_wherever_others_start() {
        let mut regions = Regions::new();
        let wanted = [
            (0x5000u64, 0x3000u64),
            (0x1000, 0x2000),
            (0x8000, 0x1000),
            (1 << 50, 0x4000),
        ];
        for (start, bytes) in wanted {
            let region = Region::new(HostAddr::new(start), bytes, 12).unwrap();
            regions.insert(Arc::new(region), OwnerId(1)).unwrap();
        }
        let ends = wanted
            .iter()
            .flat_map(|&(start, bytes)| [start, start + bytes]);
        for end in ends.chain([1, u64::MAX]) {
            for address in [end - 1, end] {
                let holds = |&(start, bytes): &(u64, u64)| address.wrapping_sub(start) < bytes;
                let expected = wanted.into_iter().find(holds);
                let host = HostAddr::new(address);
                let place = |region: &Region| (region.start().get(), region.bytes());
                assert_eq!(regions.find(host).map(place), expected, "{address:#x}");
                assert_eq!(regions.shared(host).as_deref().map(place), expected);
                let found = regions.finder().find(host);
                let found = found.map(|it| (address - it.offset, it.bytes));
                assert_eq!(found, expected, "{address:#x}");
            }
        }
    }
}
