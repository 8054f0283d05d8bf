//! What can be asked of a partition, by a person or by itself, and what is done
//! when it stops.

use super::groups::Found;
use super::memory::{self, Space};
use super::xive::{self, Exploited};
use super::{
    Activity, Assigned, Defined, Partition, PartitionError, Plan, Slot, TABLE, devices, groups,
    load, mitigations, partitions, roster, run, threads,
};
use crate::boot::{clock, pci, runtime};
use crate::cpu;
use crate::cpu::guest::{Vcpu, lpcr};
use crate::papr::bridge::Bridge;
use crate::papr::terminal::Terminal;
use crate::partition::bundle::{Bundle, MANIFEST};
use crate::partition::life::{State, Then, Verb};
use crate::processor::Generation;
use crate::{debug, error, info, println};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use spin::Mutex;

/// Starts a partition that is defined.
///
/// # Errors
/// It is not stopped, has no kernel or one that does not fit, or a device does
/// not start.
pub fn start(name: &str) -> Result<(), PartitionError> {
    begin(&roster::find(name)?)
}

/// Lets a partition's vCPUs wait; its devices may finish what they were told.
///
/// # Errors
/// It does not run.
pub fn pause(name: &str) -> Result<(), PartitionError> {
    ask(&*roster::find(name)?, Verb::Pause)
}

/// Lets a paused partition go on.
///
/// # Errors
/// It is not paused.
pub fn resume(name: &str) -> Result<(), PartitionError> {
    ask(&*roster::find(name)?, Verb::Resume)
}

/// Ends the run of a partition: its threads leave it, its devices are made quiet
/// and its memory is zeroed by the prompt's loop, which says when that is done.
///
/// # Errors
/// It does not run.
pub fn stop(name: &str) -> Result<(), PartitionError> {
    ask(&*roster::find(name)?, Verb::Stop)
}

/// As [`stop`], and starts it again.
///
/// # Errors
/// It does not run.
pub fn restart(name: &str) -> Result<(), PartitionError> {
    ask(&*roster::find(name)?, Verb::Restart)
}

/// As [`stop`], and takes all back that it has: it is defined no more.
///
/// # Errors
/// It is about to end already.
pub fn destroy(name: &str) -> Result<(), PartitionError> {
    ask(&*roster::find(name)?, Verb::Destroy)
}

/// Does a verb and wakes the partition's threads.
pub(super) fn ask(defined: &Defined, verb: Verb) -> Result<(), PartitionError> {
    defined.life().apply(verb)?;
    let all = partitions();
    let runs = all
        .iter()
        .filter(|run| core::ptr::eq(&*run.defined, defined));
    for slot in runs.flat_map(|run| run.slots.iter()) {
        super::kick(slot.thread);
    }
    Ok(())
}

/// Most vCPUs of a partition.
pub const MAX_VCPUS: usize = 64;

/// `start [MIB [VCPUS]]`: a partition of the kernel in the initrd, which is gone
/// when it ends.
pub fn start_file(mib: u64, vcpus: usize) -> Result<(), PartitionError> {
    can_run()?;
    let load = |text: alloc::string::String| PartitionError::Load(text);
    let bytes = mib
        .checked_mul(1 << 20)
        .filter(|bytes| *bytes >= 1 << 21 && bytes.is_multiple_of(1 << 21));
    let bytes = bytes.ok_or_else(|| {
        load(alloc::format!(
            "{mib} MiB of memory: an even number is needed"
        ))
    })?;
    if vcpus == 0 || vcpus > MAX_VCPUS {
        return Err(load(alloc::format!(
            "{vcpus} vCPUs: 1 to {MAX_VCPUS} are possible"
        )));
    }
    let file = runtime::initrd().ok_or_else(|| load("there is no initrd with a kernel".into()))?;
    let is_bundle = Bundle::check(file).is_ok_and(|bundle| bundle.file(MANIFEST).is_some());
    if is_bundle {
        return Err(load(
            "the initrd has a manifest: name one of its partitions".into(),
        ));
    }
    let mut plan = load::plan(file, bytes, vcpus).map_err(load)?;
    // A person's experiment: it gets what there is.
    plan.shares = true;
    plan.name = (1..)
        .map(|number| alloc::format!("p{number}"))
        .find(|name| roster::find(name).is_err())
        .unwrap_or_default();
    let defined = roster::define(plan, 1 << 20, &[], true)?;
    let begun = begin(&defined);
    if begun.is_err() && defined.life().apply(Verb::Destroy).is_ok() {
        finish(defined, Then::Absent, None);
    }
    begun
}

/// Whether this processor can run any.
pub(super) fn can_run() -> Result<(), PartitionError> {
    match runtime::generation() {
        Some(Generation::Power8) => Err(PartitionError::Power8),
        _ => Ok(()),
    }
}

