//! A spy behind the PHB seam: what happened to a TCE, its pins and the PHB's
//! registers, in the order of time.
//!
//! An emulator's trace shows registers only, and table stores are plain memory.
//! So the spy looks at the TCE and at the ledger at each barrier, kill and
//! completion, and [`order`] says whether clear, barrier, kill, completion and
//! release came in that order. Nothing is recorded, at the cost of one load and
//! one branch, unless it is armed.
#![forbid(unsafe_code)]

mod order;

use core::fmt;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::addr::HostAddr;
use crate::seam::sync::{AtomicU32, AtomicU64, Ordering};

pub use order::{Disorder, Operation, order};

/// Events that one recording holds.
pub const ROOM: usize = 256;

/// What the spy sees of the page that it watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sight {
    /// The TCE, as it lies in memory.
    pub tce: u64,
    /// Pins of the region, as the ledger counts them.
    pub pins: u64,
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Stores to memory were ordered before what follows (hwsync).
    Barrier(Sight),
    /// A store to a PHB's register.
    Write {
        /// Real address of the register.
        register: HostAddr,
        /// The value.
        value: u64,
        /// Set if this starts a TCE kill: what was to be seen before it.
        kill: Option<Sight>,
    },
    /// The PHB said that the kill is complete, reads that were under way included.
    Done(Sight),
}

/// A recording under way.
struct Recording {
    events: Vec<Event>,
    lost: u64,
    look: Box<dyn Fn() -> Sight + Send>,
}

/// The spy. Zero is a spy that sleeps.
pub struct Spy {
    armed: AtomicU32,
    // To registers, since it was armed last.
    accesses: AtomicU64,
    // Boxed, so that none is all zero.
    recording: spin::Mutex<Option<Box<Recording>>>,
}

impl Default for Spy {
    fn default() -> Self {
        Self::new()
    }
}

impl Spy {
    /// One that sleeps.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            armed: AtomicU32::new(0),
            accesses: AtomicU64::new(0),
            recording: spin::Mutex::new(None),
        }
    }

    /// One that sleeps.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            armed: AtomicU32::new(0),
            accesses: AtomicU64::new(0),
            recording: spin::Mutex::new(None),
        }
    }

    /// Records from here on, and looks by `look`, which is called under the
    /// PHB's lock. Whatever was recorded before is gone. Allocates; recording
    /// does not.
    pub fn arm(&self, look: impl Fn() -> Sight + Send + 'static) {
        let recording = Recording {
            events: Vec::with_capacity(ROOM),
            lost: 0,
            look: Box::new(look),
        };
        *self.recording.lock() = Some(Box::new(recording));
        self.accesses.store(0, Ordering::Relaxed);
        self.armed.store(1, Ordering::Release);
    }

    /// Ends the recording: its events, and how many there was no room for.
    pub fn disarm(&self) -> (Vec<Event>, u64) {
        self.armed.store(0, Ordering::Release);
        match self.recording.lock().take() {
            Some(recording) => (recording.events, recording.lost),
            None => (Vec::new(), 0),
        }
    }

    /// For the crash path: sleeps, whoever records.
    pub fn silence(&self) {
        self.armed.store(0, Ordering::Release);
    }

    /// Whether it records.
    #[inline]
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed) != 0
    }

    /// There was a load or a store of a register, while it recorded.
    pub fn access(&self) {
        self.accesses.fetch_add(1, Ordering::Relaxed);
    }

    /// Loads and stores of registers that it saw since it was armed last.
    pub fn accesses(&self) -> u64 {
        self.accesses.load(Ordering::Relaxed)
    }

    /// There was a barrier.
    #[inline]
    pub fn barrier(&self) {
        if self.is_armed() {
            self.record(Event::Barrier);
        }
    }

    /// `value` is about to be stored to the register at `register`; `kill` says
    /// that this starts a kill.
    #[inline]
    pub fn write(&self, register: HostAddr, value: u64, kill: bool) {
        if self.is_armed() {
            self.record(|sight| Event::Write {
                register,
                value,
                kill: kill.then_some(sight),
            });
        }
    }

    /// The kill is complete.
    #[inline]
    pub fn done(&self) {
        if self.is_armed() {
            self.record(Event::Done);
        }
    }

    #[cold]
    fn record(&self, event: impl FnOnce(Sight) -> Event) {
        let mut recording = self.recording.lock();
        let Some(recording) = recording.as_deref_mut() else {
            return;
        };
        if recording.events.len() == ROOM {
            recording.lost += 1;
            return;
        }
        let sight = (recording.look)();
        recording.events.push(event(sight));
    }
}

impl fmt::Display for Event {
    /// As `docs/testing.md` says: `spy:` for what an emulator's trace has too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sight = |sight: &Sight| (sight.tce, sight.pins);
        match self {
            Self::Barrier(at) => {
                let (tce, pins) = sight(at);
                write!(f, "flush: barrier, TCE {tce:#x}, pins {pins:#x}")
            }
            Self::Write {
                register,
                value,
                kill,
            } => {
                write!(f, "spy: {register:#x} = {value:#x}")?;
                match kill.as_ref().map(sight) {
                    Some((tce, pins)) => write!(f, " kill, TCE {tce:#x}, pins {pins:#x}"),
                    None => Ok(()),
                }
            }
            Self::Done(at) => {
                let (tce, pins) = sight(at);
                write!(f, "flush: done, TCE {tce:#x}, pins {pins:#x}")
            }
        }
    }
}
