//! What the benchmarks of the engine measure: operations on many pages, in
//! some shape, over plain memory.

use std::sync::Arc;

use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{Engine, Quota, Window, WindowConfig};
use pinion::memory::ledger::{Ledger, OwnerId};
use pinion::seam::PeId;
use pinion::sim::Flat;
use pinion::tce::{Access, PageShift, PageSizes, TableShape, Tce};

/// Pages of the owner's memory.
pub const MEMORY: u64 = 1 << 20;
/// Pages of one list, as in H_PUT_TCE_INDIRECT.
const LIST: u64 = 512;
/// Slots from one sparse page to the next: each has a line of the table alone.
const STRIDE: u64 = 16;

/// Where the pages of a load are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One call: neighbours on the bus and in memory.
    Dense,
    /// Calls of 512 pages: neighbours on the bus, far apart in memory.
    Scattered,
    /// A call for each page: far apart on the bus and in memory.
    Sparse,
}

/// How the engine is set up.
#[derive(Clone, Copy)]
pub struct Setup {
    /// Levels of each window's table.
    pub levels: u32,
    /// Regions that the memory is made of; they touch.
    pub regions: u64,
    /// Windows; each gets the load, up to 2^20 pages in all if it is not dense.
    pub windows: u64,
}

struct Call {
    window: usize,
    slot: u64,
    page: u64,
    list: Vec<Tce>,
}

/// An engine, and calls that map, remap or unmap the same pages.
pub struct Load {
    engine: Engine<Flat>,
    windows: Vec<Arc<Window<Flat>>>,
    calls: Vec<Call>,
    layout: Layout,
    each: u64,
    /// Pages of all calls.
    pub pages: u64,
}

fn host(page: u64) -> HostAddr {
    HostAddr::new((MEMORY + page) << 12)
}

/// A page that is far from that of `index - 1`, and in another region.
fn scattered(index: u64) -> u64 {
    index.wrapping_mul(7919) % MEMORY
}

impl Load {
    /// `pages` pages for each window.
    pub fn new(setup: Setup, layout: Layout, pages: u64) -> Self {
        Self::repeated(setup, layout, pages, 1)
    }

    /// `pages` pages `times` times, each time at another place, for each window.
    pub fn repeated(setup: Setup, layout: Layout, pages: u64, times: u64) -> Self {
        let (each, stride) = match layout {
            Layout::Dense => (pages, pages),
            Layout::Scattered => (pages.min(LIST), LIST),
            Layout::Sparse => (1, STRIDE),
        };
        let share = match layout {
            Layout::Dense => pages * times,
            Layout::Scattered | Layout::Sparse => (pages * times).min(MEMORY / setup.windows),
        };
        let slots = (share.div_ceil(each) * stride).next_power_of_two().max(512);
        let level_shift = match setup.levels {
            1 => slots.ilog2() + 3,
            // Leaves of 8192 entries.
            _ => 16,
        };
        let shape = TableShape::new(PageShift::K4, setup.levels, level_shift).unwrap();
        let table = (slots << 3).max(1 << 18) + (1 << 18);
        let bytes = (setup.windows * table + (1 << 22)).next_power_of_two();
        let engine = Engine::new(Flat::new(bytes), &[64]);
        let ledger = Ledger::new();
        let holdings = ledger.add_owner(OwnerId(1)).unwrap();
        let region = MEMORY / setup.regions;
        for number in 0..setup.regions {
            ledger
                .grant(&holdings, host(number * region), region << 12, 12)
                .unwrap();
        }
        let config = WindowConfig {
            base: BusAddr::new(0),
            pages: slots,
            shape,
            sizes: PageSizes::PHB4,
            limit: MEMORY,
        };
        let quota = Arc::new(Quota::new(bytes));
        let windows: Vec<_> = (0..setup.windows as u16)
            .map(|pe| {
                let window = engine
                    .create_window(&config, holdings.clone(), quota.clone())
                    .unwrap();
                engine.attach(&window, PeId { phb: 0, pe }).unwrap();
                window
            })
            .collect();
        let mut calls = Vec::new();
        for number in 0..share / each {
            for window in 0..windows.len() {
                let first = number * each;
                let list = match layout {
                    Layout::Dense => Vec::new(),
                    _ => (first..first + each)
                        .map(|page| Tce::new(host(scattered(page)), Access::ReadWrite).unwrap())
                        .collect(),
                };
                let page = if layout == Layout::Dense {
                    first % MEMORY
                } else {
                    scattered(first)
                };
                calls.push(Call {
                    window,
                    slot: number * stride,
                    page,
                    list,
                });
            }
        }
        let pages = share * setup.windows;
        Self {
            engine,
            windows,
            calls,
            layout,
            each,
            pages,
        }
    }

    /// Maps all pages, which are not mapped. Not for scattered pages: a map is
    /// of one run.
    pub fn map(&self) {
        assert!(self.layout != Layout::Scattered);
        for call in &self.calls {
            self.engine
                .map(
                    &self.windows[call.window],
                    BusAddr::new(call.slot << 12),
                    host(call.page),
                    self.each,
                    Access::ReadWrite,
                )
                .unwrap();
        }
    }

    /// Makes all entries map the same pages, whatever they are.
    pub fn remap(&self) {
        for call in &self.calls {
            let (window, bus) = (&self.windows[call.window], BusAddr::new(call.slot << 12));
            match self.layout {
                Layout::Dense => self.engine.remap_run(
                    window,
                    bus,
                    host(call.page),
                    self.each,
                    Access::ReadWrite,
                ),
                _ => self.engine.remap(window, bus, &call.list),
            }
            .unwrap();
        }
    }

    /// Unmaps all pages. Returns how many were mapped.
    pub fn unmap(&self) -> u64 {
        let unmap = |call: &Call| {
            let bus = BusAddr::new(call.slot << 12);
            self.engine
                .unmap(&self.windows[call.window], bus, self.each)
                .unwrap()
        };
        self.calls.iter().map(unmap).sum()
    }

    /// One more thread's part of `map` and `unmap`: `pages` pages at a place of
    /// its own in window `thread % windows`, `rounds` times.
    #[allow(dead_code, reason = "one of the benchmarks has threads")]
    pub fn work(&self, thread: u64, pages: u64, rounds: u64) {
        let window = &self.windows[thread as usize % self.windows.len()];
        let bus = BusAddr::new((thread * pages) << 12);
        for _ in 0..rounds {
            self.engine
                .map(window, bus, host(thread * pages), pages, Access::ReadWrite)
                .unwrap();
            self.engine.unmap(window, bus, pages).unwrap();
        }
    }
}
