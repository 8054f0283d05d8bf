//! Partitions: what the manifest asks for, and what becomes of it. Pure: the
//! machine is behind seams.
#![forbid(unsafe_code)]

pub mod assign;
pub mod bundle;
pub mod cores;
pub mod domain;
pub mod life;
pub mod lpid;
pub mod manifest;
pub mod map;
pub mod memory;
pub mod registers;
