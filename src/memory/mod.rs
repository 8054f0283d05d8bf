//! Memory as numbers: ranges, frames, and who owns which. Pure: nothing here
//! touches the memory that it speaks of.
#![forbid(unsafe_code)]

pub mod frames;
pub mod ledger;
pub mod radix;
pub mod ranges;
pub mod sorted;
pub mod span;
