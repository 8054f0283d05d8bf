//! The other hardware threads: started through firmware, parked, given work,
//! returned.

use super::area::{self, Area, AreaEntry, INTERRUPT_STACK};
use super::entry::{SECONDARY_AREAS, secondary_entry};
use super::{ThreadState, idle};
use crate::addr::HostAddr;
use crate::processor::Generation;
use alloc::vec::Vec;
use core::arch::asm;
use core::ptr;
use core::sync::atomic::Ordering;

/// Base-2 logarithm of the memory that a thread takes: its area and stacks.
pub const THREAD_SHIFT: u32 = 17;

/// Bytes of a thread's own stack.
const STACK: u64 = 64 * 1024;

/// Bytes before the first interrupt stack, with the area in it.
const AREA: u64 = 4096;

const _: () = assert!(AREA + 3 * INTERRUPT_STACK + STACK <= 1 << THREAD_SHIFT);

/// What a thread is given to do; it runs on that thread's stack.
pub type Work = fn(&'static Area);

/// A thread that can be started.
pub struct NewThread {
    /// Its PIR.
    pub pir: u64,
    /// 2^[`THREAD_SHIFT`] bytes of its own.
    pub memory: HostAddr,
}

/// Address of the code that firmware has to send threads to.
pub fn entry_address() -> u64 {
    secondary_entry as *const () as u64
}

/// Makes areas in the threads' memory and publishes them, so that the threads
/// can arrive. Indices count from 1 in the order given. Each does `first` before
/// it parks.
///
/// # Safety
/// Each memory is naturally aligned, used by nobody else and stays so; no PIR
/// is the running thread's or appears twice. Called once.
pub unsafe fn publish(threads: &[NewThread], first: Work) -> Vec<&'static Area> {
    let mut entries = Vec::with_capacity(threads.len() + 1);
    let mut areas = Vec::with_capacity(threads.len());
    for (index, thread) in threads.iter().enumerate() {
        let base = thread.memory.get();
        let stack = |number: u64| {
            let low = base + AREA + number * INTERRUPT_STACK;
            [low, low + INTERRUPT_STACK]
        };
        let top = base + (1 << THREAD_SHIFT);
        let new = area::new(
            thread.pir,
            index as u32 + 1,
            [top - STACK, top],
            [stack(0), stack(1), stack(2)],
            ThreadState::Starting,
        );
        new.work.store(first as usize as u64, Ordering::Relaxed);
        let slot = base as *mut Area;
        // SAFETY: the memory is the thread's alone and aligned; the area stays
        // for ever.
        unsafe { slot.write(new) };
        entries.push(AreaEntry {
            pir: thread.pir,
            area: slot,
        });
        // SAFETY: just written.
        areas.push(unsafe { &*slot });
    }
    entries.push(AreaEntry {
        pir: 0,
        area: ptr::null(),
    });
    let list = entries.leak();
    SECONDARY_AREAS.store(list.as_mut_ptr(), Ordering::Release);
    // The threads read the list without having been told by an acquire.
    crate::mmio::full_barrier();
    areas
}

/// First Rust code of a started thread.
#[unsafe(no_mangle)]
extern "C" fn pinion_secondary_start(area: *mut Area) -> ! {
    // SAFETY: `secondary_entry` found the area under this thread's PIR.
    unsafe {
        super::adopt_area(area);
        super::plant_canary((*area).stack_low.load(Ordering::Relaxed));
    }
    super::init_control(Generation::of_pvr(super::pvr()));
    let area = super::area();
    loop {
        // A wake-up between the look and the sleep is not lost: a doorbell or
        // an IPI stays pending, ends the sleep at once and is taken behind it.
        while area.work.load(Ordering::Acquire) == 0 {
            area.set_state(ThreadState::Parked);
            idle::sleep_until_event();
            area.wakes.fetch_add(1, Ordering::Relaxed);
        }
        area.set_state(ThreadState::Running);
        let work = area.work.load(Ordering::Acquire) as *const ();
        // SAFETY: only `give` stores to the field, and only a `Work`.
        let work: Work = unsafe { core::mem::transmute(work) };
        work(area);
        area.work.store(0, Ordering::Release);
    }
}

/// Gives a parked thread something to do and lets `wake` wake it; `false` if it
/// still has something. Stores before are visible to the thread.
pub fn give(area: &'static Area, work: Work, wake: impl FnOnce(&Area)) -> bool {
    let work = work as usize as u64;
    let free = area
        .work
        .compare_exchange(0, work, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok();
    if free {
        wake(area);
    }
    free
}

/// Whether what the thread was given is done.
pub fn is_done(area: &Area) -> bool {
    area.work.load(Ordering::Acquire) == 0
}

/// Marks the running thread as on its way to firmware: nothing may be expected
/// of it any more.
pub fn mark_returned(area: &Area) {
    area.set_state(ThreadState::Returned);
}

/// Rings the thread's doorbell (POWER9 and later; on POWER8 one reaches only
/// threads of its own core, and this does nothing).
pub fn ring_doorbell(area: &Area) {
    if Generation::of_pvr(super::pvr()) == Some(Generation::Power8) {
        return;
    }
    // Type 5, directed hypervisor doorbell (Power ISA 3.0B, book III, 10.3).
    let message = 5u64 << 27 | area.pir;
    // The assembler does not know msgsnd: 31, RB = r4, 206. The sync and the
    // receiver's msgsync make what was stored visible to it.
    // SAFETY: a doorbell ends power saving and is taken by a handler that does
    // nothing.
    unsafe { asm!("sync", ".long 0x7c00219c", in("4") message, options(nostack)) };
}
