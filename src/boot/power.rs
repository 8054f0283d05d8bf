//! The orderly end: everything said, devices quiet, threads returned.

use super::runtime::OPAL;
use super::{handover, interrupts, runtime, secondaries, terminals};
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

fn end(ask: impl Fn() -> Result<(), OpalError>) -> ! {
    if let Some(machine) = runtime::machine() {
        handover::quiesce_devices(machine);
    }
    secondaries::return_all();
    interrupts::shut_down();
    terminals::drain(DRAIN_MS);
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
