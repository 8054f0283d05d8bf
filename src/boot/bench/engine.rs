//! Rows of the TCE engine, with the kill at the PHB's own register.

use super::rows::Row;
use super::window::{PLAIN, Setup};
use super::{Asked, lists, told};
use crate::addr::HostAddr;
use crate::boot::pci::platform::Platform;
use crate::boot::rig::{Regions, Rig, the_engine};
use crate::dma::{Quota, Window, WindowConfig};
use crate::println;
use crate::tce::{Access, PageShift};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// One region of 1 GiB. A byte of a dirty map stands for an IO page, or for more
/// where these are small.
const GIB: Regions = Regions {
    count: 1,
    shift: 30,
    granule: 16,
};

/// What is measured: levels, regions, windows, page sizes.
const SETUPS: [Setup; 11] = [
    PLAIN,
    Setup {
        suffix: "-levels-2",
        levels: 2,
        level_shift: 16,
        ..PLAIN
    },
    Setup {
        suffix: "-levels-3",
        levels: 3,
        level_shift: 12,
        ..PLAIN
    },
    Setup {
        suffix: "-regions-16",
        memory: Regions {
            count: 16,
            shift: 22,
            granule: 12,
        },
        runs: &[1, 16],
        ..PLAIN
    },
    Setup {
        suffix: "-regions-256",
        memory: Regions {
            count: 256,
            shift: 18,
            granule: 12,
        },
        runs: &[1, 16],
        ..PLAIN
    },
    Setup {
        suffix: "-windows-8",
        others: 7,
        runs: &[1, 512],
        ..PLAIN
    },
    Setup {
        suffix: "-windows-64",
        others: 63,
        runs: &[1, 512],
        ..PLAIN
    },
    Setup {
        suffix: "-64k",
        page: PageShift::K64,
        memory: GIB,
        lists: false,
        ..PLAIN
    },
    Setup {
        suffix: "-2m",
        page: PageShift::M2,
        memory: Regions { granule: 21, ..GIB },
        runs: &[1, 16, 512],
        lists: false,
        ..PLAIN
    },
    Setup {
        suffix: "-1g",
        page: PageShift::G1,
        memory: Regions { granule: 30, ..GIB },
        runs: &[1],
        lists: false,
        ..PLAIN
    },
    // 4 GiB: more than a small machine has.
    Setup {
        suffix: "",
        level_shift: 23,
        memory: Regions { count: 4, ..GIB },
        runs: &[1 << 20],
        lists: false,
        ..PLAIN
    },
];

/// Measures the rows that were asked for.
pub fn run(asked: Asked<'_>) -> Result<(), String> {
    for setup in SETUPS {
        if !setup.is_asked(asked) {
            continue;
        }
        let Some(rig) = setup.open()? else {
            println!(
                "bench: skip rows *{} of {} pages a call: no device, memory or page size for them",
                setup.suffix,
                setup.runs.last().unwrap_or(&0)
            );
            continue;
        };
        let others: Result<Vec<_>, _> = (0..setup.others).map(|_| other(&rig)).collect();
        let measured = others.and_then(|others| {
            runs(&rig, asked, &setup)?;
            lists::run(&rig, asked, &setup)?;
            others.into_iter().try_for_each(remove)
        });
        rig.close()?;
        measured?;
    }
    Ok(())
}

/// Another window over the same memory, as large, that no PE uses.
fn other(rig: &Rig) -> Result<Arc<Window<Platform>>, String> {
    let range = rig.window.range();
    let config = WindowConfig {
        base: range.base(),
        pages: range.pages(),
        shape: range.shape(),
        sizes: crate::tce::PageSizes::NONE.with(range.shape().page()),
        limit: 1,
    };
    let quota = Arc::new(Quota::new(1 << 24));
    the_engine()?
        .create_window(&config, Arc::clone(&rig.arena.holdings), quota)
        .map_err(|error| told("window", error))
}

fn remove(window: Arc<Window<Platform>>) -> Result<(), String> {
    the_engine()?
        .remove(&window, crate::dma::DetachMode::Reset)
        .map_err(|error| told("remove", error))
}

impl Setup {
    /// The name of a row.
    pub fn id(&self, what: &str) -> String {
        format!("{what}{}", self.suffix)
    }

    /// Whether any of its rows was asked for: making it takes time.
    fn is_asked(&self, asked: Asked<'_>) -> bool {
        let runs = self.runs.iter().flat_map(|pages| {
            ["map", "unmap", "remap"].map(|what| self.id(&format!("{what}-{pages}")))
        });
        let lists = lists::ROWS.map(|what| self.id(what));
        let mut all = runs.chain([self.id("translate")]).chain(lists);
        all.any(|id| asked.has(&id))
    }
}

/// Runs of consecutive pages.
fn runs(rig: &Rig, asked: Asked<'_>, setup: &Setup) -> Result<(), String> {
    let (engine, window) = (the_engine()?, &*rig.window);
    let (bus, host) = (rig.bus(0), rig.arena.page(0, rig.page_shift())?);
    for &pages in setup.runs {
        let adjacent = (pages - 1) << rig.page_shift();
        let last = rig.arena.page(pages - 1, rig.page_shift())?;
        if host.checked_add(adjacent) != Some(last) {
            println!("bench: skip rows *-{pages}{}: no such run", setup.suffix);
            continue;
        }
        let map = move || {
            engine
                .map(window, bus, host, pages, Access::ReadWrite)
                .map_err(|error| told("map", error))
        };
        let unmap = move || match engine.unmap(window, bus, pages) {
            Ok(count) if count == pages => Ok(()),
            Ok(count) => Err(format!("unmap: {count} of {pages} pages")),
            Err(error) => Err(told("unmap", error)),
        };
        let remap = move || {
            engine
                .remap_run(window, bus, host, pages, Access::ReadWrite)
                .map_err(|error| told("remap", error))
        };
        let row = |what: &str| setup.id(&format!("{what}-{pages}"));
        let id = row("map");
        if asked.has(&id) {
            Row {
                id: &id,
                units: pages,
            }
            .measure(map, unmap)?;
        }
        let id = row("unmap");
        if asked.has(&id) {
            map()?;
            Row {
                id: &id,
                units: pages,
            }
            .measure(unmap, map)?;
            unmap()?;
        }
        let id = row("remap");
        if asked.has(&id) {
            map()?;
            Row {
                id: &id,
                units: pages,
            }
            .measure(remap, || Ok(()))?;
            unmap()?;
        }
    }
    let id = setup.id("translate");
    if setup.runs.first() == Some(&1) && asked.has(&id) {
        translate(rig, &id, host)?;
    }
    Ok(())
}

fn translate(rig: &Rig, id: &str, host: HostAddr) -> Result<(), String> {
    let (engine, window, bus) = (the_engine()?, &*rig.window, rig.bus(0));
    engine
        .map(window, bus, host, 1, Access::ReadWrite)
        .map_err(|error| told("map", error))?;
    let translate = || {
        engine
            .translate(window, bus)
            .map(|_| ())
            .map_err(|error| told("translate", error))
    };
    Row::one(id).measure(translate, || Ok(()))?;
    engine
        .unmap(window, bus, 1)
        .map(|_| ())
        .map_err(|error| told("unmap", error))
}
