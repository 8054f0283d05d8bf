//! Rows of lists of scattered pages, as guests pass them.

use super::rows::Row;
use super::window::Setup;
use super::{Asked, told};
use crate::boot::rig::{Rig, the_engine};
use crate::tce::{Access, Tce};
use alloc::string::String;
use alloc::vec::Vec;

/// Entries of a list.
const LIST: u64 = 512;

/// Rows of lists.
pub const ROWS: [&str; 4] = [
    "list-map-512",
    "list-unmap-512",
    "list-unmap-512-empty",
    "list-remap-512",
];

/// Measures those that were asked for.
pub fn run(rig: &Rig, asked: Asked<'_>, setup: &Setup) -> Result<(), String> {
    if !setup.lists {
        return Ok(());
    }
    let (engine, window) = (the_engine()?, &*rig.window);
    let bus = rig.bus(0);
    // An odd stride goes through all pages before one comes again.
    let scattered = |number: u64| {
        let page = rig
            .arena
            .page(number * 7919 % setup.pages(), rig.page_shift())?;
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
    type Step<'s> = &'s dyn Fn() -> Result<(), String>;
    let (fill, empty, nothing): (Step<'_>, Step<'_>, Step<'_>) = (&fill, &empty, &|| Ok(()));
    // What comes before all rounds, what is counted, what follows each.
    let steps = [
        (nothing, fill, empty),
        (fill, empty, fill),
        (nothing, empty, nothing),
        (fill, fill, nothing),
    ];
    for (name, (before, what, after)) in ROWS.into_iter().zip(steps) {
        let id = setup.id(name);
        if !asked.has(&id) {
            continue;
        }
        before()?;
        let units = LIST;
        Row { id: &id, units }.measure(what, after)?;
        empty()?;
    }
    Ok(())
}
