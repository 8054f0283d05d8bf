//! The image: joins the layers, from the first Rust instruction to the prompt.

mod audit;
mod banner;
mod bench;
mod clock;
mod crash;
mod events;
mod handover;
mod heap;
pub mod interrupts;
mod monitor;
pub mod partitions;
mod pci;
mod power;
mod provoke;
mod rig;
pub mod runtime;
mod secondaries;
mod selftest;
mod start;
mod terminals;
pub mod trace;
