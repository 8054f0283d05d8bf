//! Partitions that run: started, scheduled on threads, ended.
//!
//! A vCPU belongs to one thread for as long as its partition runs. Threads that
//! Pinion does not need are taken first, one for each vCPU; the boot thread, which
//! serves the console too, is shared by what is left.

mod host;
mod load;
mod memory;
mod run;

pub use run::turn;

use super::{interrupts, runtime, secondaries};
use crate::cpu::guest::{Vcpu, lpcr};
use crate::cpu::{self, Area, ThreadState};
use crate::papr::icp::Icp;
use crate::papr::terminal::Terminal;
use crate::processor::Generation;
use crate::{error, info, print, println};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use memory::Memory;
use spin::{Mutex, MutexGuard, Once};

/// What a vCPU does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Activity {
    /// Not started, or stopped itself.
    Stopped = 0,
    /// It runs, or would.
    Runs = 1,
    /// It waits for an interrupt or a prod.
    Ceded = 2,
}

/// A vCPU and its place.
struct Slot {
    vcpu: UnsafeCell<Vcpu>,
    icp: Mutex<Icp>,
    activity: AtomicU32,
    prodded: AtomicBool,
    /// The thread has nothing of it any more; set by the thread.
    released: AtomicBool,
    thread: &'static Area,
}

// SAFETY: the vCPU itself is touched by `thread` only, or while it is stopped
// by whoever starts it, which the activity orders; the rest is atomic or locked.
unsafe impl Sync for Slot {}
// SAFETY: as above.
unsafe impl Send for Slot {}

impl Slot {
    fn activity(&self) -> Activity {
        match self.activity.load(Ordering::Acquire) {
            1 => Activity::Runs,
            2 => Activity::Ceded,
            _ => Activity::Stopped,
        }
    }

    fn set_activity(&self, activity: Activity) {
        self.activity.store(activity as u32, Ordering::Release);
    }
}

/// What a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum State {
    Runs = 0,
    /// It powers itself off, or is stopped.
    Off = 1,
    /// It wants to start again.
    Reboots = 2,
    /// It has given up, or did what cannot go on.
    Failed = 3,
}

/// A partition that was started.
struct Partition {
    name: String,
    lpid: u64,
    memory: Memory,
    slots: Box<[Slot]>,
    /// LPCR of vCPUs that are started.
    lpcr: AtomicU64,
    terminal: Mutex<Terminal>,
    state: AtomicU32,
    plan: Plan,
}

/// What is asked for: kept for a restart.
#[derive(Clone)]
struct Plan {
    name: String,
    bytes: u64,
    vcpus: usize,
    kernel: &'static [u8],
    initrd: Option<&'static [u8]>,
    bootargs: String,
}

impl Partition {
    fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Runs,
            1 => State::Off,
            2 => State::Reboots,
            _ => State::Failed,
        }
    }

    /// Ends it in this way, unless it has ended already; wakes its threads.
    fn end(&self, state: State) {
        let runs = State::Runs as u32;
        let _ =
            self.state
                .compare_exchange(runs, state as u32, Ordering::AcqRel, Ordering::Relaxed);
        for slot in &self.slots {
            kick(slot.thread);
        }
    }

    fn say(&self, bytes: &[u8]) {
        let attached = ATTACHED.load(Ordering::Relaxed) == self.lpid;
        let mut terminal = self.terminal.lock();
        if attached {
            print!("{}", Printable(bytes));
            terminal.print(bytes, |_| {});
        } else {
            terminal.print(bytes, |line| println!("[{}] {line}", self.name));
        }
    }
}

/// What a partition prints, to the person who is attached to it: control
/// sequences included, which is what being attached means.
struct Printable<'a>(&'a [u8]);

impl core::fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for &byte in self.0 {
            if byte != 0 && byte != b'\r' {
                core::fmt::Write::write_char(f, char::from(byte & 0x7f))?;
            }
        }
        Ok(())
    }
}

/// Makes another thread look at what there is to do.
fn kick(thread: &Area) {
    if thread.pir() != cpu::pir() {
        interrupts::wake(thread);
    }
}

/// An empty list is not zero, and `.data` stays empty: hence the `Once`.
static PARTITIONS: Once<Mutex<Vec<Arc<Partition>>>> = Once::new();

