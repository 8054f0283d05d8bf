//! Partition-scoped radix trees (Power ISA 3.0B, book III, 5.7.10): what turns
//! a partition's real addresses into the machine's, on POWER9 and later.
//!
//! Trees cover 52 bits in the one shape that the processors take: a root of
//! 2^13 entries, then three levels of 2^9. Leaves are 1 GiB, 2 MiB and 4 KiB;
//! 64 KiB ones need a last level of another shape, whose 2 MiB could not hold
//! smaller pages any more.

mod entry;

pub use entry::{Kind, partition_entry, process_entry, table_register};

use crate::addr::{GuestAddr, HostAddr};
use crate::seam::{TableFrames, TableMemory};
use entry::{Entry, directory, leaf};
use thiserror::Error;

/// Bits of a partition's real address.
pub const ADDRESS_BITS: u32 = 52;

/// Base-2 logarithm of the root's size in bytes: 2^13 entries.
pub const ROOT_SHIFT: u32 = 16;

/// Base-2 logarithm of the size in bytes of any other level: 2^9 entries.
pub const LEVEL_SHIFT: u32 = 12;

/// Base-2 logarithms of what an entry covers, from the root down.
const COVERS: [u32; 4] = [39, 30, 21, 12];

/// Why nothing was mapped, or not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RadixError {
    /// A start or a size that is no multiple of 4 KiB, or no bytes at all.
    #[error("{bytes:#x} bytes from {guest} to {host} are not whole pages")]
    Alignment {
        /// Where the partition sees them.
        guest: GuestAddr,
        /// Where they are.
        host: HostAddr,
        /// How many.
        bytes: u64,
    },
    /// Beyond the addresses of a tree, or of the machine.
    #[error("{bytes:#x} bytes from {guest} to {host} end beyond {ADDRESS_BITS} bits")]
    Beyond {
        /// Where the partition sees them.
        guest: GuestAddr,
        /// Where they are.
        host: HostAddr,
        /// How many.
        bytes: u64,
    },
    /// Something is mapped there.
    #[error("{0} is mapped already")]
    Busy(GuestAddr),
    /// No frame for a level.
    #[error("no frame of 2^{0} bytes for a level of a radix tree")]
    NoFrame(u32),
}

/// A tree. Its frames go back with [`RadixTree::release`], once no processor
/// can walk it any more.
#[derive(Debug)]
pub struct RadixTree {
    root: HostAddr,
}

impl RadixTree {
    /// An empty tree.
    ///
    /// # Errors
    /// No frame for the root.
    pub fn new<M: TableMemory + TableFrames>(memory: &M) -> Result<Self, RadixError> {
        let root = new_table(memory, ROOT_SHIFT)?;
        memory.barrier();
        Ok(Self { root })
    }

    /// Where the root lies, 64 KiB aligned.
    pub fn root(&self) -> HostAddr {
        self.root
    }

    /// Maps `bytes` from `guest` on to `host` and what follows, with the largest
    /// leaves that fit.
    ///
    /// # Errors
    /// Not whole pages, too far up, something mapped there, no frame. The pages
    /// before the one that failed are mapped: a partition whose memory cannot be
    /// mapped is given up as a whole.
    pub fn map<M: TableMemory + TableFrames>(
        &mut self,
        memory: &M,
        (guest, host, bytes): (GuestAddr, HostAddr, u64),
        kind: Kind,
    ) -> Result<(), RadixError> {
        let page = COVERS[3];
        if bytes == 0 || (guest.get() | host.get() | bytes) & ((1 << page) - 1) != 0 {
            return Err(RadixError::Alignment { guest, host, bytes });
        }
        let fits = |start: u64| {
            let end = start.checked_add(bytes);
            end.is_some_and(|end| end <= 1 << ADDRESS_BITS)
        };
        if !fits(guest.get()) || !fits(host.get()) {
            return Err(RadixError::Beyond { guest, host, bytes });
        }
        let mut done = 0;
        while done < bytes {
            let (from, to) = (guest.get() + done, host.get() + done);
            let left = bytes - done;
            // The root has no leaves.
            let level = (1..COVERS.len())
                .find(|&level| {
                    let size = 1u64 << COVERS[level];
                    size <= left && (from | to) & (size - 1) == 0
                })
                .unwrap_or(COVERS.len() - 1);
            self.set_leaf(memory, level, from, leaf(HostAddr::new(to), kind))?;
            done += 1 << COVERS[level];
        }
        memory.barrier();
        Ok(())
    }

