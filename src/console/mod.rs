//! The serial line: what is said, to whom, and what a person answers.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod line;
pub mod log;
pub mod nearest;
pub mod picture;
pub mod repeats;
pub mod ring;
pub mod sink;
