//! The gate in front of firmware: any number of threads call it, or one reads
//! a PHB's IODA tables.
//!
//! The tables are reached through an address and a data register. Firmware
//! moves the first and then uses the second; whoever moves it in between makes
//! firmware write the wrong entry (skiboot hw/phb4.c, phb4_ioda_sel). Its own
//! lock cannot be taken from outside, so it is kept out meanwhile, on all
//! threads and with all calls: timers of its slots run from any of them.

use core::sync::atomic::{AtomicU64, Ordering};

/// Set while a thread reads tables, or waits for firmware to be left.
const CLOSED: u64 = 1 << 63;

/// The gate. Zero is open.
#[derive(Debug, Default)]
pub struct Gate {
    /// Threads inside firmware, and [`CLOSED`].
    state: AtomicU64,
    /// Who closed it, plus one.
    closer: AtomicU64,
}

/// A thread is inside firmware while this lives.
#[must_use]
pub struct Inside<'a>(&'a Gate);

/// Nobody is inside firmware while this lives.
#[must_use]
pub struct Closed<'a>(&'a Gate);

impl Gate {
    /// An open gate.
    pub const fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            closer: AtomicU64::new(0),
        }
    }

    /// Lets `thread` (its PIR) into firmware, once the gate is open. `None` if
    /// it is the one that closed the gate: it would wait for itself.
    pub fn enter(&self, thread: u64) -> Option<Inside<'_>> {
        loop {
            let state = self.state.load(Ordering::Relaxed);
            if state & CLOSED == 0 {
                let entered = self.state.compare_exchange_weak(
                    state,
                    state + 1,
                    Ordering::Acquire,
                    Ordering::Relaxed,
                );
                if entered.is_ok() {
                    return Some(Inside(self));
                }
            } else if self.closer.load(Ordering::Relaxed) == thread + 1 {
                return None;
            }
            core::hint::spin_loop();
        }
    }

    /// Closes the gate for `thread`, which is not inside firmware: waits until
    /// nobody is.
    pub fn close(&self, thread: u64) -> Closed<'_> {
        // New callers wait from here on, so this ends when those inside return.
        while self.state.fetch_or(CLOSED, Ordering::Acquire) & CLOSED != 0 {
            core::hint::spin_loop();
        }
        self.closer.store(thread + 1, Ordering::Relaxed);
        while self.state.load(Ordering::Acquire) != CLOSED {
            core::hint::spin_loop();
        }
        Closed(self)
    }

    /// For the crash path only: opens it, whoever closed it.
    pub fn break_open(&self) {
        self.closer.store(0, Ordering::Relaxed);
        self.state.fetch_and(!CLOSED, Ordering::Release);
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.break_open();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn the_one_who_closed_it_is_refused_and_opens_it_again() {
        let gate = Gate::new();
        let closed = gate.close(7);
        assert!(gate.enter(7).is_none());
        drop(closed);
        let first = gate.enter(7);
        assert!(first.is_some() && gate.enter(8).is_some());
    }

    #[test]
    fn nobody_is_inside_while_it_is_closed() {
        let (gate, closed, wrong) = (Gate::new(), AtomicBool::new(false), AtomicBool::new(false));
        let (gate, closed, wrong) = (&gate, &closed, &wrong);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                scope.spawn(move || {
                    for round in 0..2000 {
                        if thread == 0 && round % 4 == 0 {
                            let _closed = gate.close(thread);
                            closed.store(true, Ordering::SeqCst);
                            std::thread::yield_now();
                            closed.store(false, Ordering::SeqCst);
                        } else {
                            let _inside = gate.enter(thread);
                            if closed.load(Ordering::SeqCst) {
                                wrong.store(true, Ordering::SeqCst);
                            }
                        }
                    }
                });
            }
        });
        assert!(!wrong.load(Ordering::SeqCst));
    }

    #[test]
    fn a_crash_opens_it() {
        let gate = Gate::new();
        core::mem::forget(gate.close(1));
        gate.break_open();
        assert!(gate.enter(2).is_some());
    }
}
