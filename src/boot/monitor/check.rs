//! The self-test's part `prompt`: commands about DMA, asked while pages are
//! mapped, and whether they are right.

use super::{execute, names};
use crate::addr::BusAddr;
use crate::boot::bench::window::{PLAIN, Setup};
use crate::boot::rig::{Rig, the_engine};
use crate::dma::{Meaning, WalkStep};
use crate::tce::{Access, Entry};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Pages of a run that is mapped for writing; behind it one for reading.
const PAGES: u64 = 300;

/// Asks `windows`, `map`, `tce`, `pins`, `trace` and `stats`.
pub fn prompt() -> Result<String, String> {
    let two_levels = Setup {
        levels: 2,
        level_shift: 16,
        ..PLAIN
    };
    let Some(rig) = two_levels.open()? else {
        return Ok("left out: no device whose PE could be used".into());
    };
    let asked = ask(&rig);
    rig.close()?;
    asked
}

fn ask(rig: &Rig) -> Result<String, String> {
    let told = |error| format!("{error}");
    rig.map(rig.bus(16), 0, PAGES, Access::ReadWrite)?;
    rig.map(rig.bus(16 + PAGES), 4000, 1, Access::Read)?;
    let name = names::name_of(&rig.window);
    let bus = BusAddr::new(rig.bus(17).get() + 0x123);
    let mut steps: Vec<WalkStep> = Vec::with_capacity(8);
    the_engine()?
        .walk(&rig.window, bus, |step| steps.push(step))
        .map_err(told)?;
    let Some(WalkStep {
        meaning: Meaning::Page(Entry::Live { host, access }),
        ..
    }) = steps.last()
    else {
        return Err(format!("the walk ends at {:?}", steps.last()));
    };
    if (*host, *access, steps.len()) != (rig.arena.page(1, 12)?, Access::ReadWrite, 2) {
        return Err(format!("the walk leads to {host} in {} steps", steps.len()));
    }
    for line in [
        "windows",
        &format!("map {name}"),
        &format!("tce {name} {bus}"),
        &format!("tce {name} 0"),
        &format!("tce {name} {:x}", rig.window.range().last().get() + 1),
        "pins",
        &format!("trace {}", names::owner(rig.window.owner())),
        "stats map",
    ] {
        crate::println!("{}{line}", super::PROMPT);
        execute(line);
    }
    Ok(format!("{} pages were mapped, walked and drawn", PAGES + 1))
}
