//! Frames for tables: naturally aligned, each handed out once.

use std::collections::BTreeMap;
use std::vec::Vec;

use crate::addr::HostAddr;

/// A frame allocator that notices wrong frees.
pub(super) struct Frames {
    next: u64,
    end: u64,
    free: BTreeMap<u32, Vec<u64>>,
    live: BTreeMap<u64, u32>,
}

impl Frames {
    pub(super) fn new(base: HostAddr, bytes: u64) -> Self {
        Self {
            next: base.get(),
            end: base.get() + bytes,
            free: BTreeMap::new(),
            live: BTreeMap::new(),
        }
    }

    pub(super) fn allocate(&mut self, shift: u32) -> Option<HostAddr> {
        let frame = match self.free.get_mut(&shift).and_then(Vec::pop) {
            Some(frame) => frame,
            None => {
                let frame = self.next.next_multiple_of(1 << shift);
                let end = frame
                    .checked_add(1 << shift)
                    .filter(|&end| end <= self.end)?;
                self.next = end;
                frame
            }
        };
        self.live.insert(frame, shift);
        Some(HostAddr::new(frame))
    }

    /// Whether `frame` was allocated with `shift` and not freed since.
    pub(super) fn free(&mut self, frame: HostAddr, shift: u32) -> bool {
        let right = self.live.remove(&frame.get()) == Some(shift);
        self.free.entry(shift).or_default().push(frame.get());
        right
    }

    /// Whether word `index` of the table at `frame` is in that table, and it exists.
    pub(super) fn has(&self, frame: HostAddr, index: usize) -> bool {
        let shift = self.live.get(&frame.get());
        shift.is_some_and(|&shift| (index as u64) < 1 << (shift - 3))
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.live.values().map(|&shift| 1u64 << shift).sum()
    }
}
