//! `windows`, `tce`, `map`, `pins`: what tables and ledger hold now.

use super::super::names;
use crate::addr::{BusAddr, HostAddr};
use crate::boot::banner::{Size, plural};
use crate::boot::partitions as guests;
use crate::boot::pci::platform::{engine, ledger};
use crate::boot::pci::{self, windows as known};
use crate::boot::runtime;
use crate::console::arguments::{Arguments, Outcome};
use crate::console::picture::Picture;
use crate::dma::{Audit, Meaning, WalkStep, Window};
use crate::memory::ledger::OwnerId;
use crate::tce::{Access, Entry};
use crate::{print, println};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

const LIOBN: &str = "a LIOBN, as windows shows them,";

/// Rights, for a person.
const fn rights(access: Access) -> &'static str {
    match access {
        Access::ReadWrite => "read and write",
        _ => "read",
    }
}

/// `windows`.
pub(in super::super) fn windows() {
    let (all, Some(engine)) = (known::all(), engine()) else {
        return;
    };
    if all.is_empty() {
        println!("No windows.");
        return;
    }
    println!(
        "  partition       LIOBN  first bus address       size  page  levels   mapped  buried  PEs"
    );
    for window in &all {
        let range = window.range();
        let (mut live, mut buried) = (0u64, 0u64);
        engine.mappings(window, |mapping| match mapping.access {
            Some(_) => live += 1,
            None => buried += 1,
        });
        let mut pes = Vec::new();
        window.each_pe(|pe| pes.push(pci::pe_text(pe)));
        println!(
            "  {:<10}  {:>9}  {:#017x}  {:>9}  {:>4}  {:>6}  {live:>7}  {buried:>6}  {}",
            names::owner(window.owner()),
            window
                .liobn()
                .map_or_else(|| "-".into(), |liobn| format!("{:x}", liobn.0)),
            range.base(),
            Size(range.bytes()),
            format!("{}", range.shape().page()),
            range.shape().levels(),
            if pes.is_empty() {
                "none".into()
            } else {
                pes.join(" ")
            }
        );
        if let Some(pe) = window.failed() {
            println!(
                "              stopped: a kill for PE {} failed; type recover {0}",
                pci::pe_text(pe)
            );
        }
    }
}

