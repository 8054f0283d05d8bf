//! The built-in self-test: what can be shown about a machine without risk to
//! it. Each check is one line.

use super::pci::check as pci;
use super::runtime::{self, OPAL};
use super::{banner, events, heap as memory_heap, secondaries};
use crate::addr::HostAddr;
use crate::crash::Frame;
use crate::memory::frames::Block;
use crate::{cpu, mmio, println};
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

type Check = fn() -> Result<String, String>;

const CHECKS: &[(&str, Check)] = &[
    ("frames", frames),
    ("heap", heap),
    ("clock", clock),
    ("threads", threads),
    ("maintenance", maintenance),
    ("interrupts", super::interrupts::check::delivery_of_one),
    ("wake-ups", super::interrupts::check::wake_ups),
    ("firmware", firmware),
    ("nvme", pci::nvme::check),
    ("signals", pci::signals::check),
    ("machine-check", machine_check),
    ("edu", pci::reach::check),
    ("flush", pci::flush::check),
    ("audit", super::audit::check),
];

/// Checks that need somebody at the console, take their time, or report an error
/// on purpose: run by name only.
const BY_NAME: &[(&str, Check)] = &[
    ("typing", super::interrupts::check::typing),
    ("freeze", pci::freeze::check),
    ("freeze-nobody", pci::freeze::nobody),
    ("freeze-virtual", pci::freeze::with_virtuals),
    ("unplug", pci::unplug::check),
    ("unplug-frozen", pci::unplug::frozen),
    ("prompt", super::monitor::check::prompt),
    ("stop-often", super::partitions::check::stop_often),
    ("stop-steps", super::partitions::check::stop_steps),
    ("move", super::partitions::check::moves),
    ("come-and-go", super::partitions::check::come_and_go),
];

/// The names of all parts.
pub fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().chain(BY_NAME).map(|(name, _)| *name)
}

/// Runs all checks, or the one of this name; returns how many failed.
pub fn run(part: &str) -> usize {
    let (mut passed, mut failed) = (0, 0);
    let unattended = CHECKS
        .iter()
        .filter(|(name, _)| part == "all" || part == *name);
    let by_name = BY_NAME.iter().filter(|(name, _)| part == *name);
    for (name, check) in unattended.chain(by_name) {
        // Whatever was done, PHBs let devices reach only what they may.
        match check().and_then(|told| super::audit::in_order().map(|_| told)) {
            Ok(told) => {
                passed += 1;
                println!("  ok    {name:<14} {told}");
            }
            Err(why) => {
                failed += 1;
                println!("  FAIL  {name:<14} {why}");
            }
        }
    }
    if passed + failed == 0 {
        let names: Vec<&str> = names().collect();
        println!(
            "  FAIL  no part is named {part}: there are {}",
            names.join(", ")
        );
        failed = 1;
    }
    println!("selftest: {passed} passed, {failed} failed");
    failed
}

/// Blocks of all sizes, apart, aligned, and all back.
fn frames() -> Result<String, String> {
    let (before, total, largest) = runtime::frames();
    let largest = largest.ok_or("nothing is free")?;
    let mut blocks: Vec<Block> = Vec::new();
    for shift in 12..=largest {
        let block = runtime::allocate(shift, None).map_err(|error| alloc::format!("{error}"))?;
        if !block.start().is_aligned(shift) {
            return Err(alloc::format!("{block:?} is not aligned"));
        }
        // First and last word of each, to see that memory is there.
        for at in [block.start().get(), block.start().get() + block.size() - 8] {
            // SAFETY: the block is this function's.
            let kept = unsafe {
                (at as *mut u64).write_volatile(at);
                (at as *const u64).read_volatile()
            };
            if kept != at {
                return Err(alloc::format!("{at:#x} reads back as {kept:#x}"));
            }
        }
        blocks.push(block);
        if runtime::frames().2.is_none_or(|free| free <= shift) {
            break;
        }
    }
    let count = blocks.len();
    for block in blocks {
        runtime::free(block).map_err(|error| alloc::format!("{error}"))?;
    }
    if runtime::frames() != (before, total, Some(largest)) {
        return Err("not all memory came back".into());
    }
    Ok(alloc::format!(
        "{count} sizes, {} free",
        banner::Size(before)
    ))
}

fn heap() -> Result<String, String> {
    let (before, _) = memory_heap::usage();
    {
        let lists: Vec<Vec<u64>> = (1..100u64).map(|length| (0..length).collect()).collect();
        let sum: u64 = lists.iter().flatten().sum();
        if sum != 161_700 {
            return Err(alloc::format!(
                "numbers kept on the heap add up to {sum}, not 161700"
            ));
        }
    }
    let (used, free) = memory_heap::usage();
    if used != before {
        return Err(alloc::format!(
            "{} bytes did not come back",
            used.wrapping_sub(before)
        ));
    }
    Ok(alloc::format!("{used} bytes used, {free} free"))
}

