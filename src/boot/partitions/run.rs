//! vCPUs on their threads.

use super::host::Caller;
use super::partitions;
use super::{Activity, Partition, Slot, TABLE};
use crate::boot::{events, runtime};
use crate::cpu::guest::{self, CALL_NEEDS_MORE, Exit, Raised, Vcpu};
use crate::cpu::{self, Area, msr};
use crate::crash::{Frame, cause};
use crate::error;
use crate::papr::{self, Next};
use crate::partition::life::{State, Verb};
use crate::processor::Generation;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

/// What a partition gets of a thread in each round: 10 ms, for all of its vCPUs
/// that are there.
fn slice() -> i64 {
    (cpu::timebase_hz() / 100) as i64
}

/// The Nth vCPU that belongs to this thread.
fn nth(thread: &Area, n: usize) -> Option<(Arc<Partition>, usize)> {
    let started = partitions();
    let all = started.iter().flat_map(|partition| {
        let slots = partition.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| slot.thread.index() == thread.index())
            .map(move |(index, _)| (partition, index))
    });
    all.map(|(partition, index)| (Arc::clone(partition), index))
        .nth(n)
}

/// What a turn has found.
pub struct Turn {
    /// vCPUs of this thread, of partitions that run.
    pub vcpus: usize,
    /// Ticks until one of them wants to run: 0 if one does now.
    pub sleep: u64,
}

/// Gives each vCPU of this thread its time, once.
pub fn turn(thread: &'static Area) -> Turn {
    let mut found = Turn {
        vcpus: 0,
        sleep: cpu::timebase_hz(),
    };
    let mut n = 0;
    while let Some((partition, index)) = nth(thread, n) {
        n += 1;
        let Some(slot) = partition.slots.get(index) else {
            continue;
        };
        match partition.state() {
            State::Running => {}
            // It stays on its thread, and is woken to go on.
            State::Paused => {
                found.vcpus += 1;
                continue;
            }
            _ => {
                release(slot);
                continue;
            }
        }
        found.vcpus += 1;
        if is_ready(slot) {
            prepare_thread();
            give_time(&partition, index, slot);
        }
        found.sleep = found.sleep.min(wants_in(slot));
    }
    found
}

/// Work of a thread that has vCPUs.
pub(super) fn worker(thread: &'static Area) {
    loop {
        let found = turn(thread);
        if found.vcpus == 0 {
            guest::unload();
            return;
        }
        if found.sleep > 0 {
            cpu::idle::sleep(found.sleep);
            cpu::idle::doorbell_barrier();
        }
    }
}

fn prepare_thread() {
    // SAFETY: the table was made before any partition, and stays.
    unsafe { guest::prepare_thread(TABLE.load(Ordering::Acquire)) };
}

/// Nothing of the vCPU stays on the thread.
fn release(slot: &Slot) {
    if guest::loaded() == slot.vcpu.get() {
        guest::unload();
    }
    slot.released.store(true, Ordering::Release);
}

/// Whether it would run; one that waits is woken by what it waits for.
fn is_ready(slot: &Slot) -> bool {
    match slot.activity() {
        Activity::Runs => true,
        Activity::Stopped | Activity::Starting => false,
        Activity::Ceded => {
            let woken = slot.prodded.swap(false, Ordering::AcqRel) || wants_in(slot) == 0;
            if woken {
                slot.set_activity(Activity::Runs);
            }
            woken
        }
    }
}

/// Ticks until it wants to run; far away if it is stopped.
fn wants_in(slot: &Slot) -> u64 {
    match slot.activity() {
        Activity::Runs => 0,
        Activity::Stopped | Activity::Starting => u64::MAX,
        Activity::Ceded => {
            if slot.icp.lock().is_pending() || slot.prodded.load(Ordering::Acquire) {
                return 0;
            }
            // SAFETY: this thread's own vCPU, which does not run.
            let left = unsafe { (*slot.vcpu.get()).decrementer() };
            left.max(0).unsigned_abs()
        }
    }
}

/// LPCR\[MER\]: an external interrupt exits as soon as the partition takes one.
const MEDIATED: u64 = 1 << 11;

