//! Tables inside a PHB, read through the address and data registers (skiboot
//! include/phb3-regs.h, include/phb4-regs.h, IODA2_TBL_*, IODA3_TBL_*).

use super::PhbHardware;

/// PHB_IODA_ADDR and PHB_IODA_DATA0.
const ADDRESS: u64 = 0x220;
const DATA: u64 = 0x228;

/// A table, by the number that selects it. The same on all generations but
/// where a name says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum IodaTable {
    /// MSI vectors: PE, server, priority (PHB4 and later; PHB3's lies in memory).
    Mist = 2,
    /// State of a PE, MMIO half.
    PestA = 7,
    /// State of a PE, DMA half.
    PestB = 8,
    /// TVEs, two a PE.
    Tvt = 9,
    /// Ranges of M64 BARs (PHB3: M64BT).
    Mbt = 16,
    /// Which PE a segment belongs to (PHB3: M32DT).
    Mdt = 17,
    /// A bit for each PE with an error, 64 an entry, the first one leftmost.
    Peev = 20,
}

/// The tables of one PHB, while firmware is kept out of them: from
/// [`super::Phb::with_tables`].
pub struct Tables<'a, H> {
    hardware: &'a H,
}

impl<'a, H: PhbHardware> Tables<'a, H> {
    pub(super) fn new(hardware: &'a H) -> Self {
        Self { hardware }
    }

    /// Entry `index` (0 to 1023) of a table. All ones for all of them is a
    /// fenced PHB.
    pub fn read(&self, table: IodaTable, index: u16) -> u64 {
        self.select(table, index);
        self.hardware.load(DATA)
    }

    /// The 64-bit register at `offset` bytes.
    pub fn register(&self, offset: u64) -> u64 {
        self.hardware.load(offset)
    }

    /// Entry `index` of the table that `number` selects.
    pub fn read_number(&self, number: u8, index: u16) -> u64 {
        self.hardware.store(
            ADDRESS,
            u64::from(number & 31) << 48 | u64::from(index & 0x3ff),
        );
        self.hardware.load(DATA)
    }

    /// Writes an entry. For the error path's self-test, which marks a PE as
    /// hardware would; nothing else writes IODA tables past firmware.
    pub fn write(&self, table: IodaTable, index: u16, value: u64) {
        self.select(table, index);
        self.hardware.store(DATA, value);
    }

    /// No auto-increment: the register stands still between two accesses.
    fn select(&self, table: IodaTable, index: u16) {
        let value = (table as u64) << 48 | u64::from(index & 0x3ff);
        self.hardware.store(ADDRESS, value);
    }
}
