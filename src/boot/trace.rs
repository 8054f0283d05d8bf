//! The threads' rings of DMA operations.

use super::{runtime, secondaries};
use crate::cpu::{self, Area};
use crate::trace::Trace;
use crate::warning;

/// The boot thread's ring; a memory dump is searched for this symbol. The others'
/// begin with the same word.
#[unsafe(no_mangle)]
pub static PINION_TRACE: Trace = Trace::new();

/// From now on the boot thread notes its operations.
pub fn begin() {
    give(cpu::boot_area(), &PINION_TRACE);
}

/// From now on all threads that were started note theirs.
pub fn begin_others() {
    let shift = size_of::<Trace>().next_power_of_two().ilog2();
    for area in secondaries::all() {
        match runtime::allocate(shift, None) {
            Ok(block) => {
                let at = block.leak().get();
                // SAFETY: the block is fresh, large enough, aligned to its size,
                // and never freed; all zero is a valid ring.
                let ring = unsafe {
                    core::ptr::write_bytes(at as *mut u8, 0, 1 << shift);
                    &*(at as *const Trace)
                };
                give(area, ring);
            }
            Err(error) => warning!(
                "thread {:#x}: {error}; its DMA operations are not noted",
                area.pir()
            ),
        }
    }
}

/// Timebase at the hand-over, in ticks: what stamps count from.
pub fn start() -> u64 {
    cpu::timebase().wrapping_sub(runtime::ticks())
}

fn give(area: &Area, ring: &'static Trace) {
    ring.begin(area.pir(), start(), cpu::timebase_hz());
    area.set_notes(core::ptr::from_ref(ring) as u64);
}

/// The ring of a thread.
pub fn of(area: &Area) -> Option<&'static Trace> {
    // SAFETY: what `give` has stored.
    unsafe { at(area.notes()) }
}

/// The ring of the thread that runs.
#[inline]
pub fn own() -> Option<&'static Trace> {
    // SAFETY: as above.
    unsafe { at(cpu::area().own_notes()) }
}

/// # Safety
/// The address is 0, or that of a ring that lives for ever.
#[inline]
unsafe fn at(address: u64) -> Option<&'static Trace> {
    // SAFETY: the caller says so.
    unsafe { (address as *const Trace).as_ref() }
}

/// All rings.
pub fn all() -> impl Iterator<Item = &'static Trace> {
    secondaries::with_boot().filter_map(of)
}