/// The partitions that were started.
fn partitions() -> MutexGuard<'static, Vec<Arc<Partition>>> {
    PARTITIONS.call_once(Mutex::default).lock()
}

/// LPID of the partition that the keyboard belongs to; 0 for none.
static ATTACHED: AtomicU64 = AtomicU64::new(0);

/// Leaves a partition's console: Ctrl-].
const ESCAPE: u8 = 0x1d;

/// Gives a byte that was typed to the partition that the keyboard belongs to;
/// `false` if it belongs to none.
pub fn take_typed(byte: u8) -> bool {
    let lpid = ATTACHED.load(Ordering::Relaxed);
    if lpid == 0 {
        return false;
    }
    if byte == ESCAPE {
        ATTACHED.store(0, Ordering::Relaxed);
        print!("\npinion> ");
        return true;
    }
    let all = partitions();
    match all.iter().find(|partition| partition.lpid == lpid) {
        Some(partition) => partition.terminal.lock().type_byte(byte),
        None => {
            ATTACHED.store(0, Ordering::Relaxed);
            return false;
        }
    };
    true
}

/// `start [MIB [VCPUS]]`.
pub fn start(what: &str) {
    let mut words = what.split_ascii_whitespace();
    let mut number = |default: u64| words.next().map_or(Some(default), |word| word.parse().ok());
    let (Some(mib), Some(vcpus)) = (number(256), number(1)) else {
        println!("start {what}: there is start [MIB [VCPUS]].");
        return;
    };
    if let Err(why) = try_start(mib, vcpus as usize) {
        error!("partition not started: {why}");
    }
}

/// Most vCPUs of a partition.
const MAX_VCPUS: usize = 64;

fn try_start(mib: u64, vcpus: usize) -> Result<(), String> {
    if runtime::generation() == Some(Generation::Power8) {
        return Err("POWER8 cannot run partitions yet; devices and DMA work".into());
    }
    let bytes = mib
        .checked_mul(1 << 20)
        .filter(|bytes| *bytes >= 1 << 21 && bytes.is_multiple_of(1 << 21));
    let bytes =
        bytes.ok_or_else(|| alloc::format!("{mib} MiB of memory: an even number is needed"))?;
    if vcpus == 0 || vcpus > MAX_VCPUS {
        return Err(alloc::format!(
            "{vcpus} vCPUs: 1 to {MAX_VCPUS} are possible"
        ));
    }
    let range = runtime::memory().and_then(|map| map.initrd);
    let range = range.ok_or("there is no initrd with a kernel")?;
    // SAFETY: the initrd is reserved for ever, and nobody writes to it.
    let file = unsafe { runtime::bytes_at(range.start(), range.size() as usize) };
    let plan = load::plan(file, bytes, vcpus)?;
    begin(plan)
}

/// Makes a partition and lets it run.
fn begin(mut plan: Plan) -> Result<(), String> {
    let table = memory::partition_table().map_err(|error| alloc::format!("{error}"))?;
    TABLE.store(table, Ordering::Release);
    let lpid = memory::new_lpid();
    // A name is kept across restarts.
    if plan.name.is_empty() {
        plan.name = alloc::format!("p{lpid}");
    }
    let space = Memory::new(lpid, plan.bytes).map_err(|error| alloc::format!("{error}"))?;
    let threads = choose_threads(plan.vcpus);
    let loaded = load::load(&plan, &space, lpid)?;
    let slots: Box<[Slot]> = threads
        .iter()
        .map(|&thread| Slot {
            vcpu: UnsafeCell::new(Vcpu::new(lpid, lpcr::START, loaded.entry.get())),
            icp: Mutex::new(Icp::default()),
            activity: AtomicU32::new(Activity::Stopped as u32),
            prodded: AtomicBool::new(false),
            released: AtomicBool::new(false),
            thread,
        })
        .collect();
    let partition = Arc::new(Partition {
        name: plan.name.clone(),
        lpid,
        memory: space,
        slots,
        lpcr: AtomicU64::new(lpcr::START),
        terminal: Mutex::new(Terminal::default()),
        state: AtomicU32::new(State::Runs as u32),
        plan,
    });
    if let Some(first) = partition.slots.first() {
        // SAFETY: the vCPU is stopped, and nobody else knows it yet.
        let vcpu = unsafe { &mut *first.vcpu.get() };
        vcpu.gpr[3] = loaded.tree.get();
        first.set_activity(Activity::Runs);
    }
    info!(
        "partition {}: {} MiB, {} vCPU(s), LPID {lpid}, entered at {}",
        partition.name,
        partition.memory.bytes() >> 20,
        partition.slots.len(),
        loaded.entry
    );
    partitions().push(Arc::clone(&partition));
    for slot in &partition.slots {
        if slot.thread.index() != 0 {
            cpu::threads::give(slot.thread, run::worker, interrupts::wake);
        }
    }
    Ok(())
}

