//! Calls into firmware (OPAL), typed. Numbers, arguments and return codes are
//! those of skiboot's include/opal-api.h and doc/opal-api/.
//!
//! [`RawOpal`] is the seam: the image implements it by entering firmware, a
//! test by pretending to be it. Everything above it is ordinary code.

mod calls;
#[cfg(test)]
mod calls_tests;
mod clock;
#[cfg(target_os = "none")]
mod enter;
mod events;
pub mod gate;
mod interrupts;
pub mod pci;
#[cfg(test)]
mod pci_tests;
mod status;
mod token;
mod vps;

pub use calls::{CpuStatus, Message, Opal, Reboot, Waiter};
#[cfg(target_os = "none")]
pub use enter::{Entry, Firmware};
pub use events::{Event, EventBits, Response, decode_message};
pub use interrupts::{XiveIrqInfo, XiveQueue};
pub use status::{OpalError, OpalStatus};
pub use token::Token;
pub use vps::VpQueue;

/// Enters firmware once.
///
/// # Safety
/// Implementations need not check what they are given: pointers among the
/// arguments must be valid for what the call does with them.
pub unsafe trait RawOpal {
    /// Calls `token` with up to eight arguments and returns firmware's r3.
    ///
    /// # Safety
    /// Each argument that the call takes as a pointer is valid for the reads
    /// and writes that the call does.
    unsafe fn call(&self, token: Token, arguments: [u64; 8]) -> Result<i64, OpalError>;
}
