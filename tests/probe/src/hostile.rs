//! What a partition does that is bad through and through: Pinion and the other
//! partitions go on as if nothing had happened.

use crate::call::{CEDE, PUT_TERM_CHAR, SET_MODE, hypervisor};
use crate::checks::{last, set_external};
use crate::println;
use crate::random::Random;
use core::arch::asm;

/// Calls in all.
const CALLS: u64 = 1_000_000;

/// Loads and stores to addresses at random.
const WILD: u64 = 10_000;

/// End of the partition's memory, as its manifest says.
const MEMORY: u64 = 16 << 20;

/// The highest number that LoPAR gives a call.
const LAST: u64 = 0x500;

/// RTAS, and the resource of H_SET_MODE that changes how this program's own interrupts come.
const RTAS: u64 = 0xf000;
const ENDIANNESS: u64 = 4;

/// Does all of it, and ends in an endless loop that lets no interrupt in.
pub fn run() -> ! {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    calls(&mut random);
    println!("probe: {CALLS} calls made");
    wild(&mut random);
    println!("probe: {WILD} wild accesses made");
    set_external(false);
    println!("probe: spins with interrupts off");
    loop {}
}

/// All numbers in turn and others at random, with arguments at random. Left out
/// is what only this partition would notice: an endless wait, and text.
fn calls(random: &mut Random) {
    for round in 0..CALLS {
        let token = match round % 4 {
            0 => random.any(),
            1 => RTAS,
            _ => 4 * (round / 4 % (LAST / 4)),
        };
        let mut arguments = [0; 5];
        arguments.fill_with(|| random.any());
        match token {
            PUT_TERM_CHAR | CEDE => continue,
            // No buffer of its own: it would ask to be switched off some day.
            RTAS => arguments[0] |= MEMORY,
            SET_MODE if arguments[1] == ENDIANNESS => continue,
            _ => {}
        }
        hypervisor(token, &arguments);
    }
}

/// Addresses beyond its memory, of the 52 bits that it has.
fn wild(random: &mut Random) {
    for _ in 0..WILD {
        let address = (random.next() >> 12 | MEMORY) & !7;
        // SAFETY: nothing of this program's is there: the vector leaves out what
        // traps.
        unsafe {
            asm!("ld 4, 0({0})", "std 4, 0({0})", in(reg) address, out("4") _, options(nostack));
        }
    }
    println!("probe: the last one led to {:#x}", last()[0]);
}
