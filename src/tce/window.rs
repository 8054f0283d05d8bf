//! From bus addresses to table slots: three types, and one place that converts.

use core::fmt;

use super::shape::{DMA_BITS, TVE_BITS, TableShape};
use crate::addr::BusAddr;
use crate::seam::TveSelect;

/// A page of a window, counted from the window's base.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageIndex(pub u64);

/// An entry of a table, counted from the table's first entry: what the PHB
/// computes from an address, wherever the window begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u64);

impl Slot {
    /// Slot `number` from the table's start.
    #[inline]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Slots that one constructor has checked: not empty, inside their window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotRange {
    first: Slot,
    pages: u64,
}

impl SlotRange {
    /// One slot, which is inside its window.
    #[inline]
    pub(super) const fn of_page(slot: Slot) -> Self {
        Self {
            first: slot,
            pages: 1,
        }
    }

    /// The first slot.
    #[inline]
    pub const fn first(self) -> Slot {
        self.first
    }

    /// How many slots, at least 1.
    #[inline]
    pub const fn pages(self) -> u64 {
        self.pages
    }

    /// The slot behind the last.
    #[inline]
    pub const fn end(self) -> Slot {
        Slot(self.first.0.wrapping_add(self.pages))
    }

    /// The part of at most `most` pages from page `from`; `None` behind the end.
    #[inline]
    pub fn part(self, from: u64, most: u64) -> Option<Self> {
        let left = self.pages.checked_sub(from).filter(|&left| left != 0)?;
        Some(Self {
            first: Slot(self.first.0.wrapping_add(from)),
            pages: left.min(most),
        })
    }
}

/// Why a range of bus addresses names no pages of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RangeError {
    /// No page at all.
    #[error("zero pages at {0:#x}")]
    Empty(BusAddr),
    /// Not the start of an IO page.
    #[error("{bus:#x} is not aligned to IO pages of {page_bytes:#x} bytes")]
    Misaligned {
        /// The address.
        bus: BusAddr,
        /// Bytes of an IO page.
        page_bytes: u64,
    },
    /// The end is beyond 2^64.
    #[error("{pages:#x} pages from {bus:#x} end beyond 2^64")]
    Overflow {
        /// The first address.
        bus: BusAddr,
        /// Pages asked for.
        pages: u64,
    },
    /// Not all of it is in the window.
    #[error("{pages:#x} pages from {bus:#x} are not inside the window {start:#x} to {end:#x}")]
    Outside {
        /// The first address.
        bus: BusAddr,
        /// Pages asked for.
        pages: u64,
        /// First address of the window.
        start: BusAddr,
        /// Last address of the window.
        end: BusAddr,
    },
    /// More pages than one call may name.
    #[error("{pages:#x} pages at once: the limit is {limit:#x}")]
    TooMany {
        /// Pages asked for.
        pages: u64,
        /// The limit.
        limit: u64,
    },
}

/// Bus addresses that one table translates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowRange {
    base: BusAddr,
    pages: u64,
    shape: TableShape,
    tve: TveSelect,
    // Distance of the window's first page from the table's first slot.
    offset: u64,
}

/// Why a window cannot be as asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WindowError {
    /// Zero pages.
    #[error("a window of zero pages at {0:#x}")]
    Empty(BusAddr),
    /// Not the start of an IO page.
    #[error("window base {0:#x} is not aligned to its IO pages")]
    Misaligned(BusAddr),
    /// Bits above 59, or beyond what a PHB translates behind bit 59.
    #[error("{pages:#x} pages from {base:#x} are not addresses of one TVE")]
    Unreachable {
        /// First address.
        base: BusAddr,
        /// Pages.
        pages: u64,
    },
    /// Beyond the last slot of the table.
    #[error("the window needs slots up to {slots:#x}, the table has {capacity:#x}")]
    BeyondTable {
        /// Slots needed, from the table's start.
        slots: u64,
        /// Slots of the table.
        capacity: u64,
    },
}

