//! Reading a window: translate, list, audit.

use super::error::DmaError;
use super::state::Phase;
use super::window::Window;
use crate::addr::{BusAddr, HostAddr};
use crate::memory::ledger::{RegionCounts, RegionInfo};
use crate::seam::Platform;
use crate::tce::{Access, Entry, Slot};

/// Where a bus address leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The byte of host memory: the page, and the offset in it.
    pub host: HostAddr,
    /// What a device may do there: read, or read and write.
    pub access: Access,
}

/// One used entry of a window: the frame-exact answer to what is pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// First bus address of the IO page.
    pub bus: BusAddr,
    /// First host address of the page.
    pub host: HostAddr,
    /// What devices may do; `None` for a tombstone, whose pin waits for a kill.
    pub access: Option<Access>,
}

/// What holds a page through one window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holds {
    /// Entries that lead to it, tombstones included.
    pub entries: u64,
    /// Whether that is all. If not, the window may hold it where no entry says so:
    /// a remap has replaced the entry and its kill is not over, or has failed; or
    /// operations have run meanwhile; or the window is being removed.
    pub complete: bool,
}

/// What the tables of some windows say about one region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Audit {
    /// The region.
    pub region: RegionInfo,
    /// Entries of the windows that are in it, live or tombstones.
    pub entries: u64,
    /// Pins of replaced pages whose kill failed.
    pub stranded: u64,
}

impl Audit {
    /// Whether the pins add up. Operations that run make them differ.
    pub fn is_balanced(&self) -> bool {
        self.region.pins == self.entries + self.stranded
    }
}

impl<P: Platform> super::Engine<P> {
    /// Where a device's access to `bus` goes.
    pub fn translate(&self, window: &Window<P>, bus: BusAddr) -> Result<Translation, DmaError> {
        let page = window.page_shift();
        let first = BusAddr::new(bus.get() >> page << page);
        let slot = window.slots(first, 1)?.first();
        let state = window.state.lock();
        state.exists()?;
        let bits = state.tree.load(&self.platform, slot);
        drop(state);
        match Entry::from_bits(bits) {
            Entry::Live { host, access } => {
                let offset = bus.get() & ((1 << page) - 1);
                Ok(Translation {
                    host: HostAddr::new(host.get() | offset),
                    access,
                })
            }
            Entry::Empty | Entry::Tombstone { .. } => Err(DmaError::NotMapped(bus)),
        }
    }

    /// Calls `visit` for each used entry of the window, in the order of bus
    /// addresses, tombstones included; for none while the window is being removed
    /// or once it is gone. After a removal that failed, entries and their pins
    /// are there still. `visit` runs under the window's lock.
    pub fn mappings(&self, window: &Window<P>, visit: impl FnMut(Mapping)) {
        let _complete = self.look_through(window, visit);
    }

    /// As [`Engine::mappings`](super::Engine::mappings); returns whether these
    /// were all pins of the window, from the first look to the last.
    fn look_through(&self, window: &Window<P>, mut visit: impl FnMut(Mapping)) -> bool {
        let memory = &self.platform;
        let range = window.range();
        let state = window.state.lock();
        match state.phase {
            Phase::Open | Phase::Detached => {}
            // A removal has failed, and the next one has not begun.
            Phase::Closing if !state.controlled => {}
            Phase::Removed => return true,
            Phase::Closing | Phase::Corrupt { .. } => return false,
        }
        // A removal waits until the last level has been looked at.
        let _busy = window.enter();
        let before = window.activity();
        let state = window.sweep(memory, range.all(), state, |_, segment| {
            let Some(at) = segment.leaf else { return };
            for offset in 0..segment.pages {
                let bits = memory.load(at.table, at.index + offset as usize);
                let bus = range.bus(Slot::new(segment.first.get() + offset));
                match Entry::from_bits(bits) {
                    Entry::Empty => {}
                    Entry::Live { host, access } => visit(Mapping {
                        bus,
                        host,
                        access: Some(access),
                    }),
                    Entry::Tombstone { host, .. } => visit(Mapping {
                        bus,
                        host,
                        access: None,
                    }),
                }
            }
        });
        // Nobody else was in the window, so nobody holds what it replaced; and
        // no failed kill has left anything.
        let now = window.activity();
        now == before && now.0 == 1 && state.stranded.is_empty()
    }

    /// How the window holds the page of `1 << shift` bytes at `host`. That nothing
    /// holds it is certain only if the answer is complete.
    pub fn pins_of(&self, window: &Window<P>, host: HostAddr, shift: u32) -> Holds {
        let page = window.page_shift();
        let mut entries = 0;
        let complete = self.look_through(window, |mapping| {
            let (start, end) = (
                mapping.host.get(),
                mapping.host.get().saturating_add(1 << page),
            );
            entries += u64::from(start < host.get().saturating_add(1 << shift) && host.get() < end);
        });
        Holds { entries, complete }
    }

    /// Compares the pins of each region with the entries of `windows`, which
    /// are all windows over the same regions, and calls `visit` with the result.
    pub fn audit(&self, windows: &[&Window<P>], mut visit: impl FnMut(Audit)) {
        let Some(first) = windows.first() else { return };
        let mut counts = RegionCounts::new();
        let mut stranded = RegionCounts::new();
        for window in windows {
            self.mappings(window, |mapping| {
                if let Some(region) = window.holdings.region_of(mapping.host) {
                    counts.add(region.number, 1);
                }
            });
            window.state.lock().stranded.copy_into(&mut stranded);
        }
        for index in 0.. {
            let Some(region) = first.holdings.region(index) else {
                return;
            };
            let (entries, stranded) = (counts.of(region.number), stranded.of(region.number));
            visit(Audit {
                region,
                entries,
                stranded,
            });
        }
    }
}

impl<P: Platform> Window<P> {
    /// The PE whose kill failed, if the window waits for recovery.
    pub fn failed(&self) -> Option<crate::seam::PeId> {
        self.state.lock().failed
    }

    /// Calls `visit` for each PE that uses the window.
    pub fn each_pe(&self, mut visit: impl FnMut(crate::seam::PeId)) {
        let pes = self.state.lock().pes;
        for &pe in pes.iter() {
            visit(pe);
        }
    }
}
