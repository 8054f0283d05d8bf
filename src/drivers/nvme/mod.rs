//! A small NVMe driver (NVM Express 1.4): one admin queue, one IO queue, one
//! command at a time, polled or after an interrupt.

mod command;
mod controller;
mod exercise;
mod queue;
mod signal;

pub use command::{Command, Completion, Opcode};
pub use controller::{Controller, Identity, MEMORY_SIZE, NvmeError};
pub use exercise::{DATA_SIZE, ExerciseError};
pub use queue::{DEPTH, QueuePair};
pub use signal::{Signal, mask_pin};
