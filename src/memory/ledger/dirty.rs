//! Pages that a device may have written: one byte each, stored plainly.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::LedgerError;
use crate::seam::sync::{AtomicU8, AtomicU64, Ordering};

/// A byte per granule of a region. Marking is one store, no read-modify-write:
/// two threads that mark neighbours do not disturb each other.
#[derive(Debug)]
pub(super) struct DirtyMap {
    granule: u32,
    marks: Box<[AtomicU8]>,
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
        let first = (offset >> self.granule) as usize;
        let last = (offset.wrapping_add(bytes).wrapping_sub(1) >> self.granule) as usize;
        if first == last {
            if let Some(mark) = self.marks.get(first) {
                mark.store(1, Ordering::Relaxed);
            }
        } else if let Some(marks) = self.marks.get(first..=last) {
            for mark in marks {
                mark.store(1, Ordering::Relaxed);
            }
        }
    }

    /// Whether the byte at `offset` may have been written.
    pub(super) fn is_marked(&self, offset: u64) -> bool {
        self.marks
            .get((offset >> self.granule) as usize)
            .is_some_and(|mark| mark.load(Ordering::Relaxed) != 0)
    }

    /// Calls `dirty` with the offset of each marked granule, which is clean
    /// then, unless `replacing` is not 0.
    pub(super) fn take(&self, replacing: &AtomicU64, mut dirty: impl FnMut(u64)) {
        for (index, mark) in self.marks.iter().enumerate() {
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
            dirty((index as u64) << self.granule);
        }
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
