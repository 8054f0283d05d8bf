//! Releases pages that are given one by one, in any order: each region's gate is
//! touched once, when the [`Releaser`] of all of them is dropped.

use super::counts::RegionCounts;
use super::holdings::Holdings;
use super::regions::Regions;
use super::run::{Pages, Place, Run, Scan};
use crate::addr::HostAddr;
use crate::kill::Killed;
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
}

impl<I: Interrupts> Held<'_, I> {
    /// Starts to release pages that entries stood for. `None` if the kill was for
    /// another owner. `counts` must be empty, as all that it has is released with the
    /// pages; it is empty again in the end.
    #[inline]
    pub fn releaser<'t>(
        &'t self,
        page_shift: u32,
        counts: &'t mut RegionCounts,
        killed: &Killed,
    ) -> Option<Releaser<'t>> {
        debug_assert!(counts.is_empty(), "{counts:?} would be released too");
        let mine = self.holdings.believes(killed);
        mine.then(|| Releaser {
            run: Run::new(&self.regions, page_shift, counts),
        })
    }

    /// Starts to count pages by region into `counts`.
    #[inline]
    pub fn tally<'t>(&'t self, page_shift: u32, counts: &'t mut RegionCounts) -> Tally<'t> {
        Tally {
            run: Run::new(&self.regions, page_shift, counts),
            replacing: &self.holdings.replacing,
        }
    }
}

/// Removes the pins of pages whose kill is complete: when this is dropped.
pub struct Releaser<'r> {
    run: Run<'r>,
}

impl Pages for Releaser<'_> {
    #[inline(always)] // As `Run::step`.
    fn take(&mut self, host: HostAddr, wrote: bool) -> Place {
        self.run.step(host, wrote)
    }

    #[inline]
    fn take_like(&mut self, bits: u64, wrote: bool, mut scan: impl Scan) -> u64 {
        self.run.follow(bits, wrote, &mut scan)
    }

    #[inline]
    fn take_each(&mut self, mut scan: impl Scan) -> u64 {
        self.run.wander(&mut scan, |_| ())
    }
}

impl Drop for Releaser<'_> {
    #[inline]
    fn drop(&mut self) {
        self.run.unpin();
    }
}

/// Counts pages by region, for a release after a kill: for pages that no table
/// entry remembers until then. What a device may have written is marked; the mark
/// stays until [`RegionCounts::release`], after the kill. The counts are complete when
/// this is dropped.
pub struct Tally<'r> {
    run: Run<'r>,
    replacing: &'r AtomicU64,
}

impl Tally<'_> {
    /// What is marked next stays so.
    #[inline]
    fn keep_marks(replacing: &AtomicU64) {
        replacing.fetch_add(1, Ordering::Relaxed);
        // Who sees one of the marks sees this.
        fence(Ordering::Release);
    }
}

impl Pages for Tally<'_> {
    #[inline(always)] // As `Run::step`.
    fn take(&mut self, host: HostAddr, wrote: bool) -> Place {
        let counts = &mut *self.run.counts;
        if wrote && !counts.is_replacing() {
            counts.begin_replacing();
            Self::keep_marks(self.replacing);
        }
        self.run.step(host, wrote)
    }

    #[inline]
    fn take_like(&mut self, bits: u64, wrote: bool, mut scan: impl Scan) -> u64 {
        debug_assert!(
            !wrote || self.run.counts.is_replacing(),
            "the page before was"
        );
        self.run.follow(bits, wrote, &mut scan)
    }

    #[inline]
    fn take_each(&mut self, mut scan: impl Scan) -> u64 {
        let was_replacing = self.run.counts.is_replacing();
        let mut is_replacing = was_replacing;
        let count = self.run.wander(&mut scan, |wrote| {
            if wrote && !is_replacing {
                is_replacing = true;
                Self::keep_marks(self.replacing);
            }
        });
        if is_replacing && !was_replacing {
            self.run.counts.begin_replacing();
        }
        count
    }
}

