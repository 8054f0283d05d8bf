//! Pages that a device may have written: one byte each, stored plainly.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::LedgerError;
use crate::seam::sync::{AtomicU8, AtomicU64, Ordering};

/// Granules that are looked at in one go, with the regions' lock held.
pub(super) const TAKEN: usize = 512;

/// A bit for each of them.
pub(super) type Taken = [u64; TAKEN / 64];

/// A byte per granule of a region. Marking is one store, no read-modify-write:
/// two threads that mark neighbours do not disturb each other.
#[derive(Debug)]
pub(super) struct DirtyMap {
    granule: u32,
    marks: Box<[AtomicU8]>,
}

/// Marks one granule.
#[inline]
fn set(mark: &AtomicU8) {
    #[cfg(not(loom))]
    mark.store(1, Ordering::Relaxed);
    // Loom lets a plain store that comes after another thread's swap be the older
    // of the two, though the swap has not read it: the mark would be lost in an
    // order that no machine has. Two swaps have one order.
    #[cfg(loom)]
    mark.swap(1, Ordering::Relaxed);
}

/// The marks of some pages, one of them for `1 << shift` pages side by side.
#[derive(Clone, Copy)]
pub(super) struct Marks<'m> {
    marks: &'m [AtomicU8],
    shift: u32,
}

impl Marks<'_> {
    /// Marks page `number`, if there is one.
    #[inline]
    pub(super) fn mark(&self, number: u64) -> bool {
        let index = number.wrapping_shr(self.shift) as usize;
        self.marks.get(index).map(set).is_some()
    }
}

impl DirtyMap {
    /// A clean map for `bytes` bytes.
    pub(super) fn new(bytes: u64, granule: u32) -> Result<Self, LedgerError> {
        let count = bytes.div_ceil(1 << granule);
        let mut marks = Vec::new();
        let length = usize::try_from(count).map_err(|_| LedgerError::NoMemory(count))?;
        marks
            .try_reserve_exact(length)
            .map_err(|_| LedgerError::NoMemory(count))?;
        marks.resize_with(length, || AtomicU8::new(0));
        Ok(Self {
            granule,
            marks: marks.into_boxed_slice(),
        })
    }

    /// Marks the `bytes` bytes at `offset`, at least 1, all inside.
    #[inline]
    pub(super) fn mark(&self, offset: u64, bytes: u64) {
        let granule = |offset: u64| offset.wrapping_shr(self.granule) as usize;
        let first = granule(offset);
        let last = granule(offset.wrapping_add(bytes).wrapping_sub(1));
        if first == last {
            if let Some(mark) = self.marks.get(first) {
                set(mark);
            }
        } else if let Some(marks) = self.marks.get(first..=last) {
            for mark in marks {
                set(mark);
            }
        }
    }

    /// The marks of the `pages` pages of `1 << page_shift` bytes from the start, if
    /// they are of these pages only, and no page has several.
    #[inline]
    pub(super) fn of_pages(&self, pages: u64, page_shift: u32) -> Option<Marks<'_>> {
        let shift = self.granule.checked_sub(page_shift)?;
        let marked = (self.marks.len() as u64).wrapping_shl(shift);
        (marked == pages).then_some(Marks {
            marks: &self.marks,
            shift,
        })
    }

    /// Whether the byte at `offset` may have been written.
    pub(super) fn is_marked(&self, offset: u64) -> bool {
        self.marks
            .get((offset >> self.granule) as usize)
            .is_some_and(|mark| mark.load(Ordering::Relaxed) != 0)
    }

    /// Sets in `found` the bits of those marked granules that are among the
    /// [`TAKEN`] from `first`; they are clean then, unless `replacing` is not 0.
    /// False if none is left from `first`.
    pub(super) fn take(&self, replacing: &AtomicU64, first: usize, found: &mut Taken) -> bool {
        let end = self.marks.len().min(first.saturating_add(TAKEN));
        let Some(marks) = self.marks.get(first..end).filter(|marks| !marks.is_empty()) else {
            return false;
        };
        for (index, mark) in marks.iter().enumerate() {
            if mark.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // A swap: a mark that comes in between is of a write that the
            // caller will see. Acquire: `replacing` is not older than the mark.
            if replacing.load(Ordering::Acquire) != 0
                || mark.swap(0, Ordering::Acquire) != 0 && replacing.load(Ordering::Acquire) != 0
            {
                mark.store(1, Ordering::Relaxed);
            }
            if let Some(word) = found.get_mut(index / 64) {
                *word |= 1 << (index % 64);
            }
        }
        true
    }

    /// Makes all of it clean: nothing holds the region.
    pub(super) fn wipe(&self) {
        for mark in &self.marks {
            mark.store(0, Ordering::Relaxed);
        }
    }

    /// Log2 of the bytes of a granule.
    pub(super) fn granule(&self) -> u32 {
        self.granule
    }
}