/// SRR1 of a program interrupt: illegal, privileged.
const ILLEGAL: u64 = 0x8_0000;
const PRIVILEGED: u64 = 0x4_0000;

/// Lets a vCPU run for its part of a round, and what it did not get of the last
/// one. What it runs too long, it runs less in the next; what it gives away or
/// sleeps through is lost.
fn give_time(partition: &Partition, index: usize, slot: &Slot) {
    let here = |other: &&Slot| other.thread.index() == slot.thread.index();
    let count = partition.slots.iter().filter(here).count();
    let part = slice() / count.max(1) as i64;
    let credit = slot.credit.load(Ordering::Relaxed) + part;
    let credit = credit.min(2 * part);
    slot.credit.store(credit, Ordering::Relaxed);
    if credit <= 0 {
        return;
    }
    let start = cpu::timebase();
    slot.count_dispatch(&partition.memory);
    dispatch(partition, index, slot, credit.unsigned_abs());
    slot.count_dispatch(&partition.memory);
    let used = cpu::timebase().wrapping_sub(start) as i64;
    let left = slot.credit.load(Ordering::Relaxed) - used;
    let keeps = slot.activity() == Activity::Runs && !slot.gives_way.swap(false, Ordering::Relaxed);
    let left = if keeps { left } else { left.min(0) };
    slot.credit.store(left, Ordering::Relaxed);
}

/// Gives a vCPU its turn, and its interrupts meanwhile.
fn dispatch(partition: &Partition, index: usize, slot: &Slot, ticks: u64) {
    let Some(xive) = &partition.xive else {
        return run(partition, index, slot, ticks);
    };
    xive.dispatch(index);
    run(partition, index, slot, ticks);
    xive.withdraw(index);
    if slot.activity() == Activity::Ceded && !xive.may_wait(index) {
        slot.set_activity(Activity::Runs);
    }
}

fn run(partition: &Partition, index: usize, slot: &Slot, ticks: u64) {
    let end = cpu::timebase() + ticks;
    let next = |vcpu: &mut Vcpu, raised: Option<Raised>| {
        // What the vCPU does changes by its own calls only, which end its turn.
        if raised.is_some_and(|raised| handle(partition, index, slot, vcpu, raised))
            || partition.state() != State::Running
        {
            return 0;
        }
        let left = end.wrapping_sub(cpu::timebase()) as i64;
        if left <= 0 {
            return 0;
        }
        if partition.xive.is_none() {
            mediate(slot, vcpu);
        }
        left.unsigned_abs()
    };
    // SAFETY: the thread is prepared; the partition's memory and entry stay
    // until the slot is released. The vCPU is this thread's own; nobody else
    // touches it while it runs.
    unsafe { guest::run(slot.vcpu.get(), next) }
}

/// Lets an interrupt of a partition without a XIVE come, or exit as soon as it can.
fn mediate(slot: &Slot, vcpu: &mut Vcpu) {
    vcpu.lpcr &= !MEDIATED;
    if !slot.icp.lock().is_pending() {
        return;
    }
    if vcpu.takes_external() {
        return vcpu.interrupt(0x500, 0);
    }
    vcpu.lpcr |= MEDIATED;
    // QEMU has no MER, but keeps a doorbell until EE=1.
    if runtime::machine().is_some_and(|machine| machine.is_emulated) {
        cpu::threads::ring_doorbell(slot.thread);
    }
}

/// Deals with an exit; `true` if the thread has something else to do first.
#[inline]
fn handle(
    partition: &Partition,
    index: usize,
    slot: &Slot,
    vcpu: &mut Vcpu,
    raised: Raised,
) -> bool {
    if raised == Raised::CALL && vcpu.msr & msr::PR == 0 {
        return call(partition, index, slot, vcpu);
    }
    handle_other(partition, slot, vcpu, raised.exit())
}

