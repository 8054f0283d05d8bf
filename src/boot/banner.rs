//! What a person sees first.

use super::runtime;
use crate::cpu;
use crate::machine::{Cpus, FirmwareInfo, Machine, Outline};
use crate::println;
use core::sync::atomic::{AtomicU64, Ordering};

/// Ticks from the first Rust instruction to the banner; 0 before it.
static AT_BANNER: AtomicU64 = AtomicU64::new(0);

/// Ticks from the first Rust instruction to the banner, once it was printed.
pub fn ticks_at_banner() -> Option<u64> {
    Some(AT_BANNER.load(Ordering::Relaxed)).filter(|ticks| *ticks != 0)
}

/// The banner at the start, with the time that it took.
pub fn print_first(machine: &Outline) {
    if ticks_at_banner().is_none() {
        AT_BANNER.store(runtime::ticks(), Ordering::Relaxed);
    }
    let microseconds = runtime::microseconds();
    print_facts(
        &machine.model,
        &machine.cpus,
        machine.bridges,
        machine.firmware.as_ref(),
    );
    crate::debug!("banner {microseconds} us after the hand-over");
}

/// The banner: who this is, and on what it runs.
pub fn print(machine: &Machine) {
    print_facts(
        &machine.model,
        &machine.cpus,
        machine.phbs.len(),
        machine.firmware.as_ref(),
    );
}

fn print_facts(model: &str, cpus: &Cpus, phbs: usize, firmware: Option<&FirmwareInfo>) {
    let pvr = cpu::pvr();
    let processor = match runtime::generation() {
        Some(generation) => alloc::format!("{generation}, PVR {pvr:#010x}"),
        None => alloc::format!("unknown processor, PVR {pvr:#010x}"),
    };
    let cores = cpus.cores.len();
    let threads = cpus.threads().count();
    let mib = runtime::memory().map_or(0, |map| map.memory.total() >> 20);
    let firmware = firmware.map_or("none", |firmware| &firmware.version);
    println!();
    println!("Pinion {}", env!("CARGO_PKG_VERSION"));
    println!("  board      {}", model);
    println!("  processor  {processor}");
    println!(
        "  threads    {threads} on {cores} {}",
        plural(cores, "core")
    );
    println!("  memory     {mib} MiB");
    println!("  PHBs       {phbs}");
    println!("  firmware   {firmware}");
    println!();
}

/// `name`, in the plural where it belongs.
pub fn plural(count: usize, name: &str) -> alloc::string::String {
    alloc::format!("{name}{}", if count == 1 { "" } else { "s" })
}

/// The machine in detail.
pub fn print_summary(machine: &Machine) {
    print_memory();
    println!("Mitigations: {}", machine.speculation);
    for core in &machine.cpus.cores {
        crate::debug!("core: chip {}, threads {:x?}", core.chip, core.threads);
    }
    if machine.phbs.is_empty() {
        println!("PHBs: none");
    } else {
        println!("PHBs:");
        println!("  name        chip  buses  PEs  registers");
        for phb in &machine.phbs {
            println!(
                "  {:<10}  {:>4}  {:02x}-{:02x}  {:>3}  {:#x}",
                phb.name(),
                phb.chip,
                phb.buses.0,
                phb.buses.1,
                phb.endpoints,
                phb.registers
            );
        }
    }
}

/// Memory: what there is, what is taken, what is free.
pub fn print_memory() {
    let Some(map) = runtime::memory() else { return };
    let (free, total, largest) = runtime::frames();
    println!("Memory:");
    for range in map.memory.iter() {
        println!(
            "  {:#014x}..{:#014x}  {:>9}",
            range.start(),
            range.end(),
            Size(range.size())
        );
    }
    println!(
        "  free {} of {}, largest block {}",
        Size(free),
        Size(total),
        Size(largest.map_or(0, |shift| 1 << shift))
    );
    if let Some(initrd) = &map.initrd {
        println!("  initrd {initrd}, {}", Size(initrd.size()));
    }
}

/// Bytes in the largest unit of which they are a multiple, or of which they are
/// ten or more: a rest is cut off.
pub struct Size(pub u64);

impl core::fmt::Display for Size {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let unit = units.iter().find(|(shift, _)| {
            let whole = self.0 != 0 && self.0.is_multiple_of(1 << shift);
            whole || self.0 >= 10 << shift
        });
        let text = match unit {
            Some((shift, name)) => alloc::format!("{} {name}", self.0 >> shift),
            None => alloc::format!("{} B", self.0),
        };
        f.pad(&text)
    }
}
