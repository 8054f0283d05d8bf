//! Who owns which frame of the machine's memory, and what holds it there.
#![forbid(unsafe_code)]

pub mod ledger;
