//! Locks and atomics, replaced by `loom`'s when it explores interleavings.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use super::Interrupts;

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

#[cfg(not(loom))]
type RawMutex<T> = spin::mutex::TicketMutex<T>;
#[cfg(not(loom))]
type RawMutexGuard<'a, T> = spin::mutex::TicketMutexGuard<'a, T>;
#[cfg(not(loom))]
type RawRwLock<T> = spin::rwlock::RwLock<T>;
#[cfg(not(loom))]
type RawReadGuard<'a, T> = spin::rwlock::RwLockReadGuard<'a, T>;
#[cfg(not(loom))]
type RawWriteGuard<'a, T> = spin::rwlock::RwLockWriteGuard<'a, T>;

#[cfg(loom)]
type RawMutex<T> = loom::sync::Mutex<T>;
#[cfg(loom)]
type RawMutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;
#[cfg(loom)]
type RawRwLock<T> = loom::sync::RwLock<T>;
#[cfg(loom)]
type RawReadGuard<'a, T> = loom::sync::RwLockReadGuard<'a, T>;
#[cfg(loom)]
type RawWriteGuard<'a, T> = loom::sync::RwLockWriteGuard<'a, T>;

/// One turn of a waiting loop.
#[inline]
pub fn relax() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// Interrupts stay masked while this lives.
struct Masked<I: Interrupts> {
    state: u64,
    // The state belongs to one thread: neither Send nor Sync.
    _interrupts: PhantomData<*const I>,
}

impl<I: Interrupts> Masked<I> {
    #[inline]
    fn new() -> Self {
        Self {
            state: I::mask(),
            _interrupts: PhantomData,
        }
    }
}

impl<I: Interrupts> Drop for Masked<I> {
    #[inline]
    fn drop(&mut self) {
        I::restore(self.state);
    }
}

/// A fair spin lock that is held with interrupts off.
pub struct Lock<T, I> {
    inner: RawMutex<T>,
    _interrupts: PhantomData<fn() -> I>,
}

/// Access to what a [`Lock`] protects.
// Fields drop in order: the lock is open before interrupts are on.
pub struct LockGuard<'a, T, I: Interrupts> {
    inner: RawMutexGuard<'a, T>,
    _masked: Masked<I>,
}

impl<T, I: Interrupts> Lock<T, I> {
    /// An open lock around `value`.
    pub fn new(value: T) -> Self {
        Self {
            inner: RawMutex::new(value),
            _interrupts: PhantomData,
        }
    }

    /// Masks interrupts and waits for the lock.
    #[inline]
    pub fn lock(&self) -> LockGuard<'_, T, I> {
        let masked = Masked::new();
        #[cfg(not(loom))]
        let inner = self.inner.lock();
        #[cfg(loom)]
        let inner = self
            .inner
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        LockGuard {
            inner,
            _masked: masked,
        }
    }
}

impl<T, I: Interrupts> Deref for LockGuard<'_, T, I> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T, I: Interrupts> DerefMut for LockGuard<'_, T, I> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// A lock with many readers or one writer, held with interrupts off.
pub struct Shared<T, I> {
    inner: RawRwLock<T>,
    _interrupts: PhantomData<fn() -> I>,
}

/// Read access to what a [`Shared`] protects.
pub struct ReadGuard<'a, T, I: Interrupts> {
    inner: RawReadGuard<'a, T>,
    _masked: Masked<I>,
}

/// Write access to what a [`Shared`] protects.
pub struct WriteGuard<'a, T, I: Interrupts> {
    inner: RawWriteGuard<'a, T>,
    _masked: Masked<I>,
}

impl<T, I: Interrupts> Shared<T, I> {
    /// An open lock around `value`.
    pub fn new(value: T) -> Self {
        Self {
            inner: RawRwLock::new(value),
            _interrupts: PhantomData,
        }
    }

    /// Masks interrupts and waits until no writer is inside.
    #[inline]
    pub fn read(&self) -> ReadGuard<'_, T, I> {
        let masked = Masked::new();
        #[cfg(not(loom))]
        let inner = self.inner.read();
        #[cfg(loom)]
        let inner = self
            .inner
            .read()
            .unwrap_or_else(|poison| poison.into_inner());
        ReadGuard {
            inner,
            _masked: masked,
        }
    }

    /// Masks interrupts and waits until nobody is inside.
    #[inline]
    pub fn write(&self) -> WriteGuard<'_, T, I> {
        let masked = Masked::new();
        #[cfg(not(loom))]
        let inner = self.inner.write();
        #[cfg(loom)]
        let inner = self
            .inner
            .write()
            .unwrap_or_else(|poison| poison.into_inner());
        WriteGuard {
            inner,
            _masked: masked,
        }
    }
}

impl<T, I: Interrupts> Deref for ReadGuard<'_, T, I> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T, I: Interrupts> Deref for WriteGuard<'_, T, I> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T, I: Interrupts> DerefMut for WriteGuard<'_, T, I> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}
