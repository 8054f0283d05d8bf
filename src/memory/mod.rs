//! Memory as numbers: ranges and frames. Pure: nothing here touches the memory
//! that it speaks of.
#![forbid(unsafe_code)]

pub mod frames;
pub mod ranges;
