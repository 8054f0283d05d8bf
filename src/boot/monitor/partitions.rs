//! Commands about partitions.

use super::names;
use crate::boot::banner::Size;
use crate::boot::partitions::{self as guests, PartitionError};
use crate::boot::pci;
use crate::console::arguments::{Argument, Arguments, Outcome};
use crate::{print, println};

const NAME: &str = "the name of a partition";
const DEVICE: &str = "a device, as 0000:01:00.0 or 1b36:0010,";

/// Memory and vCPUs of a partition that no manifest describes.
const DEFAULT: (u64, usize) = (256, 1);

/// `partitions`.
pub(super) fn list() {
    let all = guests::all();
    if all.is_empty() {
        println!("none: no manifest defines one. start makes one of the kernel in the initrd.");
        return;
    }
    println!(
        "  name          state              memory  table memory        run  wait   off  LPID"
    );
    for defined in &all {
        let (state, quota) = (defined.life().state(), defined.quota());
        let tables = alloc::format!("{} of {}", Size(quota.used()), Size(quota.limit()));
        print!(
            "  {:<12}  {state:<15}  {:>8}  {tables:<18}",
            defined.name(),
            Size(defined.bytes())
        );
        match guests::seen(defined) {
            Some(seen) => println!(
                "  {:>3}  {:>4}  {:>4}  {:>4}",
                seen.running, seen.waiting, seen.stopped, seen.lpid
            ),
            None => println!("    -     -  {:>4}     -", defined.plan().vcpus),
        }
        for group in defined.groups() {
            println!(
                "    {:<16}  PE {}  LIOBN {:x}",
                guests::group_text(group.place),
                pci::pe_text(group.pe),
                group.liobn.0
            );
        }
    }
    println!("  run, wait, off: its vCPUs");
}

/// Says why something did not happen.
fn told(command: &str, result: Result<(), PartitionError>) {
    if let Err(why) = result {
        println!("{command}: {why}.");
    }
}

/// `start NAME`, or `start [MIB [VCPUS]]`.
pub(super) fn start(mut words: Arguments<'_>) -> Outcome<'_> {
    let mut rest = words.clone();
    let result = match words.word() {
        Some(name) if !name.starts_with(|first: char| first.is_ascii_digit()) => {
            words.end()?;
            guests::start(name)
        }
        _ => {
            let mib = rest.optional::<u64>()?.unwrap_or(DEFAULT.0);
            let vcpus = rest
                .optional::<u32>()?
                .map_or(DEFAULT.1, |count| count as usize);
            rest.end()?;
            guests::start_file(mib, vcpus)
        }
    };
    told("start", result);
    Ok(())
}

/// A command with the name of a partition.
fn with_name<'l>(
    command: &str,
    mut words: Arguments<'l>,
    act: fn(&str) -> Result<(), PartitionError>,
) -> Outcome<'l> {
    let name = words.name(NAME)?;
    words.end()?;
    let result = act(name);
    if result.is_ok()
        && let Ok(defined) = guests::find(name)
    {
        println!("{name} is {}.", defined.life().state());
    }
    told(command, result);
    Ok(())
}

pub(super) fn stop(words: Arguments<'_>) -> Outcome<'_> {
    with_name("stop", words, guests::stop)
}

pub(super) fn restart(words: Arguments<'_>) -> Outcome<'_> {
    with_name("restart", words, guests::restart)
}

pub(super) fn pause(words: Arguments<'_>) -> Outcome<'_> {
    with_name("pause", words, guests::pause)
}

pub(super) fn resume(words: Arguments<'_>) -> Outcome<'_> {
    with_name("resume", words, guests::resume)
}

pub(super) fn destroy(words: Arguments<'_>) -> Outcome<'_> {
    with_name("destroy", words, guests::destroy)
}

/// `attach DEVICE[,DEVICE] NAME`.
pub(super) fn attach(mut words: Arguments<'_>) -> Outcome<'_> {
    let device = words.name(DEVICE)?;
    let name = words.name(NAME)?;
    words.end()?;
    let result = guests::attach(device, name);
    if result.is_ok() {
        println!("{name} has {device} now.");
    }
    told("attach", result);
    Ok(())
}

/// `detach DEVICE`.
pub(super) fn detach(mut words: Arguments<'_>) -> Outcome<'_> {
    let device = words.name(DEVICE)?;
    words.end()?;
    match guests::detach(device) {
        Ok(name) => println!("{device} was taken from {name}; it is nobody's now."),
        Err(why) => println!("detach: {why}."),
    }
    Ok(())
}

/// `console NAME`.
pub(super) fn console(mut words: Arguments<'_>) -> Outcome<'_> {
    let name = words.name(NAME)?;
    words.end()?;
    guests::console(name);
    Ok(())
}

/// A partition by name, for what is read of it only.
pub(super) struct Named(pub(super) crate::memory::ledger::OwnerId);

impl Argument for Named {
    const EXPECTED: &'static str = NAME;

    fn read(word: &str) -> Option<Self> {
        names::owner_of(word).map(Self)
    }
}
