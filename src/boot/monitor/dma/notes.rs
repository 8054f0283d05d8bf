//! `trace` and `stats`: what was done, and what it cost.

use super::super::partitions::Named;
use crate::boot::partitions as guests;
use crate::boot::trace as rings;
use crate::console::arguments::{Argument, Arguments, Outcome};
use crate::cpu;
use crate::println;
use crate::trace::costs::{self, Histogram};
use crate::trace::entry::{self, Line};
use crate::trace::{Costs, Entry, Kind};
use alloc::string::String;
use alloc::vec::Vec;

/// Operations that `trace` shows.
const SHOWN: usize = 40;

/// `trace [PARTITION]`.
pub(in super::super) fn trace(mut words: Arguments<'_>) -> Outcome<'_> {
    let owner = words.optional::<Named>()?.map(|Named(owner)| owner);
    words.end()?;
    let (start, hertz) = (rings::start(), cpu::timebase_hz());
    let mut all: Vec<(u64, u64, Entry)> = Vec::new();
    for ring in rings::all() {
        let entries = ring.entries();
        let entries = entries.filter(|entry| owner.is_none_or(|owner| entry.owner == owner.0));
        all.extend(entries.map(|entry| (entry.microseconds(start, hertz), ring.thread(), entry)));
    }
    if all.is_empty() {
        println!("No DMA operations so far.");
        return Ok(());
    }
    all.sort_by_key(|(time, _, _)| *time);
    let left_out = all.len().saturating_sub(SHOWN);
    let names: Vec<(u32, String)> = guests::all()
        .iter()
        .map(|defined| (defined.domain().memory().owner().0, defined.name().into()))
        .collect();
    println!("{}", entry::HEADING);
    for (microseconds, thread, entry) in all.iter().skip(left_out) {
        let known = names.iter().find(|(owner, _)| *owner == entry.owner);
        println!(
            "{}",
            Line {
                entry,
                thread: *thread,
                microseconds: *microseconds,
                owner: known.map(|(_, name)| name.as_str()),
            }
        );
    }
    if left_out > 0 {
        println!("  {left_out} older ones are kept, of {} in all", noted());
    }
    Ok(())
}

/// Operations since the start.
fn noted() -> u64 {
    rings::all().map(|ring| ring.written()).sum()
}

impl Argument for Kind {
    const EXPECTED: &'static str =
        "map, unmap, remap, clear, attach, detach, remove, recover or kill";

    fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == word)
    }
}

/// `stats [OPERATION]`.
pub(in super::super) fn stats(mut words: Arguments<'_>) -> Outcome<'_> {
    let kind = words.optional::<Kind>()?;
    words.end()?;
    let mut costs = Costs::NONE;
    for ring in rings::all() {
        ring.add_to(&mut costs);
    }
    let hertz = cpu::timebase_hz();
    match kind {
        Some(kind) => {
            println!("{}, by ticks of {hertz} Hz:", kind.name());
            crate::print!("{}", Histogram(costs.of(kind)));
        }
        None => {
            println!("DMA operations of all threads; costs in ticks of {hertz} Hz.");
            println!("{}", costs::HEADING);
            for kind in Kind::ALL {
                println!("{}", costs.of(kind));
            }
            println!("stats OPERATION shows a histogram.");
        }
    }
    Ok(())
}
