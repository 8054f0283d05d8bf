//! Rows of the TCE engine, with the kill at the PHB's own register.

use super::rig::{PAGES, Rig};
use super::rows::Row;
use super::{free_bytes, told};
use crate::println;
use crate::tce::{Access, Tce};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Pages a call.
const RUNS: [u64; 4] = [1, 16, 512, 16384];

/// Entries of a list, as guests pass them.
const LIST: u64 = 512;

/// Measures the rows whose names begin with `part`.
pub fn run(part: &str) -> Result<(), String> {
    let before = free_bytes();
    // Levels, regions, what the names end in.
    for (levels, regions, suffix) in [(1, 1, ""), (2, 1, "-levels-2"), (1, 256, "-regions-256")] {
        let Some(rig) = Rig::new(levels, regions)? else {
            println!("bench: skip engine: no device whose PE could be used");
            return Ok(());
        };
        let measured =
            runs(&rig, part, suffix, u64::from(regions)).and_then(|()| lists(&rig, part, suffix));
        rig.end()?;
        measured?;
    }
    match free_bytes() {
        after if after == before => Ok(()),
        after => Err(format!("{before} bytes were free, now {after}")),
    }
}

/// Runs of consecutive pages. The window's last pages stay mapped, so that no
/// leaf goes between two rounds.
fn runs(rig: &Rig, part: &str, suffix: &str, regions: u64) -> Result<(), String> {
    let (engine, window) = (rig.engine, &*rig.window);
    for pages in RUNS.into_iter().filter(|pages| *pages <= PAGES / regions) {
        let map = || {
            engine
                .map(window, Rig::bus(0), rig.page(0), pages, Access::ReadWrite)
                .map_err(|error| told("map", error))
        };
        let unmap = || match engine.unmap(window, Rig::bus(0), pages) {
            Ok(count) if count == pages => Ok(()),
            Ok(count) => Err(format!("unmap: {count} of {pages} pages")),
            Err(error) => Err(told("unmap", error)),
        };
        let id = format!("map-{pages}{suffix}");
        if id.starts_with(part) {
            Row {
                id: &id,
                units: pages,
            }
            .measure(map, unmap)?;
        }
        let id = format!("unmap-{pages}{suffix}");
        if id.starts_with(part) {
            map()?;
            Row {
                id: &id,
                units: pages,
            }
            .measure(unmap, map)?;
            unmap()?;
        }
        let id = format!("remap-{pages}{suffix}");
        if id.starts_with(part) {
            map()?;
            let remap = || {
                engine
                    .remap_run(window, Rig::bus(0), rig.page(0), pages, Access::ReadWrite)
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
    if id.starts_with(part) {
        engine
            .map(window, Rig::bus(0), rig.page(0), 1, Access::ReadWrite)
            .map_err(|error| told("map", error))?;
        let translate = || {
            engine
                .translate(window, Rig::bus(0))
                .map(|_| ())
                .map_err(|error| told("translate", error))
        };
        Row { id: &id, units: 1 }.measure(translate, || Ok(()))?;
        engine
            .unmap(window, Rig::bus(0), 1)
            .map_err(|error| told("unmap", error))?;
    }
    Ok(())
}

/// Lists of scattered pages.
fn lists(rig: &Rig, part: &str, suffix: &str) -> Result<(), String> {
    let (engine, window) = (rig.engine, &*rig.window);
    // An odd stride goes through all pages before one comes again.
    let scattered = |number: u64| rig.page(number * 7919 % PAGES);
    let entries: Option<Vec<Tce>> = (0..LIST)
        .map(|number| Tce::new(scattered(number), Access::ReadWrite))
        .collect();
    let entries = entries.ok_or("a page is not aligned")?;
    let fill = || {
        engine
            .remap(window, Rig::bus(0), &entries)
            .map_err(|error| told("remap", error))
    };
    let empty = || {
        engine
            .unmap(window, Rig::bus(0), LIST)
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
        if !id.starts_with(part) {
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
