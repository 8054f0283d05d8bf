//! The small window that drivers' self-tests work in.

use crate::addr::BusAddr;
use crate::boot::rig::{Regions, Wanted};
use crate::tce::{PageShift, TableShape};
use alloc::string::{String, ToString};

/// Bits of a page's offset in it.
pub const PAGE_SHIFT: u32 = 12;

/// A window at `base` (0: one level; else two), and `1 << shift` bytes of memory.
pub fn wanted(base: u64, shift: u32) -> Result<Wanted, String> {
    let (levels, level_shift) = if base == 0 { (1, 16) } else { (2, 12) };
    let shape = TableShape::new(PageShift::K4, levels, level_shift);
    Ok(Wanted {
        owner: 0,
        base: BusAddr::new(base),
        shape: shape.map_err(|error| error.to_string())?,
        pages: 1 << 12,
        limit: 64,
        quota: 1 << 20,
        memory: Regions::one(shift),
    })
}
