//! `provoke=NAME`: does on purpose what must be reported well. For tests, and
//! for whoever wants to see what a crash looks like.

use super::runtime::OPAL;
use super::secondaries;
use crate::addr::HostAddr;
use crate::cpu::Area;
use crate::{cpu, mmio, println, warning};
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
        // The same with a machine check.
        "check" => panic!("{}", ChecksWhileShown),
        "thread" => {
            if secondaries::run_on_all(trap, 1000) == 0 {
                warning!("provoke=thread: there is no other thread");
            }
        }
        // SAFETY: none: a stack that was used up is what is asked for. Found by
        // the next look at it.
        "stack" => unsafe { cpu::spoil_stack() },
        "firmware" => stay_in_firmware(),
        _ => warning!(
            "provoke={what}: there are panic, illegal, trap, load, store, twice, check, thread, \
             stack, firmware"
        ),
    }
    cpu::wait_ms(1);
}

/// Calls firmware for ten seconds: whatever comes from outside meanwhile most
/// likely finds the thread there.
fn stay_in_firmware() {
    println!("provoke=firmware: calls of firmware for ten seconds");
    let start = cpu::timebase();
    while cpu::timebase().wrapping_sub(start) < 10 * cpu::timebase_hz() {
        let _ = OPAL.poll_events();
    }
}

fn trap(_: &'static Area) {
    // SAFETY: none: a fault is what is asked for.
    unsafe { asm!("trap") };
}

struct ChecksWhileShown;

impl core::fmt::Display for ChecksWhileShown {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // SAFETY: none: a machine check is what is asked for.
        unsafe { core::hint::black_box(mmio::read64(HostAddr::new(UNBACKED))) };
        Ok(())
    }
}

struct FaultsWhileShown;

impl core::fmt::Display for FaultsWhileShown {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // SAFETY: none: a fault is what is asked for.
        unsafe { asm!("trap") };
        Ok(())
    }
}
