//! Table memory with a store buffer between the CPUs and the PHBs.

use std::vec;
use std::vec::Vec;

use super::rng::Rng;
use crate::addr::HostAddr;

/// Memory for tables. A PHB sees a store for certain only once a barrier has
/// drained it; before that, any part of the buffer may drain, in any order.
pub(super) struct TableStore {
    base: u64,
    // As the CPUs see it, in the byte order of memory.
    stored: Vec<[u8; 8]>,
    // As the PHBs see it.
    drained: Vec<[u8; 8]>,
    buffer: Vec<usize>,
}

impl TableStore {
    pub(super) fn new(base: HostAddr, bytes: u64) -> Self {
        let words = (bytes / 8) as usize;
        Self {
            base: base.get(),
            stored: vec![[0; 8]; words],
            drained: vec![[0; 8]; words],
            buffer: Vec::new(),
        }
    }

    fn word(&self, at: u64) -> usize {
        assert!(
            at >= self.base && at.is_multiple_of(8),
            "table access at {at:#x}"
        );
        let word = ((at - self.base) / 8) as usize;
        assert!(word < self.stored.len(), "table access at {at:#x}");
        word
    }

    pub(super) fn load(&self, table: HostAddr, index: usize) -> u64 {
        u64::from_be_bytes(self.stored[self.word(table.get() + index as u64 * 8)])
    }

    pub(super) fn store(&mut self, table: HostAddr, index: usize, value: u64) {
        let word = self.word(table.get() + index as u64 * 8);
        self.stored[word] = value.to_be_bytes();
        self.buffer.push(word);
    }

    pub(super) fn drain(&mut self) {
        for word in self.buffer.drain(..) {
            self.drained[word] = self.stored[word];
        }
    }

    /// Drains some stores, in an order that nobody asked for.
    pub(super) fn drain_some(&mut self, rng: &mut Rng) {
        let count = rng.below(4).min(self.buffer.len() as u64);
        for _ in 0..count {
            let word = self
                .buffer
                .swap_remove(rng.below(self.buffer.len() as u64) as usize);
            // The newest value of this word: older ones in the buffer merge.
            self.drained[word] = self.stored[word];
        }
    }

    /// What a PHB reads at `address`.
    pub(super) fn read(&self, address: u64) -> u64 {
        u64::from_be_bytes(self.drained[self.word(address)])
    }

    /// Fills a table with `value`, for CPUs and PHBs at once.
    pub(super) fn poison(&mut self, table: HostAddr, bytes: u64, value: u64) {
        let word = self.word(table.get());
        let end = word + (bytes / 8) as usize;
        self.buffer
            .retain(|&pending| pending < word || pending >= end);
        self.stored[word..end].fill(value.to_be_bytes());
        self.drained[word..end].fill(value.to_be_bytes());
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        address >= self.base && (address - self.base) / 8 < self.stored.len() as u64
    }
}
