//! Pages one by one, in any order: as long as they stay in one region, each
//! costs a range check and a count, and the region's counter is touched once.

use super::counts::RegionCounts;
use super::holdings::Holdings;
use super::region::Region;
use super::regions::Regions;
use crate::addr::HostAddr;
use crate::kill::Killed;
use crate::memory::span::{self, Span};
use crate::seam::Interrupts;
use crate::seam::sync::{AtomicU64, Ordering, ReadGuard, fence};

/// The regions of one owner, which stay as they are while this lives.
pub struct Held<'a, I: Interrupts> {
    holdings: &'a Holdings<I>,
    regions: ReadGuard<'a, Regions, I>,
}

impl<I: Interrupts> Holdings<I> {
    /// Holds the regions, to release or count pages one by one.
    #[inline]
    pub fn hold(&self) -> Held<'_, I> {
        Held {
            holdings: self,
            regions: self.regions.read(),
        }
    }

    /// Removes a pin of the page of each entry that has one, in any order: of entries
    /// that are in no table.
    #[cold]
    pub(super) fn unpin_list<T: Copy + Into<u64>>(&self, entries: &[T]) {
        let regions = self.regions.read();
        let mut run = Run::new(&regions);
        let entries = entries.iter().map(|&entry| entry.into());
        for bits in entries.filter(|&bits| bits != 0) {
            run.step(HostAddr::new(span::page(bits)), false, 0, unpin);
        }
        run.finish(unpin);
    }
}

impl<I: Interrupts> Held<'_, I> {
    /// Starts to release pages that entries stood for. `None` if the kill was for
    /// another owner.
    #[inline]
    pub fn releaser(&self, page_shift: u32, killed: &Killed) -> Option<Releaser<'_>> {
        let mine = self.holdings.believes(killed);
        mine.then(|| Releaser {
            run: Run::new(&self.regions),
            page_shift,
        })
    }

    /// Starts to count pages by region into `counts`.
    #[inline]
    pub fn tally<'t>(&'t self, page_shift: u32, counts: &'t mut RegionCounts) -> Tally<'t> {
        Tally {
            run: Run::new(&self.regions),
            page_shift,
            replacing: &self.holdings.replacing,
            counts,
        }
    }
}

/// A loop over entries that goes on for as long as their pages are like the one
/// before.
pub trait Scan {
    /// Goes on while `is_like` says so, which it asks once of each entry; returns of
    /// how many it said so.
    fn scan(self, is_like: impl FnMut(u64) -> bool) -> u64;
}

/// What pages are given to, one by one: each costs a look at its region, or less
/// if it is like the one before.
pub trait Pages {
    /// Takes the page at `host`, which a device may have written if `wrote`. Returns
    /// whether it is of the same region as the one before: then those that follow
    /// may be worth [`Pages::take_like`].
    fn take(&mut self, host: HostAddr, wrote: bool) -> bool;

    /// Takes the pages of all entries that `scan` meets as long as they are like
    /// `bits`, the entry of the page just taken: of the same region, with the same low
    /// bits. Returns how many those were.
    fn take_like(&mut self, bits: u64, wrote: bool, scan: impl Scan) -> u64;
}

/// Consecutive pages of one region.
struct Run<'r> {
    regions: &'r Regions,
    region: Option<&'r Region>,
    count: u64,
}

impl<'r> Run<'r> {
    #[inline]
    fn new(regions: &'r Regions) -> Self {
        Self {
            regions,
            region: None,
            count: 0,
        }
    }

    /// Counts the page at `host`, and marks it if `wrote`; `finish` gets region and
    /// count when another region begins. Returns whether none did.
    #[inline(always)] // A call more is a tenth of what a change of region costs.
    fn step(
        &mut self,
        host: HostAddr,
        wrote: bool,
        page_shift: u32,
        finish: impl FnOnce(&Region, u64),
    ) -> bool {
        if let Some(region) = self.region
            && let Some(offset) = region.offset(host)
        {
            self.count = self.count.wrapping_add(1);
            if wrote {
                region.mark_page(offset, page_shift);
            }
            return true;
        }
        self.finish(finish);
        self.region = self.regions.find(host);
        self.count = 1;
        debug_assert!(self.region.is_some(), "pinned page {host:#x} is nobody's");
        if let Some(region) = self.region.filter(|_| wrote)
            && let Some(offset) = region.offset(host)
        {
            region.mark_page(offset, page_shift);
        }
        false
    }

