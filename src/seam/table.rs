//! Table memory and the frames that tables are made of.

use crate::addr::HostAddr;

/// Memory that a PHB reads: 64-bit big-endian entries.
///
/// The engine passes only tables that it got from [`TableFrames`], and indices
/// inside of them; an implementation may rely on that.
pub trait TableMemory {
    /// Entry `index` (8 bytes each) of `table`, as a number.
    fn load(&self, table: HostAddr, index: usize) -> u64;

    /// Stores `value` big-endian, in one access of 8 bytes. The PHB is sure to
    /// see it only after [`TableMemory::barrier`], and may see it before.
    fn store(&self, table: HostAddr, index: usize, value: u64);

    /// Zeroes entries `start` to `start + entries - 1`.
    fn clear(&self, table: HostAddr, start: usize, entries: usize) {
        let end = start.wrapping_add(entries);
        let mut index = start;
        while index < end {
            self.store(table, index, 0);
            index = index.wrapping_add(1);
        }
    }

    /// Orders all earlier stores, those of other threads that this one has
    /// observed included, before any later store or MMIO access (hwsync).
    fn barrier(&self);
}

/// Naturally aligned frames for tables. Called without any engine lock held.
pub trait TableFrames {
    /// A frame of `1 << shift` bytes, aligned to its size; its content is
    /// arbitrary. `None` if there is none.
    fn allocate(&self, shift: u32) -> Option<HostAddr>;

    /// Takes back a frame from [`TableFrames::allocate`] with the same `shift`.
    fn free(&self, frame: HostAddr, shift: u32);
}
