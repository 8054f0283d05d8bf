//! Pinion: a partition manager for OpenPOWER machines with no operating
//! system under it. The image (`main.rs`) is a thin shell around this library;
//! everything above the seams builds and is tested on a PC too.
//!
//! Imports go downwards only; `docs/architecture.md` has the picture and
//! `cargo xtask check` enforces it.
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

pub mod addr;
pub mod audit;
#[cfg(target_os = "none")]
pub mod boot;
pub mod console;
#[cfg(target_os = "none")]
pub mod cpu;
pub mod crash;
pub mod dma;
pub mod drivers;
pub mod fdt;
pub mod irq;
pub mod kill;
pub mod machine;
pub mod memory;
#[cfg(target_os = "none")]
pub mod mmio;
pub mod opal;
pub mod papr;
pub mod partition;
pub mod pci;
pub mod phb;
pub mod processor;
pub mod seam;
#[cfg(not(target_os = "none"))]
pub mod sim;
pub mod spy;
pub mod tce;
pub mod trace;
