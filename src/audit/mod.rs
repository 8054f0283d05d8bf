//! The isolation audit: reads what the PHBs and memory really hold, and says
//! whether each entry leads where it may.
//!
//! It trusts none of Pinion's records of tables: RTT, PELT-V and TCE tables
//! are read in memory, from the addresses that the PHB's own registers name;
//! TVEs, MSI and MMIO tables are read out of the PHB. What they may hold comes
//! from [`Expected`] (which PE has what) and [`Holders`] (whose memory it is).
//!
//! Formats: skiboot `include/phb3-regs.h`, `include/phb4-regs.h`, `hw/phb3.c`,
//! `hw/phb4.c`; those of each generation are in [`layout`].
#![forbid(unsafe_code)]

mod bars;
mod expected;
mod finding;
pub mod layout;
mod links;
mod msis;
pub mod passes;
mod rids;
mod segments;
mod show;
pub mod spaces;
mod tables;
mod tves;

pub use expected::{Expected, M64Bar, TableBases};
pub use finding::{Fact, Fault, Named, Totals};
pub use layout::{IodaTable, Layout};

use alloc::collections::BTreeMap;

use crate::addr::HostAddr;
use crate::memory::ledger::OwnerId;
use crate::pci::{PeNumber, PhbId};
use crate::seam::DmaTable;

/// One PHB and the memory that it reads. Whoever implements it holds the
/// firmware gate exclusively and the PHB's lock around each access to tables
/// inside the PHB: firmware selects a table in the same address register, and
/// would read or write another one otherwise. Between two accesses it may let go
/// of both.
pub trait IodaTables {
    /// The 64-bit register at `offset` bytes from the PHB's registers.
    fn register(&self, offset: u64) -> u64;

    /// Reads entries of an on-chip table from entry 0 on, through the address
    /// and data registers 0x220 and 0x228.
    fn read_table(&self, table: IodaTable, into: &mut [u64]);

    /// The big-endian 64-bit word at `at`, which is aligned to 8; `None` where
    /// there is no memory.
    fn word(&self, at: HostAddr) -> Option<u64>;
}

/// Whose a byte of the machine's memory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// In a region of this partition.
    Owner(OwnerId),
    /// Memory that no partition owns: Pinion's, firmware's, or free.
    Nobody,
    /// No memory is there.
    NoMemory,
}

/// A holder, and how far it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// Whose it is.
    pub holder: Holder,
    /// The last byte up to which that is so for sure; not below the one asked for.
    pub last: HostAddr,
}

/// Who has which memory: the ledger's answer, with what is no memory at all.
pub trait Holders {
    /// Whose the byte at `at` is.
    fn holder(&self, at: HostAddr) -> Stretch;
}

/// Who hears what an audit finds.
pub trait Listener {
    /// Something that must not be.
    fn fault(&mut self, phb: PhbId, fault: Fault);

    /// A valid entry that leads where it may.
    fn fact(&mut self, phb: PhbId, fact: Fact) {
        let _ = (phb, fact);
    }
}

/// A table that was walked: where it ends, and by which root it was reached.
struct Reached {
    last: u64,
    root: Option<(DmaTable, OwnerId, PhbId, PeNumber)>,
}

/// An audit under way. One goes over all PHBs, as one table must not serve two
/// windows, wherever they are.
pub struct Auditor<'a, H, L> {
    holders: &'a H,
    listener: &'a mut L,
    reached: BTreeMap<u64, Reached>,
    totals: Totals,
}

/// The part of an audit that is about one PHB.
struct Phb<'a, 'b, T, H, L> {
    tables: &'a T,
    expected: &'a Expected,
    layout: Layout,
    audit: &'a mut Auditor<'b, H, L>,
}

impl<'a, H: Holders, L: Listener> Auditor<'a, H, L> {
    /// Nothing read yet.
    pub fn new(holders: &'a H, listener: &'a mut L) -> Self {
        Self {
            holders,
            listener,
            reached: BTreeMap::new(),
            totals: Totals::default(),
        }
    }

    /// Audits one PHB; returns what was seen of it. Allocates.
    pub fn phb(&mut self, tables: &impl IodaTables, expected: &Expected) -> Totals {
        self.totals = Totals::default();
        let layout = Layout::new(expected.generation(), expected.pes());
        let mut phb = Phb {
            tables,
            expected,
            layout,
            audit: self,
        };
        // A fenced PHB reads as all ones: nothing that it says is true.
        let value = tables.register(layout::RTT_BAR);
        if value == u64::MAX {
            phb.fault(Fault::Fenced);
        } else {
            phb.rids();
            phb.links();
            phb.tves();
            phb.msis();
            phb.bars();
            phb.segments();
        }
        self.totals
    }
}

impl<T: IodaTables, H: Holders, L: Listener> Phb<'_, '_, T, H, L> {
    fn fault(&mut self, fault: Fault) {
        self.audit.totals.faults += 1;
        self.audit.listener.fault(self.expected.id(), fault);
    }

    fn fact(&mut self, fact: Fact) {
        self.audit.listener.fact(self.expected.id(), fact);
    }

    /// As [`stranger`].
    fn stranger(&self, start: HostAddr, bytes: u64, wanted: Holder) -> Option<(HostAddr, Holder)> {
        stranger(self.audit.holders, start, bytes, wanted)
    }

    /// Where a table of firmware's lies, by the PHB's register: `None` and a
    /// fault if that is off, elsewhere than firmware said, or not in memory
    /// that no partition owns.
    fn base(
        &mut self,
        table: &'static str,
        register: u64,
        mask: u64,
        told: Option<HostAddr>,
        bytes: u64,
    ) -> Option<HostAddr> {
        let value = self.tables.register(register);
        let at = HostAddr::new(value & mask);
        if value & layout::BAR_ENABLE == 0 || told.is_some_and(|told| told != at) {
            self.fault(Fault::Base { table, value, told });
        }
        if value & layout::BAR_ENABLE == 0 {
            return None;
        }
        if let Some((at, holder)) = self.stranger(at, bytes, Holder::Nobody) {
            self.fault(Fault::BaseHolder { table, at, holder });
            return None;
        }
        Some(at)
    }
}

/// The first part of `bytes` from `start` that has another holder than `wanted`;
/// `None` if all is as wanted.
fn stranger(
    holders: &impl Holders,
    start: HostAddr,
    bytes: u64,
    wanted: Holder,
) -> Option<(HostAddr, Holder)> {
    // A PHB that claims fewer than eight PEs has a PELT-V of no bytes.
    let before_last = bytes.checked_sub(1)?;
    let Some(last) = start.checked_add(before_last) else {
        return Some((start, Holder::NoMemory));
    };
    let mut at = start;
    loop {
        let stretch = holders.holder(at);
        if stretch.holder != wanted {
            return Some((at, stretch.holder));
        }
        if stretch.last >= last {
            return None;
        }
        // Below `last`, so there is a next byte; a stretch that ends before it
        // begins would not come to an end.
        at = HostAddr::new(stretch.last.get().max(at.get()) + 1);
    }
}