impl Drop for Tally<'_> {
    #[inline]
    fn drop(&mut self) {
        self.run.leave();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{Ledger, OwnerId};
    use super::*;
    use crate::kill::{Stake, kill_each};
    use crate::memory::span;
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
                    let mut counts = RegionCounts::new();
                    let held = holdings.hold();
                    if let Some(mut releaser) = held.releaser(12, &mut counts, &killed) {
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
        fn like(&mut self, mut is_like: impl FnMut(u64) -> bool) -> u64 {
            let count = self.0.iter().take_while(|&&bits| is_like(bits)).count();
            self.0 = &self.0[count..];
            count as u64
        }

        fn each(&mut self, mut take: impl FnMut(u64, bool) -> bool) -> u64 {
            self.like(|bits| take(bits, bits & 1 != 0))
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
                    let mut counts = RegionCounts::new();
                    let mut pages = held.releaser(shift, &mut counts, &killed).unwrap();
                    let mut next = 0;
                    while let Some(&bits) = rows.get(next) {
                        next += 1;
                        let again = pages.take(HostAddr::new(span::page(bits)), wrote);
                        if again == Place::Same && follow {
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

    /// Whatever regions, rights and sizes of granules follow each other, pages are
    /// marked, counted and released as single ones.
    #[test]
    fn pages_of_many_regions_are_marked_as_single_ones() {
        const REGIONS: [(u64, u64, u32); 4] = [
            (0x10_0000, 0x4_0000, 12),
            (0x14_0000, 0x8_0000, 16),
            (0x20_8000, 0x8_8000, 12),
            (0x40_0000, 0x4_0000, 21),
        ];
        let machine = Machine::new(Vec::new(), 1 << 12, 1);
        let stake = Stake::new(OwnerId(1));
        let mut rng = crate::sim::Rng::new(3);
        let mut taken = [0u64; 3];
        for round in 0..2000u64 {
            let shift = if round % 2 == 0 { 12 } else { 16 };
            let mut row: Vec<u64> = Vec::new();
            for _ in 0..1 + rng.below(12) {
                let (start, bytes, _) = REGIONS[rng.below(4) as usize];
                let first = start.next_multiple_of(1 << shift);
                let count = (start + bytes - first) >> shift;
                let written = rng.below(1 + round % 3 % 2);
                for _ in 0..1 + rng.below(1 + round % 9) {
                    row.push((first + (rng.below(count) << shift)) | written | 2);
                }
            }
            // Pins that are left, counts by region, operations and pages marked.
            let mut run = |follow: bool, release: bool| {
                let ledger = Ledger::<Machine>::new();
                let holdings = ledger.add_owner(OwnerId(1)).unwrap();
                for (start, bytes, granule) in REGIONS {
                    let start = HostAddr::new(start);
                    ledger.grant(&holdings, start, bytes, granule).unwrap();
                }
                holdings.pin_each(&row, shift).ok().unwrap().keep();
                let killed = kill_each(&machine, &stake, &[], KillScope::Pe, |_| None);
                let killed = killed.ok().unwrap();
                let mut counts = RegionCounts::new();
                let held = holdings.hold();
                if release {
                    let mut pages = held.releaser(shift, &mut counts, &killed).unwrap();
                    take(&mut pages, &row, follow, &mut taken);
                } else {
                    take(
                        &mut held.tally(shift, &mut counts),
                        &row,
                        follow,
                        &mut taken,
                    );
                }
                drop(held);
                let regions: Vec<_> = (0..REGIONS.len())
                    .map(|index| holdings.region(index).unwrap())
                    .collect();
                let pins = regions.iter().map(|region| region.pins).collect::<Vec<_>>();
                let counted = regions.iter().map(|region| counts.of(region.number));
                let counted = counted.collect::<Vec<_>>();
                let replacing = holdings.replacing.load(Ordering::Relaxed);
                counts.release(&holdings, &killed);
                assert_eq!(holdings.replacing.load(Ordering::Relaxed), 0);
                let mut dirty = Vec::new();
                for region in regions {
                    let each = |host: HostAddr, _| dirty.push(host.get());
                    holdings.take_dirty(region.start, each).unwrap();
                }
                (pins, counted, replacing, dirty)
            };
            let single = run(false, true);
            assert_eq!(run(true, true), single, "{row:x?}");
            assert_eq!((single.0, single.2), (vec![0; 4], 0), "{row:x?}");
            let (pins, counted, replacing, dirty) = run(false, false);
            assert_eq!((&pins, &dirty), (&counted, &single.3), "{row:x?}");
            let wrote = row.iter().any(|bits| bits & 1 != 0);
            assert_eq!((replacing, dirty.is_empty()), (wrote.into(), !wrote));
            assert_eq!(run(true, false), (pins, counted, replacing, dirty));
        }
        assert!(taken.iter().all(|&count| count > 5000), "{taken:?}");
    }

    /// Gives the pages of `row`, as a loop over entries does; counts how.
    fn take(pages: &mut impl Pages, row: &[u64], follow: bool, taken: &mut [u64; 3]) {
        let mut next = 0;
        while let Some(&bits) = row.get(next) {
            next += 1;
            let wrote = bits & 1 != 0;
            let place = pages.take(HostAddr::new(span::page(bits)), wrote);
            taken[0] += 1;
            if follow {
                let rest = Row(&row[next..]);
                let (kind, more) = match place {
                    Place::First => continue,
                    Place::Same => (1, pages.take_like(bits, wrote, rest)),
                    Place::Other => (2, pages.take_each(rest)),
                };
                taken[kind] += more;
                next += more as usize;
            }
        }
    }
}
