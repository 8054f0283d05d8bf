//! The heap: for boot and control paths, never for a map, an unmap or a hcall.
//!
//! `linked_list_allocator` brings a lock of its own only with another crate of
//! spin locks; this one uses Pinion's.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use linked_list_allocator::Heap;
use spin::Mutex;

/// The heap behind `alloc`.
pub struct LockedHeap(Mutex<Heap>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(Mutex::new(Heap::empty()));

// SAFETY: `Heap` hands out distinct blocks of the layout asked for; the lock
// keeps threads apart. Interrupts do not allocate.
unsafe impl GlobalAlloc for LockedHeap {
    // # Safety: as the trait says.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = self.0.lock().allocate_first_fit(layout);
        block.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    // # Safety: as the trait says.
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller got the block here, with this layout.
            unsafe { self.0.lock().deallocate(block, layout) };
        }
    }
}

/// Makes the heap.
///
/// # Safety
/// `start` to `start + size` is memory that is the heap's for ever. Called once.
pub unsafe fn init(start: u64, size: usize) {
    // SAFETY: handed on to the caller.
    unsafe { HEAP.0.lock().init(start as *mut u8, size) };
}

/// Used and free bytes.
pub fn usage() -> (usize, usize) {
    let heap = HEAP.0.lock();
    (heap.used(), heap.free())
}

/// For the crash path, which may have interrupted an allocation.
///
/// # Safety
/// The machine is about to stop.
pub unsafe fn break_lock() {
    // SAFETY: handed on to the caller.
    unsafe { HEAP.0.force_unlock() };
}
