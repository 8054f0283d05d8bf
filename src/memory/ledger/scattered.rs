//! Pins of the pages of a list of entries, in any order.

use super::REGIONS_PER_OWNER;
use super::counts::RegionCounts;
use super::holdings::Holdings;
use super::pins::{PinError, Stop};
use super::region::{Region, RegionNumber};
use super::regions::Regions;
use crate::addr::HostAddr;
use crate::memory::span::{self, Span};
use crate::seam::Interrupts;

impl<I: Interrupts> Holdings<I> {
    /// Pins the page of each of `entries` that has one, each of `1 << page_shift` bytes,
    /// in any order: a range check for each, and one addition for each region. An
    /// entry that is 0 has none. On failure, nothing is pinned; the error comes with
    /// the number of the entry. A page that is not aligned is nobody's.
    ///
    /// What was pinned is noted nowhere: to undo it, the list is walked again.
    #[inline]
    pub fn pin_each<'a, T: Copy + Into<u64>>(
        &'a self,
        entries: &'a [T],
        page_shift: u32,
    ) -> Result<ScatteredPins<'a, I, T>, (usize, PinError)> {
        let pinned = pin_all(&self.regions.read(), entries, page_shift);
        let pages = match pinned {
            Some(pages) => pages,
            None => self.pin_in_turn(entries, page_shift)?,
        };
        Ok(ScatteredPins {
            holdings: self,
            pages,
            pinned: entries,
            page_shift,
        })
    }

    /// As [`Holdings::pin_each`], to tell what is wrong. Returns how many pages there
    /// are.
    #[cold]
    #[inline(never)] // It has a large frame.
    fn pin_in_turn<T: Copy + Into<u64>>(
        &self,
        entries: &[T],
        page_shift: u32,
    ) -> Result<usize, (usize, PinError)> {
        let regions = self.regions.read();
        let mut counts = RegionCounts::new();
        let owned = count_in_turn(&regions, entries, page_shift, &mut counts);
        // By the order in which the regions came: what is found is the first.
        if let Err((number, error)) = counts.pin(&regions) {
            let is_there = |&entry: &T| {
                let bits = entry.into();
                let found = regions.find(HostAddr::new(span::page(bits)));
                bits != 0 && found.is_some_and(|region| region.number() == number)
            };
            let first = entries.iter().position(is_there).unwrap_or(0);
            let stop = Stop::Gate(host_of(entries, first), error);
            return Err((first, stop.at(self.owner())));
        }
        if owned != entries.len() {
            counts.unpin(&regions);
            let stop = Stop::NotOwned(host_of(entries, owned));
            return Err((owned, stop.at(self.owner())));
        }
        Ok(counts.total() as usize)
    }

    /// Removes a pin of the page of each entry that has one: of entries that are in
    /// no table.
    #[cold]
    #[inline(never)] // It has a large frame.
    fn unpin_list<T: Copy + Into<u64>>(&self, entries: &[T], page_shift: u32) {
        let regions = self.regions.read();
        let mut counts = RegionCounts::new();
        let known = count_in_turn(&regions, entries, page_shift, &mut counts);
        debug_assert!(known == entries.len(), "pinned page {known} is nobody's");
        counts.unpin(&regions);
    }
}

/// The page of entry `number`.
fn host_of<T: Copy + Into<u64>>(entries: &[T], number: usize) -> HostAddr {
    let bits = entries.get(number).map_or(0, |&entry| entry.into());
    HostAddr::new(span::page(bits))
}

/// Counts the pages of `entries` by their regions, up to the first that is not wholly
/// in one. Returns its number, or that behind the last.
fn count_in_turn<T: Copy + Into<u64>>(
    regions: &Regions,
    entries: &[T],
    page_shift: u32,
    counts: &mut RegionCounts,
) -> usize {
    let mut home = (Span::NONE, RegionNumber::default());
    let is_other = |&entry: &T| {
        let bits = entry.into();
        if bits == 0 {
            return false;
        }
        let page = span::page(bits);
        if !home.0.has(page) {
            let found = regions.find(HostAddr::new(page));
            let found = found.map(|region| (region.span(page_shift, 0), region.number()));
            match found.filter(|(span, _)| span.has(page)) {
                Some(found) => home = found,
                None => return true,
            }
        }
        counts.add(home.1, 1);
        false
    };
    entries.iter().position(is_other).unwrap_or(entries.len())
}

