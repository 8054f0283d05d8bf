//! The lock of a PHB's registers: short, as each kill takes it.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicU32, Ordering};

/// A spin lock around what is not memory. Held for as long as some accesses to
/// registers or one call of firmware take.
pub(super) struct PhbLock(AtomicU32);

/// The lock is held.
pub(super) struct PhbGuard<'l>(&'l AtomicU32);

impl PhbLock {
    /// An open lock.
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Waits for it.
    #[inline]
    pub(super) fn lock(&self) -> PhbGuard<'_> {
        if self.0.swap(1, Ordering::Acquire) != 0 {
            self.wait();
        }
        PhbGuard(&self.0)
    }

    /// Takes it, if it is open.
    #[inline]
    pub(super) fn try_lock(&self) -> Option<PhbGuard<'_>> {
        let was_open = self.0.swap(1, Ordering::Acquire) == 0;
        // A guard of another's would open it.
        was_open.then(|| PhbGuard(&self.0))
    }

    #[cold]
    fn wait(&self) {
        while self.0.swap(1, Ordering::Acquire) != 0 {
            // Not by stores, which would keep the holder from its own.
            while self.0.load(Ordering::Relaxed) != 0 {
                spin_loop();
            }
        }
    }
}

impl Drop for PhbGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn one_at_a_time_is_inside() {
        let lock = PhbLock::new();
        // Not a read-modify-write: two at once would lose a turn.
        let turns = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        let _held = lock.lock();
                        let before = turns.load(Ordering::Relaxed);
                        turns.store(before + 1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(turns.load(Ordering::Relaxed), 20_000);
        let held = lock.try_lock();
        assert!(held.is_some() && lock.try_lock().is_none() && lock.try_lock().is_none());
        drop(held);
        assert!(lock.try_lock().is_some());
    }
}
