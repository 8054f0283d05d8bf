//! Bus addresses for the machine's own DMA: self-test, NVMe driver.
//!
//! Guests choose their own bus addresses; whatever Pinion itself maps takes one
//! from here. Addresses are handed out ascending and come round only when the
//! top is reached, so that a device that uses a stale address most likely hits
//! one that is not mapped, and freezes instead of corrupting.

use crate::addr::BusAddr;
use alloc::collections::BTreeMap;
use core::fmt;
use core::ops::Range;

/// Bus addresses that no window translates: the PHB answers M32 and 32-bit MSIs
/// between 2 and 4 GB itself.
pub const HOLE: Range<u64> = 0x8000_0000..0x1_0000_0000;

/// Why there is no allocator, or no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IovaError {
    /// IO pages of 4K to 1G are what these PHBs have.
    #[error("IO page shift {0} is not from 12 to 30")]
    PageShift(u32),
    /// Start or size are no multiple of the page, the range wraps, or holds no
    /// usable page.
    #[error("{size:#x} bytes at {start} are no range of whole IO pages")]
    Range {
        /// First bus address.
        start: BusAddr,
        /// Bytes.
        size: u64,
    },
    /// An allocation of nothing.
    #[error("no pages asked for")]
    Empty,
    /// The alignment is no power of two, or below a page.
    #[error("alignment {0:#x} is no power of two of at least an IO page")]
    Alignment(u64),
    /// No free range is long enough.
    #[error("no {pages} consecutive IO pages left")]
    Exhausted {
        /// Pages asked for.
        pages: u64,
    },
    /// What is given back was not given out, or not like that.
    #[error("{size:#x} bytes at {start} were not given out")]
    NotAllocated {
        /// First bus address.
        start: BusAddr,
        /// Bytes.
        size: u64,
    },
}

/// Consecutive bus addresses that are in use. It is neither `Copy` nor `Clone`:
/// giving it back twice is no program.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the range stays in use until it is given back"]
pub struct Iova {
    start: BusAddr,
    size: u64,
}

impl Iova {
    /// First bus address, aligned to the IO page.
    pub fn start(&self) -> BusAddr {
        self.start
    }

    /// Bytes, a multiple of the IO page.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl fmt::Display for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} bytes at {}", self.size, self.start)
    }
}

/// Hands out bus addresses of one window. Control path only: it allocates.
#[derive(Debug)]
pub struct IovaAllocator {
    page_shift: u32,
    /// Free ranges by start; never empty, never touching each other.
    free: BTreeMap<u64, u64>,
    /// Ranges given out, by start.
    used: BTreeMap<u64, u64>,
    /// Where the next search starts.
    next: u64,
}

impl IovaAllocator {
    /// For the window of `size` bytes at `start`. The first page of the bus and
    /// [`HOLE`] are left out: a device that forgot its address sends to 0.
    pub fn new(start: BusAddr, size: u64, page_shift: u32) -> Result<Self, IovaError> {
        if !(12..=30).contains(&page_shift) {
            return Err(IovaError::PageShift(page_shift));
        }
        let fault = IovaError::Range { start, size };
        let page = 1u64 << page_shift;
        let end = start.checked_add(size).ok_or(fault)?.get();
        if !start.is_aligned(page_shift) || !size.is_multiple_of(page) {
            return Err(fault);
        }
        let first = start.get().max(page);
        let mut free = BTreeMap::new();
        for (from, to) in [(first, end.min(HOLE.start)), (first.max(HOLE.end), end)] {
            if from < to {
                free.insert(from, to - from);
            }
        }
        if free.is_empty() {
            return Err(fault);
        }
        Ok(Self {
            page_shift,
            free,
            used: BTreeMap::new(),
            next: 0,
        })
    }

    /// Bytes of an IO page.
    pub fn page_size(&self) -> u64 {
        1 << self.page_shift
    }

    /// Bytes that are free, in however many pieces.
    pub fn free_bytes(&self) -> u64 {
        self.free.values().sum()
    }

    /// `pages` consecutive pages, aligned to `align` bytes.
    pub fn allocate(&mut self, pages: u64, align: u64) -> Result<Iova, IovaError> {
        if pages == 0 {
            return Err(IovaError::Empty);
        }
        if !align.is_power_of_two() || align < self.page_size() {
            return Err(IovaError::Alignment(align));
        }
        let exhausted = IovaError::Exhausted { pages };
        let size = pages.checked_mul(self.page_size()).ok_or(exhausted)?;
        let (range, start) = self.find(size, align).ok_or(exhausted)?;
        let length = self.free.remove(&range).ok_or(exhausted)?;
        if start > range {
            self.free.insert(range, start - range);
        }
        let (end, range_end) = (start + size, range + length);
        if end < range_end {
            self.free.insert(end, range_end - end);
        }
        self.used.insert(start, size);
        self.next = end;
        Ok(Iova {
            start: BusAddr::new(start),
            size,
        })
    }

    /// Gives a range back. Only after its pages were unmapped and the kill is
    /// complete. A range of another allocator comes back in the error.
    pub fn release(&mut self, iova: Iova) -> Result<(), (IovaError, Iova)> {
        let (start, size) = (iova.start.get(), iova.size);
        if self.used.get(&start) != Some(&size) {
            return Err((
                IovaError::NotAllocated {
                    start: iova.start,
                    size,
                },
                iova,
            ));
        }
        self.used.remove(&start);
        let (mut from, mut to) = (start, start + size);
        if let Some((before, length)) = self.free.range(..start).next_back().map(|(a, b)| (*a, *b))
            && before + length == start
        {
            from = before;
        }
        if let Some(length) = self.free.remove(&to) {
            to += length;
        }
        self.free.insert(from, to - from);
        Ok(())
    }

    /// The free range, and the start in it, from where the last one ended on,
    /// then from the bottom.
    fn find(&self, size: u64, align: u64) -> Option<(u64, u64)> {
        let fit = |(range, length): (&u64, &u64), from: u64| {
            let start = from.max(*range).checked_next_multiple_of(align)?;
            let fits = start.checked_add(size)? <= range + length;
            fits.then_some((*range, start))
        };
        // The range that `next` lies in may have begun before it.
        let here = self.free.range(..self.next).next_back();
        here.into_iter()
            .chain(self.free.range(self.next..))
            .find_map(|entry| fit(entry, self.next))
            .or_else(|| self.free.iter().find_map(|entry| fit(entry, 0)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn no_piece_without_bytes_is_kept() {
        let mut buses = IovaAllocator::new(BusAddr::new(0x10000), 0x4000, 12).unwrap();
        let mut taken = Vec::new();
        for pages in [1, 2, 1] {
            taken.push(buses.allocate(pages, 1 << 12).unwrap());
            assert!(buses.free.values().all(|&bytes| bytes != 0));
        }
        assert!(buses.free.is_empty());
        for iova in taken {
            buses.release(iova).unwrap();
            assert!(buses.free.values().all(|&bytes| bytes != 0));
        }
        assert_eq!(buses.free.len(), 1);
    }
}
