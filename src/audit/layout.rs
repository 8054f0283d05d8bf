//! Where each generation of PHB keeps what, and how large it is.

use crate::pci::Generation;

/// Register: RTT in memory. Bit 0 enables.
pub const RTT_BAR: u64 = 0x168;
/// Register: PELT-V in memory. Bit 0 enables.
pub const PELTV_BAR: u64 = 0x188;
/// Register of PHB3: table of MSI vectors in memory. Bit 0 enables, the low 12
/// bits are the number of vectors.
pub const IVT_BAR: u64 = 0x150;
/// Register of PHB3: first host address of the 32-bit window.
pub const M32_BASE: u64 = 0x190;
/// Register of PHB3: mask of the 32-bit window.
pub const M32_MASK: u64 = 0x198;
/// Register: first bus address of the 32-bit window.
pub const M32_START: u64 = 0x1a0;
/// Register of PHB4 and PHB5: control; says how many TVEs a PE has.
pub const CONTROL: u64 = 0x810;
/// In [`CONTROL`]: bits 17:19, TVEs for a PE (0 is two), and bit 24, bit 32 of
/// the address selects the TVE.
pub const CONTROL_TVES: u64 = 7 << 44 | 1 << 39;

/// Bit 0 (IBM) of the registers that name tables in memory.
pub const BAR_ENABLE: u64 = 1 << 63;
/// Bytes of the RTT: a 16-bit PE number for each RID.
pub const RTT_BYTES: u64 = 0x2_0000;
/// Which bits of [`IVT_BAR`] are the address.
pub const IVT_ADDRESS: u64 = ibm(14, 48);
/// Bytes of a vector's entry on PHB3 (skiboot `IVT_TABLE_STRIDE`).
pub const IVE_BYTES: u64 = 128;

/// A table inside the PHB, by its number in the address register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IodaTable {
    /// MSI vector to PE, four to an entry: PHB4 and PHB5.
    Mist,
    /// Translation validation entries, two for a PE.
    Tvt,
    /// M64 BARs (PHB3, one entry each), or all memory BARs (PHB4 and PHB5, two
    /// entries each).
    Bars,
    /// PE of each M32 segment; on PHB4 and PHB5 three further columns.
    Segments,
}

impl IodaTable {
    /// Its number (skiboot `IODA2_TBL_*`, `IODA3_TBL_*`; the same for all).
    pub const fn number(self) -> u64 {
        match self {
            Self::Mist => 2,
            Self::Tvt => 9,
            Self::Bars => 16,
            Self::Segments => 17,
        }
    }

    /// What selects its first entry in register 0x220, each read of 0x228 going
    /// on to the next: bit 0, and the table in bits 11:15.
    pub const fn select_all(self) -> u64 {
        1 << 63 | self.number() << 48
    }

    /// What selects `entry` alone.
    pub const fn select(self, entry: u16) -> u64 {
        self.number() << 48 | entry as u64
    }
}

/// Sizes and masks of one PHB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Whether it is a PHB3.
    pub is_phb3: bool,
    /// PEs, a power of two from 2 to 512.
    pub pes: u16,
    /// Which bits of [`RTT_BAR`] are the address.
    pub rtt_mask: u64,
    /// Which bits of [`PELTV_BAR`] are the address.
    pub peltv_mask: u64,
    /// Memory BARs.
    pub bars: u16,
}

impl Layout {
    /// That of a PHB with `pes` PEs.
    pub const fn new(generation: Generation, pes: u16) -> Self {
        let is_phb3 = matches!(generation, Generation::Phb3);
        Self {
            is_phb3,
            pes,
            rtt_mask: if is_phb3 { ibm(14, 46) } else { ibm(8, 46) },
            peltv_mask: if is_phb3 { ibm(14, 50) } else { ibm(8, 50) },
            bars: if is_phb3 || pes < 512 { 16 } else { 32 },
        }
    }

    /// Bytes of a PE's row in the PELT-V: a bit for each PE.
    pub const fn row_bytes(self) -> u64 {
        self.pes as u64 / 8
    }

    /// Bytes of the PELT-V.
    pub const fn peltv_bytes(self) -> u64 {
        self.row_bytes() * self.pes as u64
    }
}

/// The bits `first` to `last` in IBM's numbering, as `PPC_BITMASK`.
pub const fn ibm(first: u32, last: u32) -> u64 {
    (u64::MAX >> first) & (u64::MAX << (63 - last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ibm_counts_from_the_left() {
        assert_eq!(ibm(0, 0), 1 << 63);
        assert_eq!(ibm(63, 63), 1);
        assert_eq!(ibm(48, 50), 0xe000);
        assert_eq!(ibm(0, 63), u64::MAX);
    }

    #[test]
    fn the_selector_is_that_of_skiboot() {
        assert_eq!(IodaTable::Tvt.select(0x1ff), 0x0009_0000_0000_01ff);
        assert_eq!(IodaTable::Segments.select_all(), 0x8011_0000_0000_0000);
    }
}
