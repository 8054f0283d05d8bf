//! A vCPU's place: its thread, its time, what it does.

use super::memory::Space;
use crate::addr::GuestAddr;
use crate::cpu::Area;
use crate::cpu::guest::Vcpu;
use crate::papr::DISPATCHES;
use crate::papr::icp::Icp;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use spin::Mutex;

/// What a vCPU does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Activity {
    /// Not started, or stopped itself.
    Stopped = 0,
    /// It runs, or would.
    Runs = 1,
    /// It waits for an interrupt or a prod.
    Ceded = 2,
    /// Another one writes its first registers.
    Starting = 3,
}

/// A vCPU and its place.
pub(super) struct Slot {
    pub(super) vcpu: UnsafeCell<Vcpu>,
    pub(super) icp: Mutex<Icp>,
    activity: AtomicU32,
    pub(super) prodded: AtomicBool,
    /// The thread has nothing of it any more; set by the thread.
    pub(super) released: AtomicBool,
    /// Ticks that it may run before others have their turn, less what it ran too
    /// long; touched by the thread only, and by those of its own that confer.
    pub(super) credit: AtomicI64,
    /// How often it got its turn and lost it: odd while it does not have it.
    dispatches: AtomicU32,
    /// It gives up what is left of its time.
    pub(super) gives_way: AtomicBool,
    /// Its virtual processor area in the partition's memory; 0 for none.
    pub(super) area: AtomicU64,
    /// Times that it was left for an interrupt of Pinion's.
    pub(super) interrupted: AtomicU64,
    pub(super) thread: &'static Area,
}

// SAFETY: the vCPU itself is touched by `thread` only, or by the one that has
// claimed it while it is stopped, which the activity orders; the rest is atomic
// or locked.
unsafe impl Sync for Slot {}
// SAFETY: as above.
unsafe impl Send for Slot {}

impl Slot {
    pub(super) fn new(vcpu: Vcpu, thread: &'static Area) -> Self {
        Self {
            vcpu: UnsafeCell::new(vcpu),
            icp: Mutex::new(Icp::default()),
            activity: AtomicU32::new(Activity::Stopped as u32),
            prodded: AtomicBool::new(false),
            released: AtomicBool::new(false),
            interrupted: AtomicU64::new(0),
            credit: AtomicI64::new(0),
            dispatches: AtomicU32::new(1),
            gives_way: AtomicBool::new(false),
            area: AtomicU64::new(0),
            thread,
        }
    }

    pub(super) fn activity(&self) -> Activity {
        match self.activity.load(Ordering::Acquire) {
            1 => Activity::Runs,
            2 => Activity::Ceded,
            3 => Activity::Starting,
            _ => Activity::Stopped,
        }
    }

    /// Takes a stopped one, to start it; `false` if it is not stopped or somebody
    /// else starts it.
    pub(super) fn claim(&self) -> bool {
        let (from, to) = (Activity::Stopped as u32, Activity::Starting as u32);
        self.activity
            .compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    pub(super) fn set_activity(&self, activity: Activity) {
        self.activity.store(activity as u32, Ordering::Release);
    }

    /// How often it got its turn and lost it.
    pub(super) fn dispatches(&self) -> u32 {
        self.dispatches.load(Ordering::Acquire)
    }

    /// It gets its turn, or loses it.
    pub(super) fn count_dispatch(&self, memory: &Space) {
        let count = self.dispatches().wrapping_add(1);
        self.dispatches.store(count, Ordering::Release);
        self.tell_dispatches(memory);
    }

    /// Writes the count to its virtual processor area, if it has one.
    pub(super) fn tell_dispatches(&self, memory: &Space) {
        let at = self.area.load(Ordering::Acquire);
        if at != 0 {
            let count = self.dispatches().to_be_bytes();
            // It is not memory any more: that harms the partition only.
            let _ = memory.write(GuestAddr::new(at + DISPATCHES), &count);
        }
    }

    /// Gives its time to another one of its own thread.
    pub(super) fn lend(&self, other: &Self) {
        let own = self.credit.load(Ordering::Relaxed).max(0);
        other.credit.fetch_add(own, Ordering::Relaxed);
    }
}
