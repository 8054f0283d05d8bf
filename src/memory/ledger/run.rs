//! Pages one by one, in any order, counted by region and marked. Each costs a look
//! at its region, or less if it is like the one before.

use super::REGIONS_PER_OWNER;
use super::counts::RegionCounts;
use super::region::Region;
use super::regions::Regions;
use crate::addr::HostAddr;
use crate::memory::span;

/// A loop over the entries after the page that was given last. It can stop and go on.
pub trait Scan {
    /// Goes on while `is_like` says so, which it asks once of each entry; returns of
    /// how many it said so. All have the same low bits.
    fn like(&mut self, is_like: impl FnMut(u64) -> bool) -> u64;

    /// Goes on while there are pages to be given, and `take` takes the entry and whether
    /// a device may have written its page; returns how many it took.
    fn each(&mut self, take: impl FnMut(u64, bool) -> bool) -> u64;
}

/// Where a page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// There was no page before it, or [`Pages::take_each`] took what was.
    First,
    /// In the region of the page before: those that follow may be worth
    /// [`Pages::take_like`].
    Same,
    /// In another region: those that follow may be worth [`Pages::take_each`].
    Other,
}

/// What pages are given to, one by one: each costs a look at its region, or less
/// if it is like the one before.
pub trait Pages {
    /// Takes the page at `host`, which a device may have written if `wrote`.
    fn take(&mut self, host: HostAddr, wrote: bool) -> Place;

    /// Takes the pages of all entries that `scan` meets as long as they are like
    /// `bits`, the entry of the page just taken: of the same region, with the same low
    /// bits. Returns how many those were.
    fn take_like(&mut self, bits: u64, wrote: bool, scan: impl Scan) -> u64;

    /// Takes the pages of entries that `scan` meets, of any regions: it may stop before
    /// `scan` is at its end. Returns how many those were.
    fn take_each(&mut self, scan: impl Scan) -> u64;
}

/// Consecutive pages of one region, and what there was before.
pub(super) struct Run<'r> {
    regions: &'r Regions,
    page_shift: u32,
    region: Option<&'r Region>,
    count: u64,
    pub(super) counts: &'r mut RegionCounts,
}

impl<'r> Run<'r> {
    #[inline]
    pub(super) fn new(regions: &'r Regions, page_shift: u32, counts: &'r mut RegionCounts) -> Self {
        Self {
            regions,
            page_shift,
            region: None,
            count: 0,
            counts,
        }
    }

    /// Counts the page at `host`, and marks it if `wrote`.
    #[inline(always)] // A call more is a tenth of what a change of region costs.
    pub(super) fn step(&mut self, host: HostAddr, wrote: bool) -> Place {
        let place = if let Some(region) = self.region {
            if let Some(offset) = region.offset(host) {
                self.count = self.count.wrapping_add(1);
                if wrote {
                    region.mark_page(offset, self.page_shift);
                }
                return Place::Same;
            }
            self.leave();
            Place::Other
        } else {
            Place::First
        };
        self.region = self.regions.find(host);
        self.count = 1;
        debug_assert!(self.region.is_some(), "pinned page {host:#x} is nobody's");
        if let Some(region) = self.region.filter(|_| wrote)
            && let Some(offset) = region.offset(host)
        {
            region.mark_page(offset, self.page_shift);
        }
        place
    }

    /// Counts the pages that `scan` meets as long as they are like `bits`, in the
    /// region of the page before, and marks them if `wrote`.
    #[inline]
    pub(super) fn follow(&mut self, bits: u64, wrote: bool, scan: &mut impl Scan) -> u64 {
        let Some(region) = self.region else { return 0 };
        let count = follow(region, self.page_shift, bits, wrote, scan);
        self.count = self.count.wrapping_add(count);
        count
    }

    /// Counts the pages that `scan` meets, each by its region, and marks those that
    /// were written. Calls `before` for each, with whether it was written, before it is
    /// marked. Stops early at a page that no region has as a whole.
    #[inline]
    pub(super) fn wander(&mut self, scan: &mut impl Scan, mut before: impl FnMut(bool)) -> u64 {
        self.leave();
        let (finder, page_shift) = (self.regions.finder(), self.page_shift);
        let mut counts = self.counts.of_many();
        // No region's number.
        let mut last = REGIONS_PER_OWNER;
        let mut total = 0u64;
        loop {
            let mut again = None;
            let count = scan.each(|bits, wrote| {
                let Some(found) = finder.find(HostAddr::new(span::page(bits))) else {
                    return false;
                };
                before(wrote);
                if last == found.number.index() {
                    again = Some((found.number, bits, wrote));
                    return false;
                }
                last = found.number.index();
                if wrote && let Some(region) = finder.region(found.number) {
                    region.mark_page(found.offset, page_shift);
                }
                counts.add(found.number, 1);
                true
            });
            total = total.wrapping_add(count);
            // Two side by side: there may be more of that region.
            let Some((number, bits, wrote)) = again else {
                return total;
            };
            let Some(region) = finder.region(number) else {
                return total;
            };
            let like = follow(region, page_shift, bits, wrote, scan);
            if like == 0 {
                return total;
            }
            counts.add(number, like);
            total = total.wrapping_add(like);
        }
    }

    /// Notes what the run has, which is over.
    #[inline]
    pub(super) fn leave(&mut self) {
        if let Some(region) = self.region.take() {
            self.counts.add(region.number(), self.count);
        }
    }

    /// Removes the pins of all pages.
    #[inline]
    pub(super) fn unpin(&mut self) {
        if !self.counts.is_empty() {
            // The run's region may be among them.
            self.leave();
            self.counts.unpin(self.regions);
        } else if let Some(region) = self.region.take() {
            // Most have one region only, which needs no count.
            region.gate().unpin(self.count);
        }
    }
}

/// Marks the pages of `region` that `scan` meets as long as they are like `bits`, if
/// `wrote`; returns how many they are.
#[inline(never)] // For all that ask: it is long.
fn follow(region: &Region, page_shift: u32, bits: u64, wrote: bool, scan: &mut impl Scan) -> u64 {
    let span = region.span(page_shift, bits);
    if !wrote {
        scan.like(|bits| span.has(bits))
    } else if let Some(marks) = region.marks_of(&span, page_shift) {
        scan.like(|bits| marks.mark(span.number(bits)))
    } else {
        // They have no byte of the dirty map for themselves, or several: not for the
        // loops that have to be fast.
        scan.each(|bits, _| {
            let mine = span.has(bits);
            if mine && let Some(offset) = region.offset(HostAddr::new(span::page(bits))) {
                region.mark_page(offset, page_shift);
            }
            mine
        })
    }
}