impl WindowRange {
    /// A window of `pages` IO pages from `base`, in a table of `shape`.
    pub fn new(base: BusAddr, pages: u64, shape: TableShape) -> Result<Self, WindowError> {
        let page = shape.page().get();
        if pages == 0 {
            return Err(WindowError::Empty(base));
        }
        if !base.is_aligned(page) {
            return Err(WindowError::Misaligned(base));
        }
        let tve = match base.get() >> TVE_BITS {
            0 => TveSelect::Low,
            1 => TveSelect::High,
            _ => return Err(WindowError::Unreachable { base, pages }),
        };
        let offset = (base.get() & ((1 << TVE_BITS) - 1)) >> page;
        let slots = offset
            .checked_add(pages)
            .filter(|&slots| slots <= 1 << (DMA_BITS - page));
        let slots = slots.ok_or(WindowError::Unreachable { base, pages })?;
        let capacity = 1 << shape.slot_bits();
        if slots > capacity {
            return Err(WindowError::BeyondTable { slots, capacity });
        }
        Ok(Self {
            base,
            pages,
            shape,
            tve,
            offset,
        })
    }

    /// First address.
    #[inline]
    pub const fn base(&self) -> BusAddr {
        self.base
    }

    /// IO pages.
    #[inline]
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Bytes.
    pub const fn bytes(&self) -> u64 {
        self.pages << self.shape.page().get()
    }

    /// The shape of the table behind it.
    #[inline]
    pub const fn shape(&self) -> TableShape {
        self.shape
    }

    /// The TVE that its addresses select.
    pub const fn tve(&self) -> TveSelect {
        self.tve
    }

    /// The slots of `pages` pages from `bus`, at most `limit`.
    #[inline]
    pub fn slots(&self, bus: BusAddr, pages: u64, limit: u64) -> Result<SlotRange, RangeError> {
        let page = self.shape.page();
        let offset = bus.get().wrapping_sub(self.base.get());
        let index = offset.wrapping_shr(page.get());
        // The window's base is aligned. What begins and ends inside of it, with 1 to
        // its number of pages, does not pass 2^64. Below the base, the index is more
        // than any window has.
        let inside = index < self.pages && pages <= self.pages.wrapping_sub(index);
        if inside && pages.wrapping_sub(1) < limit && offset & page.bytes().wrapping_sub(1) == 0 {
            Ok(SlotRange {
                first: self.slot(PageIndex(index)),
                pages,
            })
        } else {
            Err(self.no_slots(bus, pages, limit))
        }
    }

    /// The slot of the page at `bus`, as a range; `None` if it is none of the
    /// window's: [`WindowRange::slots`] says why.
    #[inline]
    pub fn page(&self, bus: BusAddr) -> Option<SlotRange> {
        let offset = bus.get().wrapping_sub(self.base.get());
        // What is not aligned goes to the top: an index as no window has it, since
        // pages and their size have less than 60 bits together.
        let index = offset.rotate_right(self.shape.page().get());
        (index < self.pages).then(|| SlotRange::of_page(self.slot(PageIndex(index))))
    }

    /// Why [`WindowRange::slots`] finds none; the first of several reasons.
    #[cold]
    fn no_slots(&self, bus: BusAddr, pages: u64, limit: u64) -> RangeError {
        let page = self.shape.page().get();
        if pages == 0 {
            return RangeError::Empty(bus);
        }
        if !bus.is_aligned(page) {
            return RangeError::Misaligned {
                bus,
                page_bytes: 1 << page,
            };
        }
        let end = pages
            .checked_mul(1 << page)
            .and_then(|bytes| bus.checked_add(bytes - 1));
        if end.is_none() {
            return RangeError::Overflow { bus, pages };
        }
        let index = self.page_index(bus);
        if index.is_some_and(|PageIndex(index)| pages <= self.pages - index) {
            return RangeError::TooMany { pages, limit };
        }
        RangeError::Outside {
            bus,
            pages,
            start: self.base,
            end: self.last(),
        }
    }