    fn set_leaf<M: TableMemory + TableFrames>(
        &mut self,
        memory: &M,
        level: usize,
        guest: u64,
        value: u64,
    ) -> Result<(), RadixError> {
        let mut table = self.root;
        for above in 0..level {
            let index = index(guest, above);
            table = match Entry::read(memory.load(table, index)) {
                Entry::Directory(next) => next,
                Entry::Leaf(_) => return Err(RadixError::Busy(GuestAddr::new(guest))),
                Entry::Empty => {
                    let next = new_table(memory, LEVEL_SHIFT)?;
                    // The level is zero before anything leads to it.
                    memory.barrier();
                    memory.store(table, index, directory(next));
                    next
                }
            };
        }
        let index = index(guest, level);
        if Entry::read(memory.load(table, index)) != Entry::Empty {
            return Err(RadixError::Busy(GuestAddr::new(guest)));
        }
        memory.store(table, index, value);
        Ok(())
    }

    /// Takes back what one call of [`RadixTree::map`] has mapped, all of it or what
    /// there is of it. Processors may know it until the caller makes them forget.
    pub fn unmap<M: TableMemory>(&mut self, memory: &M, guest: GuestAddr, bytes: u64) {
        let end = guest.get().saturating_add(bytes).min(1 << ADDRESS_BITS);
        let mut at = guest.get();
        while at < end {
            let mut table = self.root;
            let mut step = 1 << COVERS[0];
            for (level, covers) in COVERS.iter().enumerate() {
                step = 1u64 << covers;
                match Entry::read(memory.load(table, index(at, level))) {
                    Entry::Directory(next) => table = next,
                    Entry::Leaf(_) => {
                        memory.store(table, index(at, level), 0);
                        break;
                    }
                    Entry::Empty => break,
                }
            }
            at = (at & !(step - 1)).saturating_add(step);
        }
        memory.barrier();
    }

    /// Where the machine has the byte at `guest`, as a processor finds it.
    pub fn find<M: TableMemory>(&self, memory: &M, guest: GuestAddr) -> Option<HostAddr> {
        if guest.get() >> ADDRESS_BITS != 0 {
            return None;
        }
        let mut table = self.root;
        for (level, covers) in COVERS.iter().enumerate() {
            match Entry::read(memory.load(table, index(guest.get(), level))) {
                Entry::Directory(next) => table = next,
                Entry::Leaf(start) => {
                    let inside = guest.get() & ((1 << covers) - 1);
                    return start.checked_add(inside);
                }
                Entry::Empty => return None,
            }
        }
        None
    }

    /// Gives all frames of the tree back. The pages it leads to are not its own.
    pub fn release<M: TableMemory + TableFrames>(self, memory: &M) {
        release(memory, self.root, 0);
    }
}

/// A level deeper for each call: four at most.
fn release<M: TableMemory + TableFrames>(memory: &M, table: HostAddr, level: usize) {
    let shift = if level == 0 { ROOT_SHIFT } else { LEVEL_SHIFT };
    if level + 1 < COVERS.len() {
        for index in 0..1 << (shift - 3) {
            if let Entry::Directory(next) = Entry::read(memory.load(table, index)) {
                release(memory, next, level + 1);
            }
        }
    }
    memory.free(table, shift);
}

fn new_table<M: TableMemory + TableFrames>(memory: &M, shift: u32) -> Result<HostAddr, RadixError> {
    let table = memory.allocate(shift).ok_or(RadixError::NoFrame(shift))?;
    memory.clear(table, 0, 1 << (shift - 3));
    Ok(table)
}

/// Which entry of its table a level looks at.
fn index(guest: u64, level: usize) -> usize {
    let bits = if level == 0 { 13 } else { 9 };
    let shift = COVERS.get(level).copied().unwrap_or(0);
    (guest >> shift & ((1 << bits) - 1)) as usize
}

#[cfg(test)]
mod tests;
