//! What calls cost, in instructions as the emulator counts them: time by the
//! timebase, compared with a loop whose instructions are known.

use crate::call::{CPPR, NOTHING, hypervisor};
use crate::println;
use crate::vectors::timebase;
use core::arch::asm;

const ROUNDS: u64 = 10_000;

/// Ticks of a loop of `count` instructions.
fn known(count: u64) -> u64 {
    let start = timebase();
    // SAFETY: counts down.
    unsafe { asm!("mtctr {}", "1: bdnz 1b", in(reg) count, out("ctr") _, options(nostack)) };
    timebase() - start
}

/// Ticks of calls.
fn calls(token: u64) -> u64 {
    let start = timebase();
    for _ in 0..ROUNDS {
        hypervisor(token, &[0]);
    }
    timebase() - start
}

/// Prints instructions for each call. On hardware the numbers mean nothing:
/// instructions take their time there.
pub fn measure() {
    let reference = 1_000_000;
    let ticks = known(reference).max(1);
    for (name, token) in [
        ("null call, fast path", NOTHING),
        ("call by a full exit", CPPR),
    ] {
        let each = calls(token) * reference / ticks / ROUNDS;
        println!("probe: cost  {name}: {each} instructions");
    }
}
