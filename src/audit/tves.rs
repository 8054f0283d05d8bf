//! The TVT, in the PHB: two entries for each PE.

use alloc::vec;

use super::finding::{Fact, Fault};
use super::{Holders, HostAddr, IodaTable, IodaTables, Listener, Phb, layout};
use crate::pci::PeNumber;
use crate::seam::DmaTable;
use crate::tce::tve::Tve;
use crate::tce::{PageShift, TableShape};

/// What of a TVE says how it translates; zero means that it does not.
const PAGE_SIZE: u64 = 0x1f;
/// Bits 56 to 58: 56 is for TVEs that do not translate, the others are none.
const UNUSED: u64 = 0xe0;

impl<T: IodaTables, H: Holders, L: Listener> Phb<'_, '_, T, H, L> {
    pub(super) fn tves(&mut self) {
        if !self.layout.is_phb3 {
            let value = self.tables.register(layout::CONTROL);
            if value & layout::CONTROL_TVES != 0 {
                self.fault(Fault::Control { value });
            }
        }
        let mut table = vec![0; usize::from(self.layout.pes) * 2];
        self.tables.read_table(IodaTable::Tvt, &mut table);
        for (index, value) in table.iter().enumerate() {
            if *value != 0 {
                self.audit.totals.windows += 1;
                let pe = PeNumber::new((index / 2) as u16);
                self.tve(pe, (index % 2) as u8, *value);
            }
        }
    }

    fn tve(&mut self, pe: PeNumber, tve: u8, value: u64) {
        if value & PAGE_SIZE == 0 {
            let (start, end) = bypass(value);
            return self.fault(Fault::Bypass {
                pe,
                tve,
                value,
                start,
                end,
            });
        }
        let Some(owner) = self.expected.owner(pe) else {
            return self.fault(Fault::TveOfNobody { pe, tve, value });
        };
        match Tve::from_bits(value).decode() {
            Ok(Some(table)) if value & UNUSED == 0 && has_shape(&table) => {
                self.fact(Fact::Window {
                    pe,
                    tve,
                    owner,
                    table,
                });
                self.root(pe, tve, owner, &table);
            }
            _ => self.fault(Fault::TveMalformed { pe, tve, value }),
        }
    }
}

/// Whether the levels span no more than a TVE does.
fn has_shape(table: &DmaTable) -> bool {
    PageShift::new(table.page_shift)
        .is_ok_and(|page| TableShape::new(page, table.levels, table.level_shift).is_ok())
}

/// The range of a TVE that does not translate: bits 24 to 49 of the first
/// address lie in TVE bits 0:23 and 52:53, those of the end in 24:47 and 54:55
/// (skiboot `hw/phb4.c`, `phb4_map_pe_dma_window_real`).
fn bypass(tve: u64) -> (HostAddr, HostAddr) {
    let address = |middle: u64, top: u64| {
        HostAddr::new((tve >> middle & 0xff_ffff) << 24 | (tve >> top & 3) << 48)
    };
    (address(40, 10), address(16, 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bypass_range_is_read_as_firmware_packs_it() {
        // 0 to 2^44 by phb4_map_pe_dma_window_real.
        let tve = (0x10_0000u64 << 16) | 1 << 12 | 1 << 7;
        assert_eq!(bypass(tve), (HostAddr::new(0), HostAddr::new(1 << 44)));
        // The value that skiboot's hw/phb3.c uses for 2^49 to 2^49 + 2^48 - 1.
        let (start, end) = bypass(0x0000_00ff_ffff_0a00);
        assert_eq!(start, HostAddr::new(2 << 48));
        assert_eq!(end, HostAddr::new(2 << 48 | 0xff_ffff << 24));
    }
}
