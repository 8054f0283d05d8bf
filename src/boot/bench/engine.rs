//! Rows of the TCE engine, with the kill at the PHB's own register.

use super::rows::Row;
use super::window::{self, PAGES};
use super::{Asked, free_bytes, told};
use crate::boot::rig::{Rig, the_engine};
use crate::println;
use crate::tce::{Access, Tce};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Pages a call.
const RUNS: [u64; 4] = [1, 16, 512, 16384];

/// Entries of a list, as guests pass them.
const LIST: u64 = 512;

/// Measures the rows that were asked for.
pub fn run(asked: Asked<'_>) -> Result<(), String> {
    let before = free_bytes();
    // Levels, regions, what the names end in.
    for (levels, regions, suffix) in [(1, 1, ""), (2, 1, "-levels-2"), (1, 256, "-regions-256")] {
        let Some(rig) = window::open(levels, regions)? else {
            println!("bench: skip engine: no device whose PE could be used");
            return Ok(());
        };
        let measured =
            runs(&rig, asked, suffix, u64::from(regions)).and_then(|()| lists(&rig, asked, suffix));
        rig.close()?;
        measured?;
    }
    match free_bytes() {
        after if after == before => Ok(()),
        after => Err(format!("{before} bytes were free, now {after}")),
    }
}

/// Runs of consecutive pages. The window's last pages stay mapped, so that no
/// leaf goes between two rounds.
fn runs(rig: &Rig, asked: Asked<'_>, suffix: &str, regions: u64) -> Result<(), String> {
    let (engine, window) = (the_engine()?, &*rig.window);
    let (bus, host) = (rig.bus(0), rig.arena.page(0, 12)?);
    for pages in RUNS.into_iter().filter(|pages| *pages <= PAGES / regions) {
        let map = || {
            engine
                .map(window, bus, host, pages, Access::ReadWrite)
                .map_err(|error| told("map", error))
        };
        let unmap = || match engine.unmap(window, bus, pages) {
            Ok(count) if count == pages => Ok(()),
            Ok(count) => Err(format!("unmap: {count} of {pages} pages")),
            Err(error) => Err(told("unmap", error)),
        };
        let id = format!("map-{pages}{suffix}");
        if asked.has(&id) {
            Row {
                id: &id,
                units: pages,
            }
            .measure(map, unmap)?;
        }
        let id = format!("unmap-{pages}{suffix}");
        if asked.has(&id) {
            map()?;
            Row {
                id: &id,
                units: pages,
            }
            .measure(unmap, map)?;
            unmap()?;
        }
        let id = format!("remap-{pages}{suffix}");
        if asked.has(&id) {
            map()?;
            let remap = || {
                engine
                    .remap_run(window, bus, host, pages, Access::ReadWrite)
                    .map_err(|error| told("remap", error))
            };
            Row {
                id: &id,
                units: pages,
            }
            .measure(remap, || Ok(()))?;
            unmap()?;
        }
    }
    let id = format!("translate{suffix}");
    if asked.has(&id) {
        engine
            .map(window, bus, host, 1, Access::ReadWrite)
            .map_err(|error| told("map", error))?;
        let translate = || {
            engine
                .translate(window, bus)
                .map(|_| ())
                .map_err(|error| told("translate", error))
        };
        Row { id: &id, units: 1 }.measure(translate, || Ok(()))?;
        engine
            .unmap(window, bus, 1)
            .map_err(|error| told("unmap", error))?;
    }
    Ok(())
}

/// Lists of scattered pages.
fn lists(rig: &Rig, asked: Asked<'_>, suffix: &str) -> Result<(), String> {
    let (engine, window) = (the_engine()?, &*rig.window);
    let bus = rig.bus(0);
    // An odd stride goes through all pages before one comes again.
    let scattered = |number: u64| {
        let page = rig.arena.page(number * 7919 % PAGES, 12)?;
        Tce::new(page, Access::ReadWrite).ok_or_else(|| String::from("a page is not aligned"))
    };
    let entries: Vec<Tce> = (0..LIST).map(scattered).collect::<Result<_, _>>()?;
    let fill = || {
        engine
            .remap(window, bus, &entries)
            .map_err(|error| told("remap", error))
    };
    let empty = || {
        engine
            .unmap(window, bus, LIST)
            .map(|_| ())
            .map_err(|error| told("unmap", error))
    };
    let row = |name: &str| format!("{name}{suffix}");
    for (name, before, what, after) in [
        (
            "list-map-512",
            None,
            &fill as &dyn Fn() -> _,
            Some(&empty as &dyn Fn() -> _),
        ),
        (
            "list-unmap-512",
            Some(&fill as &dyn Fn() -> _),
            &empty,
            Some(&fill),
        ),
        ("list-unmap-512-empty", None, &empty, None),
        ("list-remap-512", Some(&fill), &fill, None),
    ] {
        let id = row(name);
        if !asked.has(&id) {
            continue;
        }
        before.map_or(Ok(()), |before| before())?;
        Row {
            id: &id,
            units: LIST,
        }
        .measure(what, || after.map_or(Ok(()), |after| after()))?;
        empty()?;
    }
    Ok(())
}
