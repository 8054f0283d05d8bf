//! Pages one by one, in any order: as long as they stay in one region, each
//! costs a range check and a count, and the region's counter is touched once.

use super::counts::RegionCounts;
use super::region::Region;
use super::regions::Regions;
use crate::addr::HostAddr;
use crate::seam::Interrupts;
use crate::seam::sync::{AtomicU64, Ordering, ReadGuard, fence};

/// Consecutive pages of one region.
struct Run<'a, I: Interrupts> {
    regions: ReadGuard<'a, Regions, I>,
    index: usize,
    count: u64,
}

impl<'a, I: Interrupts> Run<'a, I> {
    #[inline]
    fn new(regions: ReadGuard<'a, Regions, I>) -> Self {
        Self {
            regions,
            index: 0,
            count: 0,
        }
    }

    /// Counts the page at `host` and returns its offset; `finish` gets region
    /// and count when another region begins.
    #[inline]
    fn step(&mut self, host: HostAddr, finish: impl FnOnce(&Region, u64)) -> Option<u64> {
        let offset = self
            .regions
            .get(self.index)
            .and_then(|region| region.offset(host));
        if let Some(offset) = offset {
            self.count = self.count.wrapping_add(1);
            return Some(offset);
        }
        self.change(host, finish)
    }

    #[cold]
    fn change(&mut self, host: HostAddr, finish: impl FnOnce(&Region, u64)) -> Option<u64> {
        self.finish(finish);
        let Some(index) = self.regions.index_of(host) else {
            debug_assert!(false, "pinned page {host:#x} is in no region");
            return None;
        };
        self.index = index;
        self.count = 1;
        self.regions
            .get(index)
            .and_then(|region| region.offset(host))
    }

    #[inline]
    fn finish(&mut self, finish: impl FnOnce(&Region, u64)) {
        if self.count != 0 {
            if let Some(region) = self.regions.get(self.index) {
                finish(region, self.count);
            }
            self.count = 0;
        }
    }

    #[inline]
    fn mark(&self, offset: u64, page_shift: u32) {
        if let Some(region) = self.regions.get(self.index) {
            region.mark(offset, 1 << page_shift);
        }
    }
}

/// Removes the pins of pages whose kill is complete.
pub struct Releaser<'a, I: Interrupts> {
    run: Run<'a, I>,
    page_shift: u32,
}

impl<'a, I: Interrupts> Releaser<'a, I> {
    #[inline]
    pub(super) fn new(regions: ReadGuard<'a, Regions, I>, page_shift: u32) -> Self {
        Self {
            run: Run::new(regions),
            page_shift,
        }
    }

    /// Removes one pin of the page at `host`, which a device may have written
    /// if `wrote`. The pin may go as late as when this is dropped.
    #[inline]
    pub fn release(&mut self, host: HostAddr, wrote: bool) {
        if let Some(offset) = self.run.step(host, unpin)
            && wrote
        {
            self.run.mark(offset, self.page_shift);
        }
    }
}

fn unpin(region: &Region, pins: u64) {
    region.gate().unpin(pins);
}

impl<I: Interrupts> Drop for Releaser<'_, I> {
    #[inline]
    fn drop(&mut self) {
        self.run.finish(unpin);
    }
}

/// Counts pages by region, for a release after a kill: for pages that no table
/// entry remembers until then.
pub struct Tally<'a, I: Interrupts> {
    run: Run<'a, I>,
    page_shift: u32,
    replacing: &'a AtomicU64,
}

impl<'a, I: Interrupts> Tally<'a, I> {
    #[inline]
    pub(super) fn new(
        regions: ReadGuard<'a, Regions, I>,
        page_shift: u32,
        replacing: &'a AtomicU64,
    ) -> Self {
        Self {
            run: Run::new(regions),
            page_shift,
            replacing,
        }
    }

    /// Counts the page at `host` into `counts`, and marks it if `wrote`. The
    /// mark stays until [`RegionCounts::release`], after the kill.
    #[inline]
    pub fn count(&mut self, counts: &mut RegionCounts, host: HostAddr, wrote: bool) {
        if wrote && !counts.is_replacing() {
            counts.begin_replacing();
            self.replacing.fetch_add(1, Ordering::Relaxed);
            // Who sees one of the marks sees this.
            fence(Ordering::Release);
        }
        if let Some(offset) = self
            .run
            .step(host, |region, count| counts.add(region.number(), count))
            && wrote
        {
            self.run.mark(offset, self.page_shift);
        }
    }

    /// Completes `counts`.
    #[inline]
    pub fn finish(mut self, counts: &mut RegionCounts) {
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
                    if let Some(mut releaser) = holdings.releaser(12, &killed) {
                        releaser.release(host, false);
                    }
                })),
            ]
            .map(|result| result.is_err());
            assert_eq!(told, [left == 4 && cfg!(debug_assertions); 3]);
            assert_eq!(pins(), left);
            assert_eq!(counts.is_empty(), left == 1);
        }
    }
}
