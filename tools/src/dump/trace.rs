//! A thread's trace of DMA operations (`src/trace/ring.rs`). What an entry and
//! a cost are is read by the image's own code.

use std::fmt::Write as _;

use super::word;
use costs::{BUCKETS, Costs, KINDS};
use entry::{Entry, Kind, Line, STRIDE, WORDS};

#[path = "../../../src/trace/costs.rs"]
#[allow(dead_code, reason = "the image uses more of it")]
mod costs;
#[path = "../../../src/trace/entry.rs"]
#[allow(dead_code, reason = "the image uses more of it")]
mod entry;

pub const MAGIC: [u8; 8] = entry::MAGIC.to_be_bytes();

/// Offsets of `Ring`, in bytes.
const KEPT: usize = 0x08;
const THREAD: usize = 0x10;
const WRITTEN: usize = 0x18;
const START: usize = 0x20;
const HERTZ: usize = 0x28;
const SLOTS: usize = 0x40;

/// Largest ring that is believed, in entries.
const MOST: u64 = 1 << 20;

/// Adds the ring at the start of `memory` to `text`, oldest entry first.
pub fn tell(memory: &[u8], text: &mut String) {
    let at = |offset| word(memory, offset).unwrap_or(0);
    let (kept, written) = (at(KEPT), at(WRITTEN));
    if kept > MOST || !kept.is_power_of_two() {
        let _ = writeln!(text, "  not a trace: it would hold {kept:#x} operations");
        return;
    }
    let counts = SLOTS + kept as usize * STRIDE;
    let end = counts + (KINDS * BUCKETS + KINDS) * 8;
    if memory.len() < end {
        let _ = writeln!(text, "  cut off: {} bytes of {end}", memory.len());
        return;
    }
    let first = written.saturating_sub(kept);
    let (thread, hertz) = (at(THREAD), at(HERTZ));
    let _ = writeln!(
        text,
        "  thread {thread:#x}, {written} noted, {first} no longer held"
    );
    if written == 0 {
        return;
    }
    let _ = writeln!(text, "{}", entry::HEADING);
    for number in first..written {
        let slot = SLOTS + (number % kept) as usize * STRIDE;
        let words: [u64; WORDS] = std::array::from_fn(|index| at(slot + index * 8));
        match Entry::decode(&words, number / kept + 1) {
            Some(entry) => {
                let line = Line {
                    entry: &entry,
                    thread,
                    microseconds: entry.microseconds(at(START), hertz),
                    owner: None,
                };
                let _ = writeln!(text, "{line}");
            }
            None => {
                let _ = writeln!(text, "  number {number} is half written");
            }
        }
    }
    let mut all = Costs::NONE;
    let mut words = (counts..end).step_by(8).map(at);
    for count in all.counts.iter_mut().flatten().chain(&mut all.failed) {
        *count = words.next().unwrap_or(0);
    }
    let _ = writeln!(text, "  ticks of {hertz} Hz\n{}", costs::HEADING);
    for cost in Kind::ALL.map(|kind| all.of(kind)) {
        if cost.count() != 0 {
            let _ = writeln!(text, "{cost}");
        }
    }
}