/// `tce LIOBN IOBA`.
pub(in super::super) fn tce(mut words: Arguments<'_>) -> Outcome<'_> {
    let name = words.name(LIOBN)?;
    let bus = words.required::<BusAddr>()?;
    words.end()?;
    match names::window(name) {
        Ok(window) => walk(&window, bus),
        Err(why) => println!("tce: {why}"),
    }
    Ok(())
}

fn walk(window: &Window<crate::boot::pci::platform::Platform>, bus: BusAddr) {
    let Some(engine) = engine() else { return };
    let range = window.range();
    // Nothing is said under the window's lock.
    let mut steps: Vec<WalkStep> = Vec::with_capacity(8);
    let walked = engine.walk(window, bus, |step| steps.push(step));
    let root = steps.first().map(|step| step.table);
    let levels = range.shape().levels() as usize;
    println!(
        "window {}: {range}, {levels} {} of {} entries{}",
        names::name_of(window),
        plural(levels, "level"),
        range.shape().entries(),
        root.and_then(runtime::chip_of)
            .map_or_else(String::new, |chip| format!(", in memory of chip {chip}"))
    );
    if let Err(error) = walked {
        println!("tce: {error}");
        return;
    }
    println!("  level  table               index  entry               means");
    for step in &steps {
        print!(
            "  {:>5}  {:#017x}  {:>6x}  {:#018x}  ",
            step.level, step.table, step.index, step.bits
        );
        match step.meaning {
            Meaning::NoTable => println!("nothing is mapped below it"),
            Meaning::Table(next) => println!("the table at {next}"),
            Meaning::Page(Entry::Empty) => println!("nothing is mapped"),
            Meaning::Page(Entry::Live { host, access }) => {
                println!("page {host}, {}", rights(access));
            }
            Meaning::Page(Entry::Tombstone { host, wrote, .. }) => println!(
                "page {host} awaits a kill{}",
                if wrote { ", was written" } else { "" }
            ),
        }
    }
    let page = range.shape().page().bytes();
    if let Some(WalkStep {
        meaning: Meaning::Page(Entry::Live { host, .. } | Entry::Tombstone { host, .. }),
        ..
    }) = steps.last()
    {
        told(
            window.owner(),
            HostAddr::new(host.get() | (bus.get() & (page - 1))),
        );
    }
}

/// Whose a byte of memory is that a window of `owner` leads to.
fn told(owner: OwnerId, host: HostAddr) {
    let holder = ledger().and_then(|ledger| ledger.owner_of(host));
    let guest = guests::all().into_iter().find_map(|defined| {
        let guest = defined.map().guest(host)?;
        Some(format!(", guest address {guest} of {}", defined.name()))
    });
    println!(
        "  leads to {host}, memory of {}{}",
        holder.map_or_else(|| "nobody".into(), names::owner),
        guest.unwrap_or_default()
    );
    if holder != Some(owner) {
        println!(
            "  WRONG: the window is of {}; type audit",
            names::owner(owner)
        );
    }
}

/// `map LIOBN`.
pub(in super::super) fn map(mut words: Arguments<'_>) -> Outcome<'_> {
    let name = words.name(LIOBN)?;
    words.end()?;
    let Some(engine) = engine() else {
        return Ok(());
    };
    match names::window(name) {
        Ok(window) => {
            println!("window {}: {}", names::name_of(&window), window.range());
            let mut picture = Picture::new(*window.range());
            engine.mappings(&window, |mapping| picture.add(mapping));
            picture.finish();
            print!("{picture}");
        }
        Err(why) => println!("map: {why}"),
    }
    Ok(())
}

/// `pins`: each region of each partition, its pins, and what the tables say.
pub(in super::super) fn pins() {
    let Some(engine) = engine() else { return };
    let windows = known::all();
    let mut owners: Vec<(OwnerId, String)> = Vec::new();
    for defined in guests::all() {
        let owner = defined.domain().memory().owner();
        owners.push((owner, defined.name().into()));
    }
    for window in &windows {
        let owner = window.owner();
        if owners.iter().all(|(other, _)| *other != owner) {
            owners.push((owner, names::owner(owner)));
        }
    }
    if owners.is_empty() {
        println!("No partitions, and nothing is pinned.");
        return;
    }
    println!("  partition   region at          chip       size      pins   entries  stranded");
    for (owner, name) in &owners {
        let theirs: Vec<_> = windows
            .iter()
            .filter(|window| window.owner() == *owner)
            .map(|window| &**window)
            .collect();
        let mut lines: Vec<Audit> = Vec::with_capacity(256);
        engine.audit(&theirs, |line| lines.push(line));
        for line in lines {
            let region = line.region;
            println!(
                "{}  {:>8}  {:>8}  {:>8}{}",
                Start(name, region.start, region.bytes),
                region.pins,
                line.entries,
                line.stranded,
                match (line.is_balanced(), region.closing) {
                    (false, _) => "  WRONG, unless operations run",
                    (true, true) => "  closing",
                    (true, false) => "",
                }
            );
        }
        // Without a window there is nothing to compare.
        let memory = guests::find(name).ok().filter(|_| theirs.is_empty());
        for piece in memory.iter().flat_map(|defined| defined.map().pieces()) {
            println!("{}  no window", Start(name, piece.host, piece.bytes));
        }
    }
}

/// How a region's line begins: owner, address, chip, bytes.
struct Start<'a>(&'a str, HostAddr, u64);

impl fmt::Display for Start<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, at, bytes) = *self;
        let chip = runtime::chip_of(at).map_or_else(|| "-".into(), |chip| format!("{chip}"));
        write!(f, "  {name:<10}  {at:#017x}  {chip:>4}  {:>9}", Size(bytes))
    }
}