/// Apart from those that come often, so that these save few registers.
#[inline(never)]
fn handle_other(partition: &Partition, slot: &Slot, vcpu: &mut Vcpu, exit: Exit) -> bool {
    match exit {
        Exit::Call => {
            // A process must not: its kernel is told.
            vcpu.nip -= 4;
            vcpu.interrupt(0x700, PRIVILEGED);
        }
        Exit::Timer => return true,
        Exit::External | Exit::Doorbell => {
            slot.interrupted.fetch_add(1, Ordering::Relaxed);
            cpu::idle::take_interrupts();
            cpu::idle::doorbell_barrier();
            return slot.thread.index() == 0;
        }
        Exit::Maintenance => events::maintenance(),
        Exit::Data {
            status, effective, ..
        } => {
            // No translation, and whether it was a store.
            vcpu.data_fault(effective, 0x4000_0000 | status & 0x0200_0000);
        }
        Exit::Instruction { .. } => vcpu.interrupt(0x400, 0x4000_0000),
        Exit::Emulation { .. } | Exit::Facility(_) => vcpu.interrupt(0x700, ILLEGAL),
        Exit::MachineCheck { .. } | Exit::SystemReset => {
            assert!(
                vcpu.msr & msr::HV == 0,
                "{exit:?} on the way into or out of a partition"
            );
            if let Exit::MachineCheck { address, status } = exit {
                machine_check(partition, vcpu, address, status);
            } else {
                fail(partition, vcpu, exit);
            }
        }
        Exit::Other(_) => fail(partition, vcpu, exit),
    }
    false
}

#[inline]
fn call(partition: &Partition, index: usize, slot: &Slot, vcpu: &mut Vcpu) -> bool {
    let mut caller = Caller {
        partition,
        this: index,
        lpcr: &mut vcpu.lpcr,
        breakpoints: &mut vcpu.breakpoints,
    };
    match papr::call(&mut vcpu.gpr, &mut caller) {
        Next::Resume => false,
        next => {
            after(partition, slot, vcpu, next);
            true
        }
    }
}

/// What a call asks for beside its answer.
#[inline(never)]
fn after(partition: &Partition, slot: &Slot, vcpu: &mut Vcpu, next: Next) {
    match next {
        Next::Resume => {}
        Next::Yield => slot.gives_way.store(true, Ordering::Relaxed),
        Next::Doze => slot.set_activity(Activity::Ceded),
        Next::Cede => {
            vcpu.msr |= msr::EE;
            slot.set_activity(Activity::Ceded);
        }
        Next::Stop => slot.set_activity(Activity::Stopped),
        Next::PowerOff => partition.end(Verb::Stop),
        Next::Reboot => partition.end(Verb::Restart),
        Next::Failed => partition.end(Verb::Crash),
    }
}

/// Its own memory, or a device of its, does not answer: that ends it alone.
fn machine_check(partition: &Partition, vcpu: &Vcpu, address: u64, status: u64) {
    let check = Frame {
        vector: 0x200,
        srr: [vcpu.nip, vcpu.msr],
        dar: address,
        dsisr: status,
        ..Frame::default()
    };
    let generation = runtime::generation().unwrap_or(Generation::Power10);
    error!(
        "partition {}: machine check at {:#x}: {}",
        partition.name(),
        vcpu.nip,
        cause(&check, generation)
    );
    partition.end(Verb::Crash);
}

fn fail(partition: &Partition, vcpu: &Vcpu, exit: Exit) {
    error!(
        "partition {}: {exit:?} at {:#x}, msr {:#x}",
        partition.name(),
        vcpu.nip,
        vcpu.msr
    );
    partition.end(Verb::Crash);
}

const _: () = assert!(papr::Quick::MORE.0 == CALL_NEEDS_MORE);

/// A hypervisor call of a kernel on its way in; see `cpu::guest::switch`.
#[unsafe(no_mangle)]
extern "C" fn pinion_hcall(vcpu: &mut Vcpu) -> i64 {
    // SAFETY: the run that the vCPU is of, which outlives its last exit: whoever
    // made the vCPU has set it.
    let partition = unsafe { &*core::ptr::with_exposed_provenance(vcpu.context as usize) };
    papr::quick::<Partition>(&mut vcpu.gpr, partition).0
}
