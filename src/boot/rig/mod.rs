//! A window behind a real PE, and memory that it may map, for self-tests and
//! benchmarks: made, used, and taken apart again.

mod arena;

pub use arena::{Arena, Regions};

use super::pci::device::Buffer;
use super::pci::platform::{Platform, engine, prefer_chip};
use super::pci::{bridges, describe, host, windows};
use crate::addr::BusAddr;
use crate::dma::{DetachMode, Engine, Quota, Window, WindowConfig};
use crate::pci::GroupIndex;
use crate::seam::{PeId, TveSelect};
use crate::tce::{Access, TableShape};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

/// Where the 64-bit window starts: TVE#1.
pub const HIGH: u64 = 1 << 59;

/// The engine.
///
/// # Errors
/// There is none, as no PHB was taken.
pub fn the_engine() -> Result<&'static Engine<Platform>, String> {
    engine().ok_or_else(|| "no engine".into())
}

/// What a rig is to have.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Which of the two owners has it, 0 or 1.
    pub owner: usize,
    /// First bus address of the window: 0, or [`HIGH`].
    pub base: BusAddr,
    /// Its tables.
    pub shape: TableShape,
    /// Its pages.
    pub pages: u64,
    /// Pages of one operation.
    pub limit: u64,
    /// Bytes of table memory.
    pub quota: u64,
    /// The owner's memory.
    pub memory: Regions,
}

/// A window that one PE uses, and memory.
pub struct Rig {
    /// The PE.
    pub pe: PeId,
    /// The window.
    pub window: Arc<Window<Platform>>,
    /// The memory.
    pub arena: Arena,
}

impl Rig {
    /// A window that `pe` does not use yet, and memory, none of it mapped.
    /// `None` if there is no such memory.
    ///
    /// # Errors
    /// What the engine or the ledger says; nothing is kept then.
    pub fn new(pe: PeId, wanted: &Wanted) -> Result<Option<Self>, String> {
        let engine = the_engine()?;
        let bridge = bridges().get(usize::from(pe.phb)).ok_or("no such PHB")?;
        let Some(arena) = Arena::new(wanted.owner, wanted.memory)? else {
            return Ok(None);
        };
        let config = WindowConfig {
            base: wanted.base,
            pages: wanted.pages,
            shape: wanted.shape,
            sizes: describe::page_sizes(bridge.described),
            limit: wanted.limit,
        };
        prefer_chip(Some(bridge.described.chip));
        let quota = Arc::new(Quota::new(wanted.quota));
        match engine.create_window(&config, Arc::clone(&arena.holdings), quota) {
            Ok(window) => {
                windows::add(&window);
                Ok(Some(Self { pe, window, arena }))
            }
            Err(error) => {
                arena.give_back()?;
                Err(error.to_string())
            }
        }
    }

    /// As [`Rig::new`], with the window in use by `pe`, whose functions do not
    /// master the bus yet.
    ///
    /// # Errors
    /// As there.
    pub fn attached(pe: PeId, wanted: &Wanted) -> Result<Option<Self>, String> {
        let Some(rig) = Self::new(pe, wanted)? else {
            return Ok(None);
        };
        match rig.attach() {
            Ok(()) => Ok(Some(rig)),
            Err(why) => {
                rig.close()?;
                Err(why)
            }
        }
    }

    /// As [`Rig::attached`], with the functions of `group` mastering the bus.
    ///
    /// # Errors
    /// As there, or the step that failed.
    pub fn started(pe: PeId, group: GroupIndex, wanted: &Wanted) -> Result<Option<Self>, String> {
        let Some(rig) = Self::attached(pe, wanted)? else {
            return Ok(None);
        };
        let host = host(pe.phb).ok_or("no such PHB")?;
        match host.start(group) {
            Ok(()) => Ok(Some(rig)),
            Err((step, error)) => {
                rig.close()?;
                Err(format!("{step:?}: {error}"))
            }
        }
    }

    /// Lets the PE use the window.
    ///
    /// # Errors
    /// What the engine says.
    pub fn attach(&self) -> Result<(), String> {
        the_engine()?
            .attach(&self.window, self.pe)
            .map_err(|error| error.to_string())
    }

    /// Bits of a page's offset in the window.
    pub fn page_shift(&self) -> u32 {
        self.window.range().shape().page().get()
    }

    /// Bus address of page `number` of the window.
    pub fn bus(&self, number: u64) -> BusAddr {
        let base = self.window.range().base().get();
        BusAddr::new(base + (number << self.page_shift()))
    }

    /// Bus address of the window's last page but `back`.
    pub fn last(&self, back: u64) -> BusAddr {
        self.bus(self.window.range().pages() - 1 - back)
    }

    /// Maps `pages` pages of the memory, from number `page` on, at `bus`.
    ///
    /// # Errors
    /// What the engine says.
    pub fn map(&self, bus: BusAddr, page: u64, pages: u64, access: Access) -> Result<(), String> {
        let host = self.arena.page(page, self.page_shift())?;
        the_engine()?
            .map(&self.window, bus, host, pages, access)
            .map_err(|error| error.to_string())
    }

    /// Unmaps `pages` pages, all of which are mapped.
    ///
    /// # Errors
    /// What the engine says, or pages that were not mapped.
    pub fn unmap(&self, bus: BusAddr, pages: u64) -> Result<(), String> {
        let count = the_engine()?
            .unmap(&self.window, bus, pages)
            .map_err(|error| error.to_string())?;
        match count == pages {
            true => Ok(()),
            false => Err(format!("{count} of {pages} pages were mapped")),
        }
    }

    /// `bytes` bytes of the memory, `offset` bytes into its page `page`, which a
    /// device sees at `bus`.
    ///
    /// # Errors
    /// They are outside of it.
    pub fn buffer(
        &self,
        page: u64,
        offset: u64,
        bus: BusAddr,
        bytes: usize,
    ) -> Result<Buffer, String> {
        let offset = (page << self.page_shift()) + offset;
        self.arena.buffer(offset, bus, bytes)
    }

    /// Takes the window from the PE, with a reset; its TVEs read zero.
    ///
    /// # Errors
    /// What the engine says, or a TVE that does not.
    pub fn detach(&self) -> Result<(), String> {
        the_engine()?
            .detach(&self.window, self.pe, DetachMode::Reset)
            .map_err(|error| error.to_string())?;
        let host = host(self.pe.phb).ok_or("no such PHB")?;
        for select in [TveSelect::Low, TveSelect::High] {
            let tve = host
                .phb
                .tve(self.pe.pe, select)
                .map_err(|error| error.to_string())?;
            if tve.bits() != 0 {
                return Err("a TVE is not zero after the detach".into());
            }
        }
        Ok(())
    }

    /// Detaches the PE with a reset, if that was not done, removes the window,
    /// and gives the memory back.
    ///
    /// # Errors
    /// What failed; the rest stays as it is.
    pub fn close(self) -> Result<(), String> {
        the_engine()?
            .remove(&self.window, DetachMode::Reset)
            .map_err(|error| error.to_string())?;
        windows::forget(&self.window);
        self.arena.give_back()
    }
}
