//! PCI host bridges: registers, firmware's calls for them, and the order in
//! which both are used. PHB3, PHB4 and PHB5.
//!
//! Everything but loads and stores is behind [`PhbHardware`], so that it runs
//! on a PC against a register file that pretends.
//!
//! **Locks.** A PHB's lock is held around each direct access to its registers
//! and each call of firmware that names it or one of its slots. The gate in
//! front of firmware (`opal::gate`) is closed around each use of the IODA
//! address and data registers. The order is: a PHB's lock, then the gate; never
//! two PHBs. Nobody takes a PHB's lock from inside firmware or an interrupt
//! handler, so no thread waits for itself. Both are held with interrupts off,
//! as all of Pinion runs but for its idle window.

mod bridge;
mod config;
mod diag;
mod execute;
mod fault;
mod gone;
mod hardware;
pub mod ioda;
mod kill;
mod lock;
mod msi;
mod pest;
mod reset;
mod spied;
mod taken;
#[cfg(test)]
mod tests;
mod uses;

pub use bridge::{KillPath, Phb, PhbSetup};
pub use config::Config;
pub use diag::{Diag, DiagError, MOST_BYTES};
pub use execute::StepError;
pub use fault::PhbFault;
#[cfg(target_os = "none")]
pub use hardware::Mapped;
pub use hardware::{PhbHardware, RegisterWork};
pub use ioda::{IodaTable, Tables};
pub use kill::LIMIT_US;
pub use pest::{Pest, PestCause};
pub use spied::Spied;
pub use taken::{Broken, TakeError, Taken};
