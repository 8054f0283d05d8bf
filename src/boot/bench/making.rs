//! Rows of windows themselves: made, attached, detached, removed, and the
//! table memory that they take.

use super::rows::{self, Outside, Row};
use super::window::{PLAIN, Setup};
use super::{Asked, told};
use crate::addr::BusAddr;
use crate::boot::pci::check::candidates;
use crate::boot::pci::platform::Platform;
use crate::boot::pci::{bridges, describe};
use crate::boot::rig::{Arena, the_engine};
use crate::dma::{DetachMode, MOST_PAGES_AT_ONCE, Quota, Window, WindowConfig};
use crate::seam::PeId;
use crate::tce::Access;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

const REPEATS: usize = 7;

/// Pages of the dense and of the sparse windows.
const DENSE: u64 = 16384;
const SPARSE: u64 = 512;

/// A table of three levels, for pages far from each other.
const DEEP: Setup = Setup {
    suffix: "-levels-3",
    levels: 3,
    level_shift: 12,
    ..PLAIN
};

/// How pages lie in a window.
#[derive(Clone, Copy)]
struct Filling {
    /// What the names of its rows end in.
    suffix: &'static str,
    setup: Setup,
    /// Pages that are mapped.
    pages: u64,
    /// From one page to the next.
    stride: u64,
}

const FILLINGS: [Filling; 4] = [
    Filling {
        suffix: "",
        setup: PLAIN,
        pages: 0,
        stride: 1,
    },
    Filling {
        suffix: "-dense",
        setup: PLAIN,
        pages: DENSE,
        stride: 1,
    },
    Filling {
        suffix: "-dense-levels-3",
        setup: DEEP,
        pages: DENSE,
        stride: 1,
    },
    // Each page has a leaf of its own.
    Filling {
        suffix: "-sparse-levels-3",
        setup: DEEP,
        pages: SPARSE,
        stride: 512,
    },
];

/// What is done to each window, in order.
const STEPS: [&str; 6] = ["create", "attach", "fill", "empty", "detach", "remove"];

/// Measures the rows that were asked for.
pub fn run(asked: Asked<'_>) -> Result<(), String> {
    let Some(pe) = candidates::groups().next() else {
        return Ok(());
    };
    for filling in FILLINGS {
        let names = STEPS.map(|step| format!("window-{step}{}", filling.suffix));
        let memory = format!("window-memory{}", filling.suffix);
        if !names.iter().chain([&memory]).any(|name| asked.has(name)) {
            continue;
        }
        let arena = Arena::new(0, filling.setup.memory)?.ok_or("no memory")?;
        let measured = filling.measure(&arena, pe);
        arena.give_back()?;
        let (steps, bytes) = measured?;
        for (name, mut step) in names.iter().zip(steps) {
            if asked.has(name) && (step.units > 0) {
                let units = step.units;
                Row { id: name, units }.print(&mut step.costs, step.outside);
            }
        }
        if filling.pages > 0 && asked.has(&memory) {
            let units = filling.pages;
            Row { id: &memory, units }.print(&mut [bytes], None);
        }
    }
    Ok(())
}

/// One step, as often as it was measured.
#[derive(Default)]
struct Step {
    units: u64,
    costs: Vec<u64>,
    outside: Option<Outside>,
}

impl Step {
    /// Does it: in the first round to see what it does outside, later to count.
    fn take(&mut self, what: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        match self.outside {
            None => self.outside = Some(rows::outside(what)?),
            Some(_) => self.costs.push(rows::count(what)?),
        }
        Ok(())
    }
}

impl Filling {
    /// All steps, and the bytes of its table when it was filled.
    fn measure(&self, arena: &Arena, pe: PeId) -> Result<([Step; STEPS.len()], u64), String> {
        let engine = the_engine()?;
        let bridge = bridges().get(usize::from(pe.phb)).ok_or("no such PHB")?;
        let bits = self.setup.levels * (self.setup.level_shift - 3);
        let config = WindowConfig {
            base: BusAddr::new(0),
            pages: 1 << bits,
            shape: self.setup.shape()?,
            sizes: describe::page_sizes(bridge.described),
            limit: MOST_PAGES_AT_ONCE,
        };
        let mut steps: [Step; STEPS.len()] = Default::default();
        let mut bytes = 0;
        // One round to see what is done outside, one after the others to end.
        for round in 0..=REPEATS + 1 {
            let quota = Arc::new(Quota::new(64 << 20));
            let [create, attach, fill, empty, detach, remove] = &mut steps;
            let mut made = None;
            create.take(|| {
                let quota = Arc::clone(&quota);
                let window = engine.create_window(&config, Arc::clone(&arena.holdings), quota);
                made = Some(window.map_err(|error| told("window", error))?);
                Ok(())
            })?;
            let window = made.ok_or("no window")?;
            attach.take(|| {
                let attached = engine.attach(&window, pe);
                attached.map_err(|error| told("attach", error))
            })?;
            // A page at a time where they do not lie side by side.
            if self.pages > 0 {
                fill.take(|| self.each(|bus, page, pages| map(&window, arena, bus, page, pages)))?;
                bytes = quota.used();
            }
            if self.stride > 1 {
                empty.take(|| self.each(|bus, _, pages| unmap(&window, bus, pages)))?;
                self.each(|bus, page, pages| map(&window, arena, bus, page, pages))?;
            }
            let detached = |mode| {
                let detached = engine.detach(&window, pe, mode);
                detached.map_err(|error| told("detach", error))
            };
            // The functions' reset, which is mostly waiting, gives the PE back.
            if round > REPEATS {
                detached(DetachMode::Reset)?;
            } else {
                detach.take(|| detached(DetachMode::Running))?;
            }
            remove.take(|| {
                let removed = engine.remove(&window, DetachMode::Reset);
                removed.map_err(|error| told("remove", error))
            })?;
        }
        let pages = self.pages;
        for (step, units) in steps.iter_mut().zip([1, 1, pages, pages, 1, pages.max(1)]) {
            // Nothing was counted where there was nothing to do.
            step.units = if step.costs.is_empty() { 0 } else { units };
        }
        Ok((steps, bytes))
    }

    /// Calls `what` with bus address, page of the memory and pages of each run.
    fn each(&self, what: impl Fn(BusAddr, u64, u64) -> Result<(), String>) -> Result<(), String> {
        let page = self.setup.page.get();
        if self.stride == 1 {
            return what(BusAddr::new(0), 0, self.pages);
        }
        (0..self.pages).try_for_each(|n| what(BusAddr::new((n * self.stride) << page), n, 1))
    }
}

fn map(
    window: &Window<Platform>,
    arena: &Arena,
    bus: BusAddr,
    page: u64,
    pages: u64,
) -> Result<(), String> {
    let host = arena.page(page, window.range().shape().page().get())?;
    let mapped = the_engine()?.map(window, bus, host, pages, Access::ReadWrite);
    mapped.map_err(|error| told("map", error))
}

fn unmap(window: &Window<Platform>, bus: BusAddr, pages: u64) -> Result<(), String> {
    match the_engine()?.unmap(window, bus, pages) {
        Ok(count) if count == pages => Ok(()),
        Ok(count) => Err(format!("unmap: {count} of {pages} pages")),
        Err(error) => Err(told("unmap", error)),
    }
}
