//! The sources that are in use: found by number in a few steps, by any thread,
//! without a lock and without memory being allocated.
//!
//! An open-addressed table of fixed size. A slot's key is published after its
//! contents; a freed slot stays in the chains that lead past it.

use super::esb::Esb;
use super::source::{Registration, Source};
use super::storm::Watch;
use alloc::boxed::Box;
use bitflags::bitflags;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use spin::{Mutex, RwLock};

/// Most sources at a time.
pub const MAX_SOURCES: usize = 384;

/// Slots: a power of two, so that at most three quarters are used.
const SLOTS: usize = 512;

const EMPTY: u32 = 0;
const FREED: u32 = u32::MAX;

bitflags! {
    /// What is with a source.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SlotState: u32 {
        /// Its driver does not want it now, or never wanted it yet.
        const MASKED = 1;
        /// It was taken, and its end is owed: it is silent.
        const HELD = 2;
        /// It fired while it was masked: the handler runs when it is unmasked.
        const MISSED = 4;
        /// It was unmasked at least once.
        const STARTED = 8;
        /// It was silenced for storming.
        const STORM = 16;
        /// It waits to be served outside of the handler.
        const WAITING = 32;
        /// That it was silenced has not been said yet.
        const UNTOLD = 64;
    }
}

/// What belongs to a source in use.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// What its driver said.
    pub registration: Registration,
    /// Interrupt server number (PIR) of the thread it is routed to.
    pub server: u32,
    /// XIVE: its pages.
    pub esb: Option<Esb>,
}

/// A source in use.
#[derive(Default)]
pub struct Slot {
    key: AtomicU32,
    state: AtomicU32,
    count: AtomicU64,
    contents: RwLock<Option<Use>>,
    /// For storms.
    pub watch: Watch,
}

impl Slot {
    /// The source, if the slot has one.
    pub fn source(&self) -> Option<Source> {
        match self.key.load(Ordering::Acquire) {
            EMPTY | FREED => None,
            key => Source::new(key - 1),
        }
    }

    /// What belongs to the source.
    pub fn contents(&self) -> Option<Use> {
        *self.contents.read()
    }

    /// Its state.
    pub fn state(&self) -> SlotState {
        SlotState::from_bits_retain(self.state.load(Ordering::Acquire))
    }

    /// Sets bits; returns the state before.
    pub fn set(&self, bits: SlotState) -> SlotState {
        SlotState::from_bits_retain(self.state.fetch_or(bits.bits(), Ordering::AcqRel))
    }

    /// Clears bits; returns the state before.
    pub fn clear(&self, bits: SlotState) -> SlotState {
        SlotState::from_bits_retain(self.state.fetch_and(!bits.bits(), Ordering::AcqRel))
    }

    /// Counts an interrupt that the handler was called for.
    pub fn count_one(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Interrupts so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Why a source cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is in use.
    Taken,
    /// [`MAX_SOURCES`] are in use.
    Full,
}

/// All sources in use.
pub struct Table {
    slots: Box<[Slot]>,
    /// Held by whoever adds or removes: how many are in use.
    used: Mutex<usize>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            used: Mutex::new(0),
        }
    }
}

/// Where a source's chain begins: the upper bits of a product with 2^32 divided
/// by the golden ratio, which spreads the runs of numbers that chips have.
fn home(source: Source) -> usize {
    (source.get().wrapping_mul(0x9e37_79b9) >> (32 - SLOTS.trailing_zeros())) as usize
}

impl Table {
    /// The slots of a source's chain, in order.
    fn chain(&self, source: Source) -> impl Iterator<Item = &Slot> {
        let (before, from) = self.slots.split_at(home(source) % SLOTS);
        from.iter().chain(before)
    }

    /// The slot of a source in use.
    pub fn find(&self, source: Source) -> Option<&Slot> {
        self.chain(source)
            .map(|slot| (slot, slot.key.load(Ordering::Acquire)))
            .take_while(|&(_, key)| key != EMPTY)
            .find(|&(_, key)| key == source.get() + 1)
            .map(|(slot, _)| slot)
    }

    /// Adds a source, masked.
    ///
    /// # Errors
    /// It is there already, or there are too many.
    pub fn add(&self, source: Source, contents: Use) -> Result<&Slot, Refused> {
        let mut used = self.used.lock();
        if self.find(source).is_some() {
            return Err(Refused::Taken);
        }
        let is_free = |slot: &&Slot| matches!(slot.key.load(Ordering::Relaxed), EMPTY | FREED);
        let slot = self.chain(source).find(is_free).ok_or(Refused::Full)?;
        if *used >= MAX_SOURCES {
            return Err(Refused::Full);
        }
        *used += 1;
        slot.watch.reset();
        slot.count.store(0, Ordering::Relaxed);
        slot.state
            .store(SlotState::MASKED.bits(), Ordering::Relaxed);
        *slot.contents.write() = Some(contents);
        slot.key.store(source.get() + 1, Ordering::Release);
        Ok(slot)
    }

    /// Removes a source; `false` if it was not there.
    pub fn remove(&self, source: Source) -> bool {
        let mut used = self.used.lock();
        let Some(slot) = self.find(source) else {
            return false;
        };
        slot.key.store(FREED, Ordering::Release);
        *slot.contents.write() = None;
        *used -= 1;
        true
    }

    /// All sources in use, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Source, &Slot)> {
        self.slots
            .iter()
            .filter_map(|slot| Some((slot.source()?, slot)))
    }
}
