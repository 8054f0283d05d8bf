//! Memory of partitions: blocks of the machine's, the tree that leads to them
//! while a partition runs, and the partition table.

use super::{Defined, PartitionError};
use crate::addr::{GuestAddr, HostAddr};
use crate::boot::{events, runtime};
use crate::cpu;
use crate::memory::frames::{Block, FrameError};
use crate::memory::radix::{Kind, RadixError, RadixTree, partition_entry, table_register};
use crate::papr::tce::List;
use crate::partition::lpid::{Lpids, NoLpid};
use crate::partition::map::GuestMap;
use crate::partition::memory::Blocks;
use crate::partition::registers::Registers;
use crate::seam::{TableFrames, TableMemory};
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::{Mutex, MutexGuard, Once};

/// Tables that processors walk, in the machine's memory.
struct Tables;

impl TableMemory for Tables {
    fn load(&self, table: HostAddr, index: usize) -> u64 {
        // SAFETY: the seam passes only tables from `allocate` below, and indices
        // inside of them. Processors read them too, hence volatile.
        unsafe { (table.get() as *const u64).add(index).read_volatile() }
    }
    fn store(&self, table: HostAddr, index: usize, value: u64) {
        // SAFETY: as above.
        unsafe { (table.get() as *mut u64).add(index).write_volatile(value) }
    }
    fn barrier(&self) {
        crate::mmio::full_barrier();
    }
}

/// Frames that trees gave up, by size: an allocator's block comes back only as
/// the block that it was.
static TABLE_BLOCKS: Once<Mutex<Vec<Block>>> = Once::new();

fn table_blocks() -> MutexGuard<'static, Vec<Block>> {
    TABLE_BLOCKS.call_once(Mutex::default).lock()
}

impl TableFrames for Tables {
    fn allocate(&self, shift: u32) -> Option<HostAddr> {
        let block = runtime::allocate(shift, None).ok()?;
        let start = block.start();
        table_blocks().push(block);
        Some(start)
    }
    fn free(&self, frame: HostAddr, shift: u32) {
        let mut blocks = table_blocks();
        let place = blocks
            .iter()
            .position(|block| block.start() == frame && block.shift() == shift);
        if let Some(place) = place {
            give_back(blocks.swap_remove(place));
        }
    }
}

/// Only a mistake inside Pinion makes the allocator refuse.
fn give_back(block: Block) {
    if let Err(error) = runtime::free(block) {
        crate::error!("{error}");
    }
}

/// Base-2 logarithm of the partition table's size: 4096 partitions.
const TABLE_SHIFT: u32 = 16;

static TABLE: Once<HostAddr> = Once::new();

/// PTCR's value; makes the table if there is none yet.
///
/// # Errors
/// No memory for it.
pub fn partition_table() -> Result<u64, FrameError> {
    let table = TABLE.try_call_once(|| {
        let table = runtime::allocate(TABLE_SHIFT, None)?.leak();
        Tables.clear(table, 0, 1 << (TABLE_SHIFT - 3));
        Tables.barrier();
        Ok(table)
    })?;
    Ok(table_register(*table, TABLE_SHIFT))
}

/// The partition table, if there is one.
pub(super) fn table() -> Option<HostAddr> {
    TABLE.get().copied()
}

/// Sets one of the two doublewords of a partition's entry.
fn set_entry(lpid: u64, which: usize, value: u64) {
    if let Some(&table) = TABLE.get() {
        Tables.store(table, 2 * lpid as usize + which, value);
        Tables.barrier();
        cpu::guest::forget_translations(lpid);
    }
}

/// Where partitions' memory comes from.
pub struct Machine;

impl Blocks for Machine {
    fn allocate(&self, shift: u32, chip: Option<u32>) -> Option<HostAddr> {
        runtime::allocate_on(shift, chip).ok().map(Block::leak)
    }

    fn free(&self, start: HostAddr, shift: u32) {
        give_back(Block::unleak(start, shift));
    }

    fn zero(&self, start: HostAddr, bytes: u64) {
        // SAFETY: blocks of the allocator's, which nobody uses: not yet, or not
        // any more. They are whole pages.
        unsafe { cpu::clear_memory(start, bytes) };
    }

    fn pause(&self) {
        // On the boot thread, with nothing locked: control paths run nowhere
        // else.
        cpu::idle::take_interrupts();
        events::serve();
    }
}

/// Where a partition sees registers.
const fn same(host: HostAddr) -> GuestAddr {
    GuestAddr::new(host.get())
}

/// A partition's memory as its vCPUs see it: an LPID, and the tree that leads to
/// the memory and to its devices' registers, for one run.
pub struct Space {
    lpid: Lpid,
    /// `None` only while it is given back.
    tree: Mutex<Option<RadixTree>>,
    defined: Arc<Defined>,
}