/// Loads a stopped partition and lets it run.
pub(super) fn begin(defined: &Arc<Defined>) -> Result<(), PartitionError> {
    defined.life().state().after(Verb::Start)?;
    can_run()?;
    let partition = match prepare(defined) {
        Ok(partition) => partition,
        Err(error) => {
            // Something may be loaded, and devices may be open: as after a run.
            if defined.life().apply(Verb::Start).is_ok() && defined.life().apply(Verb::Stop).is_ok()
            {
                end(defined, Then::Stopped);
            }
            return Err(error);
        }
    };
    info!(
        "partition {}: {} MiB, {} vCPU(s), LPID {}, entered at {}, first on thread {:#06x}",
        defined.name(),
        defined.bytes() >> 20,
        partition.slots.len(),
        partition.lpid,
        partition.entry,
        partition.slots.first().map_or(0, |slot| slot.thread.pir())
    );
    defined.life().apply(Verb::Start)?;
    partitions().push(Arc::clone(&partition));
    threads::employ();
    Ok(())
}

/// Everything that a run has, with its kernel loaded and its devices open.
///
/// # Errors
/// What it cannot have. Nothing is kept; devices may be open.
pub(super) fn prepare(defined: &Arc<Defined>) -> Result<Arc<Partition>, PartitionError> {
    let table = memory::partition_table()?;
    TABLE.store(table, Ordering::Release);
    clock::read();
    mitigations::apply()?;
    let plan: &Plan = defined.plan();
    let threads = threads::choose(plan, defined.chip())?;
    let assigned = defined.groups();
    let registers = assigned.iter().filter_map(|it| {
        let (phb, at) = it.place;
        Some(groups::pages(pci::host(phb)?, at))
    });
    let registers: Vec<_> = registers.flatten().collect();
    let space = Space::new(Arc::clone(defined), &registers)?;
    let lpid = space.lpid();
    let xive = match xive::offered(&plan.bootargs) {
        Some(offer) => Some(Exploited::new(offer, plan.vcpus as u32, &space)?),
        None => None,
    };
    let filled = fill(defined, &assigned, &space, xive.as_ref());
    let (groups, loaded) = filled.inspect_err(|_| {
        // No vCPU has run: nothing of it is in use.
        if let Some(xive) = &xive {
            xive.release();
        }
    })?;
    let lpcr = match &xive {
        Some(_) => lpcr::START | lpcr::EXTERNAL,
        None => lpcr::START,
    };
    let slots = threads.into_iter().map(|thread| {
        let vcpu = Vcpu::new(lpid, lpcr, loaded.entry.get());
        Slot::new(vcpu, thread)
    });
    let partition = Arc::new(Partition {
        defined: Arc::clone(defined),
        lpid,
        entry: loaded.entry,
        memory: space,
        groups,
        slots: slots.collect(),
        lpcr: AtomicU64::new(lpcr),
        waited_since: AtomicU64::new(0),
        hash_key: cpu::random().unwrap_or_else(cpu::timebase),
        xive,
        terminal: Mutex::new(Terminal::default()),
    });
    if let Some(first) = partition.slots.first() {
        // SAFETY: the vCPU is stopped, and nobody else knows it yet.
        let vcpu = unsafe { &mut *first.vcpu.get() };
        partition.adopt(vcpu);
        vcpu.gpr[3] = loaded.tree.get();
        first.set_activity(Activity::Runs);
    }
    Ok(partition)
}

/// Finds the groups of a partition, loads what it starts with, and lets its devices
/// do DMA.
fn fill(
    defined: &Defined,
    assigned: &[Assigned],
    space: &Space,
    xive: Option<&Exploited>,
) -> Result<(Vec<Found>, load::Loaded), PartitionError> {
    let interrupts = xive.map(|xive| (xive, space));
    let found = assigned.iter().map(|it| Found::new(it, interrupts));
    let (groups, bridges): (Vec<Found>, Vec<Bridge>) =
        found.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    let loaded = load::load(
        defined.plan(),
        space,
        space.lpid(),
        xive.is_some(),
        &bridges,
    );
    let loaded = loaded.map_err(PartitionError::Load)?;
    devices::open_all(defined)?;
    Ok((groups, loaded))
}

/// A partition is being ended: what comes meanwhile, by the console or a power
/// button, does not end another one in between.
static TENDING: AtomicBool = AtomicBool::new(false);

/// Ends partitions that are stopping, once no vCPU is in them: devices quiet,
/// memory zeroed; says so, and starts those again that want it. On the boot
/// thread, between turns.
pub fn tend() {
    threads::employ();
    if TENDING.swap(true, Ordering::AcqRel) {
        return;
    }
    while let Some((defined, then, run)) = next_to_end() {
        finish(defined, then, run);
    }
    TENDING.store(false, Ordering::Release);
}

