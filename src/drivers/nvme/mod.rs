//! A small NVMe driver (NVM Express 1.4): one admin queue, one IO queue; one
//! command at a time, polled or after an interrupt, or as many as a queue holds.

mod command;
mod controller;
mod error;
mod exercise;
mod queue;
mod signal;

pub use command::{Command, Completion, Opcode};
pub use controller::{Controller, IN_FLIGHT, Identity, MEMORY_SIZE, is_refused};
pub use error::NvmeError;
pub use exercise::{DATA_SIZE, ExerciseError};
pub use queue::{DEPTH, QueuePair};
pub use signal::{Signal, mask_pin};