impl Space {
    /// A tree over all of the partition's memory, and over pages of its devices'
    /// registers, which it sees where the machine has them.
    ///
    /// # Errors
    /// No LPID, no memory for the tree, or registers where the partition has
    /// memory; nothing is kept.
    pub fn new<'a>(
        defined: Arc<Defined>,
        registers: impl IntoIterator<Item = &'a Registers>,
    ) -> Result<Self, PartitionError> {
        let mut space = Self {
            lpid: Lpid::take()?,
            tree: Mutex::new(Some(RadixTree::new(&Tables)?)),
            defined,
        };
        let lpid = space.lpid();
        let Self { tree, defined, .. } = &mut space;
        let Some(tree) = tree.get_mut() else {
            return Ok(space);
        };
        // Dropping it gives all back.
        for piece in defined.map().pieces() {
            let range = (piece.guest, piece.host, piece.bytes);
            tree.map(&Tables, range, Kind::Memory)?;
        }
        for pages in registers {
            let range = (same(pages.start), pages.start, pages.bytes);
            tree.map(&Tables, range, Kind::Device)?;
        }
        let [first, second] = partition_entry(tree.root());
        set_entry(lpid, 1, second);
        set_entry(lpid, 0, first);
        Ok(space)
    }

    /// Its LPID.
    pub fn lpid(&self) -> u64 {
        self.lpid.get()
    }

    /// Takes registers out of the partition's reach: no store to them is under way
    /// in a processor when this returns. The PHB may still hold some as posted
    /// writes; a read of the same function, as of a detach, comes behind those.
    pub fn hide(&self, registers: &[Registers]) {
        let pages = registers.iter();
        self.unmap(pages.map(|pages| (same(pages.start), pages.bytes)));
    }

    /// Takes ranges of registers out of the partition's reach, as [`Space::hide`].
    pub fn unmap(&self, ranges: impl IntoIterator<Item = (GuestAddr, u64)>) {
        let mut tree = self.tree.lock();
        let Some(tree) = tree.as_mut() else { return };
        for (at, bytes) in ranges {
            tree.unmap(&Tables, at, bytes);
        }
        cpu::guest::forget_translations(self.lpid());
    }

    /// Lets the partition reach registers of a device, which are its own to use:
    /// whole pages of 4K, where nothing else is.
    ///
    /// # Errors
    /// No memory for the tree, or something is there.
    pub fn map_device(
        &self,
        at: GuestAddr,
        registers: HostAddr,
        bytes: u64,
    ) -> Result<(), RadixError> {
        match self.tree.lock().as_mut() {
            Some(tree) => tree.map(&Tables, (at, registers, bytes), Kind::Device),
            None => Ok(()),
        }
    }

    /// Where memory of the partition is, if it is contiguous.
    pub fn contiguous(&self, at: GuestAddr, bytes: u64) -> Option<HostAddr> {
        self.map().host(at, bytes)
    }

    fn map(&self) -> &GuestMap {
        self.defined.map()
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.defined.bytes()
    }

    /// Sets the entry of its process table.
    pub fn set_process_table(&self, entry: u64) {
        set_entry(self.lpid(), 1, entry);
    }

    /// Calls `act` for each contiguous piece of the range; `false`, without a
    /// call, if not all of it is memory of the partition.
    fn each(&self, at: GuestAddr, count: usize, mut act: impl FnMut(u64, usize, usize)) -> bool {
        let Some(end) = at.get().checked_add(count as u64) else {
            return false;
        };
        // From 0 to its end there is memory.
        if end > self.bytes() {
            return false;
        }
        let mut done = 0;
        while done < count {
            let from = GuestAddr::new(at.get() + done as u64);
            let Some((host, room)) = self.map().run(from) else {
                return false;
            };
            let size = room.min((count - done) as u64) as usize;
            act(host.get(), done, size);
            done += size;
        }
        true
    }

    /// Gives `count` words from `at`, a multiple of 8, to a list, each read once;
    /// `false` if they are not all in one region of memory, which a page is.
    #[inline]
    pub fn words(&self, at: GuestAddr, count: usize, to: &mut List<'_>) -> bool {
        let bytes = (count * size_of::<u64>()) as u64;
        let Some(host) = self.map().host(at, bytes) else {
            return false;
        };
        let first = host.get() as *const u64;
        to.fill(count, |index| {
            // SAFETY: inside the partition's memory, and aligned as it is. The
            // partition may write meanwhile: what is read is an allegation.
            u64::from_be(unsafe { first.add(index).read_volatile() })
        });
        true
    }

    /// Copies memory of the partition out; `false` if not all of it is memory.
    pub fn read(&self, at: GuestAddr, to: &mut [u8]) -> bool {
        let base = to.as_mut_ptr();
        self.each(at, to.len(), |host, offset, size| {
            // SAFETY: `each` stays inside the partition's memory and `to`. The
            // partition may write meanwhile: what is read is an allegation,
            // whatever it is.
            unsafe { core::ptr::copy_nonoverlapping(host as *const u8, base.add(offset), size) }
        })
    }

    /// Copies into the partition's memory; `false` if not all of it is memory.
    pub fn write(&self, at: GuestAddr, bytes: &[u8]) -> bool {
        self.each(at, bytes.len(), |host, offset, size| {
            let from = bytes[offset..].as_ptr();
            // SAFETY: as in `read`; no Rust object is in a partition's memory.
            unsafe { core::ptr::copy_nonoverlapping(from, host as *mut u8, size) }
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // Nothing leads to the memory any more before it is somebody else's.
        set_entry(self.lpid(), 0, 0);
        set_entry(self.lpid(), 1, 0);
        if let Some(tree) = self.tree.get_mut().take() {
            tree.release(&Tables);
        }
    }
}

static LPIDS: Mutex<Lpids> = Mutex::new(Lpids::new());

/// An LPID that no other run has, until it is dropped.
struct Lpid(u16);

impl Lpid {
    fn take() -> Result<Self, NoLpid> {
        LPIDS.lock().take().map(Self)
    }

    fn get(&self) -> u64 {
        self.0.into()
    }
}

impl Drop for Lpid {
    fn drop(&mut self) {
        LPIDS.lock().give_back(self.0);
    }
}
