//! A thread's ring: its last operations, and what all of them cost.

use super::costs::{BUCKETS, Costs, KINDS, bucket};
use super::entry::{self, Entry, MAGIC, Verdict, WORDS};

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
    /// By kind, then by bucket.
    counts: [AtomicU64; KINDS * BUCKETS],
    failed: [AtomicU64; KINDS],
}

impl<const N: usize> Ring<N> {
    const IS_A_POWER: () = assert!(N.is_power_of_two());

    /// An empty ring.
    #[allow(clippy::new_without_default)]
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            magic: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            written: AtomicU64::new(0),
            start: AtomicU64::new(0),
            hertz: AtomicU64::new(0),
            slots: [const { Slot([const { AtomicU64::new(0) }; WORDS]) }; N],
            counts: [const { AtomicU64::new(0) }; KINDS * BUCKETS],
            failed: [const { AtomicU64::new(0) }; KINDS],
        }
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
            counts: core::array::from_fn(|_| words()),
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

    /// Notes an operation, given by its [`Entry::who`] and the fields of its
    /// [`Entry`]. By the ring's own thread only, interrupts masked. All eight
    /// arguments go in registers: this is part of each operation's cost.
    #[inline(never)]
    #[allow(clippy::too_many_arguments, reason = "in registers, not in memory")]
    pub fn note_parts(
        &self,
        who: u64,
        liobn: u32,
        bus: u64,
        pages: u64,
        target: u64,
        ticks: u64,
        end: u64,
    ) {
        self.note_here(who, liobn, bus, pages, target, ticks, end);
    }

    /// [`Ring::note_parts`], for those few callers that are worth a copy of it.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "in registers, not in memory")]
    pub fn note_here(
        &self,
        who: u64,
        liobn: u32,
        bus: u64,
        pages: u64,
        target: u64,
        ticks: u64,
        end: u64,
    ) {
        let () = Self::IS_A_POWER;
        let number = self.written.load(Ordering::Relaxed);
        self.written
            .store(number.wrapping_add(1), Ordering::Relaxed);
        if let Some(Slot([w0, w1, w2, w3, w4, w5, w6])) = self.slots.get(number as usize & (N - 1))
        {
            let [e0, e1, e2, e3, e4, e5, e6] =
                entry::words(who, liobn, bus, pages, target, ticks, end, lap::<N>(number));
            w0.store(e0, Ordering::Relaxed);
            w1.store(e1, Ordering::Relaxed);
            w2.store(e2, Ordering::Relaxed);
            w3.store(e3, Ordering::Relaxed);
            w4.store(e4, Ordering::Relaxed);
            w5.store(e5, Ordering::Relaxed);
            w6.store(e6, Ordering::Relaxed);
        }
        let kind = (who >> 28) as usize % KINDS;
        if let Some(count) = self.counts.get(kind * BUCKETS + bucket(ticks) % BUCKETS) {
            more(count);
        }
        if who >> 24 & 15 != Verdict::Done as u64 {
            self.note_failure(kind);
        }
    }

    /// Notes an operation. By the ring's own thread only, interrupts masked.
    pub fn note(&self, entry: &Entry) {
        let who = Entry::who(entry.kind, entry.verdict, entry.owner);
        let Entry {
            liobn,
            bus,
            pages,
            target,
            ticks,
            end,
            ..
        } = *entry;
        self.note_parts(who, liobn, bus, pages, target, ticks, end);
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
        let sums = costs.counts.iter_mut().flatten();
        for (sum, count) in sums.zip(&self.counts) {
            *sum = sum.saturating_add(load(count));
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
