//! Self-test of PHBs and of the devices below them.

pub mod candidates;
pub mod edu;
pub mod flush;
pub mod freeze;
mod kind;
mod mark;
pub mod nvme;
pub mod reach;
pub mod signals;
mod small;
pub mod unplug;

use alloc::string::String;

/// An error with this text, unless it holds.
///
/// # Errors
/// That.
pub fn expect(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.into()) }
}
