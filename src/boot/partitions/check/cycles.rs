//! Partitions come and go, and nothing is used up.

use super::subject::{Counts, Subject, members};
use crate::boot::banner::plural;
use crate::boot::partitions::{control, roster};
use crate::partition::manifest::MEMORY_UNIT;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// How many.
const TIMES: u64 = 1000;

/// One in so many has its devices opened: each is a reset.
const OPENED: u64 = 50;

/// The self-test's part `come-and-go`: with all devices that are free, and memory
/// of different sizes.
pub fn come_and_go() -> Result<String, String> {
    let free = roster::offers("").into_iter();
    let free = free.filter(|offer| offer.owner.is_none() && offer.refused.is_none());
    let places: Vec<_> = free.map(|offer| offer.key).collect();
    let devices: Vec<_> = places.iter().flat_map(|place| members(*place)).collect();
    let once = |time: u64| {
        let bytes = (1 + time % 7) * MEMORY_UNIT;
        Subject::with("cycle", bytes, &devices, |subject| {
            subject.is_all(0)?;
            if control::can_run().is_ok() {
                subject.begin_in_vain()?;
            }
            if time.is_multiple_of(OPENED) {
                subject.start()?;
            }
            subject.fill(0xc5)
        })
    };
    // Lists grow once, also those of an opening.
    once(0)?;
    let before = Counts::now()?;
    for time in 0..TIMES {
        let told = |why| format!("partition {time}: {why}");
        once(time).map_err(told)?;
        before.are_back().map_err(told)?;
    }
    let groups = places.len();
    Ok(format!(
        "{TIMES} partitions with {groups} {}: all of it came back each time",
        plural(groups, "group")
    ))
}
