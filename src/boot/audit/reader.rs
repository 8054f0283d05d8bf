//! A PHB's tables and registers as the audit reads them.

use super::memory_at;
use crate::addr::HostAddr;
use crate::audit::passes::in_pieces;
use crate::audit::{IodaTable, IodaTables};
use crate::boot::pci::Host;
use crate::phb::{IodaTable as Inside, PhbHardware, Tables};

/// One PHB, from [`crate::phb::Phb::with_tables`].
pub struct Reader<'a, 'b, H>(pub &'a Tables<'b, H>);

impl<H: PhbHardware> Reader<'_, '_, H> {
    /// Writes an entry, to see that the audit finds it.
    pub fn write_table(&self, table: IodaTable, entry: u16, value: u64) {
        let table = match table {
            IodaTable::Mist => Inside::Mist,
            IodaTable::Tvt => Inside::Tvt,
            IodaTable::Bars => Inside::Mbt,
            IodaTable::Segments => Inside::Mdt,
        };
        self.0.write(table, entry, value);
    }
}

/// One PHB, taken for a few entries at a time.
pub struct Piecewise<'a>(pub &'a Host);

impl IodaTables for Piecewise<'_> {
    fn register(&self, offset: u64) -> u64 {
        self.0.phb.with_tables(|tables| tables.register(offset))
    }

    fn read_table(&self, table: IodaTable, into: &mut [u64]) {
        in_pieces(into, |first, part| {
            self.0.phb.with_tables(|tables| {
                for (index, entry) in (first..).zip(part) {
                    *entry = tables.read_number(table.number() as u8, index);
                }
            });
        });
    }

    fn word(&self, at: HostAddr) -> Option<u64> {
        word(at)
    }
}

impl<H: PhbHardware> IodaTables for Reader<'_, '_, H> {
    fn register(&self, offset: u64) -> u64 {
        self.0.register(offset)
    }

    fn read_table(&self, table: IodaTable, into: &mut [u64]) {
        for (index, entry) in (0..).zip(into) {
            *entry = self.0.read_number(table.number() as u8, index);
        }
    }

    fn word(&self, at: HostAddr) -> Option<u64> {
        word(at)
    }
}

/// The word at `at`, if it is aligned and in memory.
pub(super) fn word(at: HostAddr) -> Option<u64> {
    let (is_memory, last) = memory_at(at);
    if !is_memory || last.get() - at.get() < 7 || !at.is_aligned(3) {
        return None;
    }
    // SAFETY: there is memory; whoever writes it meanwhile, the load is of
    // one word that only this keeps.
    Some(u64::from_be(unsafe {
        (at.get() as *const u64).read_volatile()
    }))
}