    /// All slots of the window.
    pub fn all(&self) -> SlotRange {
        SlotRange {
            first: Slot(self.offset),
            pages: self.pages,
        }
    }

    /// The address of `slot`.
    #[inline]
    pub fn bus(&self, slot: Slot) -> BusAddr {
        let page = self.shape.page().get();
        BusAddr::new(
            self.base
                .get()
                .wrapping_add(slot.0.wrapping_sub(self.offset).wrapping_shl(page)),
        )
    }

    /// The page that `bus` is in; `None` outside of the window.
    #[inline]
    pub fn page_index(&self, bus: BusAddr) -> Option<PageIndex> {
        let index = bus
            .checked_sub(self.base)?
            .wrapping_shr(self.shape.page().get());
        (index < self.pages).then_some(PageIndex(index))
    }

    /// The slot of page `index`, which must be inside.
    #[inline]
    pub fn slot(&self, index: PageIndex) -> Slot {
        Slot(index.0.wrapping_add(self.offset))
    }

    /// Last address of the window.
    pub const fn last(&self) -> BusAddr {
        BusAddr::new(self.base.get() + (self.bytes() - 1))
    }
}

impl fmt::Display for WindowRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:#x}..={:#x} in pages of {}",
            self.base,
            self.last(),
            self.shape.page()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tce::page::PageShift;

    fn bus(value: u64) -> BusAddr {
        BusAddr::new(value)
    }

    #[test]
    fn a_window_with_an_offset_uses_absolute_slots() {
        let shape = TableShape::new(PageShift::K64, 2, 12).unwrap();
        let window = WindowRange::new(bus(1 << 59 | 0x123_0000), 0x100, shape).unwrap();
        assert_eq!(window.tve(), TveSelect::High);
        let range = window.slots(bus(1 << 59 | 0x125_0000), 3, 100).unwrap();
        assert_eq!(
            (range.first().get(), range.pages(), range.end().get()),
            (0x125, 3, 0x128)
        );
        assert_eq!(window.bus(range.first()), bus(1 << 59 | 0x125_0000));
        assert_eq!(window.all().first().get(), 0x123);
        assert_eq!(
            window.page_index(bus(1 << 59 | 0x125_1234)),
            Some(PageIndex(2))
        );
        assert_eq!(window.page_index(bus(1 << 59 | 0x122_ffff)), None);
        assert_eq!(window.page_index(bus(1 << 59 | 0x223_0000)), None);
        assert_eq!(window.last(), bus(1 << 59 | 0x222_ffff));
        assert_eq!(
            range.part(1, 9).map(|p| (p.first().get(), p.pages())),
            Some((0x126, 2))
        );
        assert_eq!(
            range.part(0, 2).map(|p| (p.first().get(), p.pages())),
            Some((0x125, 2))
        );
        assert_eq!(range.part(3, 1), None);
        assert_eq!(range.part(4, 1), None);
    }

    #[test]
    fn ranges_are_refused_with_the_reason() {
        let shape = TableShape::new(PageShift::K4, 1, 12).unwrap();
        let window = WindowRange::new(bus(0x10_0000), 0x100, shape).unwrap();
        let slots = |at, pages| window.slots(bus(at), pages, 0x40);
        let outside = |at, pages| {
            Err(RangeError::Outside {
                bus: bus(at),
                pages,
                start: bus(0x10_0000),
                end: bus(0x1f_ffff),
            })
        };
        assert_eq!(slots(0x10_0000, 0), Err(RangeError::Empty(bus(0x10_0000))));
        assert_eq!(
            slots(0x10_0800, 1),
            Err(RangeError::Misaligned {
                bus: bus(0x10_0800),
                page_bytes: 0x1000
            })
        );
        assert_eq!(slots(0xf_f000, 1), outside(0xf_f000, 1));
        assert_eq!(slots(0x20_0000, 1), outside(0x20_0000, 1));
        assert_eq!(slots(0x1f_f000, 2), outside(0x1f_f000, 2));
        assert_eq!(slots(0x10_0000, 0x101), outside(0x10_0000, 0x101));
        assert_eq!(
            slots(u64::MAX - 0xfff, 2),
            Err(RangeError::Overflow {
                bus: bus(u64::MAX - 0xfff),
                pages: 2
            })
        );
        assert_eq!(
            slots(0x10_0000, u64::MAX),
            Err(RangeError::Overflow {
                bus: bus(0x10_0000),
                pages: u64::MAX
            })
        );
        assert_eq!(
            slots(0x10_0000, 0x41),
            Err(RangeError::TooMany {
                pages: 0x41,
                limit: 0x40
            })
        );
        assert!(slots(0x10_0000, 0x40).is_ok() && slots(0x1f_f000, 1).is_ok());
        assert_eq!(slots(u64::MAX - 0xfff, 1), outside(u64::MAX - 0xfff, 1));
    }

    #[test]
    fn one_page_is_found_as_a_range_of_one() {
        for (page, base) in [(PageShift::K4, 0x10_0000), (PageShift::G1, 1 << 59)] {
            let shape = TableShape::new(page, 1, 20).unwrap();
            let window = WindowRange::new(bus(base), 0x100, shape).unwrap();
            for index in [0, 1, 0xff, 0x100, 1 << 20, u64::MAX] {
                for off in [0, 1, 1 << (page.get() - 1), u64::MAX] {
                    let offset = (index << page.get()).wrapping_add(off);
                    let at = bus(base.wrapping_add(offset));
                    assert_eq!(window.page(at), window.slots(at, 1, 1).ok(), "{at:?}");
                }
            }
        }
    }

    #[test]
    fn windows_are_refused_with_the_reason() {
        let shape = TableShape::new(PageShift::K4, 5, 12).unwrap();
        let window = |base, pages| WindowRange::new(bus(base), pages, shape);
        assert_eq!(window(0, 0), Err(WindowError::Empty(bus(0))));
        assert_eq!(window(0x10, 1), Err(WindowError::Misaligned(bus(0x10))));
        assert_eq!(
            window(1 << 60, 1),
            Err(WindowError::Unreachable {
                base: bus(1 << 60),
                pages: 1
            })
        );
        assert_eq!(
            window(0, (1 << 43) + 1),
            Err(WindowError::Unreachable {
                base: bus(0),
                pages: (1 << 43) + 1
            })
        );
        assert_eq!(
            window(1 << 55, 1),
            Err(WindowError::Unreachable {
                base: bus(1 << 55),
                pages: 1
            })
        );
        assert_eq!(
            window(0x1000, u64::MAX),
            Err(WindowError::Unreachable {
                base: bus(0x1000),
                pages: u64::MAX
            })
        );
        assert!(window(0, 1 << 43).is_ok() && window(1 << 59, 1 << 43).is_ok());
        let small = TableShape::new(PageShift::K4, 1, 12).unwrap();
        assert!(WindowRange::new(bus(0x10_0000), 0x100, small).is_ok());
        assert_eq!(
            WindowRange::new(bus(0x10_0000), 0x101, small),
            Err(WindowError::BeyondTable {
                slots: 0x201,
                capacity: 0x200
            })
        );
    }

    #[test]
    fn the_last_pages_below_2_64_are_outside_not_an_overflow() {
        let shape = TableShape::new(PageShift::K4, 1, 12).unwrap();
        let window = WindowRange::new(bus(0x10_0000), 1, shape).unwrap();
        let last = bus(u64::MAX - 0x1fff);
        assert!(matches!(
            window.slots(last, 2, 9),
            Err(RangeError::Outside { .. })
        ));
        assert_eq!(
            window.slots(last, 3, 9),
            Err(RangeError::Overflow {
                bus: last,
                pages: 3
            })
        );
    }
}