    /// Counts the pages that `scan` meets as long as they are like `bits`, in the
    /// region of the page before, and marks them if `wrote`.
    #[inline]
    fn follow(&mut self, bits: u64, wrote: bool, page_shift: u32, scan: impl Scan) -> u64 {
        let Some(region) = self.region else { return 0 };
        let span = region.span(page_shift, bits);
        let count = if !wrote {
            scan.scan(|bits| span.has(bits))
        } else if let Some(marks) = region.marks_of(&span, page_shift) {
            scan.scan(|bits| marks.mark(span.number(bits)))
        } else {
            follow_by_granules(region, &span, page_shift, scan)
        };
        self.count = self.count.wrapping_add(count);
        count
    }

    #[inline]
    fn finish(&mut self, finish: impl FnOnce(&Region, u64)) {
        if let Some(region) = self.region.take() {
            finish(region, self.count);
        }
    }
}

/// Marks pages that have no byte of the dirty map for themselves, or several.
#[inline(never)] // It is not for the loops that have to be fast.
fn follow_by_granules(region: &Region, span: &Span, page_shift: u32, scan: impl Scan) -> u64 {
    scan.scan(|bits| {
        let mine = span.has(bits);
        if mine && let Some(offset) = region.offset(HostAddr::new(span::page(bits))) {
            region.mark_page(offset, page_shift);
        }
        mine
    })
}

/// Removes the pins of pages whose kill is complete. A pin may go as late as when
/// this is dropped.
pub struct Releaser<'r> {
    run: Run<'r>,
    page_shift: u32,
}

impl Pages for Releaser<'_> {
    #[inline(always)] // As `Run::step`.
    fn take(&mut self, host: HostAddr, wrote: bool) -> bool {
        self.run.step(host, wrote, self.page_shift, unpin)
    }

    #[inline]
    fn take_like(&mut self, bits: u64, wrote: bool, scan: impl Scan) -> u64 {
        self.run.follow(bits, wrote, self.page_shift, scan)
    }
}

fn unpin(region: &Region, pins: u64) {
    region.gate().unpin(pins);
}

impl Drop for Releaser<'_> {
    #[inline]
    fn drop(&mut self) {
        self.run.finish(unpin);
    }
}

/// Counts pages by region, for a release after a kill: for pages that no table
/// entry remembers until then. What a device may have written is marked; the mark
/// stays until [`RegionCounts::release`], after the kill. The counts are complete when
/// this is dropped.
pub struct Tally<'r> {
    run: Run<'r>,
    page_shift: u32,
    replacing: &'r AtomicU64,
    counts: &'r mut RegionCounts,
}

impl Pages for Tally<'_> {
    #[inline(always)] // As `Run::step`.
    fn take(&mut self, host: HostAddr, wrote: bool) -> bool {
        let counts = &mut *self.counts;
        if wrote && !counts.is_replacing() {
            counts.begin_replacing();
            self.replacing.fetch_add(1, Ordering::Relaxed);
            // Who sees one of the marks sees this.
            fence(Ordering::Release);
        }
        let finish = |region: &Region, count| counts.add(region.number(), count);
        self.run.step(host, wrote, self.page_shift, finish)
    }

    #[inline]
    fn take_like(&mut self, bits: u64, wrote: bool, scan: impl Scan) -> u64 {
        debug_assert!(!wrote || self.counts.is_replacing(), "the page before was");
        self.run.follow(bits, wrote, self.page_shift, scan)
    }
}

