//! What the image has once: firmware, frames, heap, the machine.

use super::heap;
use crate::addr::HostAddr;
use crate::cpu;
use crate::machine::{Machine, MachineError, MemoryMap};
use crate::memory::frames::{Block, FrameAllocator, FrameError};
use crate::memory::ranges::Range;
use crate::opal::{Firmware, Opal, Waiter};
use crate::processor::Generation;
use core::slice;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::{Mutex, Once};

/// Bytes of the heap: boot and control paths only.
const HEAP_SHIFT: u32 = 22;

/// Waits for firmware by watching the timebase.
pub struct TimebaseWaiter;

impl Waiter for TimebaseWaiter {
    fn wait_ms(&self, milliseconds: u64) {
        cpu::wait_ms(milliseconds);
    }
}

static FIRMWARE: Firmware = Firmware::new();

/// Firmware, typed.
pub static OPAL: Opal<&Firmware, TimebaseWaiter> = Opal::new(&FIRMWARE, TimebaseWaiter);

static FRAMES: Mutex<Option<FrameAllocator<'static>>> = Mutex::new(None);

static MACHINE: Once<Machine> = Once::new();

static MEMORY: Once<MemoryMap> = Once::new();

/// Timebase at the first instruction of Rust.
static START: AtomicU64 = AtomicU64::new(0);

/// The raw firmware, to say where it is.
pub fn firmware() -> &'static Firmware {
    &FIRMWARE
}

/// The machine, once it has been read.
pub fn machine() -> Option<&'static Machine> {
    MACHINE.get()
}

/// Keeps the machine.
pub fn set_machine(machine: Machine) -> &'static Machine {
    MACHINE.call_once(|| machine)
}

/// Memory as the tree gives it, once it has been read.
pub fn memory() -> Option<&'static MemoryMap> {
    MEMORY.get()
}

/// The processor's generation, if Pinion knows it.
pub fn generation() -> Option<Generation> {
    Generation::of_pvr(cpu::pvr())
}

/// Remembers when all began.
pub fn start_clock() {
    START.store(cpu::timebase(), Ordering::Relaxed);
}

/// Ticks since the hand-over.
pub fn ticks() -> u64 {
    cpu::timebase().wrapping_sub(START.load(Ordering::Relaxed))
}

/// Microseconds since the hand-over.
pub fn microseconds() -> u64 {
    ticks().saturating_mul(1_000) / (cpu::timebase_hz() / 1_000).max(1)
}

/// Makes the frame allocator and the heap from what memory is free.
///
/// # Errors
/// Nothing is free, or not enough for the heap.
///
/// # Safety
/// `map` says truly which memory nobody else uses. Called once.
pub unsafe fn init_memory(map: MemoryMap) -> Result<(), MemoryError> {
    let free = map.free().map_err(MemoryError::Map)?;
    let needed: usize = free.iter().map(FrameAllocator::storage_for).sum();
    let bytes = (needed as u64 * 8).next_multiple_of(4096);
    let holder = free
        .iter()
        .find(|range| range.whole_blocks(12).size() >= bytes);
    let holder = holder.ok_or(MemoryError::NoRoom(bytes))?.whole_blocks(12);
    let storage = holder.start().get() as *mut u64;
    // SAFETY: the range is free memory of the machine, page-aligned, and is
    // taken out of what the allocator gets, below.
    let words = unsafe {
        storage.write_bytes(0, needed);
        slice::from_raw_parts_mut(storage, needed)
    };
    let mut frames = FrameAllocator::new(words);
    let mut rest = free;
    let own = Range::new(holder.start().get(), bytes).map_err(|_| MemoryError::NoRoom(bytes))?;
    rest.remove(own).map_err(|_| MemoryError::NoRoom(bytes))?;
    for range in rest.iter() {
        add_by_chip(&mut frames, &map, *range).map_err(MemoryError::Frames)?;
    }
    let heap_block = frames
        .allocate(HEAP_SHIFT, None)
        .map_err(MemoryError::Frames)?;
    let size = heap_block.size() as usize;
    // SAFETY: the block is the heap's for ever: it is never freed.
    unsafe { heap::init(heap_block.leak().get(), size) };
    *FRAMES.lock() = Some(frames);
    MEMORY.call_once(|| map);
    Ok(())
}

/// Adds a range, split where the memory of one chip ends and the next begins.
fn add_by_chip(
    frames: &mut FrameAllocator<'_>,
    map: &MemoryMap,
    range: Range,
) -> Result<(), FrameError> {
    let mut left = range;
    for (part, chip) in map.chips() {
        let start = left.start().max(part.start());
        let end = left.end().min(part.end());
        if start != left.start() || end <= start {
            continue;
        }
        let size = end.get() - start.get();
        let (Ok(piece), Ok(rest)) = (
            Range::new(start.get(), size),
            Range::new(end.get(), left.end().get() - end.get()),
        ) else {
            break;
        };
        frames.add_zone(piece, chip)?;
        left = rest;
    }
    if left.is_empty() {
        Ok(())
    } else {
        frames.add_zone(left, 0)
    }
}

/// Why there is no memory to work with.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The tree's memory makes no sense.
    #[error("{0}")]
    Map(MachineError),
    /// No free range is large enough.
    #[error("no free range has the {0:#x} bytes that the frame allocator's records take")]
    NoRoom(u64),
    /// The allocator refused.
    #[error("{0}")]
    Frames(FrameError),
}

/// A block of memory; see [`FrameAllocator::allocate`].
///
/// # Errors
/// Out of memory.
pub fn allocate(shift: u32, chip: Option<u32>) -> Result<Block, FrameError> {
    match FRAMES.lock().as_mut() {
        Some(frames) => frames.allocate(shift, chip),
        None => Err(FrameError::OutOfMemory(shift)),
    }
}

/// Gives a block back.
///
/// # Errors
/// The block, if it is not in use.
pub fn free(block: Block) -> Result<(), FrameError> {
    match FRAMES.lock().as_mut() {
        Some(frames) => frames.free(block),
        None => Err(FrameError::NotInUse(block)),
    }
}

/// Free bytes and all bytes of the frame allocator, and its largest free block
/// (base-2 logarithm).
pub fn frames() -> (u64, u64, Option<u32>) {
    let frames = FRAMES.lock();
    frames.as_ref().map_or((0, 0, None), |frames| {
        (
            frames.free_bytes(),
            frames.total_bytes(),
            frames.largest_free(),
        )
    })
}

/// Memory at a host address as bytes.
///
/// # Safety
/// The range is memory that nobody changes while the slice is used.
pub unsafe fn bytes_at(start: HostAddr, size: usize) -> &'static [u8] {
    // SAFETY: handed on to the caller; translation is off, so a host address is
    // a pointer.
    unsafe { slice::from_raw_parts(start.get() as *const u8, size) }
}
