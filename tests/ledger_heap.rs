//! No lock of the ledger is held while memory is taken from the heap or given
//! back: that may take long, and the heap has a lock of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use pinion::addr::HostAddr;
use pinion::memory::ledger::{Ledger, LedgerError, OwnerId};
use pinion::seam::Interrupts;
use pinion::seam::sync::{Lock, Rank};

std::thread_local! {
    // Locks that this thread holds, and calls of the heap under one.
    static HELD: Cell<u64> = const { Cell::new(0) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Watched;

fn watch() {
    if HELD.get() != 0 {
        CALLS.set(CALLS.get() + 1);
    }
}

// SAFETY: each call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        watch();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        watch();
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static HEAP: Watched = Watched;

/// Whoever masks interrupts holds a lock.
struct Masks;

impl Interrupts for Masks {
    fn mask() -> u64 {
        HELD.replace(HELD.get() + 1)
    }

    fn restore(state: u64) {
        HELD.set(state);
    }
}

/// What `run` asks of the heap with a lock held.
fn calls(run: impl FnOnce()) -> u64 {
    let before = CALLS.get();
    run();
    CALLS.get() - before
}

#[test]
fn the_watch_sees_a_call_under_a_lock() {
    let lock = Lock::<_, Masks>::new(Rank::Books, Vec::new());
    assert_eq!(calls(|| lock.lock().push(1)), 1);
    let free = || {
        let old = core::mem::take(&mut *lock.lock());
        drop(old);
    };
    assert_eq!(calls(free), 0);
}

#[test]
fn the_ledger_allocates_under_no_lock() {
    let ledger = Ledger::<Masks>::new();
    let page = |number: u64| HostAddr::new(number << 12);
    let used = calls(|| {
        let owners: Vec<_> = (0..100)
            .map(|number| ledger.add_owner(OwnerId(number)).unwrap())
            .collect();
        assert!(ledger.add_owner(OwnerId(7)).is_err());
        for number in 0..2000u64 {
            let holdings = &owners[(number % 100) as usize];
            let start = page(number * 2);
            ledger.grant(holdings, start, 1 << 12, 12).unwrap();
            let again = ledger.grant(holdings, start, 1 << 12, 12);
            assert!(matches!(again, Err(LedgerError::Overlap { .. })));
        }
        for number in (0..2000u64).step_by(3) {
            let holdings = &owners[(number % 100) as usize];
            let other = &owners[((number + 1) % 100) as usize];
            let start = page(number * 2);
            assert_eq!(ledger.close(holdings, start), Ok(0));
            ledger.transfer(holdings, other, start).unwrap();
            assert_eq!(ledger.owner_of(start), Some(other.owner()));
            ledger.close(other, start).unwrap();
            assert!(ledger.reclaim(other, start).is_ok());
            assert_eq!(ledger.owner_of(start), None);
        }
    });
    assert_eq!(used, 0);
}
