//! What processors translate for partitions: the partition table and the radix
//! trees that it names, in memory.
//!
//! Formats: Power ISA 3.0B, book III, 5.7.6.1 (partition table) and 5.7.10
//! (trees). Trees are wanted in the shape of [`crate::memory::radix`], bit by bit.
//! The walk ends on any content: it goes down four levels, and enters no table
//! twice.

use super::{Holder, Holders, stranger};
use crate::addr::{GuestAddr, HostAddr};
use crate::memory::ledger::OwnerId;
use crate::memory::radix::partition_entry;
use crate::memory::ranges::Range;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

/// Entries of the partition table that are looked at: as many as LPIDs are given
/// out.
pub const LPIDS: u16 = 4096;

/// Base-2 logarithms of what an entry of each level covers, and of the bytes of
/// its table.
const LEVELS: [(u32, u32); 4] = [(39, 16), (30, 12), (21, 12), (12, 12)];

const VALID: u64 = 1 << 63;
const LEAF: u64 = 1 << 62;
/// Address of a table or a page; both are 4K aligned at least.
const ADDRESS: u64 = 0x01ff_ffff_ffff_f000;
/// Root of a tree, in the partition table.
const ROOT: u64 = 0x0fff_ffff_ffff_0000;
/// Base-2 logarithm of the next level's entries.
const NEXT_SIZE: u64 = 9;
/// Referenced and changed, and rights: read, write, and execute for memory.
const MEMORY: u64 = 0x187;
/// The same for registers, which are not cached and not executed.
const REGISTERS: u64 = 0x1a6;

/// A partition that runs, and what it may reach.
pub struct Run {
    /// Its LPID.
    pub lpid: u16,
    /// Who owns its memory.
    pub owner: OwnerId,
    /// Registers of its devices and interrupts: whole pages of 4K.
    pub registers: Vec<Range>,
}

/// Something that must not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpaceFault {
    /// An entry of the partition table, or a half of one, is wrong: in use
    /// without a partition that runs, not in use with one, or of another shape.
    Entry {
        /// The LPID.
        lpid: u16,
        /// Both halves.
        value: [u64; 2],
        /// Whether a partition runs by that LPID.
        runs: bool,
    },
    /// A table lies where a partition or nobody at all has the memory.
    TableHolder {
        /// The LPID.
        lpid: u16,
        /// First address of the partition's below it.
        guest: GuestAddr,
        /// 0 is the root.
        level: usize,
        /// The first byte that is wrong.
        at: HostAddr,
        /// Whose it is.
        holder: Holder,
    },
    /// A table is reached twice: a loop, or two trees in one table.
    TableTwice {
        /// The LPID.
        lpid: u16,
        /// First address of the partition's below it.
        guest: GuestAddr,
        /// 0 is the root.
        level: usize,
        /// Where the table is.
        at: HostAddr,
    },
    /// An entry has a shape that Pinion never makes.
    Malformed {
        /// The LPID.
        lpid: u16,
        /// First address of the partition's below it.
        guest: GuestAddr,
        /// 0 is the root.
        level: usize,
        /// The entry.
        entry: u64,
    },
    /// A page leads to what is not the partition's.
    Page {
        /// The LPID.
        lpid: u16,
        /// The partition's address.
        guest: GuestAddr,
        /// The entry.
        entry: u64,
        /// The first byte that is not its.
        at: HostAddr,
        /// Whose it is; no memory: registers of another.
        holder: Holder,
    },
}

/// How much was seen.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct SpaceTotals {
    /// Entries of the partition table that are in use.
    pub trees: u32,
    /// Tables of all levels.
    pub tables: u64,
    /// Bytes of memory that they lead to.
    pub memory: u64,
    /// Bytes of registers that they lead to.
    pub registers: u64,
    /// Faults.
    pub faults: u64,
}

struct Walk<'a, W, H, L> {
    word: W,
    holders: &'a H,
    fault: L,
    reached: BTreeSet<u64>,
    totals: SpaceTotals,
}

/// Audits the partition table at `table` and the trees of `runs`. `word` reads a
/// big-endian word of memory, `None` where there is none; `fault` hears what is
/// wrong. Allocates.
pub fn audit<H: Holders>(
    table: HostAddr,
    runs: &[Run],
    word: impl Fn(HostAddr) -> Option<u64>,
    holders: &H,
    fault: impl FnMut(SpaceFault),
) -> SpaceTotals {
    let mut walk = Walk {
        word,
        holders,
        fault,
        reached: BTreeSet::new(),
        totals: SpaceTotals::default(),
    };
    for lpid in 0..LPIDS {
        walk.entry(table, lpid, runs.iter().find(|run| run.lpid == lpid));
    }
    walk.totals
}