/// PTCR's value, for threads that come to run a vCPU.
static TABLE: AtomicU64 = AtomicU64::new(0);

/// A thread for each vCPU: those that are free, then the boot thread.
fn choose_threads(count: usize) -> Vec<&'static Area> {
    let all = partitions();
    let is_taken = |area: &Area| {
        let mut slots = all.iter().flat_map(|partition| partition.slots.iter());
        slots.any(|slot| slot.thread.index() == area.index())
    };
    let free = secondaries::all()
        .iter()
        .copied()
        .filter(|area| area.state() == ThreadState::Parked && !is_taken(area));
    free.chain(core::iter::repeat(cpu::boot_area()))
        .take(count)
        .collect()
}

/// Looks after partitions that have ended: says so, gives their memory back, or
/// starts them again. On the boot thread, between turns.
pub fn tend() {
    loop {
        let ended = {
            let mut all = partitions();
            let place = all.iter().position(|partition| {
                partition.state() != State::Runs
                    && partition
                        .slots
                        .iter()
                        .all(|slot| slot.released.load(Ordering::Acquire))
            });
            match place {
                Some(place) => all.remove(place),
                None => return,
            }
        };
        let name = &ended.name;
        match ended.state() {
            State::Runs | State::Off => info!("partition {name}: off"),
            State::Reboots => info!("partition {name}: starts again"),
            State::Failed => {
                error!("partition {name}: stopped; its last lines:");
                for line in ended.terminal.lock().last_lines() {
                    println!("[{name}] {line}");
                }
            }
        }
        let again = (ended.state() == State::Reboots).then(|| ended.plan.clone());
        // A worker that is on its way out may still hold it for a moment.
        while Arc::strong_count(&ended) > 1 {
            cpu::idle::sleep(1000);
        }
        drop(ended);
        if let Some(plan) = again
            && let Err(why) = begin(plan)
        {
            error!("partition not started again: {why}");
        }
    }
}

/// Ends all partitions: before the machine does.
pub fn end_all() {
    let all: Vec<_> = partitions().iter().map(Arc::clone).collect();
    for partition in &all {
        partition.end(State::Off);
    }
    drop(all);
    // The boot thread's own slots are released by its turn.
    for _ in 0..100 {
        turn(cpu::area(), 1);
        tend();
        if partitions().is_empty() {
            break;
        }
        cpu::idle::sleep(cpu::timebase_hz() / 1000);
    }
}

/// `partitions`.
pub fn list() {
    let all = partitions();
    if all.is_empty() {
        println!("No partition runs. Type start to start what the initrd has.");
    }
    for partition in all.iter() {
        let count = |activity| {
            partition
                .slots
                .iter()
                .filter(|slot| slot.activity() == activity)
                .count()
        };
        println!(
            "  {:<12} {:?}, LPID {}, {} MiB, vCPUs: {} running, {} waiting, {} stopped",
            partition.name,
            partition.state(),
            partition.lpid,
            partition.memory.bytes() >> 20,
            count(Activity::Runs),
            count(Activity::Ceded),
            count(Activity::Stopped)
        );
    }
}

fn with_named(name: &str, act: impl FnOnce(&Partition)) {
    let found = partitions()
        .iter()
        .find(|partition| partition.name == name)
        .map(Arc::clone);
    match found {
        Some(partition) => act(&partition),
        None => println!("{name}: no such partition. Type partitions for those that run."),
    }
}

/// `stop NAME`.
pub fn stop(name: &str) {
    with_named(name, |partition| partition.end(State::Off));
}

/// `console NAME`.
pub fn console(name: &str) {
    with_named(name, |partition| {
        println!("Console of {name}; Ctrl-] leaves it.");
        print!("{}", partition.terminal.lock().unfinished());
        ATTACHED.store(partition.lpid, Ordering::Relaxed);
    });
}
