//! What the model knows of each thread: its own store buffer, what it has
//! observed, and whether it holds a lock.
//!
//! A barrier (hwsync) drains the stores of its own thread, and those of others
//! that the thread has observed. In the model a thread observes what another
//! stored before it let go of a lock, by letting go of one later: before that it
//! has taken it. What threads tell each other by atomics alone is not observed.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::Vec;

/// Time, counted in locks let go.
static CLOCK: AtomicU64 = AtomicU64::new(1);
static THREADS: AtomicU64 = AtomicU64::new(1);

/// When a thread let go of its locks after some stores; 0: not yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Section(Arc<AtomicU64>);

struct Thread {
    // Which of the threads that one thread of the host plays.
    role: u64,
    number: u64,
    masked: u64,
    section: Section,
    stored: bool,
    observed: u64,
    // Accesses to tables in this hold of a lock, and most in one.
    touched: u64,
    longest: u64,
}

impl Thread {
    fn new(role: u64) -> Self {
        Self {
            role,
            number: THREADS.fetch_add(1, Ordering::Relaxed),
            masked: 0,
            section: Section::default(),
            stored: false,
            observed: 0,
            touched: 0,
            longest: 0,
        }
    }
}

std::thread_local! {
    // The threads that this one plays, and which of them it is now.
    static HERE: RefCell<(Vec<Thread>, usize)> = const { RefCell::new((Vec::new(), 0)) };
}

fn here<R>(with: impl FnOnce(&mut Thread) -> R) -> R {
    HERE.with_borrow_mut(|(threads, now)| {
        if threads.is_empty() {
            threads.push(Thread::new(0));
        }
        with(&mut threads[*now])
    })
}

/// This thread of the host is thread `role` of the model from now on: for loom,
/// which runs all its threads on one.
pub fn play_thread(role: u64) {
    HERE.with_borrow_mut(|(threads, now)| {
        *now = match threads.iter().position(|thread| thread.role == role) {
            Some(index) => index,
            None => {
                threads.push(Thread::new(role));
                threads.len() - 1
            }
        };
    });
}

/// Counts a mask of interrupts; returns how many there were.
pub(super) fn mask() -> u64 {
    here(|thread| {
        thread.masked += 1;
        thread.masked - 1
    })
}

/// As many masks as `state` says: a lock was let go.
pub(super) fn restore(state: u64) {
    here(|thread| {
        thread.masked = state;
        if state == 0 {
            thread.longest = thread.longest.max(thread.touched);
            thread.touched = 0;
        }
        thread.observed = CLOCK.fetch_add(1, Ordering::Relaxed);
        if thread.stored && state == 0 {
            thread.section.0.store(thread.observed, Ordering::Relaxed);
            thread.section = Section::default();
            thread.stored = false;
        }
    });
}

/// Whether this thread has interrupts off, so holds a lock.
pub(super) fn is_masked() -> bool {
    here(|thread| thread.masked != 0)
}

/// This thread loads or stores an entry.
pub(super) fn touch() {
    here(|thread| thread.touched += u64::from(thread.masked != 0));
}

/// Most accesses to tables that this thread has made since the last call with a
/// lock held.
pub fn longest_hold() -> u64 {
    here(|thread| core::mem::take(&mut thread.longest))
}

/// This thread stores: its number, and what will say when others see it.
pub(super) fn storing() -> (u64, Section) {
    here(|thread| {
        thread.stored = true;
        (thread.number, thread.section.clone())
    })
}

/// Which stores a barrier of this thread drains.
pub(super) fn barrier() -> impl Fn(u64, &Section) -> bool {
    let (me, observed) = here(|thread| (thread.number, thread.observed));
    move |number, section| {
        let at = section.0.load(Ordering::Relaxed);
        number == me || at != 0 && at <= observed
    }
}
