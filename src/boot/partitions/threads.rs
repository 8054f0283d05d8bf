//! Threads for vCPUs: chosen when a partition starts, and kept busy.

use super::{Partition, PartitionError, Plan, partitions, run};
use crate::boot::runtime::OPAL;
use crate::boot::{interrupts, runtime, secondaries};
use crate::cpu::{self, Area, ThreadState};
use crate::partition::cores::{Core, Thread, User, Want, place};
use crate::{error, info, warning};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

/// A thread for each vCPU, near `chip`'s memory; says with whom a core is shared.
///
/// # Errors
/// Only cores that others have are left.
pub(super) fn choose(plan: &Plan, chip: Option<u32>) -> Result<Vec<&'static Area>, PartitionError> {
    let want = Want {
        vcpus: plan.vcpus,
        shares: plan.shares,
        crowds: plan.shares,
        chip,
    };
    let runs = partitions().clone();
    let placed = place(&cores(&runs), &want)?;
    if !placed.neighbours.is_empty() {
        info!(
            "partition {}: shares a core with {}",
            plan.name,
            placed.neighbours.join(", ")
        );
    }
    let area = |pir: &u64| secondaries::with_boot().find(|area| area.pir() == *pir);
    Ok(placed.threads.iter().filter_map(area).collect())
}

/// The machine's cores with the threads that can run vCPUs.
fn cores(runs: &[Arc<Partition>]) -> Vec<Core> {
    let Some(machine) = runtime::machine() else {
        return Vec::new();
    };
    let cores = machine.cpus.cores.iter();
    cores.map(|core| core_of(core, runs)).collect()
}

fn core_of(core: &crate::machine::Core, runs: &[Arc<Partition>]) -> Core {
    let boot = cpu::boot_area();
    let is_usable = |area: &&Area| {
        let is_alive = matches!(area.state(), ThreadState::Parked | ThreadState::Running);
        core.threads.contains(&area.pir()) && is_alive
    };
    let threads = secondaries::with_boot().filter(is_usable).map(|area| {
        let slots = runs.iter().flat_map(|run| run.slots.iter());
        Thread {
            pir: area.pir(),
            vcpus: slots.filter(|slot| slot.thread.pir() == area.pir()).count(),
            is_boot: area.pir() == boot.pir(),
        }
    });
    let users = runs.iter().filter(|run| {
        let mut slots = run.slots.iter();
        slots.any(|slot| core.threads.contains(&slot.thread.pir()))
    });
    Core {
        chip: Some(core.chip),
        threads: threads.collect(),
        users: users
            .map(|run| User {
                name: run.name().into(),
                shares: run.defined.plan().shares,
            })
            .collect(),
    }
}

/// How long a thread may take to leave a partition that is ending, in seconds: a
/// hundred turns, and more.
const PATIENCE: u64 = 5;

/// Waits for the threads of a partition that is ending. HDEC and doorbells bring
/// each one back at once; one that does not come is reset by firmware, and leaves
/// the partition by that.
pub(super) fn get_back(run: &Partition) {
    let now = cpu::timebase();
    let since = run.waited_since.load(Ordering::Relaxed);
    if since == 0 {
        return run.waited_since.store(now, Ordering::Relaxed);
    }
    if now.wrapping_sub(since) < PATIENCE * cpu::timebase_hz() {
        return;
    }
    run.waited_since.store(now, Ordering::Relaxed);
    let left = run.slots.iter().filter(|slot| {
        let is_other = slot.thread.index() != 0;
        is_other && !slot.released.load(Ordering::Acquire)
    });
    for slot in left {
        let pir = slot.thread.pir();
        warning!(
            "partition {}: thread {pir:#x} does not come back; firmware resets it",
            run.name()
        );
        if let Err(why) = OPAL.signal_system_reset(pir) {
            error!("thread {pir:#x}: {why}");
        }
    }
}

/// Lets parked threads run the vCPUs that they have. A thread that parks just as it
/// gets one is seen the next time.
pub(super) fn employ() {
    let runs = partitions();
    for slot in runs.iter().flat_map(|run| run.slots.iter()) {
        let thread = slot.thread;
        let is_idle = thread.index() != 0
            && thread.state() == ThreadState::Parked
            && cpu::threads::is_done(thread);
        if is_idle && !slot.released.load(Ordering::Acquire) {
            cpu::threads::give(thread, run::worker, interrupts::wake);
        }
    }
}
