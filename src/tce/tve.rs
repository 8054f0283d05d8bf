//! The translation validation entry: how a PHB finds a TCE table.
//!
//! Layout (IBM bit numbers, skiboot include/phb4-regs.h): 0:47 root >> 12,
//! 48:50 levels - 1, 51:55 log2(bytes of a level) - 11, 59:63 page shift - 11.
//! All zero disables it.

use super::page::PageShift;
use super::shape::{MAX_LEVELS, MIN_LEVEL_SHIFT, TableShape};
use crate::addr::HostAddr;
use crate::seam::DmaTable;

/// Root addresses fit 60 bits.
const ROOT_BITS: u32 = 60;

/// A TVE's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tve(u64);

/// Why a table cannot be named in a TVE, or a TVE names none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TveError {
    /// The root is not aligned to a level's size, or beyond 2^60.
    #[error("root table at {0:#x} is misaligned or too high")]
    Root(HostAddr),
    /// Fields out of range.
    #[error("a TVE of {0:#x} describes no table")]
    Fields(u64),
}

impl Tve {
    /// A disabled TVE: DMA through it freezes the PE.
    pub const DISABLED: Self = Self(0);

    /// The TVE with this value.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its value.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// A TVE for `table`, whose numbers are checked.
    pub fn new(table: &DmaTable) -> Result<Self, TveError> {
        let root = table.root.get();
        if !table.root.is_aligned(table.level_shift.min(63)) || root >> ROOT_BITS != 0 || root == 0
        {
            return Err(TveError::Root(table.root));
        }
        let shape = PageShift::new(table.page_shift)
            .ok()
            .and_then(|page| TableShape::new(page, table.levels, table.level_shift).ok())
            .ok_or(TveError::Fields(root))?;
        let fields = u64::from(shape.levels() - 1) << 13
            | u64::from(shape.level_shift() - 11) << 8
            | u64::from(shape.page().get() - 11);
        Ok(Self((root >> 12) << 16 | fields))
    }

    /// What it describes; `None` if it is disabled.
    pub fn decode(self) -> Result<Option<DmaTable>, TveError> {
        if self.0 == 0 {
            return Ok(None);
        }
        let table = DmaTable {
            root: HostAddr::new((self.0 >> 16) << 12),
            levels: (self.0 >> 13 & 7) as u32 + 1,
            level_shift: (self.0 >> 8 & 31) as u32 + 11,
            page_shift: (self.0 & 31) as u32 + 11,
        };
        if table.levels > MAX_LEVELS
            || table.level_shift < MIN_LEVEL_SHIFT
            || PageShift::new(table.page_shift).is_err()
        {
            return Err(TveError::Fields(self.0));
        }
        if !table.root.is_aligned(table.level_shift) {
            return Err(TveError::Root(table.root));
        }
        Ok(Some(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let table = DmaTable {
            root: HostAddr::new(0x1_2345_0000),
            levels: 2,
            level_shift: 16,
            page_shift: 12,
        };
        let tve = Tve::new(&table).unwrap();
        // 0x12345 0000 >> 12 = 0x123450; levels 1; size 16-11 = 5; page 1.
        assert_eq!(tve.bits(), 0x12_3450_0000 | 1 << 13 | 5 << 8 | 1);
        assert_eq!(tve.decode(), Ok(Some(table)));
        assert_eq!(Tve::DISABLED.decode(), Ok(None));
    }

    #[test]
    fn every_table_survives_the_round_trip() {
        for page in PageShift::ALL {
            for levels in 1..=5 {
                for level_shift in 12..=30 {
                    let table = DmaTable {
                        root: HostAddr::new(0x80_0000_0000),
                        levels,
                        level_shift,
                        page_shift: page.get(),
                    };
                    match TableShape::new(page, levels, level_shift) {
                        Ok(_) => assert_eq!(Tve::new(&table).unwrap().decode(), Ok(Some(table))),
                        Err(_) => assert!(Tve::new(&table).is_err()),
                    }
                }
            }
        }
    }

    #[test]
    fn wrong_tables_and_tves_are_refused() {
        let good = DmaTable {
            root: HostAddr::new(0x10000),
            levels: 1,
            level_shift: 16,
            page_shift: 16,
        };
        let root = |root| {
            Tve::new(&DmaTable {
                root: HostAddr::new(root),
                ..good
            })
        };
        assert_eq!(root(0x18000), Err(TveError::Root(HostAddr::new(0x18000))));
        assert_eq!(root(1 << 60), Err(TveError::Root(HostAddr::new(1 << 60))));
        assert_eq!(root(0), Err(TveError::Root(HostAddr::new(0))));
        assert!(root((1 << 60) - 0x10000).is_ok());
        assert_eq!(
            Tve::new(&DmaTable {
                page_shift: 13,
                ..good
            }),
            Err(TveError::Fields(0x10000))
        );
        let bits = Tve::new(&good).unwrap().bits();
        for bad in [bits | 7 << 13, bits & !(31 << 8), bits & !31, bits | 3] {
            assert_eq!(
                Tve::from_bits(bad).decode(),
                Err(TveError::Fields(bad)),
                "{bad:#x}"
            );
        }
        let low = Tve::from_bits(bits | 1 << 16);
        assert!(matches!(low.decode(), Err(TveError::Root(_))));
    }
}
