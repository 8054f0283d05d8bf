//! A window of a PE and memory that it may map, for a self-test: made, used, and
//! taken apart again.

use super::arena::Arena;
use super::device::Buffer;
use super::platform::{Platform, engine};
use super::{Host, bridges, describe, host, windows};
use crate::addr::BusAddr;
use crate::dma::iova::IovaAllocator;
use crate::dma::{DetachMode, Quota, Window, WindowConfig};
use crate::drivers::DmaMemory;
use crate::pci::GroupIndex;
use crate::seam::PeId;
use crate::tce::{Access, PageShift, TableShape};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

/// IO pages of the windows.
pub const PAGE_SHIFT: u32 = 12;

/// Where the 64-bit window starts.
pub const HIGH: u64 = 1 << 59;

/// Table memory that a window may use, in bytes.
const QUOTA: u64 = 1 << 20;

fn text(error: impl fmt::Display) -> String {
    format!("{error}")
}

/// A window that one PE uses, and memory.
pub struct Bed {
    phb: u16,
    window: Arc<Window<Platform>>,
    arena: Arena,
}

impl Bed {
    /// A window at `base` (0: one level; else two) that `pe` uses, and
    /// `1 << shift` bytes of memory, none of it mapped. The PE's functions do
    /// not master the bus yet.
    ///
    /// # Errors
    /// What the engine or the ledger says.
    pub fn open(pe: PeId, base: u64, shift: u32) -> Result<Self, String> {
        let engine = engine().ok_or("no engine")?;
        let arena = Arena::new(0, shift)?.ok_or("no memory")?;
        let window = match make_window(pe, base, &arena) {
            Ok(window) => window,
            Err(why) => {
                arena.give_back()?;
                return Err(why);
            }
        };
        windows::add(&window);
        let bed = Self {
            phb: pe.phb,
            window,
            arena,
        };
        match engine.attach(&bed.window, pe) {
            Ok(()) => Ok(bed),
            Err(error) => {
                bed.close()?;
                Err(text(error))
            }
        }
    }

    fn host(&self) -> Result<&'static Host, String> {
        host(self.phb).ok_or_else(|| "its PHB is gone".into())
    }

    /// Lets the functions of the group use the window.
    ///
    /// # Errors
    /// The step that failed.
    pub fn start(&self, group: GroupIndex) -> Result<(), String> {
        self.host()?
            .start(group)
            .map_err(|(step, error)| format!("{step:?}: {error}"))
    }

    /// First bus address.
    pub fn base(&self) -> BusAddr {
        self.window.range().base()
    }

    /// Bytes of the window.
    pub fn bytes(&self) -> u64 {
        self.window.range().bytes()
    }

    /// Maps pages of the memory, counted from its start, for both ways.
    ///
    /// # Errors
    /// What the engine or the allocator says.
    pub fn map(&self, iova: &mut IovaAllocator, page: u64, pages: u64) -> Result<Buffer, String> {
        let engine = engine().ok_or("no engine")?;
        let range = iova.allocate(pages, 1 << PAGE_SHIFT).map_err(text)?;
        let bytes = (pages << PAGE_SHIFT) as usize;
        let buffer = self
            .arena
            .buffer(page << PAGE_SHIFT, range.start(), bytes)?;
        let host = self.arena.page(page, PAGE_SHIFT)?;
        engine
            .map(&self.window, range.start(), host, pages, Access::ReadWrite)
            .map_err(text)?;
        Ok(buffer)
    }

    /// Unmaps what was mapped; the memory stays.
    ///
    /// # Errors
    /// What the engine says, or pages that were not mapped.
    pub fn unmap(&self, buffer: &Buffer) -> Result<(), String> {
        let engine = engine().ok_or("no engine")?;
        let pages = buffer.size() as u64 >> PAGE_SHIFT;
        let count = engine
            .unmap(&self.window, buffer.bus(), pages)
            .map_err(text)?;
        match count == pages {
            true => Ok(()),
            false => Err(format!("{count} of {pages} pages were mapped")),
        }
    }

    /// Detaches the PE with a reset, removes the window, and gives the memory
    /// back.
    ///
    /// # Errors
    /// What failed; the rest stays as it is.
    pub fn close(self) -> Result<(), String> {
        let engine = engine().ok_or("no engine")?;
        engine
            .remove(&self.window, DetachMode::Reset)
            .map_err(text)?;
        windows::forget(&self.window);
        self.arena.give_back()
    }
}

fn make_window(pe: PeId, base: u64, arena: &Arena) -> Result<Arc<Window<Platform>>, String> {
    let engine = engine().ok_or("no engine")?;
    let bridge = bridges().get(usize::from(pe.phb)).ok_or("no PHB")?;
    let page = PageShift::new(PAGE_SHIFT).map_err(text)?;
    let (levels, level_shift) = if base == 0 { (1, 16) } else { (2, 12) };
    let shape = TableShape::new(page, levels, level_shift).map_err(text)?;
    let config = WindowConfig {
        base: BusAddr::new(base),
        pages: 1 << 12,
        shape,
        sizes: describe::page_sizes(bridge.described),
        limit: 64,
    };
    let quota = Arc::new(Quota::new(QUOTA));
    engine
        .create_window(&config, Arc::clone(&arena.holdings), quota)
        .map_err(text)
}
