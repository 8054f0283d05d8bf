//! The PELT-V, in memory: a row for each PE, a bit for each PE that an error
//! of it freezes.

use super::finding::{Fact, Fault};
use super::{Holder, Holders, HostAddr, IodaTables, Listener, Phb, layout};
use crate::pci::PeNumber;

impl<T: IodaTables, H: Holders, L: Listener> Phb<'_, '_, T, H, L> {
    pub(super) fn links(&mut self) {
        let (mask, bytes) = (self.layout.peltv_mask, self.layout.peltv_bytes());
        let told = self.expected.bases().peltv;
        let Some(base) = self.base("PELT-V", layout::PELTV_BAR, mask, told, bytes) else {
            return;
        };
        for parent in 0..self.layout.pes {
            let row = base.get() + self.layout.row_bytes() * u64::from(parent);
            for first in (0..self.layout.pes).step_by(64) {
                // A row of fewer than 64 PEs is part of a word.
                let byte = row + u64::from(first) / 8;
                let at = HostAddr::new(byte & !7);
                let Some(word) = self.tables.word(at) else {
                    let (table, holder) = ("PELT-V", Holder::NoMemory);
                    return self.fault(Fault::BaseHolder { table, at, holder });
                };
                let width = u32::from(self.layout.pes - first).min(64);
                let word = word << ((byte & 7) * 8) & (u64::MAX << (64 - width));
                self.row(parent, first, word);
            }
        }
    }

    fn row(&mut self, parent: u16, first: u16, word: u64) {
        let expected = self.expected.row(parent, first);
        let mut bits = word | expected;
        while bits != 0 {
            let bit = bits.leading_zeros();
            let mask = 1u64 << (63 - bit);
            bits &= !mask;
            let (parent, child) = (PeNumber::new(parent), PeNumber::new(first + bit as u16));
            let set = word & mask != 0;
            if set {
                self.audit.totals.links += 1;
            }
            if set == (expected & mask != 0) {
                self.fact(Fact::Link(parent, child));
            } else {
                self.fault(Fault::Link { parent, child, set });
            }
        }
    }
}
