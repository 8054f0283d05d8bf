//! Which PE may send which MSI: a table in memory on PHB3, in the PHB later.

use alloc::vec;

use super::finding::{Fact, Fault};
use super::{Holder, Holders, HostAddr, IodaTable, IodaTables, Listener, Phb, layout};
use crate::pci::PeNumber;

/// The low bits of the register: the number of vectors.
const IVT_LENGTH: u64 = 0xfff;
/// Bits 4:15 of a quarter of a MIST entry; above are P and Q.
const MIST_PE: u64 = 0xfff;

impl<T: IodaTables, H: Holders, L: Listener> Phb<'_, '_, T, H, L> {
    pub(super) fn msis(&mut self) {
        if self.layout.is_phb3 {
            self.ivt();
        } else {
            self.mist();
        }
    }

    /// The word at the head of a vector's entry: PE in the low 16 bits
    /// (skiboot `IODA2_IVT_PE`).
    fn ivt(&mut self) {
        let length = self.tables.register(layout::IVT_BAR) & IVT_LENGTH;
        let bytes = length.max(1) * layout::IVE_BYTES;
        let Some(base) = self.base("IVT", layout::IVT_BAR, layout::IVT_ADDRESS, None, bytes) else {
            return;
        };
        for vector in 0..self.expected.vectors().min(length as u16) {
            let at = HostAddr::new(base.get() + u64::from(vector) * layout::IVE_BYTES);
            let Some(word) = self.tables.word(at) else {
                let (table, holder) = ("IVT", Holder::NoMemory);
                return self.fault(Fault::BaseHolder { table, at, holder });
            };
            self.msi(vector, word as u16);
        }
    }

    fn mist(&mut self) {
        let vectors = self.expected.vectors();
        let mut table = vec![0; usize::from(vectors.div_ceil(4))];
        self.tables.read_table(IodaTable::Mist, &mut table);
        for vector in 0..vectors {
            let shift = 16 * (3 - (vector & 3));
            let entry = table.get(usize::from(vector / 4)).copied().unwrap_or(0);
            self.msi(vector, (entry >> shift & MIST_PE) as u16);
        }
    }

    fn msi(&mut self, vector: u16, value: u16) {
        let value = PeNumber::new(value);
        let (expected, is_given) = self.expected.msi(vector);
        if value != expected {
            self.fault(Fault::Msi {
                vector,
                value,
                expected,
            });
        } else if is_given {
            self.audit.totals.msis += 1;
            self.fact(Fact::Msi(vector, value));
        }
    }
}
