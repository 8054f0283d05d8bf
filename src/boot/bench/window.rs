//! The window that operations are measured in.

use super::told;
use crate::addr::BusAddr;
use crate::boot::pci::check::candidates;
use crate::boot::rig::{Regions, Rig, Wanted};
use crate::dma::MOST_PAGES_AT_ONCE;
use crate::tce::{PageShift, TableShape};
use alloc::string::String;

/// Its memory, as a base-2 logarithm: 64 MiB, 16384 pages of 4K.
const MEMORY_SHIFT: u32 = 26;

/// Pages of it, and of the window.
pub const PAGES: u64 = 1 << (MEMORY_SHIFT - 12);

/// A window of `levels` levels over as many regions, from bus address 0; `None`
/// where the machine has no device whose PE could be used.
///
/// # Errors
/// What failed, or no memory.
pub fn open(levels: u32, regions: u32) -> Result<Option<Rig>, String> {
    let Some(pe) = candidates::groups().next() else {
        return Ok(None);
    };
    let level_shift = if levels == 1 { 20 } else { 16 };
    let shape = TableShape::new(PageShift::K4, levels, level_shift)
        .map_err(|error| told("shape", error))?;
    let wanted = Wanted {
        owner: 0,
        base: BusAddr::new(0),
        shape,
        pages: PAGES,
        limit: MOST_PAGES_AT_ONCE.min(PAGES),
        quota: 64 << 20,
        memory: Regions {
            count: regions,
            shift: MEMORY_SHIFT - regions.ilog2(),
            granule: 12,
        },
    };
    let rig = Rig::attached(pe, &wanted)?;
    rig.ok_or_else(|| told("memory", "there is too little"))
        .map(Some)
}