/// Pins the pages of all entries. Returns how many there were; `None` if something is
/// wrong, and nothing is pinned.
#[inline]
fn pin_all<T: Copy + Into<u64>>(
    regions: &Regions,
    entries: &[T],
    page_shift: u32,
) -> Option<usize> {
    // Most lists are of one region.
    let mut home: Option<&Region> = None;
    let mut pages = entries.len();
    // In that region, and with the rights of the one before.
    let mut span = Span::NONE;
    let mut number = 0;
    while let Some(&entry) = entries.get(number) {
        let bits = entry.into();
        if span.has(bits) {
            let rest = entries.get(number..).unwrap_or(&[]);
            number = number.wrapping_add(how_many(rest, span));
            continue;
        }
        number = number.wrapping_add(1);
        if bits == 0 {
            pages = pages.wrapping_sub(1);
            continue;
        }
        let host = HostAddr::new(span::page(bits));
        let region = match home {
            Some(region) if region.offset(host).is_some() => region,
            Some(region) => {
                let before = number.wrapping_sub(1);
                let rest = entries.get(before..).unwrap_or(&[]);
                let done = pages.wrapping_sub(rest.len());
                return pin_by_region(regions, region, done, rest, page_shift);
            }
            None => regions.find(host)?,
        };
        home = Some(region);
        span = region.span(page_shift, bits);
        if !span.has(bits) {
            return None;
        }
    }
    match home {
        Some(region) => region.gate().pin(pages as u64).is_ok().then_some(pages),
        None => Some(0),
    }
}

/// As [`pin_all`], of several regions: of all `entries`, and `done` pages of `home` that
/// came before.
#[inline(never)] // It has a large frame.
fn pin_by_region<T: Copy + Into<u64>>(
    regions: &Regions,
    home: &Region,
    done: usize,
    entries: &[T],
    page_shift: u32,
) -> Option<usize> {
    let mut counts = RegionCounts::new();
    counts.add(home.number(), done as u64);
    let pages = count_by_region(regions, entries, page_shift, &mut counts)?;
    counts.pin(regions).ok()?;
    Some(pages.wrapping_add(done))
}

/// Counts the pages of all entries by their regions. Returns how many there were;
/// `None` if one is not wholly in a region.
#[inline]
fn count_by_region<T: Copy + Into<u64>>(
    regions: &Regions,
    entries: &[T],
    page_shift: u32,
    counts: &mut RegionCounts,
) -> Option<usize> {
    let finder = regions.finder();
    let mut counts = counts.of_many();
    let offset_in_page = 1u64.wrapping_shl(page_shift).wrapping_sub(1);
    let mut any = 0;
    let mut pages = entries.len();
    // No region's number.
    let mut last = REGIONS_PER_OWNER;
    let mut number = 0;
    // One way through the loop, or it becomes two loops.
    while let Some(&entry) = entries.get(number) {
        let bits = entry.into();
        let mut count = 1usize;
        if bits == 0 {
            pages = pages.wrapping_sub(1);
        } else {
            any |= bits;
            let found = finder.find(HostAddr::new(span::page(bits)))?;
            if found.bytes.wrapping_sub(found.offset) <= offset_in_page {
                return None;
            }
            if last == found.number.index() {
                // There may be more of it.
                let rest = entries.get(number..).unwrap_or(&[]);
                let span = finder.region(found.number)?.span(page_shift, bits);
                count = how_many(rest, span).max(1);
            }
            last = found.number.index();
            counts.add(found.number, count as u64);
        }
        number = number.wrapping_add(count);
    }
    let is_aligned = span::page(any) & offset_in_page == 0;
    is_aligned.then_some(pages)
}

/// How many of `entries` are of `span` before the first that is not.
#[inline]
fn how_many<T: Copy + Into<u64>>(entries: &[T], span: Span) -> usize {
    let is_other = |&entry: &T| !span.has(entry.into());
    let (groups, _) = entries.as_chunks::<8>();
    let mut number = 0usize;
    for group in groups {
        for (lane, entry) in group.iter().enumerate() {
            if is_other(entry) {
                return number.wrapping_add(lane);
            }
        }
        number = number.wrapping_add(group.len());
    }
    let rest = entries.get(number..).unwrap_or(&[]);
    number.wrapping_add(rest.iter().position(is_other).unwrap_or(rest.len()))
}

/// Pins of the pages of entries in any order that are in no table yet: they go when
/// this is dropped, on any path.
#[must_use = "dropping this removes the pins"]
pub struct ScatteredPins<'a, I: Interrupts, T: Copy + Into<u64>> {
    holdings: &'a Holdings<I>,
    pages: usize,
    pinned: &'a [T],
    page_shift: u32,
}

impl<I: Interrupts, T: Copy + Into<u64>> ScatteredPins<'_, I, T> {
    /// How many pages are pinned.
    #[inline]
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Leaves the pins to the table entries that were stored.
    #[inline]
    pub fn keep(mut self) {
        self.pinned = &[];
    }
}