/// A partition that is stopping and that no thread has anything of, and its run.
fn next_to_end() -> Option<(Arc<Defined>, Then, Option<Arc<Partition>>)> {
    for defined in roster::all() {
        let State::Stopping(then) = defined.life().state() else {
            continue;
        };
        let mut all = partitions();
        let place = all
            .iter()
            .position(|run| Arc::ptr_eq(&run.defined, &defined));
        let Some(place) = place else {
            return Some((defined, then, None));
        };
        let is_left = |run: &Arc<Partition>| {
            let mut slots = run.slots.iter();
            slots.all(|slot| slot.released.load(Ordering::Acquire))
        };
        if all.get(place).is_some_and(is_left) {
            let run = all.remove(place);
            return Some((defined, then, Some(run)));
        }
        if let Some(run) = all.get(place) {
            threads::get_back(run);
        }
    }
    None
}

/// Everything behind the last vCPU's leaving.
fn finish(defined: Arc<Defined>, then: Then, run: Option<Arc<Partition>>) {
    if let Some(run) = run {
        if then == Then::Crashed {
            tell_end(&run);
        }
        // A worker that is on its way out may still hold it for a moment.
        while Arc::strong_count(&run) > 1 {
            cpu::idle::sleep(1000);
        }
        let slots = run.slots.iter();
        let interrupted = slots.map(|slot| slot.interrupted.load(Ordering::Relaxed));
        debug!(
            "partition {}: left {} times for interrupts of Pinion's",
            run.defined.name(),
            interrupted.sum::<u64>()
        );
        if let Some(xive) = &run.xive {
            if let Err(why) = xive.quiet() {
                let _ = defined.life().settle(then, false);
                // It is tried again with the next stop.
                partitions().push(run);
                return stuck(&defined, &why.into());
            }
            xive.release();
        }
        drop(run);
    }
    if then == Then::Absent {
        return remove(defined);
    }
    let is_transient = defined.is_transient();
    if !end(&defined, then) {
        return;
    }
    match then {
        Then::Starts => {
            info!("partition {}: starts again", defined.name());
            match begin(&defined) {
                Ok(()) => return,
                Err(why) => error!("partition {} not started again: {why}", defined.name()),
            }
        }
        Then::Crashed if is_transient => {}
        Then::Crashed => info!(
            "partition {}: its memory is kept until it is restarted, stopped or destroyed",
            defined.name()
        ),
        Then::Stopped | Then::Absent => info!("partition {}: off", defined.name()),
    }
    if is_transient && defined.life().apply(Verb::Destroy).is_ok() {
        remove(defined);
    }
}

/// The last lines of a partition that crashed: those of others no longer stand
/// in between.
fn tell_end(run: &Partition) {
    let name = run.name();
    let terminal = run.terminal.lock();
    if terminal.last_lines().next().is_none() {
        return error!("partition {name}: stopped; it has printed nothing");
    }
    error!("partition {name}: stopped; its last lines:");
    for line in terminal.last_lines() {
        println!("[{name}] {line}");
    }
}

/// Makes the devices of a stopping partition quiet, and its memory zero unless
/// that is kept; then it is what it was stopping for. `false`: it is stuck, and
/// the console says why.
pub(super) fn end(defined: &Defined, then: Then) -> bool {
    let quiet = devices::close_all(defined).and_then(|()| match then {
        Then::Crashed => Ok(()),
        _ => roster::renew(defined),
    });
    let settled = defined.life().settle(then, quiet.is_ok());
    debug_assert!(settled.is_ok(), "{settled:?}");
    if let Err(why) = &quiet {
        stuck(defined, why);
    }
    quiet.is_ok()
}

fn stuck(defined: &Defined, why: &PartitionError) {
    error!(
        "partition {}: stuck: {why}; its memory stays its own. Stop or destroy it again",
        defined.name()
    );
}

/// Takes all back that a partition has which is being destroyed.
pub(super) fn remove(defined: Arc<Defined>) {
    let name = alloc::string::String::from(defined.name());
    let is_transient = defined.is_transient();
    if let Err(why) = devices::close_all(&defined) {
        let _ = defined.life().settle(Then::Absent, false);
        return stuck(&defined, &why);
    }
    match roster::release(defined) {
        Ok(()) if is_transient => {}
        Ok(()) => info!("partition {name}: destroyed"),
        Err((defined, why)) => {
            let _ = defined.life().settle(Then::Absent, false);
            stuck(&defined, &why);
        }
    }
}

/// Ends all partitions: before the machine does.
pub fn end_all() {
    for defined in roster::all() {
        // Those that do not run have quiet devices.
        let _ = ask(&defined, Verb::Stop);
    }
    // The boot thread's own slots are released by its turn.
    for _ in 0..100 {
        run::turn(cpu::area());
        tend();
        if partitions().is_empty() {
            break;
        }
        cpu::idle::sleep(cpu::timebase_hz() / 1000);
    }
}
