//! The trace of DMA operations: the last of each hardware thread, and what they
//! cost, in memory that a dump can be read by.
//!
//! Each thread has a ring of its own, so noting an operation is a handful of
//! plain stores: no lock, no read-modify-write, nothing shared. `entry` and
//! `costs` use nothing but `core`: `cargo xtask dump` is built from the same files.
#![forbid(unsafe_code)]

pub mod costs;
pub mod entry;
mod ring;
#[cfg(all(test, not(loom)))]
mod tests;

pub use costs::Costs;
pub use entry::{Entry, Kind, Verdict};
pub use ring::{Ring, Trace};

/// The traces' seam: a clock, and the ring of the thread that runs.
pub trait Noted {
    /// The timebase, in ticks.
    #[inline]
    fn ticks(&self) -> u64 {
        0
    }

    /// The ring of the thread that calls; `None` notes nothing.
    #[inline]
    fn ring(&self) -> Option<&Trace> {
        None
    }
}