impl<I: Interrupts, T: Copy + Into<u64>> Drop for ScatteredPins<'_, I, T> {
    #[inline]
    fn drop(&mut self) {
        if !self.pinned.is_empty() {
            self.holdings.unpin_list(self.pinned, self.page_shift);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{Ledger, OwnerId};
    use super::*;
    use crate::sim::{Machine, Rng};

    /// Regions that touch, one that does not start at a page of 64K, and one that is
    /// closed in the end.
    const REGIONS: [(u64, u64); 5] = [
        (0x10_0000, 0x2_0000),
        (0x12_0000, 0x3_0000),
        (0x20_8000, 0x2_0000),
        (0x40_0000, 0x1_0000),
        (0x50_0000, 0x2_0000),
    ];
    const CLOSED: usize = 4;

    fn region_of(page: u64, bytes: u64) -> Option<usize> {
        let holds = |&(start, size): &(u64, u64)| page >= start && page + bytes <= start + size;
        REGIONS.iter().position(holds)
    }

    /// Whatever is in a list, the right pages are pinned or the right one is refused,
    /// and nothing stays.
    #[test]
    fn lists_are_pinned_as_their_pages_one_by_one() {
        let ledger = Ledger::<Machine>::new();
        let holdings = ledger.add_owner(OwnerId(1)).unwrap();
        for (start, bytes) in REGIONS {
            let start = HostAddr::new(start);
            ledger.grant(&holdings, start, bytes, 12).unwrap();
        }
        let pins = || {
            REGIONS.map(|(start, _)| {
                let region = holdings.region_of(HostAddr::new(start));
                region.map_or(0, |region| region.pins)
            })
        };
        let closed = HostAddr::new(REGIONS[CLOSED].0);
        // What keeps it: it is closing, not gone.
        holdings.pin(closed, 1, 12).unwrap().keep();
        ledger.close(&holdings, closed).unwrap();
        let empty = pins();
        let mut rng = Rng::new(9);
        // Lists by what became of them, and the regions of those that were pinned.
        let (mut pinned, mut refused) = ([0; REGIONS.len() + 1], [0; 3]);
        for round in 0..20_000u64 {
            let shift = if round % 2 == 0 { 12 } else { 16 };
            let bytes = 1u64 << shift;
            let mut list: Vec<u64> = Vec::new();
            for _ in 0..1 + rng.below(6) {
                let number = rng.below(CLOSED as u64) as usize;
                let (start, size) = REGIONS[number];
                let first = start.next_multiple_of(bytes);
                let count = (start + size - first) >> shift;
                let rights = 1 + rng.below(3);
                for _ in 0..1 + rng.below(12) {
                    list.push((first + (rng.below(count) << shift)) | rights);
                }
                if rng.one_in(3) {
                    list.push(0);
                }
            }
            if rng.one_in(2) {
                let at = rng.below(list.len() as u64) as usize;
                list[at] = match rng.below(4) {
                    // Closed, nobody's, begun only or misaligned.
                    0 => closed.get(),
                    1 => 0x90_0000,
                    2 => 0x22_0000,
                    _ => 0x12_1000,
                } | 1;
            }
            let expected = (0..).zip(&list).find_map(|(number, &bits)| {
                let page = bits & !0xfff;
                let whole = region_of(page, bytes).filter(|_| page.is_multiple_of(bytes));
                let host = HostAddr::new(page);
                match whole {
                    _ if bits == 0 => None,
                    Some(CLOSED) => Some((number, PinError::Closing { host })),
                    Some(_) => None,
                    None => {
                        let owner = OwnerId(1);
                        Some((number, PinError::NotOwned { host, owner }))
                    }
                }
            });
            match (holdings.pin_each(&list, shift), expected) {
                (Ok(scattered), None) => {
                    let mut counts = empty;
                    for page in list.iter().filter(|&&bits| bits != 0) {
                        counts[region_of(page & !0xfff, bytes).unwrap()] += 1;
                    }
                    assert_eq!(pins(), counts, "{list:x?}");
                    let pages = list.iter().filter(|&&bits| bits != 0).count();
                    assert_eq!(scattered.pages(), pages);
                    pinned[(0..CLOSED).filter(|&it| counts[it] != 0).count()] += 1;
                }
                (Err(error), Some(expected)) => {
                    assert_eq!(error, expected, "{list:x?}");
                    match error.1 {
                        PinError::Closing { .. } => refused[0] += 1,
                        _ if list[error.0] == 0x22_0001 => refused[1] += 1,
                        _ => refused[2] += 1,
                    }
                }
                (Ok(_), Some(expected)) => panic!("{list:x?} pinned, not {expected:?}"),
                (Err(error), None) => panic!("{list:x?}: {error:?}"),
            }
            assert_eq!(pins(), empty, "{list:x?}");
        }
        assert!(pinned[1..=4].iter().all(|&count| count > 100), "{pinned:?}");
        assert!(refused.iter().all(|&count| count > 100), "{refused:?}");
    }

    /// Any number of regions, each with any number of pages, takes one addition each.
    #[test]
    fn a_list_of_all_regions_is_pinned_and_kept() {
        let ledger = Ledger::<Machine>::new();
        let holdings = ledger.add_owner(OwnerId(1)).unwrap();
        for number in 0..256u64 {
            let start = HostAddr::new((1 + 3 * number) << 16);
            ledger.grant(&holdings, start, 0x1_0000, 12).unwrap();
        }
        // 7 and 256 have no factor in common: each comes four times.
        let list: Vec<u64> = (0..1024u64)
            .map(|number| ((1 + 3 * (number * 7 % 256)) << 16) | 3)
            .collect();
        let pins = holdings.pin_each(&list, 16).ok().unwrap();
        assert_eq!(pins.pages(), 1024);
        pins.keep();
        for index in 0..256 {
            assert_eq!(holdings.region(index).unwrap().pins, 4);
        }
    }
}