impl Drop for Tally<'_> {
    #[inline]
    fn drop(&mut self) {
        let counts = &mut *self.counts;
        self.run
            .finish(|region, count| counts.add(region.number(), count));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{Ledger, OwnerId};
    use super::*;
    use crate::kill::{Stake, kill_each};
    use crate::seam::KillScope;
    use crate::sim::Machine;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// A proof is made for one owner: that of another one releases nothing.
    #[test]
    fn a_kill_for_another_owner_releases_no_pin() {
        let machine = Machine::new(Vec::new(), 1 << 12, 1);
        let ledger = Ledger::<Machine>::new();
        let holdings = ledger.add_owner(OwnerId(1)).unwrap();
        let host = HostAddr::new(0x1000);
        ledger.grant(&holdings, host, 0x4000, 12).unwrap();
        holdings.pin(host, 4, 12).unwrap().keep();
        let pins = || holdings.region(0).unwrap().pins;
        let stakes = [2, 1].map(|owner| Stake::new(OwnerId(owner)));
        for (stake, left) in stakes.iter().zip([4, 1]) {
            let proof = kill_each(&machine, stake, &[], KillScope::Pe, |_| None);
            let killed = proof.ok().unwrap();
            let mut counts = RegionCounts::new();
            counts.add(holdings.region(0).unwrap().number, 1);
            // A bug of the caller: reported where assertions are on.
            let told = [
                catch_unwind(AssertUnwindSafe(|| holdings.unpin(host, 1, 12, &killed))),
                catch_unwind(AssertUnwindSafe(|| counts.release(&holdings, &killed))),
                catch_unwind(AssertUnwindSafe(|| {
                    if let Some(mut releaser) = holdings.hold().releaser(12, &killed) {
                        releaser.take(host, false);
                    }
                })),
            ]
            .map(|result| result.is_err());
            assert_eq!(told, [left == 4 && cfg!(debug_assertions); 3]);
            assert_eq!(pins(), left);
            assert_eq!(counts.is_empty(), left == 1);
        }
    }

    /// Entries in a row.
    struct Row<'a>(&'a [u64]);

    impl Scan for Row<'_> {
        fn scan(self, mut is_like: impl FnMut(u64) -> bool) -> u64 {
            self.0.iter().take_while(|&&bits| is_like(bits)).count() as u64
        }
    }

    /// Whatever sizes page, granule and region have, pages that are taken as like the
    /// one before are marked and released as those that are taken one by one.
    #[test]
    fn pages_in_a_row_are_marked_as_single_ones() {
        const LOW: u64 = 0x3c7;
        let machine = Machine::new(Vec::new(), 1 << 12, 1);
        let stake = Stake::new(OwnerId(1));
        let mut rng = crate::sim::Rng::new(5);
        let mut followed = 0;
        for (start, bytes) in [
            (0x40_0000u64, 0x40_0000u64),
            (0x40_1000, 0x5f_7000),
            (0x41_0000, 0x65_0000),
        ] {
            for (granule, shift) in [
                (12, 12),
                (16, 12),
                (21, 12),
                (12, 16),
                (16, 16),
                (21, 16),
                (12, 21),
            ] {
                let mark = |follow: bool, rows: &[u64], wrote: bool, counted: &mut u64| {
                    let ledger = Ledger::<Machine>::new();
                    let holdings = ledger.add_owner(OwnerId(1)).unwrap();
                    let at = HostAddr::new(start);
                    ledger.grant(&holdings, at, bytes, granule).unwrap();
                    holdings.pin_each(rows, shift).ok().unwrap().keep();
                    let killed = kill_each(&machine, &stake, &[], KillScope::Pe, |_| None);
                    let killed = killed.ok().unwrap();
                    let held = holdings.hold();
                    let mut pages = held.releaser(shift, &killed).unwrap();
                    let mut next = 0;
                    while let Some(&bits) = rows.get(next) {
                        next += 1;
                        let again = pages.take(HostAddr::new(span::page(bits)), wrote);
                        if again && follow {
                            let like = pages.take_like(bits, wrote, Row(&rows[next..]));
                            next += like as usize;
                            *counted += like;
                        }
                    }
                    drop(pages);
                    drop(held);
                    assert_eq!(holdings.region(0).unwrap().pins, 0);
                    let mut dirty = Vec::new();
                    let each = |host: HostAddr, _| dirty.push(host.get());
                    holdings.take_dirty(at, each).unwrap();
                    dirty
                };
                let first = start.next_multiple_of(1 << shift);
                let count = (start + bytes - first) >> shift;
                let row: Vec<u64> = (0..20)
                    .map(|_| (first + (rng.below(count) << shift)) | LOW)
                    .collect();
                for wrote in [false, true] {
                    let single = mark(false, &row, wrote, &mut 0);
                    assert_eq!(single.is_empty(), !wrote);
                    let found = mark(true, &row, wrote, &mut followed);
                    assert_eq!(found, single, "{granule} {shift} {start:#x} {bytes:#x}");
                }
            }
        }
        assert_eq!(followed, 3 * 7 * 2 * 18);
    }
}
