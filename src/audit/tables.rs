//! TCE tables, in memory, from the roots that TVEs name.
//!
//! The walk ends on any content: it goes down as many levels as the TVE says,
//! and no byte of memory is walked twice, so a loop is found where it closes.

use super::finding::{Fact, Fault};
use super::{Holder, Holders, HostAddr, IodaTables, Listener, Phb, Reached, Stretch};
use crate::addr::BusAddr;
use crate::memory::ledger::OwnerId;
use crate::pci::PeNumber;
use crate::seam::DmaTable;
use crate::tce::entry::{READ, RIGHTS, WRITE};

/// Bit 59 of a bus address selects TVE#1.
const SELECT: u32 = 59;
const ADDRESS: u64 = !0xfff;

/// A walk through one window's table.
struct Walk {
    pe: PeNumber,
    owner: OwnerId,
    table: DmaTable,
    /// First bus address of the TVE.
    origin: u64,
    /// The last answer about a holder, and where it began.
    known: Option<(u64, Stretch)>,
    run: Option<Run>,
}

/// Entries that go on from each other.
#[derive(Clone, Copy)]
struct Run {
    bus: u64,
    host: u64,
    pages: u64,
    writes: bool,
}

impl Walk {
    fn bus(&self, slot: u64) -> BusAddr {
        BusAddr::new(self.origin | slot << self.table.page_shift)
    }

    fn index_bits(&self) -> u32 {
        self.table.level_shift - 3
    }
}

impl<T: IodaTables, H: Holders, L: Listener> Phb<'_, '_, T, H, L> {
    pub(super) fn root(&mut self, pe: PeNumber, tve: u8, owner: OwnerId, table: &DmaTable) {
        // A window may have several PEs of one owner: one table, walked once.
        let root = self.audit.reached.get(&table.root.get());
        if let Some((known, other_owner, other_phb, other)) = root.and_then(|it| it.root)
            && known == *table
        {
            if other_owner != owner {
                self.fault(Fault::TableShared {
                    pe,
                    at: table.root,
                    other_phb,
                    other,
                    owner: other_owner,
                });
            }
            return;
        }
        let mut walk = Walk {
            pe,
            owner,
            table: *table,
            origin: u64::from(tve) << SELECT,
            known: None,
            run: None,
        };
        let phb = self.expected.id();
        if self.enter(&walk, 0, table.root, 0) {
            if let Some(reached) = self.audit.reached.get_mut(&table.root.get()) {
                reached.root = Some((*table, owner, phb, pe));
            }
            self.level(&mut walk, 0, table.root, 0);
        }
        self.end_run(&mut walk);
    }

    /// Whether the table at `at` may be walked: it is memory that nobody owns,
    /// and none of it has been walked before.
    fn enter(&mut self, walk: &Walk, level: u32, at: HostAddr, slot: u64) -> bool {
        let (pe, bus) = (walk.pe, walk.bus(slot));
        let bytes = 1u64 << walk.table.level_shift;
        if let Some((at, holder)) = self.stranger(at, bytes, Holder::Nobody) {
            self.fault(Fault::TableHolder {
                pe,
                bus,
                level,
                at,
                holder,
            });
            return false;
        }
        let (first, last) = (at.get(), at.get() + (bytes - 1));
        let before = self.audit.reached.range(..=last).next_back();
        if before.is_some_and(|(_, reached)| reached.last >= first) {
            self.fault(Fault::TableTwice { pe, bus, level, at });
            return false;
        }
        self.audit
            .reached
            .insert(first, Reached { last, root: None });
        self.audit.totals.tables += 1;
        true
    }

    /// One table; `slot` is the first below it. At most five deep.
    fn level(&mut self, walk: &mut Walk, level: u32, at: HostAddr, slot: u64) {
        let below = walk.table.levels - 1 - level;
        // At most 59 bits together, or the TVE was refused.
        let step = 1u64 << (below * walk.index_bits());
        // Regions may change hands during a long walk.
        walk.known = None;
        for index in 0..1u64 << walk.index_bits() {
            let here = HostAddr::new(at.get() + index * 8);
            let Some(entry) = self.tables.word(here) else {
                let (pe, bus, holder) = (walk.pe, walk.bus(slot), Holder::NoMemory);
                return self.fault(Fault::TableHolder {
                    pe,
                    bus,
                    level,
                    at: here,
                    holder,
                });
            };
            // A PHB goes on with any right, so anything else is a hole.
            if entry & RIGHTS == 0 {
                continue;
            }
            let slot = slot + index * step;
            if below == 0 {
                self.tce(walk, slot, entry);
                continue;
            }
            let child = HostAddr::new(entry & ADDRESS);
            if !child.is_aligned(walk.table.level_shift) {
                self.fault(Fault::TableMisaligned {
                    pe: walk.pe,
                    bus: walk.bus(slot),
                    level: level + 1,
                    entry,
                });
            } else if self.enter(walk, level + 1, child, slot) {
                self.level(walk, level + 1, child, slot);
            }
        }
    }

    fn tce(&mut self, walk: &mut Walk, slot: u64, entry: u64) {
        self.audit.totals.live += 1;
        let page_shift = walk.table.page_shift;
        let page = (1u64 << page_shift) - 1;
        if entry & page & !RIGHTS != 0 {
            self.fault(Fault::TceBits {
                pe: walk.pe,
                bus: walk.bus(slot),
                entry,
                page_shift,
            });
        }
        // What the PHB makes of it: the low bits count for nothing.
        let host = entry & !page;
        if let Some((at, holder)) = self.page_stranger(walk, host, host | page) {
            return self.fault(Fault::Tce {
                pe: walk.pe,
                bus: walk.bus(slot),
                entry,
                at,
                holder,
                expected: walk.owner,
            });
        }
        let writes = entry & WRITE != 0 || entry & READ == 0;
        self.extend_run(walk, walk.bus(slot).get(), host, writes);
    }

    /// As [`Phb::stranger`], with the last answer kept: pages follow each other.
    fn page_stranger(&self, walk: &mut Walk, first: u64, last: u64) -> Option<(HostAddr, Holder)> {
        let wanted = Holder::Owner(walk.owner);
        if let Some((start, stretch)) = walk.known
            && stretch.holder == wanted
            && (start..=stretch.last.get()).contains(&first)
            && stretch.last.get() >= last
        {
            return None;
        }
        walk.known = Some((first, self.audit.holders.holder(HostAddr::new(first))));
        self.stranger(HostAddr::new(first), last - first + 1, wanted)
    }

    fn extend_run(&mut self, walk: &mut Walk, bus: u64, host: u64, writes: bool) {
        let shift = walk.table.page_shift;
        if let Some(run) = &mut walk.run
            && run.writes == writes
            && bus == run.bus.wrapping_add(run.pages << shift)
            && host == run.host.wrapping_add(run.pages << shift)
        {
            run.pages += 1;
            return;
        }
        self.end_run(walk);
        walk.run = Some(Run {
            bus,
            host,
            pages: 1,
            writes,
        });
    }

    fn end_run(&mut self, walk: &mut Walk) {
        if let Some(run) = walk.run.take() {
            self.fact(Fact::Run {
                pe: walk.pe,
                bus: BusAddr::new(run.bus),
                host: HostAddr::new(run.host),
                pages: run.pages,
                page_shift: walk.table.page_shift,
                writes: run.writes,
                owner: walk.owner,
            });
        }
    }
}
