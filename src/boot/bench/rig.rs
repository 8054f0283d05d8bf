//! A window behind a real PE, for operations to be measured in.

use super::told;
use crate::addr::{BusAddr, HostAddr};
use crate::boot::pci::platform::{self, Platform};
use crate::boot::{pci, runtime};
use crate::dma::{DetachMode, Engine, MOST_PAGES_AT_ONCE, Quota, Window, WindowConfig};
use crate::memory::frames::Block;
use crate::memory::ledger::{Holdings, Ledger, OwnerId};
use crate::pci::GroupKind;
use crate::seam::PeId;
use crate::tce::{PageShift, PageSizes, TableShape};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

/// Owners of benchmarks: no partition has such a number.
const FIRST_OWNER: u32 = 0xbe00_0000;

/// How many there were: the ledger keeps an owner's number for ever.
static RIGS: AtomicU32 = AtomicU32::new(0);

/// Memory of a rig, as a base-2 logarithm: 64 MiB, 16384 pages of 4K.
pub const MEMORY_SHIFT: u32 = 26;

/// Pages of it.
pub const PAGES: u64 = 1 << (MEMORY_SHIFT - 12);

/// An owner with memory, and a window that a PE uses.
pub struct Rig {
    /// The engine.
    pub engine: &'static Engine<Platform>,
    /// The window, from bus address 0.
    pub window: Arc<Window<Platform>>,
    ledger: &'static Ledger<Platform>,
    holdings: Arc<Holdings<Platform>>,
    regions: Vec<(HostAddr, u32)>,
    /// The PE.
    pub pe: PeId,
}

/// A PE that belongs to nobody.
pub fn free_pe() -> Option<PeId> {
    pci::hosts().find_map(|(index, host)| {
        let mut groups = host.groups.iter();
        groups.find_map(|(at, group)| match group.kind {
            GroupKind::Fabric | GroupKind::LeftAlone => None,
            _ => pci::pe_of(index, at),
        })
    })
}

impl Rig {
    /// A window of `levels` levels over as many regions; `None` where the
    /// machine has no device whose PE could be used.
    pub fn new(levels: u32, regions: u32) -> Result<Option<Self>, String> {
        let (Some(engine), Some(ledger), Some(pe)) =
            (platform::engine(), platform::ledger(), free_pe())
        else {
            return Ok(None);
        };
        let owner = OwnerId(FIRST_OWNER + RIGS.fetch_add(1, Ordering::Relaxed));
        let holdings = ledger
            .add_owner(owner)
            .map_err(|error| told("owner", error))?;
        let shift = MEMORY_SHIFT - regions.ilog2();
        let mut blocks = Vec::new();
        for _ in 0..regions {
            let block = runtime::allocate(shift, None).map_err(|error| told("memory", error))?;
            let start = block.leak();
            ledger
                .grant(&holdings, start, 1 << shift, 12)
                .map_err(|error| told("region", error))?;
            blocks.push((start, shift));
        }
        blocks.sort_unstable();
        let level_shift = if levels == 1 { 20 } else { 16 };
        let shape = TableShape::new(PageShift::K4, levels, level_shift)
            .map_err(|error| told("shape", error))?;
        let config = WindowConfig {
            base: BusAddr::new(0),
            pages: PAGES,
            shape,
            sizes: PageSizes::NONE.with(PageShift::K4),
            limit: MOST_PAGES_AT_ONCE.min(PAGES),
        };
        let quota = Arc::new(Quota::new(64 << 20));
        let window = engine
            .create_window(&config, Arc::clone(&holdings), quota)
            .map_err(|error| told("window", error))?;
        engine
            .attach(&window, pe)
            .map_err(|error| told("attach", error))?;
        Ok(Some(Self {
            engine,
            window,
            ledger,
            holdings,
            regions: blocks,
            pe,
        }))
    }

    /// Page `number` of its memory; pages of a region are consecutive.
    pub fn page(&self, number: u64) -> HostAddr {
        let each = PAGES / self.regions.len() as u64;
        let at = usize::try_from(number / each).unwrap_or(usize::MAX);
        let start = self.regions.get(at).map_or(0, |(start, _)| start.get());
        HostAddr::new(start + ((number % each) << 12))
    }

    /// Bus address of page `number` of the window.
    pub fn bus(number: u64) -> BusAddr {
        BusAddr::new(number << 12)
    }

    /// Everything goes back.
    pub fn end(self) -> Result<(), String> {
        self.engine
            .detach(&self.window, self.pe, DetachMode::Reset)
            .map_err(|error| told("detach", error))?;
        self.engine
            .remove(&self.window, DetachMode::Reset)
            .map_err(|error| told("remove", error))?;
        for (start, shift) in self.regions {
            self.ledger
                .close(&self.holdings, start)
                .map_err(|error| told("close", error))?;
            self.engine
                .quiet(&self.holdings, start)
                .map_err(|error| told("quiet", error))?;
            let freed = self
                .ledger
                .reclaim(&self.holdings, start)
                .map_err(|error| told("reclaim", error))?;
            debug_assert_eq!(freed.bytes, 1 << shift);
            runtime::free(Block::unleak(start, shift)).map_err(|error| told("free", error))?;
        }
        Ok(())
    }
}
