//! A pin count with a closing gate, in one word.

use crate::seam::sync::{AtomicU64, Ordering};

const CLOSED: u64 = 1 << 63;
const BROKEN: u64 = 1 << 62;
/// Something was pinned since the gate was last quiet.
const USED: u64 = 1 << 61;
/// A thread waits for posted writes.
const QUIETING: u64 = 1 << 60;
const COUNT: u64 = QUIETING - 1;

/// How many mappings hold a region, and whether it admits more.
///
/// Both are in one word: there is no moment between the look at the count and
/// the closing. Pins go up by compare-and-swap, which refuses when the gate is
/// closed; an owner change needs "closed, zero and quiet" in one load. It is quiet
/// if nothing was pinned since it was open, or a thread has made sure, between
/// the last unpin and now, that posted writes have landed.
#[derive(Debug)]
pub struct Gate(AtomicU64);

/// Why a gate admitted no pins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GateError {
    /// It is closed.
    Closed,
    /// 2^60 pins do not fit.
    Overflow(u64),
}

/// Why a gate cannot be made quiet, or not be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GateState {
    /// It admits pins.
    Open,
    /// So many pins hold it.
    Pinned(u64),
    /// A thread is making it quiet.
    Quieting,
    /// Nothing holds it, but writes may be on their way.
    NotQuiet,
    /// Closed, unpinned and quiet.
    Quiet,
    /// The pins did not add up once.
    Broken,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// An open gate without pins.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `pins`, if the gate is open.
    #[inline]
    pub fn pin(&self, pins: u64) -> Result<(), GateError> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & (CLOSED | BROKEN) != 0 {
                return Err(GateError::Closed);
            }
            // No overflow: the count is below 2^60.
            if pins > COUNT.wrapping_sub(word & COUNT) {
                return Err(GateError::Overflow(pins));
            }
            let next = word.wrapping_add(pins) | USED;
            // Acquire: what follows sees all that the last owner's release did.
            match self
                .0
                .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    /// Adds one pin, if nothing is unusual. `false` says nothing about why not:
    /// [`Gate::pin`] does.
    #[inline]
    pub fn pin_one(&self) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        // Open and used before, and the sum still fits.
        let next = word.wrapping_add(1);
        next & !COUNT == USED
            && self
                .0
                .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    /// Removes `pins`. More than there are is a bug of the caller: the gate is
    /// broken then, and never passable again.
    #[inline]
    pub fn unpin(&self, pins: u64) {
        // Release: all accesses under the pins come before the owner change.
        let before = self.0.fetch_sub(pins, Ordering::Release);
        if before & COUNT < pins {
            self.break_for(before & COUNT, pins);
        }
    }

    #[cold]
    fn break_for(&self, before: u64, pins: u64) {
        self.0.store(CLOSED | BROKEN, Ordering::Release);
        debug_assert!(false, "{pins} pins removed of {before}");
    }

    /// Admits no more pins; returns how many there are.
    pub fn close(&self) -> u64 {
        self.0.fetch_or(CLOSED, Ordering::AcqRel) & COUNT
    }

    /// Admits pins again; false while a thread makes it quiet.
    pub fn reopen(&self) -> bool {
        let mut word = self.0.load(Ordering::Acquire);
        while word & QUIETING == 0 {
            match self
                .0
                .compare_exchange(word, word & !CLOSED, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Starts to make it quiet, if it is closed, unpinned and not quiet: until
    /// [`Gate::end_quieting`] it stays closed, and no other thread can start.
    pub fn begin_quieting(&self) -> Result<(), GateState> {
        // Acquire: what follows comes after the last unpin.
        match self.0.compare_exchange(
            CLOSED | USED,
            CLOSED | USED | QUIETING,
            Ordering::Acquire,
            Ordering::Acquire,
        ) {
            Ok(_) => Ok(()),
            Err(word) => Err(Self::state_of(word)),
        }
    }

    /// Ends [`Gate::begin_quieting`]; `quiet` says whether posted writes have
    /// landed.
    pub fn end_quieting(&self, quiet: bool) {
        let done = if quiet { USED | QUIETING } else { QUIETING };
        self.0.fetch_and(!done, Ordering::AcqRel);
    }

    /// What keeps its memory from changing the owner; [`GateState::Quiet`] if
    /// nothing does.
    pub fn state(&self) -> GateState {
        Self::state_of(self.0.load(Ordering::Acquire))
    }

    fn state_of(word: u64) -> GateState {
        if word & BROKEN != 0 {
            GateState::Broken
        } else if word & CLOSED == 0 {
            GateState::Open
        } else if word & COUNT != 0 {
            GateState::Pinned(word & COUNT)
        } else if word & QUIETING != 0 {
            GateState::Quieting
        } else if word & USED != 0 {
            GateState::NotQuiet
        } else {
            GateState::Quiet
        }
    }

    /// How many pins there are.
    pub fn pins(&self) -> u64 {
        self.0.load(Ordering::Acquire) & COUNT
    }

    /// Whether there are pins. For whoever has one, or knows that none can come.
    #[inline]
    pub fn is_pinned(&self) -> bool {
        self.0.load(Ordering::Relaxed) & COUNT != 0
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether it is closed and nothing holds it: it stays so until it is
    /// opened.
    pub fn is_released(&self) -> bool {
        matches!(
            self.state(),
            GateState::Quieting | GateState::NotQuiet | GateState::Quiet
        )
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_admits_nothing_and_opens_again() {
        let gate = Gate::new();
        gate.pin(3).unwrap();
        assert!(!gate.is_released());
        assert_eq!(gate.close(), 3);
        assert_eq!(gate.pin(1), Err(GateError::Closed));
        gate.unpin(2);
        assert!(!gate.is_released() && gate.pins() == 1);
        gate.unpin(1);
        assert!(gate.is_released() && gate.is_closed());
        assert!(gate.reopen());
        assert!(!gate.is_released());
        assert_eq!(gate.pin(1), Ok(()));
    }

    #[test]
    fn a_gate_that_was_used_is_quiet_only_when_somebody_saw_to_it() {
        let gate = Gate::new();
        assert_eq!(gate.state(), GateState::Open);
        gate.close();
        // Never pinned: nothing can be on its way.
        assert_eq!(gate.state(), GateState::Quiet);
        assert_eq!(gate.begin_quieting(), Err(GateState::Quiet));
        assert!(gate.reopen());
        assert_eq!(gate.begin_quieting(), Err(GateState::Open));
        gate.pin(2).unwrap();
        gate.close();
        gate.unpin(1);
        assert_eq!(gate.begin_quieting(), Err(GateState::Pinned(1)));
        gate.unpin(1);
        assert_eq!(gate.state(), GateState::NotQuiet);
        gate.begin_quieting().unwrap();
        // One at a time, and nobody opens it meanwhile.
        assert_eq!(gate.begin_quieting(), Err(GateState::Quieting));
        assert!(!gate.reopen() && gate.is_closed() && gate.is_released());
        gate.end_quieting(false);
        assert_eq!(gate.state(), GateState::NotQuiet);
        gate.begin_quieting().unwrap();
        gate.end_quieting(true);
        assert_eq!(gate.state(), GateState::Quiet);
        // Opened and closed without a pin in between: still quiet.
        assert!(gate.reopen());
        gate.close();
        assert_eq!(gate.state(), GateState::Quiet);
        assert!(gate.reopen());
        gate.pin(1).unwrap();
        gate.unpin(1);
        gate.close();
        assert_eq!(gate.state(), GateState::NotQuiet);
        // However often it was pinned.
        for pinned in 1..5 {
            let gate = Gate::new();
            (0..pinned).for_each(|_| gate.pin(1).unwrap());
            gate.close();
            gate.unpin(pinned);
            assert_eq!(gate.state(), GateState::NotQuiet, "{pinned}");
        }
    }

    #[test]
    fn counts_do_not_overflow_into_the_flags() {
        let gate = Gate::new();
        gate.pin(COUNT).unwrap();
        assert_eq!(gate.pin(1), Err(GateError::Overflow(1)));
        assert_eq!(gate.pin(u64::MAX), Err(GateError::Overflow(u64::MAX)));
        assert_eq!((gate.pins(), gate.state()), (COUNT, GateState::Open));
    }

    #[test]
    fn one_pin_goes_in_where_nothing_is_unusual() {
        // A weak exchange may fail now and then: not a thousand times.
        let pin_one = |gate: &Gate| (0..1000).any(|_| gate.pin_one());
        let gate = Gate::new();
        assert!(!pin_one(&gate), "what it never had, it is to note");
        gate.pin(1).unwrap();
        assert!(pin_one(&gate) && gate.pins() == 2);
        gate.close();
        assert!(!pin_one(&gate));
        gate.unpin(2);
        assert!(!pin_one(&gate));
        gate.begin_quieting().unwrap();
        assert!(!pin_one(&gate));
        gate.end_quieting(true);
        gate.reopen();
        gate.pin(COUNT).unwrap();
        assert!(!pin_one(&gate) && gate.pins() == COUNT);
    }

    #[test]
    fn one_pin_too_few_breaks_the_gate_for_good() {
        let gate = Gate::new();
        gate.pin(1).unwrap();
        // A bug of the caller: reported where assertions are on.
        let told = std::panic::catch_unwind(|| gate.unpin(2)).is_err();
        assert_eq!(told, cfg!(debug_assertions));
        assert!(gate.is_closed());
        gate.reopen();
        assert!(gate.state() == GateState::Broken && !gate.is_released());
        assert_eq!(gate.pin(1), Err(GateError::Closed));
    }
}
