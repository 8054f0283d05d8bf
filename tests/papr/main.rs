//! The DMA surface that a partition sees: windows of its own making.

#[path = "../engine/support.rs"]
#[allow(dead_code)]
mod support;

mod ddw;
mod ddw_hostile;
