//! What calls cost, in instructions as the emulator counts them: time by the
//! timebase, compared with a loop whose instructions are known. Each line is a
//! row for `cargo xtask bench`.

use crate::call::{CPPR, NOTHING, hypervisor};
use crate::println;
use crate::vectors::timebase;
use core::arch::asm;

/// Calls of one measurement.
const CALLS: u64 = 100;

/// Measurements of a row.
const REPEATS: usize = 7;

/// Instructions of the loop that time is compared with.
const KNOWN: u64 = 1_000_000;

/// Ticks of a loop of [`KNOWN`] instructions.
fn known() -> u64 {
    let start = timebase();
    // SAFETY: counts down.
    unsafe { asm!("mtctr {}", "1: bdnz 1b", in(reg) KNOWN, out("ctr") _, options(nostack)) };
    timebase() - start
}

/// Prints a row: what [`CALLS`] times `what` cost. On hardware the numbers mean
/// nothing: instructions take their time there.
fn row(id: &str, ticks_of_known: u64, mut what: impl FnMut()) {
    let mut counts = [0; REPEATS];
    for count in &mut counts {
        let start = timebase();
        for _ in 0..CALLS {
            what();
        }
        *count = (timebase() - start) * KNOWN / ticks_of_known;
    }
    counts.sort_unstable();
    let (min, median) = (counts[0], counts[REPEATS / 2]);
    println!("bench: row id={id} units={CALLS} min={min} median={median}");
}

/// Measures all rows.
pub fn measure() {
    let ticks = known().max(1);
    for (id, token) in [("null-hcall", NOTHING), ("full-exit", CPPR)] {
        row(id, ticks, || {
            hypervisor(token, &[0]);
        });
    }
}
