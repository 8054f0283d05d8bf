//! What threads use as long as they like, and what is changed once none does.

use core::ops::{Deref, DerefMut};

#[cfg(not(loom))]
use super::sync::Seldom;
use super::sync::{AtomicU32, Ordering, relax};

#[cfg(not(loom))]
type RawRwLock<T> = spin::rwlock::RwLock<T, Seldom>;
#[cfg(not(loom))]
type RawReadGuard<'a, T> = spin::rwlock::RwLockReadGuard<'a, T, Seldom>;
#[cfg(not(loom))]
type RawWriteGuard<'a, T> = spin::rwlock::RwLockWriteGuard<'a, T, Seldom>;

#[cfg(loom)]
type RawRwLock<T> = loom::sync::RwLock<T>;
#[cfg(loom)]
type RawReadGuard<'a, T> = loom::sync::RwLockReadGuard<'a, T>;
#[cfg(loom)]
type RawWriteGuard<'a, T> = loom::sync::RwLockWriteGuard<'a, T>;

/// A value that is lent: a lock for readers and a writer, but one that masks no
/// interrupts, has no rank, and may be held while the hardware is waited for. Who
/// changes the value waits for those who use it, and who comes meanwhile for both: as
/// long as the slowest user takes, and nobody who comes later keeps them waiting.
///
/// A thread that uses the value must not change it before it has given it back, nor
/// wait for anything that another one does before it changes it.
pub struct Lent<T> {
    // Who changes it, or waits to. The inner lock alone would let users pass a waiting
    // one, again and again.
    changing: AtomicU32,
    inner: RawRwLock<T>,
}

/// The value, in use.
pub struct InUse<'a, T>(RawReadGuard<'a, T>);

/// The value, used by nobody else.
pub struct Change<'a, T> {
    inner: RawWriteGuard<'a, T>,
    _announced: Announced<'a>,
}

/// Somebody changes the value, from before the wait for that until it is over.
struct Announced<'a>(&'a AtomicU32);

impl<'a> Announced<'a> {
    fn new(changing: &'a AtomicU32) -> Self {
        changing.fetch_add(1, Ordering::Relaxed);
        Self(changing)
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> Lent<T> {
    /// `value`, which nobody uses.
    pub fn new(value: T) -> Self {
        Self {
            changing: AtomicU32::new(0),
            inner: RawRwLock::new(value),
        }
    }

    /// Whether a thread changes it, or waits to, at this moment.
    #[inline]
    pub fn is_changing(&self) -> bool {
        // Only who is first depends on it; the inner lock orders accesses.
        self.changing.load(Ordering::Relaxed) != 0
    }

    /// The value; `None` while another thread changes it, or waits to.
    #[inline]
    pub fn try_use(&self) -> Option<InUse<'_, T>> {
        if self.is_changing() {
            return None;
        }
        #[cfg(not(loom))]
        let inner = self.inner.try_read()?;
        #[cfg(loom)]
        let inner = self.inner.try_read().ok()?;
        Some(InUse(inner))
    }

    /// The value, once nobody changes it.
    #[inline]
    pub fn use_it(&self) -> InUse<'_, T> {
        while self.is_changing() {
            relax();
        }
        #[cfg(not(loom))]
        let inner = self.inner.read();
        #[cfg(loom)]
        let inner = self
            .inner
            .read()
            .unwrap_or_else(|poison| poison.into_inner());
        InUse(inner)
    }

    /// Waits until nobody uses the value, which none can from now on until the result
    /// is dropped.
    #[inline]
    pub fn change(&self) -> Change<'_, T> {
        let announced = Announced::new(&self.changing);
        #[cfg(not(loom))]
        let inner = self.inner.write();
        #[cfg(loom)]
        let inner = self
            .inner
            .write()
            .unwrap_or_else(|poison| poison.into_inner());
        Change {
            inner,
            _announced: announced,
        }
    }
}

impl<T> Deref for InUse<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Deref for Change<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Change<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::time::Duration;
    use std::thread;

    #[test]
    fn who_changes_it_waits_for_those_who_use_it_and_for_no_others() {
        let lent = Lent::new(1);
        let (first, second) = (lent.use_it(), lent.try_use());
        thread::scope(|scope| {
            let changer = scope.spawn(|| *lent.change() += 1);
            while !lent.is_changing() {
                thread::yield_now();
            }
            assert!(lent.try_use().is_none());
            // Time to do the wrong thing.
            thread::sleep(Duration::from_millis(50));
            assert!(!changer.is_finished() && (*first, second.as_deref()) == (1, Some(&1)));
            let later = scope.spawn(|| *lent.use_it());
            drop(first);
            thread::sleep(Duration::from_millis(50));
            assert!(
                !changer.is_finished() && !later.is_finished(),
                "one is left"
            );
            drop(second);
            assert_eq!(later.join().unwrap(), 2);
        });
        assert_eq!(lent.try_use().as_deref(), Some(&2));
        let change = lent.change();
        assert!(lent.try_use().is_none());
        drop(change);
        assert!(lent.try_use().is_some());
    }
}
