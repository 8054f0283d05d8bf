//! `provoke=NAME`: does on purpose what must be reported well. For tests, and
//! for whoever wants to see what a crash looks like.

use crate::addr::HostAddr;
use crate::{cpu, mmio, warning};
use core::arch::asm;

/// An address that no POWER8, 9 or 10 machine backs: 1 PiB, beyond all chips.
const UNBACKED: u64 = 1 << 50;

/// Does what is named.
pub fn provoke(what: &str) {
    match what {
        "panic" => panic!("provoked"),
        // SAFETY: none: an illegal instruction is what is asked for.
        "illegal" => unsafe { asm!(".long 0") },
        // SAFETY: none: a trap is what is asked for.
        "trap" => unsafe { asm!("trap") },
        // SAFETY: none: a machine check is what is asked for.
        "load" => unsafe {
            core::hint::black_box(mmio::read64(HostAddr::new(UNBACKED)));
        },
        // SAFETY: none: a machine check is what is asked for.
        "store" => unsafe { mmio::write64(HostAddr::new(UNBACKED), 1) },
        // A fault whose report faults: the formatter of the panic's message.
        "twice" => panic!("{}", FaultsWhileShown),
        _ => {
            warning!("provoke={what}: there are panic, illegal, trap, load, store, twice")
        }
    }
    cpu::wait_ms(1);
}

struct FaultsWhileShown;

impl core::fmt::Display for FaultsWhileShown {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // SAFETY: none: a fault is what is asked for.
        unsafe { asm!("trap") };
        Ok(())
    }
}
