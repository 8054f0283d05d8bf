//! The PHB's 64-bit memory BARs: where they are, and whose their segments.

use alloc::vec;

use super::expected::M64Bar;
use super::finding::{Fact, Fault};
use super::segments::size_of;
use super::{Holders, IodaTable, IodaTables, Listener, Phb, layout};

const ENABLE: u64 = 1 << 63;
/// PHB3, bit 1: the whole BAR is one PE's.
const PHB3_SINGLE: u64 = 1 << 62;
/// PHB4, bit 1: addresses go on as 32-bit ones.
const PHB4_M32: u64 = 1 << 62;
/// PHB4, bits 8:51 of both words.
const PHB4_ADDRESS: u64 = layout::ibm(8, 51);
/// PHB4, bits 55:63 of the second word: a PE, or what is added to a segment.
const PHB4_PE: u64 = 0x1ff;

/// How a BAR of PHB4 names the PE of a segment, bits 2:3 of the first word.
const BY_SEGMENT: u64 = 0;
const BY_COLUMN: u64 = 1;

impl<T: IodaTables, H: Holders, L: Listener> Phb<'_, '_, T, H, L> {
    pub(super) fn bars(&mut self) {
        if self.layout.is_phb3 {
            self.m32_registers();
            let mut table = vec![0; usize::from(self.layout.bars)];
            self.tables.read_table(IodaTable::Bars, &mut table);
            for (number, entry) in (0..).zip(table) {
                // Split in segments: bits 2:31 and 34:63, in units of 1 MB.
                let base = (entry >> 32 & 0x3fff_ffff) << 20;
                let size = size_of((entry & 0x3fff_ffff) << 20, 50);
                let split = entry & PHB3_SINGLE == 0;
                let bar = split.then_some(M64Bar { base, size });
                self.bar(number, [entry, 0], entry & ENABLE != 0, bar);
            }
            return;
        }
        let mut table = vec![0; usize::from(self.layout.bars) * 2];
        self.tables.read_table(IodaTable::Bars, &mut table);
        for (number, pair) in (0..).zip(table.chunks_exact(2)) {
            let &[low, high] = pair else { continue };
            let base = low & PHB4_ADDRESS;
            let size = size_of(high & PHB4_ADDRESS, 56);
            // Either half switches it on, as far as is known.
            let on = (low | high) & ENABLE != 0;
            if number == 0 && on && low & PHB4_M32 != 0 {
                if self.column(low) != Some(0) {
                    self.fault(Fault::Bar {
                        number,
                        value: [low, high],
                        expected: None,
                    });
                }
                self.m32(base, size);
                continue;
            }
            let split = low & PHB4_M32 == 0
                && high & PHB4_PE == 0
                && (self.column(low).is_some() || self.is_by_segment(low));
            let bar = split.then_some(M64Bar { base, size });
            self.bar(number, [low, high], on, bar);
        }
    }

    /// The column of segments that a BAR uses, 0 to 3.
    fn column(&self, low: u64) -> Option<u32> {
        (low >> 60 & 3 == BY_COLUMN).then_some((low >> 58 & 3) as u32)
    }

    /// Whether it has as many segments as there are PEs, segment n PE n's.
    fn is_by_segment(&self, low: u64) -> bool {
        low >> 58 & 0xf == BY_SEGMENT
    }

    fn bar(&mut self, number: u16, value: [u64; 2], on: bool, bar: Option<M64Bar>) {
        let expected = self.expected.bar(number);
        match expected {
            None if !on => {}
            Some(_) if on && bar == expected => {
                self.audit.totals.bars += 1;
                self.fact(Fact::Bar(
                    number,
                    bar.unwrap_or(M64Bar { base: 0, size: 0 }),
                ));
            }
            _ => self.fault(Fault::Bar {
                number,
                value,
                expected,
            }),
        }
    }

    /// Columns B to D of the segment table, as far as a BAR that is on uses
    /// them: segment n must be PE n's there too.
    pub(super) fn columns(&mut self, segments: &[u64]) {
        if self.layout.is_phb3 {
            return;
        }
        let mut table = vec![0; usize::from(self.layout.bars) * 2];
        self.tables.read_table(IodaTable::Bars, &mut table);
        for (number, pair) in (0..).zip(table.chunks_exact(2)).skip(1) {
            let &[low, high] = pair else { continue };
            let Some(column) = self.column(low).filter(|_| (low | high) & ENABLE != 0) else {
                continue;
            };
            for (segment, entry) in (0..).zip(segments) {
                let value = (entry >> (48 - 16 * column)) as u16;
                if value != segment {
                    self.fault(Fault::BarSegment {
                        number,
                        segment,
                        value,
                    });
                }
            }
        }
    }
}
