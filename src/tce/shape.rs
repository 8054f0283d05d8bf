//! The shape of a table: page size, levels, bytes of a level.

use super::page::PageShift;
use super::window::Slot;

/// Bits of an address below the TVE selector: what one TVE can span.
pub const TVE_BITS: u32 = 59;
/// DMA works below this bit of a TVE's address space only; a table may be
/// formally larger (Linux pci-ioda.c limits tables to it, skiboot does not).
pub const DMA_BITS: u32 = 55;
/// Most levels that a TVE can name.
pub const MAX_LEVELS: u32 = 5;
/// Log2 of the bytes of the smallest level, 512 entries.
pub const MIN_LEVEL_SHIFT: u32 = 12;
/// Log2 of the bytes of the largest level that a TVE can name.
pub const MAX_LEVEL_SHIFT: u32 = 42;

/// How a TCE table is built: all levels have the same size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableShape {
    page: PageShift,
    levels: u8,
    level_shift: u8,
}

/// A shape that no PHB can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShapeError {
    /// Levels are 1 to 5.
    #[error("{0} levels: a table has 1 to 5")]
    Levels(u32),
    /// A level has 2^12 to 2^42 bytes.
    #[error("a level of 2^{0} bytes: 2^12 to 2^42 are possible")]
    LevelShift(u32),
    /// Together more bits than a TVE's 59.
    #[error("the table spans 2^{0} bytes, more than a TVE's 2^59")]
    Span(u32),
}

impl TableShape {
    /// A table of `levels` levels of `1 << level_shift` bytes each.
    pub fn new(page: PageShift, levels: u32, level_shift: u32) -> Result<Self, ShapeError> {
        if levels == 0 || levels > MAX_LEVELS {
            return Err(ShapeError::Levels(levels));
        }
        if !(MIN_LEVEL_SHIFT..=MAX_LEVEL_SHIFT).contains(&level_shift) {
            return Err(ShapeError::LevelShift(level_shift));
        }
        let span = levels * (level_shift - 3) + page.get();
        if span > TVE_BITS {
            return Err(ShapeError::Span(span));
        }
        Ok(Self {
            page,
            levels: levels as u8,
            level_shift: level_shift as u8,
        })
    }

    /// The IO page size.
    #[inline]
    pub const fn page(self) -> PageShift {
        self.page
    }

    /// Number of levels, 1 to 5.
    #[inline]
    pub const fn levels(self) -> u32 {
        self.levels as u32
    }

    /// Log2 of the bytes of one table as the PHB reads it.
    #[inline]
    pub const fn level_shift(self) -> u32 {
        self.level_shift as u32
    }

    /// Log2 of the entries of one table.
    #[inline]
    pub const fn index_bits(self) -> u32 {
        (self.level_shift as u32).wrapping_sub(3)
    }

    /// Entries of one table.
    #[inline]
    pub const fn entries(self) -> usize {
        1usize.wrapping_shl(self.index_bits())
    }

    #[inline]
    pub(super) const fn index_mask(self) -> usize {
        self.entries().wrapping_sub(1)
    }

    /// Log2 of the slots of the whole table.
    #[inline]
    pub const fn slot_bits(self) -> u32 {
        (self.levels as u32).wrapping_mul(self.index_bits())
    }

    /// Log2 of the slots below one entry of a table on `level`; level 0 is the root.
    #[inline]
    pub const fn entry_bits(self, level: u32) -> u32 {
        (self.levels as u32)
            .wrapping_sub(1)
            .wrapping_sub(level)
            .wrapping_mul(self.index_bits())
    }

    /// Index of `slot` in its table on `level`.
    #[inline]
    pub const fn index(self, slot: Slot, level: u32) -> usize {
        slot.get().wrapping_shr(self.entry_bits(level)) as usize & self.index_mask()
    }

    /// Index of `slot` in its leaf.
    #[inline]
    pub const fn leaf_index(self, slot: Slot) -> usize {
        slot.get() as usize & self.index_mask()
    }

    /// Whether tables on `level` are leaves.
    #[inline]
    pub const fn is_leaf(self, level: u32) -> bool {
        level.wrapping_add(1) == self.levels as u32
    }

    /// Log2 of the bytes to allocate for a table on `level`. Above the leaves,
    /// a second half, which no PHB reads, counts the used entries of each child.
    #[inline]
    pub const fn frame_shift(self, level: u32) -> u32 {
        if self.is_leaf(level) {
            self.level_shift()
        } else {
            self.level_shift() + 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_to_five_levels_with_every_page_size() {
        for page in PageShift::ALL {
            for levels in 0..=6 {
                let span = levels * 9 + page.get();
                let expected = match levels {
                    0 | 6 => Err(ShapeError::Levels(levels)),
                    _ if span > 59 => Err(ShapeError::Span(span)),
                    _ => Ok(span),
                };
                let got = TableShape::new(page, levels, 12).map(|s| s.slot_bits() + s.page().get());
                assert_eq!(got, expected);
            }
        }
        assert!(TableShape::new(PageShift::K4, 5, 12).is_ok());
        assert_eq!(
            TableShape::new(PageShift::K4, 1, 11),
            Err(ShapeError::LevelShift(11))
        );
        assert_eq!(
            TableShape::new(PageShift::K4, 1, 43),
            Err(ShapeError::LevelShift(43))
        );
        assert!(TableShape::new(PageShift::K4, 1, 42).is_ok());
    }

    #[test]
    fn indices_of_a_slot() {
        let shape = TableShape::new(PageShift::K64, 3, 13).unwrap();
        assert_eq!((shape.entries(), shape.index_bits()), (1024, 10));
        let slot = Slot::new(3 << 20 | 5 << 10 | 7);
        assert_eq!(
            (
                shape.index(slot, 0),
                shape.index(slot, 1),
                shape.index(slot, 2)
            ),
            (3, 5, 7)
        );
        assert_eq!(shape.leaf_index(slot), 7);
        assert_eq!(
            (
                shape.entry_bits(0),
                shape.entry_bits(1),
                shape.entry_bits(2)
            ),
            (20, 10, 0)
        );
        assert_eq!(
            (
                shape.frame_shift(0),
                shape.frame_shift(1),
                shape.frame_shift(2)
            ),
            (14, 14, 13)
        );
        assert!(shape.is_leaf(2) && !shape.is_leaf(1));
    }
}
