//! One PHB: RTT, TVT, PEST, a table walker, and the TCE cache.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use super::cache::Cache;
use super::rng::Rng;
use super::table_store::TableStore;
use crate::addr::{BusAddr, HostAddr};
use crate::seam::{DmaTable, KillScope, TableLimits, TveSelect};
use crate::tce::PageShift;
use crate::tce::tve::Tve;

/// Which generation is modelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PhbKind {
    /// POWER8: kills by page work.
    Phb3,
    /// POWER9 and POWER10: a kill by page is dropped (erratum HW560152).
    Phb4,
    /// A PHB that can only forget everything.
    AllOnly,
}

/// Why a DMA did not reach memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DmaFault {
    /// No PE has this RID.
    NoPe,
    /// Bus mastering of the function is off.
    NotMaster,
    /// The PE is frozen.
    Frozen,
    /// The TVE is disabled or makes no sense.
    NoTve,
    /// Bits above the table, or no DMA address at all.
    Beyond,
    /// An entry without the right, on this level.
    NoRight(u32),
    /// The page is not aligned to its size.
    Misaligned,
}

/// What a PE's error entry (PEST) holds after a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pest {
    /// RID of the function.
    pub rid: u16,
    /// The address it used.
    pub bus: BusAddr,
    /// What was wrong.
    pub fault: DmaFault,
}

/// One PE's state in a PHB.
#[derive(Clone, Default)]
pub(super) struct PeModel {
    pub(super) tves: [Tve; 2],
    pub(super) frozen: bool,
    pub(super) bus_master: bool,
    pub(super) pest: Option<Pest>,
}

/// A model PHB.
pub struct PhbModel {
    kind: PhbKind,
    pub(super) limits: TableLimits,
    pub(super) rtt: BTreeMap<u16, u16>,
    pub(super) pes: Vec<PeModel>,
    pub(super) cache: Cache,
    pub(super) kills: u64,
}

const TVE_BIT: u32 = 59;
const DMA_BITS: u32 = 55;

impl PhbModel {
    /// A PHB with `pes` PEs, all TVEs off.
    pub fn new(kind: PhbKind, pes: u16) -> Self {
        Self {
            kind,
            // All sizes, whatever the generation: tests compare them.
            limits: TableLimits {
                page_shifts: PageShift::ALL
                    .iter()
                    .fold(0, |all, page| all | 1 << page.get()),
                levels: 5,
            },
            rtt: BTreeMap::new(),
            pes: vec![
                PeModel {
                    bus_master: true,
                    ..PeModel::default()
                };
                usize::from(pes)
            ],
            cache: Cache::default(),
            kills: 0,
        }
    }

    /// As it is, but with these limits of tables.
    #[must_use]
    pub fn with_limits(self, limits: TableLimits) -> Self {
        Self { limits, ..self }
    }

    pub(super) fn kind(&self) -> PhbKind {
        self.kind
    }

    pub(super) fn set_tve(&mut self, pe: u16, select: TveSelect, tve: Tve) {
        self.pes[usize::from(pe)].tves[usize::from(select == TveSelect::High)] = tve;
    }

    /// Whether a TVE that is on leads to the `bytes` bytes at `start`.
    pub(super) fn has_root_in(&self, start: u64, bytes: u64) -> bool {
        let tables = self
            .pes
            .iter()
            .flat_map(|pe| pe.tves)
            .filter_map(|tve| tve.decode().ok().flatten());
        tables
            .into_iter()
            .any(|table| (start..start + bytes).contains(&table.root.get()))
    }

    /// The host address that `pe` reaches at `bus`, if it may.
    pub(super) fn translate(
        &mut self,
        pe: u16,
        bus: BusAddr,
        write: bool,
        memory: &TableStore,
        rng: &mut Rng,
    ) -> Result<HostAddr, DmaFault> {
        let model = &self.pes[usize::from(pe)];
        if bus.get() >> (TVE_BIT + 1) != 0 {
            return Err(DmaFault::Beyond);
        }
        let tve = model.tves[(bus.get() >> TVE_BIT & 1) as usize];
        let table = tve.decode().ok().flatten().ok_or(DmaFault::NoTve)?;
        let offset = bus.get() & ((1 << TVE_BIT) - 1);
        if offset >> DMA_BITS != 0 {
            return Err(DmaFault::Beyond);
        }
        let mut address = table.root.get();
        for level in 0..table.levels {
            let at = entry_address(&table, address, offset, level)?;
            if !memory.contains(at) {
                return Err(DmaFault::NoRight(level));
            }
            let entry = self.cache.read(pe, at, memory, rng);
            let needed = if level + 1 < table.levels {
                3
            } else {
                1 | u64::from(write) << 1
            };
            if entry & needed != needed {
                return Err(DmaFault::NoRight(level));
            }
            address = entry & !0xfff;
        }
        let mask = (1u64 << table.page_shift) - 1;
        if address & mask != 0 {
            return Err(DmaFault::Misaligned);
        }
        Ok(HostAddr::new(address | offset & mask))
    }

    pub(super) fn kill(&mut self, pe: u16, scope: KillScope, memory: &TableStore) {
        match (scope, self.kind) {
            (KillScope::All, _) => self.cache.kill_all(),
            (KillScope::Pe, PhbKind::Phb3 | PhbKind::Phb4) => self.cache.kill_pe(pe),
            (
                KillScope::Pages {
                    bus,
                    pages,
                    page_shift,
                },
                PhbKind::Phb3,
            ) => {
                for page in 0..pages {
                    self.kill_page(pe, bus.get() + (page << page_shift), memory);
                }
            }
            // Dropped.
            (KillScope::Pages { .. }, _) | (KillScope::Pe, PhbKind::AllOnly) => {}
        }
    }

    /// Forgets the line of the leaf's entry only, as the tables are now.
    fn kill_page(&mut self, pe: u16, bus: u64, memory: &TableStore) {
        let tve = self.pes[usize::from(pe)].tves[(bus >> TVE_BIT & 1) as usize];
        let Ok(Some(table)) = tve.decode() else {
            return;
        };
        let offset = bus & ((1 << TVE_BIT) - 1);
        let mut address = table.root.get();
        for level in 0..table.levels {
            let Ok(at) = entry_address(&table, address, offset, level) else {
                return;
            };
            if level + 1 == table.levels {
                self.cache.kill_line(pe, at);
            }
            address = memory.read(at) & !0xfff;
            if address == 0 {
                return;
            }
        }
    }
}

/// Where the entry for `offset` is in the table of `level` at `address`.
fn entry_address(table: &DmaTable, address: u64, offset: u64, level: u32) -> Result<u64, DmaFault> {
    let bits = table.level_shift - 3;
    let slot = offset >> table.page_shift;
    if slot >> (bits * table.levels).min(63) != 0 {
        return Err(DmaFault::Beyond);
    }
    let index = slot >> (bits * (table.levels - 1 - level)) & ((1 << bits) - 1);
    Ok(address + index * 8)
}
