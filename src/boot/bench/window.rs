//! Windows that operations are measured in.

use super::told;
use crate::addr::BusAddr;
use crate::boot::pci::check::candidates;
use crate::boot::pci::{bridges, describe};
use crate::boot::rig::{Regions, Rig, Wanted};
use crate::dma::MOST_PAGES_AT_ONCE;
use crate::tce::{PageShift, TableShape};
use alloc::string::String;

/// A window and the memory that is mapped in it.
#[derive(Clone, Copy)]
pub struct Setup {
    /// What the names of its rows end in.
    pub suffix: &'static str,
    /// IO pages.
    pub page: PageShift,
    /// Levels of the table.
    pub levels: u32,
    /// Bytes of a level, as a base-2 logarithm.
    pub level_shift: u32,
    /// The memory.
    pub memory: Regions,
    /// Pages a call, of those that are measured.
    pub runs: &'static [u64],
    /// Whether lists are measured too.
    pub lists: bool,
    /// Other windows of the same owner that there are.
    pub others: usize,
}

/// 16384 pages of 4K in one region, one level.
pub const PLAIN: Setup = Setup {
    suffix: "",
    page: PageShift::K4,
    levels: 1,
    level_shift: 17,
    memory: Regions {
        count: 1,
        shift: 26,
        granule: 12,
    },
    runs: &[1, 16, 512, 16384],
    lists: true,
    others: 0,
};

impl Setup {
    /// Pages of the memory.
    pub fn pages(&self) -> u64 {
        u64::from(self.memory.count) << (self.memory.shift - self.page.get())
    }

    /// The table's shape.
    ///
    /// # Errors
    /// There is none such.
    pub fn shape(&self) -> Result<TableShape, String> {
        TableShape::new(self.page, self.levels, self.level_shift)
            .map_err(|error| told("shape", error))
    }

    /// The window, from bus address 0 on and as large as the memory, in use by a
    /// PE. `None` where there is no device whose PE could be used, no
    /// memory, or no such page size.
    ///
    /// # Errors
    /// What failed.
    pub fn open(&self) -> Result<Option<Rig>, String> {
        let Some(pe) = candidates::groups().next() else {
            return Ok(None);
        };
        let bridge = bridges().get(usize::from(pe.phb)).ok_or("no such PHB")?;
        if !describe::page_sizes(bridge.described).contains(self.page) {
            return Ok(None);
        }
        let wanted = Wanted {
            owner: 0,
            base: BusAddr::new(0),
            shape: self.shape()?,
            pages: self.pages(),
            limit: MOST_PAGES_AT_ONCE.min(self.pages()),
            quota: 64 << 20,
            memory: self.memory,
        };
        Rig::attached(pe, &wanted)
    }
}
