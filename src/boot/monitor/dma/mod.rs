//! Commands about windows, mappings and operations on them.

mod notes;
mod tables;

pub(super) use notes::{stats, trace};
pub(super) use tables::{map, pins, tce, windows};
