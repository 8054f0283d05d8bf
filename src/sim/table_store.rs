//! Table memory with a store buffer of each CPU between them and the PHBs.

use std::vec;
use std::vec::Vec;

use super::rng::Rng;
use super::thread::{self, Section};
use crate::addr::HostAddr;

/// A store that a PHB may not see yet.
struct Pending {
    word: usize,
    value: [u8; 8],
    // The order of stores, as all CPUs agree on it.
    order: u64,
    thread: u64,
    section: Section,
}

/// Memory for tables. CPUs see each other's stores at once; a PHB sees one for
/// certain only once a barrier has drained it, of the thread that made it or of
/// one that has observed it. Before that, any store may drain, in any order.
pub(super) struct TableStore {
    base: u64,
    // As the CPUs see it, in the byte order of memory.
    stored: Vec<[u8; 8]>,
    // As the PHBs see it.
    drained: Vec<[u8; 8]>,
    // The order of the store that a PHB sees.
    drained_order: Vec<u64>,
    order: u64,
    buffer: Vec<Pending>,
    // After how many stores of 0 to entries in use one is lost.
    lost: Option<u64>,
}

impl TableStore {
    pub(super) fn new(base: HostAddr, bytes: u64) -> Self {
        let words = (bytes / 8) as usize;
        Self {
            base: base.get(),
            stored: vec![[0; 8]; words],
            drained: vec![[0; 8]; words],
            drained_order: vec![0; words],
            order: 0,
            buffer: Vec::new(),
            lost: None,
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

    /// Of the stores of 0 to entries in use, loses the one after `after` more.
    pub(super) fn lose(&mut self, after: u64) {
        self.lost = Some(after);
    }

    pub(super) fn load(&self, table: HostAddr, index: usize) -> u64 {
        thread::touch();
        u64::from_be_bytes(self.stored[self.word(table.get() + index as u64 * 8)])
    }

    pub(super) fn store(&mut self, table: HostAddr, index: usize, value: u64) {
        let word = self.word(table.get() + index as u64 * 8);
        let value = value.to_be_bytes();
        thread::touch();
        if value == [0; 8]
            && self.stored[word] != value
            && let Some(after) = self.lost
        {
            self.lost = after.checked_sub(1);
            if after == 0 {
                return;
            }
        }
        let (thread, section) = thread::storing();
        self.stored[word] = value;
        self.order += 1;
        self.buffer.push(Pending {
            word,
            value,
            order: self.order,
            thread,
            section,
        });
    }

    /// What a barrier of this thread drains.
    pub(super) fn drain(&mut self) {
        let drains = thread::barrier();
        let mut buffer = core::mem::take(&mut self.buffer);
        buffer.retain(|pending| {
            let drained = drains(pending.thread, &pending.section);
            if drained {
                self.arrive(pending);
            }
            !drained
        });
        self.buffer = buffer;
    }

    fn arrive(&mut self, pending: &Pending) {
        // A store never hides a later one.
        if self.drained_order[pending.word] < pending.order {
            self.drained_order[pending.word] = pending.order;
            self.drained[pending.word] = pending.value;
        }
    }

    /// Drains some stores, in an order that nobody asked for.
    pub(super) fn drain_some(&mut self, rng: &mut Rng) {
        let count = rng.below(4).min(self.buffer.len() as u64);
        for _ in 0..count {
            let index = rng.below(self.buffer.len() as u64) as usize;
            let pending = self.buffer.swap_remove(index);
            self.arrive(&pending);
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
            .retain(|pending| pending.word < word || pending.word >= end);
        self.stored[word..end].fill(value.to_be_bytes());
        self.drained[word..end].fill(value.to_be_bytes());
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        address >= self.base && (address - self.base) / 8 < self.stored.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::thread::{mask, play_thread, restore};

    const TABLE: HostAddr = HostAddr::new(0x1000);

    #[test]
    fn a_barrier_drains_what_its_thread_stored_or_observed() {
        let mut store = TableStore::new(TABLE, 64);
        play_thread(1);
        store.store(TABLE, 0, 10);
        // Thread 2 has not seen it.
        play_thread(2);
        restore(mask());
        store.store(TABLE, 1, 20);
        store.drain();
        assert_eq!((store.read(0x1000), store.read(0x1008)), (0, 20));
        // Thread 1 lets go of a lock, thread 2 has had one since, or not.
        play_thread(1);
        restore(mask());
        play_thread(2);
        store.drain();
        assert_eq!(store.read(0x1000), 0);
        restore(mask());
        store.drain();
        assert_eq!(store.read(0x1000), 10);
    }

    #[test]
    fn a_late_store_does_not_hide_a_later_one() {
        let mut store = TableStore::new(TABLE, 64);
        play_thread(1);
        store.store(TABLE, 0, 10);
        play_thread(2);
        store.store(TABLE, 0, 20);
        store.drain();
        assert_eq!((store.load(TABLE, 0), store.read(0x1000)), (20, 20));
        play_thread(1);
        store.drain();
        assert_eq!(store.read(0x1000), 20);
    }
}
