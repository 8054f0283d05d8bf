//! The DMA surface that a partition sees: TCE calls, windows of its own making.

#[path = "../engine/support.rs"]
#[allow(dead_code)]
mod support;

mod bridge;
mod config;
mod ddw;
mod ddw_hostile;
mod ddw_turns;
mod dispatch;
mod guest;
mod messages;
mod tce;
mod tce_heap;
mod tce_hostile;
