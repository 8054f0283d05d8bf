//! Words of the tree and of the tables that lead to it.

use super::{ADDRESS_BITS, ROOT_SHIFT};
use crate::addr::{GuestAddr, HostAddr};

/// What a page is to a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Memory: read, write, execute.
    Memory,
    /// Device registers: read, write; not cached, not speculated into.
    Device,
}

/// The entry is in use.
const VALID: u64 = 1 << 63;
/// It ends the walk.
const LEAF: u64 = 1 << 62;
/// Referenced and changed are set from the start: nobody here looks at them,
/// and a processor that has to set them faults instead.
const REFERENCED_CHANGED: u64 = 0x180;
/// Attribute: non-idempotent I/O.
const NON_IDEMPOTENT: u64 = 0x20;
/// Read, write and execute.
const READ: u64 = 4;
const WRITE: u64 = 2;
const EXECUTE: u64 = 1;
/// Address of a leaf's page (bits 7 to 51).
const PAGE_MASK: u64 = 0x01ff_ffff_ffff_f000;
/// Address of the next level (bits 4 to 55).
const LEVEL_MASK: u64 = 0x0fff_ffff_ffff_ff00;
/// Base-2 logarithm of the next level's entries.
const NEXT_SIZE: u64 = 9;

/// An entry that leads to the next level.
pub(super) const fn directory(next: HostAddr) -> u64 {
    VALID | next.get() & LEVEL_MASK | NEXT_SIZE
}

/// An entry that is a page.
pub(super) const fn leaf(host: HostAddr, kind: Kind) -> u64 {
    let attributes = match kind {
        Kind::Memory => READ | WRITE | EXECUTE,
        Kind::Device => NON_IDEMPOTENT | READ | WRITE,
    };
    VALID | LEAF | host.get() & PAGE_MASK | REFERENCED_CHANGED | attributes
}

/// An entry as a processor reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Empty,
    Directory(HostAddr),
    Leaf(HostAddr),
}

impl Entry {
    pub(super) const fn read(value: u64) -> Self {
        if value & VALID == 0 {
            Self::Empty
        } else if value & LEAF == 0 {
            Self::Directory(HostAddr::new(value & LEVEL_MASK))
        } else {
            Self::Leaf(HostAddr::new(value & PAGE_MASK))
        }
    }
}

/// The two doublewords of a partition's entry in the partition table, before it
/// has registered a process table (Power ISA 3.0B, book III, 5.7.6.1): host
/// radix, 52 bits of address, this root; guest radix.
pub const fn partition_entry(root: HostAddr) -> [u64; 2] {
    // The size is told less 31, in two fields.
    let size = (ADDRESS_BITS - 31) as u64;
    let fields = (size >> 3) << 61 | (size & 7) << 5;
    [VALID | fields | root.get() | (ROOT_SHIFT - 3) as u64, VALID]
}

/// The second doubleword once there is a process table of 2^(12 + `size`)
/// bytes at `base`. `None`: not aligned to its size, beyond 52 bits, or larger
/// than the architecture's 2^36.
pub const fn process_entry(base: GuestAddr, size: u64) -> Option<u64> {
    if size > 24 || !base.is_aligned(12 + size as u32) || base.get() >> ADDRESS_BITS != 0 {
        return None;
    }
    Some(VALID | base.get() | size)
}

/// PTCR for a partition table of 2^`shift` bytes, which is 12 to 36.
pub const fn table_register(table: HostAddr, shift: u32) -> u64 {
    table.get() | (shift - 12) as u64
}