impl<W: Fn(HostAddr) -> Option<u64>, H: Holders, L: FnMut(SpaceFault)> Walk<'_, W, H, L> {
    fn fault(&mut self, fault: SpaceFault) {
        self.totals.faults += 1;
        (self.fault)(fault);
    }

    fn entry(&mut self, table: HostAddr, lpid: u16, run: Option<&Run>) {
        let at = table.get() + 16 * u64::from(lpid);
        let read = |at| (self.word)(HostAddr::new(at)).unwrap_or(0);
        let value = [read(at), read(at + 8)];
        self.totals.trees += u32::from(value[0] & VALID != 0);
        let root = HostAddr::new(value[0] & ROOT);
        // The second half has the process table that the partition registered, an
        // address of its own: only that there is translation matters.
        let is_right = match run {
            Some(_) => value[0] == partition_entry(root)[0] && value[1] & VALID != 0,
            None => value == [0; 2],
        };
        if !is_right {
            let runs = run.is_some();
            return self.fault(SpaceFault::Entry { lpid, value, runs });
        }
        if let Some(run) = run
            && self.enter(run, 0, root, 0)
        {
            self.level(run, 0, root, 0);
        }
    }

    /// Whether the table at `at` may be walked: it is memory that nobody owns, and
    /// was not walked before.
    fn enter(&mut self, run: &Run, level: usize, at: HostAddr, guest: u64) -> bool {
        let (lpid, guest) = (run.lpid, GuestAddr::new(guest));
        let bytes = LEVELS.get(level).map_or(0, |(_, shift)| 1 << shift);
        if let Some((at, holder)) = stranger(self.holders, at, bytes, Holder::Nobody) {
            self.fault(SpaceFault::TableHolder {
                lpid,
                guest,
                level,
                at,
                holder,
            });
            return false;
        }
        // A root has sixteen times the bytes of other tables.
        let frames = (at.get()..at.get() + bytes).step_by(1 << LEVELS[1].1);
        if !frames.into_iter().all(|frame| self.reached.insert(frame)) {
            self.fault(SpaceFault::TableTwice {
                lpid,
                guest,
                level,
                at,
            });
            return false;
        }
        self.totals.tables += 1;
        true
    }

    /// One table, whose first entry is for `guest`. Four deep.
    fn level(&mut self, run: &Run, level: usize, at: HostAddr, guest: u64) {
        let Some((covers, shift)) = LEVELS.get(level) else {
            return;
        };
        for index in 0..1u64 << (shift - 3) {
            let entry = (self.word)(HostAddr::new(at.get() + 8 * index)).unwrap_or(0);
            let guest = guest + (index << covers);
            if entry & VALID == 0 {
                continue;
            }
            if entry & LEAF != 0 {
                self.leaf(run, level, guest, entry);
                continue;
            }
            let next = HostAddr::new(entry & ADDRESS);
            let is_right = level + 1 < LEVELS.len() && entry == VALID | next.get() | NEXT_SIZE;
            if !is_right {
                self.malformed(run, level, guest, entry);
            } else if self.enter(run, level + 1, next, guest) {
                self.level(run, level + 1, next, guest);
            }
        }
    }

    fn leaf(&mut self, run: &Run, level: usize, guest: u64, entry: u64) {
        let covers = LEVELS.get(level).map_or(0, |(covers, _)| *covers);
        let start = HostAddr::new(entry & ADDRESS);
        let bytes = 1u64 << covers;
        let wrong = match entry & !(VALID | LEAF | ADDRESS) {
            _ if level == 0 || !start.is_aligned(covers) => {
                return self.malformed(run, level, guest, entry);
            }
            MEMORY => {
                self.totals.memory += bytes;
                stranger(self.holders, start, bytes, Holder::Owner(run.owner))
            }
            REGISTERS => {
                self.totals.registers += bytes;
                self.strange_registers(run, start, bytes)
            }
            _ => return self.malformed(run, level, guest, entry),
        };
        if let Some((at, holder)) = wrong {
            self.fault(SpaceFault::Page {
                lpid: run.lpid,
                guest: GuestAddr::new(guest),
                entry,
                at,
                holder,
            });
        }
    }

    /// The first byte that is no register of the partition's.
    fn strange_registers(
        &self,
        run: &Run,
        start: HostAddr,
        bytes: u64,
    ) -> Option<(HostAddr, Holder)> {
        if let Some(found) = stranger(self.holders, start, bytes, Holder::NoMemory) {
            return Some(found);
        }
        let end = start.get() + bytes;
        let mut at = start;
        while at.get() < end {
            let own = run.registers.iter();
            let mut own = own.filter(|range| range.start() <= at && at < range.end());
            match own.next() {
                Some(range) => at = range.end(),
                None => return Some((at, Holder::NoMemory)),
            }
        }
        None
    }

    fn malformed(&mut self, run: &Run, level: usize, guest: u64, entry: u64) {
        self.fault(SpaceFault::Malformed {
            lpid: run.lpid,
            guest: GuestAddr::new(guest),
            level,
            entry,
        });
    }
}

impl fmt::Display for SpaceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { lpid, value, runs } => write!(
                f,
                "LPID {lpid}: entry {:#x} {:#x} of the partition table, but {}",
                value[0],
                value[1],
                if *runs {
                    "a partition runs by it, and Pinion makes them otherwise"
                } else {
                    "no partition runs by it"
                }
            ),
            Self::TableHolder {
                lpid,
                guest,
                level,
                at,
                holder,
            } => write!(
                f,
                "LPID {lpid}: table of level {level} for {guest:#x}: {at:#x} is {holder}"
            ),
            Self::TableTwice {
                lpid,
                guest,
                level,
                at,
            } => write!(
                f,
                "LPID {lpid}: table of level {level} for {guest:#x} at {at:#x} is in use elsewhere, or in a loop"
            ),
            Self::Malformed {
                lpid,
                guest,
                level,
                entry,
            } => write!(
                f,
                "LPID {lpid}: entry {entry:#x} of level {level} for {guest:#x} has a shape that Pinion never makes"
            ),
            Self::Page {
                lpid,
                guest,
                entry,
                at,
                holder,
            } => write!(
                f,
                "LPID {lpid}: page {entry:#x} for {guest:#x}: {at:#x} is {holder}, and not its own"
            ),
        }
    }
}

impl fmt::Display for SpaceTotals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "trees {}, tables {}, memory {} KiB, registers {} KiB: faults {}",
            self.trees,
            self.tables,
            self.memory >> 10,
            self.registers >> 10,
            self.faults
        )
    }
}
