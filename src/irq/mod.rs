//! Interrupt delivery: POWER8's ICP through its own registers, POWER9's and
//! POWER10's XIVE in exploitation mode.
//!
//! What a driver needs is [`Interrupts`]: [`register`](Interrupts::register) a
//! source with a [`Handler`], [`unmask`](Interrupts::unmask) it, and from then
//! on the handler is called each time the source fires. Registers and memory
//! are behind [`Bus`], firmware behind [`Firmware`], so a [`model`] of both
//! controllers drives the same code on a PC.
//!
//! Where a handler runs: Pinion takes interrupts only in the window of
//! `cpu::idle`, where nothing is locked. A handler may therefore use what its
//! driver locks, but must be short, must not allocate and must not sleep. What
//! needs firmware or time answers [`Outcome::Later`] and is found again by
//! [`Interrupts::next_waiting`]; the source stays silent until
//! [`Interrupts::end`].
//!
//! Silence needs no register access on either controller: a source whose
//! end-of-interrupt is withheld cannot fire again (P stays set in a XIVE source,
//! an XICS source stays "presented"). Masking what storms, what has no handler
//! and what is being served is all made of that.
#![forbid(unsafe_code)]

mod bus;
mod control;
mod deliver;
mod error;
pub mod esb;
mod firmware;
pub mod icp;
mod interrupts;
#[cfg(not(target_os = "none"))]
pub mod model;
mod name;
pub mod queue;
mod source;
pub mod storm;
pub mod table;
pub mod xive;

pub use bus::Bus;
pub use error::{IrqError, Notice};
pub use firmware::Firmware;
pub use interrupts::{Dispatcher, Interrupts, Snapshot};
pub use name::Name;
pub use source::{Handler, Kind, Outcome, Registration, Source};

#[cfg(test)]
mod tests;