/// The timebase runs, and the decrementer ends a sleep in time.
fn clock() -> Result<String, String> {
    let wanted = cpu::timebase_hz() / 1000;
    let start = cpu::timebase();
    let mut rounds = 0;
    while cpu::timebase() - start < wanted {
        cpu::idle::sleep(wanted - (cpu::timebase() - start));
        rounds += 1;
        if rounds > 1000 {
            return Err("sleep returns at once, again and again".into());
        }
    }
    let took = cpu::timebase() - start;
    // Sleeping is allowed to end early; it must not end late by much.
    if took > wanted * 1000 {
        return Err(alloc::format!("1 ms of sleep took {took} ticks"));
    }
    Ok(alloc::format!(
        "1 ms of sleep in {rounds} part(s), {took} ticks of {} Hz",
        cpu::timebase_hz()
    ))
}

/// Each thread runs what it is given, on its own stack, under its own PIR.
fn threads() -> Result<String, String> {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    fn work(area: &'static cpu::Area) {
        if cpu::pir() == area.pir() && core::ptr::eq(cpu::area(), area) {
            SEEN.fetch_add(1, Ordering::Relaxed);
        }
    }
    let others = secondaries::all().len();
    for round in 1..=3 {
        SEEN.store(0, Ordering::Relaxed);
        let done = secondaries::run_on_all(work, 2000);
        let seen = SEEN.load(Ordering::Relaxed) as usize;
        if (done, seen) != (others, others) {
            return Err(alloc::format!(
                "round {round}: {done} of {others} came back, {seen} under their own PIR"
            ));
        }
    }
    let wakes: u64 = secondaries::all().iter().map(|area| area.wakes()).sum();
    Ok(alloc::format!(
        "{others} other(s) worked 3 times, {wakes} wake-ups in all"
    ))
}

/// Firmware serves a maintenance interrupt on each thread.
fn maintenance() -> Result<String, String> {
    fn work(_: &'static cpu::Area) {
        events::maintenance();
    }
    let before = events::maintenance_count();
    events::maintenance();
    let done = secondaries::run_on_all(work, 2000);
    let served = events::maintenance_count() - before;
    let wanted = secondaries::all().len() as u64 + 1;
    if served != wanted || done + 1 != wanted as usize {
        return Err(alloc::format!("served on {served} of {wanted} threads"));
    }
    Ok(alloc::format!(
        "firmware served one on each of {wanted} thread(s)"
    ))
}

/// Firmware answers, and refuses what it should.
fn firmware() -> Result<String, String> {
    OPAL.poll_events()
        .map_err(|error| alloc::format!("{error}"))?;
    match OPAL.cpu_status(0xf_ffff) {
        Err(error) => Ok(alloc::format!("refused as it should: {error}")),
        Ok(status) => Err(alloc::format!("a thread that does not exist is {status:?}")),
    }
}

/// Whether the next machine check is wanted, and where it was.
static EXPECTED: AtomicBool = AtomicBool::new(false);
static HIT: AtomicU64 = AtomicU64::new(0);

/// For the machine-check handler: whether this one is part of the test. Then
/// the instruction is stepped over.
pub fn expects_machine_check(frame: &mut Frame) -> bool {
    if !EXPECTED.swap(false, Ordering::AcqRel) {
        return false;
    }
    HIT.store(frame.dar, Ordering::Release);
    frame.nip += 4;
    true
}

/// A load from an address that nothing backs is survived and names the address.
fn machine_check() -> Result<String, String> {
    let machine = runtime::machine().ok_or("no machine")?;
    if !machine.is_emulated {
        // A real machine may count it against the core; nobody asked for that.
        return Ok("left out: only on an emulated machine".into());
    }
    const UNBACKED: u64 = 1 << 50;
    EXPECTED.store(true, Ordering::Release);
    // SAFETY: the machine check is expected and steps over the load.
    let value = unsafe { mmio::read64(HostAddr::new(UNBACKED)) };
    core::hint::black_box(value);
    if EXPECTED.swap(false, Ordering::AcqRel) {
        return Err("a load from an unbacked address raised nothing".into());
    }
    match HIT.load(Ordering::Acquire) {
        UNBACKED => Ok(alloc::format!(
            "a load from {UNBACKED:#x} was survived and reported"
        )),
        other => Err(alloc::format!(
            "reported at {other:#x} instead of {UNBACKED:#x}"
        )),
    }
}
