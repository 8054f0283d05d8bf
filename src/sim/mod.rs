//! Models for a PC, nastier than any real machine.
//!
//! [`Machine`] implements all seams of the engine: table memory behind a store
//! buffer, PHBs that never forget a translation until killed, devices that do
//! DMA between any two steps, and failures on demand. [`Flat`] is the opposite:
//! plain memory and no PHB, for measuring the engine alone.
#![forbid(unsafe_code)]

mod cache;
pub mod edu;
mod flat;
mod frames;
mod machine;
pub mod nvme;
pub mod pci;
mod phb;
mod platform;
mod rng;
mod table_store;
mod thread;

pub use flat::Flat;
pub use machine::{Failure, Hit, Machine, Step, Violation};
pub use phb::{DmaFault, Pest, PhbKind, PhbModel};
pub use rng::Rng;
pub use thread::{longest_hold, play_thread};
