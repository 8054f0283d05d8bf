//! What the image has once: firmware, frames, heap, the machine.

use super::heap;
use crate::addr::HostAddr;
use crate::cpu;
use crate::machine::{Machine, MachineError, MemoryMap};
use crate::memory::frames::{Block, FrameAllocator, FrameError};
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

/// The initrd that the machine was started with, if there is one.
pub fn initrd() -> Option<&'static [u8]> {
    let range = memory()?.initrd?;
    // SAFETY: the initrd is reserved for ever, and nobody writes to it.
    Some(unsafe { bytes_at(range.start(), range.size() as usize) })
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

/// Makes the frame allocator and the heap from what memory is free. Returns
/// the bytes of memory that are not used because their ranges are too many.
///
/// # Errors
/// Nothing is free, or not enough for the heap.
///
/// # Safety
/// `map` says truly which memory nobody else uses. Called once.
pub unsafe fn init_memory(map: MemoryMap) -> Result<u64, MemoryError> {
    let plan = map.plan().map_err(MemoryError::Map)?;
    let storage = plan.records.start().get() as *mut u64;
    let count = (plan.records.size() / 8) as usize;
    // SAFETY: the plan's records are free memory of the machine, page-aligned,
    // and in none of the zones.
    let words = unsafe {
        storage.write_bytes(0, count);
        slice::from_raw_parts_mut(storage, count)
    };
    // In place: it is too large to be moved over the boot stack.
    let mut slot = FRAMES.lock();
    let frames = slot.insert(FrameAllocator::new(words));
    for &(range, chip) in &plan.zones {
        frames.add_zone(range, chip).map_err(MemoryError::Frames)?;
    }
    let heap_block = frames
        .allocate(HEAP_SHIFT, None)
        .map_err(MemoryError::Heap)?;
    let size = heap_block.size() as usize;
    // SAFETY: the block is the heap's for ever: it is never freed.
    unsafe { heap::init(heap_block.leak().get(), size) };
    drop(slot);
    MEMORY.call_once(|| map);
    Ok(plan.left_out)
}

/// Why there is no memory to work with.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The tree's memory makes no sense.
    #[error("{0}")]
    Map(MachineError),
    /// The allocator refused.
    #[error("{0}")]
    Frames(FrameError),
    /// There is no room for the heap.
    #[error("no room for the heap: {0}")]
    Heap(FrameError),
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

/// A block of memory of this chip only; see [`FrameAllocator::allocate_on`].
///
/// # Errors
/// Out of memory there.
pub fn allocate_on(shift: u32, chip: Option<u32>) -> Result<Block, FrameError> {
    match FRAMES.lock().as_mut() {
        Some(frames) => frames.allocate_on(shift, chip),
        None => Err(FrameError::OutOfMemory(shift)),
    }
}

/// The chip whose memory `at` is.
pub fn chip_of(at: HostAddr) -> Option<u32> {
    FRAMES.lock().as_ref()?.chip_of(at)
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
