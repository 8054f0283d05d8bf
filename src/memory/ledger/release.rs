//! Pages one by one, in any order: as long as they stay in one region, each
//! costs a range check and a count, and the region's counter is touched once.

use super::counts::RegionCounts;
use super::holdings::Holdings;
use super::region::Region;
use super::regions::Regions;
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

    /// Removes a pin of each page, in any order, that no entry has stood for.
    #[cold]
    pub(super) fn unpin_list(&self, pages: impl Iterator<Item = HostAddr>) {
        let regions = self.regions.read();
        let mut run = Run::new(&regions);
        for host in pages {
            let _ = run.step(host, unpin);
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

    /// Starts to count pages by region.
    #[inline]
    pub fn tally(&self, page_shift: u32) -> Tally<'_> {
        Tally {
            run: Run::new(&self.regions),
            page_shift,
            replacing: &self.holdings.replacing,
        }
    }
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

    /// Counts the page at `host` and returns its region, and its offset there;
    /// `finish` gets region and count when another region begins.
    #[inline]
    fn step(
        &mut self,
        host: HostAddr,
        finish: impl FnOnce(&Region, u64),
    ) -> Option<(&'r Region, u64)> {
        if let Some(region) = self.region
            && let Some(offset) = region.offset(host)
        {
            self.count = self.count.wrapping_add(1);
            return Some((region, offset));
        }
        self.finish(finish);
        self.region = self.regions.find(host);
        self.count = 1;
        debug_assert!(self.region.is_some(), "pinned page {host:#x} is nobody's");
        let region = self.region?;
        Some((region, region.offset(host)?))
    }

    #[inline]
    fn finish(&mut self, finish: impl FnOnce(&Region, u64)) {
        if let Some(region) = self.region.take() {
            finish(region, self.count);
        }
    }
}

/// Removes the pins of pages whose kill is complete.
pub struct Releaser<'r> {
    run: Run<'r>,
    page_shift: u32,
}

impl Releaser<'_> {
    /// Removes one pin of the page at `host`, which a device may have written
    /// if `wrote`. The pin may go as late as when this is dropped.
    #[inline]
    pub fn release(&mut self, host: HostAddr, wrote: bool) {
        if let Some((region, offset)) = self.run.step(host, unpin)
            && wrote
        {
            region.mark_page(offset, self.page_shift);
        }
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
/// entry remembers until then.
pub struct Tally<'r> {
    run: Run<'r>,
    page_shift: u32,
    replacing: &'r AtomicU64,
}

impl Tally<'_> {
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
        if let Some((region, offset)) = self
            .run
            .step(host, |region, count| counts.add(region.number(), count))
            && wrote
        {
            region.mark_page(offset, self.page_shift);
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
                    if let Some(mut releaser) = holdings.hold().releaser(12, &killed) {
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
