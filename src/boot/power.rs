//! The orderly end: everything said, devices quiet, threads returned.

use super::runtime::OPAL;
use super::{interrupts, partitions, pci, runtime, secondaries, start, terminals};
use crate::opal::{OpalError, Reboot};
use crate::{cpu, error, info};

/// How long the last words may take, in milliseconds.
const DRAIN_MS: u64 = 5000;

/// Powers the machine off.
pub fn off(reason: &str) -> ! {
    info!("power off: {reason}");
    end(|| OPAL.power_down())
}

/// Reboots the machine.
pub fn reboot(how: Reboot, reason: &str) -> ! {
    info!("reboot: {reason}");
    end(|| OPAL.reboot(how))
}

/// Runs the image again in place, as a fast reboot of firmware does, without
/// going through firmware.
pub fn restart(reason: &str) -> ! {
    info!("restart: {reason}");
    leave();
    // SAFETY: the threads are with firmware, devices are quiet, and the tree
    // was kept out of what the allocator hands out.
    unsafe { cpu::start_again(start::tree_address()) }
}

/// Devices quiet, threads returned, everything said.
fn leave() {
    partitions::end_all();
    if let Some(machine) = runtime::machine() {
        pci::leave(machine);
    }
    secondaries::return_all();
    interrupts::shut_down();
    terminals::drain(DRAIN_MS);
}

fn end(ask: impl Fn() -> Result<(), OpalError>) -> ! {
    leave();
    if let Err(error) = ask() {
        error!("{error}");
        terminals::drain(DRAIN_MS);
    }
    // Firmware does it while it is polled.
    loop {
        let _ = OPAL.poll_events();
        cpu::wait_ms(1);
    }
}
