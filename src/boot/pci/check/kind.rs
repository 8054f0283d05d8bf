//! Kinds of windows that a device is tried with.

use super::edu::Device;
use crate::addr::BusAddr;
use crate::boot::banner;
use crate::boot::rig::{HIGH, Regions, Rig, Wanted};
use crate::seam::PeId;
use crate::tce::{PageShift, TableShape, shape};
use alloc::string::{String, ToString};
use core::fmt;

/// The 32-bit window ends here: from 2 to 4 GB lie MSIs and the PHB's M32 range.
const LOW_END: u64 = 2 << 30;

/// Levels of tables are as small as they can be, so that few pages show many
/// levels.
const LEVEL_SHIFT: u32 = 12;

/// Table memory for such a window.
const QUOTA: u64 = 16 << 20;

/// A kind of window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    base: u64,
    page: PageShift,
    levels: u32,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.base == HIGH { 64 } else { 32 };
        let levels = banner::plural(self.levels as usize, "level");
        let Self {
            page,
            levels: count,
            ..
        } = self;
        write!(f, "{bits}-bit window of {page} pages, {count} {levels}")
    }
}

impl Kind {
    /// The 32-bit window.
    pub const LOW: Self = Self {
        base: 0,
        page: PageShift::K4,
        levels: 1,
    };

    /// The 64-bit window; `None` if the PHB cannot walk so many levels of such
    /// pages.
    pub fn high(page: PageShift, levels: u32) -> Option<Self> {
        TableShape::new(page, levels, LEVEL_SHIFT)
            .ok()
            .map(|_| Self {
                base: HIGH,
                page,
                levels,
            })
    }

    /// Bits of a page's offset.
    pub const fn page(self) -> PageShift {
        self.page
    }

    /// Levels of its table.
    pub const fn levels(self) -> u32 {
        self.levels
    }

    /// As many pages as the table, or the range of addresses, has, and memory
    /// for two of them, which are apart: the largest page is the largest block.
    fn wanted(self, owner: usize) -> Result<Wanted, String> {
        let shape = TableShape::new(self.page, self.levels, LEVEL_SHIFT)
            .map_err(|error| error.to_string())?;
        let page = self.page.get();
        let most = match self.base {
            HIGH => 1 << (shape::DMA_BITS - page),
            _ => LOW_END >> page,
        };
        Ok(Wanted {
            owner,
            base: BusAddr::new(self.base),
            shape,
            pages: most.min(1 << shape.slot_bits()),
            limit: 512,
            quota: QUOTA,
            memory: Regions {
                count: 2,
                ..Regions::one(page)
            },
        })
    }

    /// A device with such a window and memory of its own. `None` if there is no
    /// memory for pages of this size.
    ///
    /// # Errors
    /// What failed; nothing is kept then.
    pub fn open(self, device: &Device, owner: usize) -> Result<Option<Rig>, String> {
        Rig::started(device.pe, device.group, &self.wanted(owner)?)
    }

    /// A PE with such a window, whose functions do not master the bus.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn attach(self, pe: PeId, owner: usize) -> Result<Option<Rig>, String> {
        Rig::attached(pe, &self.wanted(owner)?)
    }
}
