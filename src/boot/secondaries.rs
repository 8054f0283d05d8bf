//! All other threads: started, parked, and returned before the machine ends.

use super::interrupts;
use super::runtime::{self, OPAL};
use crate::cpu::threads::{self, NewThread, THREAD_SHIFT};
use crate::cpu::{self, Area, ThreadState};
use crate::machine::Machine;
use crate::opal::CpuStatus;
use crate::processor::Generation;
use crate::{debug, error, info, warning};
use alloc::vec::Vec;
use spin::Once;

static AREAS: Once<Vec<&'static Area>> = Once::new();

/// How long a thread may take to arrive, in milliseconds.
const ARRIVAL_MS: u64 = 2000;

/// The threads that have been started, the boot thread not among them.
pub fn all() -> &'static [&'static Area] {
    AREAS.get().map_or(&[], Vec::as_slice)
}

/// All threads of Pinion's: the boot thread, then those that have been started.
pub fn with_boot() -> impl Iterator<Item = &'static Area> {
    core::iter::once(cpu::boot_area()).chain(all().iter().copied())
}

/// Starts every thread that firmware holds, up to `threads=`.
pub fn start(machine: &Machine) {
    let most = machine
        .bootargs
        .threads
        .map_or(usize::MAX, |count| count as usize);
    let mut new = Vec::new();
    for core in &machine.cpus.cores {
        for &pir in core.threads.iter().filter(|&&pir| pir != cpu::pir()) {
            if new.len() + 1 >= most {
                break;
            }
            match OPAL.cpu_status(pir) {
                Ok(CpuStatus::InOpal) => {}
                Ok(status) => {
                    warning!("thread {pir:#x}: firmware says {status:?}; it is left alone");
                    continue;
                }
                Err(error) => {
                    warning!("thread {pir:#x}: {error}; it is left alone");
                    continue;
                }
            }
            match runtime::allocate(THREAD_SHIFT, Some(core.chip)) {
                Ok(block) => {
                    // A thread's stacks are its own for ever.
                    new.push(NewThread {
                        pir,
                        memory: block.leak(),
                    });
                }
                Err(error) => warning!("thread {pir:#x}: {error}; it is left alone"),
            }
        }
    }
    // Firmware resets the mode for a payload, but a kernel that was left by
    // kexec may have had its own.
    let radix = runtime::generation() != Some(Generation::Power8);
    if let Err(error) = OPAL.set_thread_modes(radix) {
        error!("{error}: interrupts may come little-endian; no other thread is started");
        return;
    }
    if new.is_empty() {
        return;
    }
    // SAFETY: the blocks are fresh, never freed, and one per PIR of the tree;
    // a PIR that the tree has twice is started once: the second time firmware
    // no longer holds it.
    let areas = AREAS.call_once(|| unsafe { threads::publish(&new, interrupts::open_secondary) });
    for area in areas {
        // SAFETY: the entry is made for exactly this call.
        if let Err(error) = unsafe { OPAL.start_cpu(area.pir(), threads::entry_address()) } {
            error!("thread {:#x}: {error}", area.pir());
        }
    }
    let arrived = wait_until(ARRIVAL_MS, |area| area.state() == ThreadState::Parked);
    for area in areas
        .iter()
        .filter(|area| area.state() == ThreadState::Starting)
    {
        error!(
            "thread {:#x} did not arrive within {ARRIVAL_MS} ms",
            area.pir()
        );
    }
    info!("{} of {} other threads parked", arrived, areas.len());
}

/// Waits for `done` on all threads; returns on how many it was.
fn wait_until(milliseconds: u64, done: impl Fn(&Area) -> bool) -> usize {
    let count = || all().iter().filter(|area| done(area)).count();
    for _ in 0..milliseconds * 10 {
        if count() == all().len() {
            break;
        }
        // The emulator runs threads in turn: short waits let them.
        cpu::idle::sleep(cpu::timebase_hz() / 10_000);
    }
    count()
}

/// Lets all parked threads do `work`, and waits; returns on how many it was
/// done.
pub fn run_on_all(work: threads::Work, milliseconds: u64) -> usize {
    for area in all()
        .iter()
        .filter(|area| area.state() == ThreadState::Parked)
    {
        if !threads::give(area, work, interrupts::wake) {
            warning!("thread {:#x} is still busy", area.pir());
        }
    }
    wait_until(milliseconds, threads::is_done)
}

/// Gives all threads back to firmware, which wants them for a reboot.
pub fn return_all() {
    for area in all()
        .iter()
        .filter(|area| area.state() == ThreadState::Parked)
    {
        threads::give(area, return_to_firmware, interrupts::wake);
    }
    let gone = wait_until(500, |area| {
        OPAL.cpu_status(area.pir())
            .is_ok_and(|status| status == CpuStatus::InOpal)
    });
    debug!(
        "{gone} of {} other threads returned to firmware",
        all().len()
    );
}

fn return_to_firmware(area: &'static Area) {
    interrupts::close_thread();
    threads::mark_returned(area);
    // It comes back only if firmware refuses; the thread then parks again.
    let _ = OPAL.return_cpu();
}
