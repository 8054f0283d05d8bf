//! What a crash means: the registers of an interrupt, their cause in words, and
//! the epitaph that outlives the crash. Pure: the hardware part is in `cpu`.
#![forbid(unsafe_code)]

mod cause;
mod epitaph;
mod frame;

pub use cause::{Cause, cause, vector_name};
pub use epitaph::{EPITAPH_MAGIC, Epitaph, TEXT_SIZE};
pub use frame::{Frame, Registers};
