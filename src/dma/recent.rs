//! The last unmaps of a window: what a person wants to know of an address that
//! a device was refused.

use super::window::Window;
use crate::addr::BusAddr;
use crate::seam::Platform;
use crate::tce::{Slot, SlotRange};

/// How many are remembered.
const KEPT: usize = 16;

/// The last unmaps; the oldest goes when another comes.
#[derive(Default)]
pub(super) struct Recent {
    // First slot and number of pages.
    ranges: [(u64, u64); KEPT],
    count: u64,
}

impl Recent {
    /// Remembers one.
    #[inline]
    pub(super) fn note(&mut self, range: SlotRange) {
        let at = (self.count % KEPT as u64) as usize;
        if let Some(place) = self.ranges.get_mut(at) {
            *place = (range.first().get(), range.pages());
        }
        self.count = self.count.wrapping_add(1);
    }

    /// First slot, pages, and how many came later.
    fn find(&self, slot: u64) -> Option<(u64, u64, u64)> {
        (0..self.count.min(KEPT as u64)).find_map(|later| {
            let at = (self.count - 1 - later) % KEPT as u64;
            let &(first, pages) = self.ranges.get(at as usize)?;
            let inside = slot.checked_sub(first).is_some_and(|past| past < pages);
            inside.then_some((first, pages, later))
        })
    }
}

/// An unmap of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastUnmap {
    /// First address that it named.
    pub bus: BusAddr,
    /// IO pages that it named.
    pub pages: u64,
    /// Unmaps of the window since then.
    pub later: u64,
}

impl<P: Platform> Window<P> {
    /// The last unmap, among the window's last 16, of the page with this address.
    /// `None` too for an address outside of the window. Removals by remap are not
    /// remembered.
    pub fn last_unmap(&self, bus: BusAddr) -> Option<LastUnmap> {
        let page = self.range().shape().page().get();
        let first = BusAddr::new(bus.get() >> page << page);
        let slot = self.slots(first, 1).ok()?.first().get();
        let (first, pages, later) = self.state.lock().recent.find(slot)?;
        Some(LastUnmap {
            bus: self.range().bus(Slot::new(first)),
            pages,
            later,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tce::{PageShift, TableShape, WindowRange};

    #[test]
    fn the_latest_that_names_the_page_is_found_among_sixteen() {
        let shape = TableShape::new(PageShift::K4, 1, 12).unwrap();
        let window = WindowRange::new(BusAddr::new(0), 512, shape).unwrap();
        let range = |page: u64, pages| window.slots(BusAddr::new(page << 12), pages, 64).unwrap();
        let mut recent = Recent::default();
        assert_eq!(recent.find(3), None);
        recent.note(range(2, 4));
        recent.note(range(3, 1));
        recent.note(range(9, 2));
        assert_eq!(recent.find(3), Some((3, 1, 1)));
        assert_eq!(recent.find(5), Some((2, 4, 2)));
        assert_eq!(recent.find(6), None);
        for _ in 0..KEPT {
            recent.note(range(100, 1));
        }
        assert_eq!(recent.find(3), None);
        assert_eq!(recent.find(100), Some((100, 1, 0)));
    }
}
