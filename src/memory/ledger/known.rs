//! A region that was looked up once: its pages are pinned and released without
//! another look.
//!
//! Whoever keeps one cannot be wrong about it: a region that is taken back stays
//! closed for ever, and what comes in its place, even of the same owner, is another.

use alloc::sync::Arc;
use core::mem;

use super::OwnerId;
use super::holdings::Holdings;
use super::region::Region;
use crate::addr::HostAddr;
use crate::kill::Killed;
use crate::memory::span::Span;
use crate::seam::Interrupts;

/// A region of one owner, which may be gone by now, as pages of one size.
pub struct KnownRegion {
    pages: Span,
    region: Arc<Region>,
    owner: OwnerId,
}

impl<I: Interrupts> Holdings<I> {
    /// The region that `host` is in, for pages of `1 << page_shift` bytes.
    pub fn known(&self, host: HostAddr, page_shift: u32) -> Option<KnownRegion> {
        let region = self.regions.read().shared(host)?;
        Some(KnownRegion {
            pages: region.span(page_shift, 0),
            region,
            owner: self.owner(),
        })
    }
}

impl KnownRegion {
    /// Whether the byte at `host` is in it, and pins are admitted.
    pub fn admits(&self, host: HostAddr) -> bool {
        self.region.offset(host).is_some() && !self.region.gate().is_closed()
    }

    /// Pins the page at `host`. `None` if that is no page, or not wholly in this
    /// region, or the region is not as it is most of the time: [`Holdings::pin`]
    /// tells which.
    #[inline]
    pub fn pin_page(&self, host: HostAddr) -> Option<PagePin<'_>> {
        if !self.pages.has(host.get()) || !self.region.gate().pin_one() {
            return None;
        }
        Some(PagePin(&self.region))
    }

    /// Removes the pin of the page at `host` that an entry stood for, which a
    /// device may have written if `wrote`. `false` if that pin is not of this
    /// region, or the kill was for another owner: nothing is done then.
    #[inline]
    pub fn release_page(
        &self,
        host: HostAddr,
        page_shift: u32,
        wrote: bool,
        killed: &Killed,
    ) -> bool {
        let Some(offset) = self.region.offset(host) else {
            return false;
        };
        // One that has changed its owner has no pin, and never gets any: the page's
        // is of the region that came in its place.
        if !killed.is_for(self.owner) || !self.region.gate().is_pinned() {
            return false;
        }
        if wrote {
            self.region.mark_page(offset, page_shift);
        }
        self.region.gate().unpin(1);
        true
    }
}

/// The pin of one page that no table entry stands for yet: it goes when this is
/// dropped.
#[must_use = "dropping this removes the pin"]
pub struct PagePin<'r>(&'r Region);

impl PagePin<'_> {
    /// Leaves the pin to the table entry that was stored.
    #[inline]
    pub fn keep(self) {
        mem::forget(self);
    }
}

impl Drop for PagePin<'_> {
    fn drop(&mut self) {
        self.0.gate().unpin(1);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::Ledger;
    use super::*;
    use crate::kill::{Stake, kill_each};
    use crate::seam::KillScope;
    use crate::sim::Machine;

    /// The region goes, and another comes in its place: what is known of the first
    /// neither pins nor releases a page of the second.
    #[test]
    fn a_region_that_was_replaced_is_of_no_use() {
        let machine = Machine::new(Vec::new(), 1 << 12, 1);
        let ledger = Ledger::<Machine>::new();
        let holdings = ledger.add_owner(OwnerId(1)).unwrap();
        let (start, page) = (HostAddr::new(0x1000), HostAddr::new(0x2000));
        let stakes = [1, 2].map(|owner| Stake::new(OwnerId(owner)));
        let proof = |stake| {
            kill_each(&machine, stake, &[], KillScope::Pe, |_| None)
                .ok()
                .unwrap()
        };
        let (killed, foreign) = (proof(&stakes[0]), proof(&stakes[1]));
        let pins = || holdings.region(0).unwrap().pins;
        // A weak exchange may fail now and then: not a thousand times.
        let pin = |known: &KnownRegion, host| {
            let mut pins = (0..1000).filter_map(|_| known.pin_page(host));
            pins.next().map(PagePin::keep).is_some()
        };
        ledger.grant(&holdings, start, 0x4000, 12).unwrap();
        let known = holdings.known(page, 12).unwrap();
        assert!(known.admits(page) && !known.admits(HostAddr::new(0x5000)));
        assert!(!pin(&known, page), "nothing was pinned in it before");
        // Pinned by nobody: it can go at once.
        ledger.close(&holdings, start).unwrap();
        assert!(!known.admits(page));
        let _free = ledger.reclaim(&holdings, start).unwrap();
        ledger.grant(&holdings, start, 0x4000, 12).unwrap();
        holdings.pin(page, 1, 12).unwrap().keep();
        assert!(!pin(&known, page) && pins() == 1);
        assert!(!known.release_page(page, 12, true, &killed));
        assert!(pins() == 1 && !holdings.is_dirty(page));

        let known = holdings.known(page, 12).unwrap();
        assert!(pin(&known, page) && pins() == 2);
        assert!(known.pin_page(page).is_some());
        assert_eq!(pins(), 2, "what is not kept goes");
        // No page, not wholly inside, and not inside.
        let wide = holdings.known(page, 13).unwrap();
        assert!(pin(&wide, page));
        for (known, none) in [
            (&known, 0x2800),
            (&known, 0x5000),
            (&known, 0),
            (&wide, 0x3000),
            (&wide, 0x1000),
            (&wide, 0x4000),
        ] {
            assert!(!pin(known, HostAddr::new(none)), "{none:#x}");
        }
        assert!(!known.release_page(HostAddr::new(0x5000), 12, true, &killed));
        assert!(!known.release_page(page, 12, true, &foreign));
        assert!(pins() == 3 && !holdings.is_dirty(page));
        assert!(known.release_page(page, 12, false, &killed));
        assert!(pins() == 2 && !holdings.is_dirty(page));
        assert!(known.release_page(page, 12, true, &killed));
        assert!(pins() == 1 && holdings.is_dirty(page));
    }
}
