//! A pin count with a closing gate, in one word.

use crate::seam::sync::{AtomicU64, Ordering};

const CLOSED: u64 = 1 << 63;
const BROKEN: u64 = 1 << 62;
const COUNT: u64 = BROKEN - 1;

/// How many mappings hold a region, and whether it admits more.
///
/// Both are in one word: there is no moment between the look at the count and
/// the closing. Pins go up by compare-and-swap, which refuses when the gate is
/// closed; an owner change needs "closed and zero" in one load.
#[derive(Debug)]
pub struct Gate(AtomicU64);

/// Why a gate admitted no pins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GateError {
    /// It is closed.
    Closed,
    /// 2^62 pins do not fit.
    Overflow(u64),
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
            let next = word.checked_add(pins).filter(|&next| next <= COUNT);
            let next = next.ok_or(GateError::Overflow(pins))?;
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

    /// Removes `pins`. More than there are is a bug of the caller: the gate is
    /// broken then, and never passable again.
    #[inline]
    pub fn unpin(&self, pins: u64) {
        // Release: all accesses under the pins come before the owner change.
        let before = self.0.fetch_sub(pins, Ordering::Release);
        if before & COUNT < pins {
            self.0.store(CLOSED | BROKEN, Ordering::Release);
            debug_assert!(false, "{pins} pins removed of {}", before & COUNT);
        }
    }

    /// Admits no more pins; returns how many there are.
    pub fn close(&self) -> u64 {
        self.0.fetch_or(CLOSED, Ordering::AcqRel) & COUNT
    }

    /// Admits pins again.
    pub fn reopen(&self) {
        self.0.fetch_and(!CLOSED, Ordering::AcqRel);
    }

    /// How many pins there are.
    pub fn pins(&self) -> u64 {
        self.0.load(Ordering::Acquire) & COUNT
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether the pins did not add up once.
    pub fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire) & BROKEN != 0
    }

    /// Whether it is closed and nothing holds it: it stays so.
    pub fn is_released(&self) -> bool {
        self.0.load(Ordering::Acquire) == CLOSED
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
        gate.reopen();
        assert!(!gate.is_released());
        assert_eq!(gate.pin(1), Ok(()));
    }

    #[test]
    fn counts_do_not_overflow_into_the_flags() {
        let gate = Gate::new();
        gate.pin(COUNT).unwrap();
        assert_eq!(gate.pin(1), Err(GateError::Overflow(1)));
        assert_eq!(gate.pin(u64::MAX), Err(GateError::Overflow(u64::MAX)));
        assert_eq!(
            (gate.pins(), gate.is_closed(), gate.is_broken()),
            (COUNT, false, false)
        );
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "2 pins removed of 1"))]
    fn one_pin_too_few_breaks_the_gate_for_good() {
        let gate = Gate::new();
        gate.pin(1).unwrap();
        gate.unpin(2);
        gate.reopen();
        assert!(gate.is_broken() && !gate.is_released());
        assert_eq!(gate.pin(1), Err(GateError::Closed));
    }
}
