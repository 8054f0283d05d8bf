//! A thread's ring: its last operations, and what all of them cost.

use super::costs::{BUCKETS, Costs, KINDS, bucket};
use super::entry::{Entry, MAGIC, Verdict, WORDS};

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, Ordering};
#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};

/// Operations that a ring keeps.
const KEPT: usize = 128;

/// A thread's ring.
pub type Trace = Ring<KEPT>;

/// Words of an entry, on cache lines that it shares with one other at most.
#[repr(C, align(64))]
struct Slot([AtomicU64; WORDS]);

/// The ring. One thread notes, any may read. All zero is a valid, empty ring.
///
/// Offsets of all fields are part of the layout that memory dumps are read by.
#[repr(C, align(64))]
pub struct Ring<const N: usize> {
    /// [`MAGIC`], or 0 before [`Ring::begin`].
    magic: AtomicU64,
    /// `N`.
    kept: AtomicU64,
    /// PIR of the thread.
    thread: AtomicU64,
    /// Operations since the start; the next goes to this modulo `N`.
    written: AtomicU64,
    /// Timebase at the start, in ticks, and its hertz.
    start: AtomicU64,
    hertz: AtomicU64,
    slots: [Slot; N],
    counts: [[AtomicU64; BUCKETS]; KINDS],
    failed: [AtomicU64; KINDS],
}

macro_rules! empty {
    () => {
        Self {
            magic: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            written: AtomicU64::new(0),
            start: AtomicU64::new(0),
            hertz: AtomicU64::new(0),
            slots: [const { Slot([const { AtomicU64::new(0) }; WORDS]) }; N],
            counts: [const { [const { AtomicU64::new(0) }; BUCKETS] }; KINDS],
            failed: [const { AtomicU64::new(0) }; KINDS],
        }
    };
}

impl<const N: usize> Ring<N> {
    const IS_A_POWER: () = assert!(N.is_power_of_two());

    /// An empty ring.
    #[allow(clippy::new_without_default)]
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        empty!()
    }

    /// An empty ring.
    #[allow(clippy::new_without_default)]
    #[cfg(loom)]
    pub fn new() -> Self {
        let words = || AtomicU64::new(0);
        Self {
            magic: words(),
            kept: words(),
            thread: words(),
            written: words(),
            start: words(),
            hertz: words(),
            slots: core::array::from_fn(|_| Slot(core::array::from_fn(|_| words()))),
            counts: core::array::from_fn(|_| core::array::from_fn(|_| words())),
            failed: core::array::from_fn(|_| words()),
        }
    }

    /// Says whose it is: a thread's PIR, and what its stamps count from.
    pub fn begin(&self, thread: u64, start: u64, hertz: u64) {
        self.thread.store(thread, Ordering::Relaxed);
        self.start.store(start, Ordering::Relaxed);
        self.hertz.store(hertz, Ordering::Relaxed);
        self.kept.store(N as u64, Ordering::Relaxed);
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// Notes an operation. By the ring's own thread only, interrupts masked.
    #[inline]
    pub fn note(&self, entry: &Entry) {
        let () = Self::IS_A_POWER;
        let number = self.written.load(Ordering::Relaxed);
        self.written.store(number + 1, Ordering::Relaxed);
        if let Some(slot) = self.slots.get(number as usize & (N - 1)) {
            for (word, value) in slot.0.iter().zip(entry.encode(lap::<N>(number))) {
                word.store(value, Ordering::Relaxed);
            }
        }
        let kind = entry.kind as usize & (KINDS - 1);
        if let Some(count) = self
            .counts
            .get(kind)
            .and_then(|row| row.get(bucket(entry.ticks)))
        {
            more(count);
        }
        if entry.verdict != Verdict::Done {
            self.note_failure(kind);
        }
    }

    #[cold]
    fn note_failure(&self, kind: usize) {
        if let Some(count) = self.failed.get(kind) {
            more(count);
        }
    }

    /// PIR of its thread.
    pub fn thread(&self) -> u64 {
        self.thread.load(Ordering::Relaxed)
    }

    /// Operations since the start.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The entries that it keeps, oldest first, without those that are being
    /// written.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        let end = self.written();
        (end.saturating_sub(N as u64)..end).filter_map(|number| self.entry(number))
    }

    /// Operation `number` since the start, if it is kept and complete.
    fn entry(&self, number: u64) -> Option<Entry> {
        let slot = self.slots.get(number as usize & (N - 1))?;
        let mut words = [0; WORDS];
        for (to, from) in words.iter_mut().zip(&slot.0) {
            *to = from.load(Ordering::Relaxed);
        }
        Entry::decode(&words, lap::<N>(number))
    }

    /// Adds what its operations cost to `costs`.
    pub fn add_to(&self, costs: &mut Costs) {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        for (sums, row) in costs.counts.iter_mut().zip(&self.counts) {
            for (sum, count) in sums.iter_mut().zip(row) {
                *sum = sum.saturating_add(load(count));
            }
        }
        for (sum, count) in costs.failed.iter_mut().zip(&self.failed) {
            *sum = sum.saturating_add(load(count));
        }
    }
}

/// The lap around the ring, from 1: a slot of zeros belongs to none.
#[inline]
const fn lap<const N: usize>(number: u64) -> u64 {
    number / N as u64 + 1
}

/// One more, where no other thread writes.
#[inline]
fn more(count: &AtomicU64) {
    let old = count.load(Ordering::Relaxed);
    count.store(old.wrapping_add(1), Ordering::Relaxed);
}
