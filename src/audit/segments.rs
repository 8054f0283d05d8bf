//! The 32-bit window and the PE of each of its segments.

use alloc::vec;

use super::finding::{Fact, Fault};
use super::{Holders, IodaTable, IodaTables, Listener, Phb, layout};
use crate::pci::PeNumber;

impl<T: IodaTables, H: Holders, L: Listener> Phb<'_, '_, T, H, L> {
    pub(super) fn segments(&mut self) {
        let mut table = vec![0; usize::from(self.layout.pes)];
        self.tables.read_table(IodaTable::Segments, &mut table);
        for (segment, entry) in (0..self.layout.pes).zip(&table) {
            // PHB3: bits 8:15. PHB4 and PHB5: column A, bits 0:15.
            let value = if self.layout.is_phb3 {
                (entry >> 48) as u16 & 0xff
            } else {
                (entry >> 48) as u16
            };
            let given = self.expected.segment(segment);
            let expected = given.unwrap_or(PeNumber::new(0));
            if value != expected.get() {
                self.fault(Fault::Segment {
                    segment,
                    value,
                    expected,
                });
            } else if given.is_some_and(|pe| pe != self.expected.reserved()) {
                self.audit.totals.segments += 1;
                self.fact(Fact::Segment(segment, expected));
            }
        }
        self.columns(&table);
    }

    /// The registers of PHB3's 32-bit window; later PHBs have it in BAR 0.
    pub(super) fn m32_registers(&mut self) {
        let base = self.tables.register(layout::M32_BASE);
        let mask = self.tables.register(layout::M32_MASK);
        self.m32(base, size_of(mask, 50));
    }

    pub(super) fn m32(&mut self, base: u64, size: u64) {
        let window = self.expected.m32();
        let start = self.tables.register(layout::M32_START);
        // The device tree leaves out what 32-bit MSIs take at the top.
        let expected = [
            window.host.get(),
            window.bus.get(),
            window.size.next_power_of_two(),
        ];
        let value = [base, start, size];
        if value != expected {
            self.fault(Fault::M32 { value, expected });
        }
    }
}

/// The size that a mask of `bits` address bits stands for.
pub(super) fn size_of(mask: u64, bits: u32) -> u64 {
    let all = (1u64 << bits) - 1;
    (!mask & all).wrapping_add(1) & all
}
