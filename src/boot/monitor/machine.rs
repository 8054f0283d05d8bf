//! Commands about the machine as a whole.

use crate::boot::partitions as guests;
use crate::boot::runtime::OPAL;
use crate::boot::{banner, bench as benchmarks, heap, interrupts as sources, power, runtime};
use crate::boot::{secondaries, selftest as checks};
use crate::console::arguments::{Arguments, Outcome, Refusal};
use crate::console::log::{self as lines, Level};
use crate::opal::Reboot;
use crate::println;

const ASKED: &str = "asked for at the console";

pub(super) fn machine() {
    if let Some(machine) = runtime::machine() {
        banner::print(machine);
        banner::print_summary(machine);
    }
}

pub(super) fn memory() {
    banner::print_memory();
    let partitions = guests::all();
    if !partitions.is_empty() {
        let bytes = partitions.iter().map(|it| it.bytes()).sum();
        let tables = partitions.iter().map(|it| it.quota().used()).sum();
        let count = partitions.len();
        println!(
            "  {count} {} with {}, and {} of TCE tables",
            banner::plural(count, "partition"),
            banner::Size(bytes),
            banner::Size(tables)
        );
    }
    let (used, free) = heap::usage();
    println!("Heap: {used} bytes used, {free} free");
}

/// `threads [reset THREAD]`.
pub(super) fn threads(mut words: Arguments<'_>) -> Outcome<'_> {
    match words.word() {
        None => list_threads(),
        Some("reset") => {
            let index = words.required::<u32>()?;
            words.end()?;
            reset_thread(index);
        }
        Some(word) => {
            let expected = "reset, or nothing,";
            return Err(Refusal::Wrong { word, expected });
        }
    }
    Ok(())
}

/// A system reset for a thread that hangs in a partition, which ends by that.
fn reset_thread(index: u32) {
    let mut others = secondaries::with_boot().skip(1);
    let Some(area) = others.find(|area| area.index() == index) else {
        return println!("threads reset {index}: there is no such thread beside this one.");
    };
    if guests::vcpus_of(area).is_empty() {
        return println!("threads reset {index}: no partition is on it.");
    }
    match OPAL.signal_system_reset(area.pir()) {
        Ok(()) => println!("Thread {index} gets a system reset."),
        Err(error) => println!("threads reset {index}: {error}"),
    }
}

fn list_threads() {
    println!("  index  PIR     chip  state     wake-ups  vCPUs");
    for area in secondaries::with_boot() {
        let state = alloc::format!("{:?}", area.state()).to_lowercase();
        println!(
            "  {:>5}  {:#06x}  {:>4}  {state:<8}  {:>8}  {}",
            area.index(),
            area.pir(),
            guests::chip_of(area.pir()).map_or_else(|| "-".into(), |it| alloc::format!("{it}")),
            area.wakes(),
            guests::vcpus_of(area).join(" ")
        );
    }
}

/// `interrupts [unmask SOURCE]`.
pub(super) fn interrupts(mut words: Arguments<'_>) -> Outcome<'_> {
    match words.word() {
        None => sources::print(),
        Some("unmask") => {
            let source = words.required()?;
            words.end()?;
            sources::unmask(source);
        }
        Some(word) => {
            let expected = "unmask, or nothing,";
            return Err(Refusal::Wrong { word, expected });
        }
    }
    Ok(())
}

/// `log [LEVEL]`.
pub(super) fn log(mut words: Arguments<'_>) -> Outcome<'_> {
    let level = words.optional::<Level>()?;
    words.end()?;
    if let Some(level) = level {
        lines::set_level(level);
    }
    let shown = match lines::level() {
        Level::Error => "The console shows errors only.",
        Level::Warning => "The console shows errors and warnings.",
        Level::Info => "The console shows info and what is more important.",
        Level::Debug => "The console shows everything.",
    };
    println!(
        "{shown} So far {} warnings and errors; {} bytes lost.",
        lines::complaints(),
        lines::lost()
    );
    Ok(())
}

/// `selftest [PART]`.
pub(super) fn selftest(mut words: Arguments<'_>) -> Outcome<'_> {
    let part = words.word().unwrap_or("all");
    words.end()?;
    checks::run(part);
    Ok(())
}

/// `bench [ROWS]`.
pub(super) fn bench(mut words: Arguments<'_>) -> Outcome<'_> {
    let rows = words.word().unwrap_or("");
    words.end()?;
    benchmarks::run(rows);
    Ok(())
}

pub(super) fn poweroff() {
    power::off(ASKED);
}

/// `reboot [full|image]`.
pub(super) fn reboot(mut words: Arguments<'_>) -> Outcome<'_> {
    let how = words.word();
    words.end()?;
    match how {
        None => power::reboot(Reboot::Normal, ASKED),
        Some("full") => power::reboot(Reboot::Full, ASKED),
        Some("image") => power::restart(ASKED),
        Some(word) => Err(Refusal::Wrong {
            word,
            expected: "full or image",
        }),
    }
}
