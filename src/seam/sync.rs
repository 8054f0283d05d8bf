//! Locks and atomics, replaced by `loom`'s when it explores interleavings.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use super::Interrupts;
use super::lent::{Change, InUse, Lent};

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

#[cfg(not(loom))]
type RawMutex<T> = spin::mutex::TicketMutex<T, Seldom>;
#[cfg(not(loom))]
type RawMutexGuard<'a, T> = spin::mutex::TicketMutexGuard<'a, T, Seldom>;

#[cfg(loom)]
type RawMutex<T> = loom::sync::Mutex<T>;
#[cfg(loom)]
type RawMutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

/// Waits in a loop that is seldom gone round: the way without it is laid straight.
#[cfg(not(loom))]
pub(super) struct Seldom;

#[cfg(not(loom))]
impl spin::RelaxStrategy for Seldom {
    #[inline(always)]
    fn relax() {
        relax();
    }
}

/// One turn of a waiting loop.
#[inline(always)]
pub fn relax() {
    core::hint::cold_path();
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// The order of the engine's locks: a thread that holds one may take only those
/// of a later rank, and none of the same. On a PC, with assertions on, an
/// inversion panics before it can wait; the image has no trace of this.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rank {
    /// A partition's devices, by PE.
    Names,
    /// A window's table and list of PEs.
    Window,
    /// Who owns what, machine-wide.
    Books,
    /// The regions of one owner.
    Regions,
    /// Whose a PE is.
    Usage,
    /// Configuration space of a partition's group: nothing of the engine is
    /// taken below it.
    Access,
}

#[cfg(all(debug_assertions, not(target_os = "none")))]
mod ranked {
    use super::Rank;
    use core::cell::Cell;

    #[cfg(not(loom))]
    std::thread_local! {
        // A bit for each rank that this thread holds.
        static HELD: Cell<u32> = const { Cell::new(0) };
    }
    #[cfg(loom)]
    loom::thread_local! {
        static HELD: Cell<u32> = Cell::new(0);
    }

    /// The rank that a lock keeps.
    pub(super) struct Kept(Rank);

    impl Kept {
        pub(super) fn new(rank: Rank) -> Self {
            Self(rank)
        }
    }

    /// A lock of this rank is held, or waited for, while this lives.
    pub(super) struct Ranked(Rank);

    impl Ranked {
        pub(super) fn new(&Kept(rank): &Kept) -> Self {
            HELD.with(|held| {
                let others = held.get();
                assert!(
                    others >> rank as u32 == 0,
                    "a lock of rank {rank:?} is taken when ranks {others:#b} are held"
                );
                held.set(others | 1 << rank as u32);
            });
            Self(rank)
        }
    }

    impl Drop for Ranked {
        fn drop(&mut self) {
            HELD.with(|held| held.set(held.get() & !(1 << self.0 as u32)));
        }
    }
}

#[cfg(not(all(debug_assertions, not(target_os = "none"))))]
mod ranked {
    /// Nothing is kept, nothing is checked.
    pub(super) struct Kept;

    impl Kept {
        #[inline]
        pub(super) fn new(_rank: super::Rank) -> Self {
            Self
        }
    }

    pub(super) struct Ranked;

    impl Ranked {
        #[inline]
        pub(super) fn new(_kept: &Kept) -> Self {
            Self
        }
    }
}

use ranked::{Kept, Ranked};

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
    rank: Kept,
    inner: RawMutex<T>,
    _interrupts: PhantomData<fn() -> I>,
}

/// Access to what a [`Lock`] protects.
// Fields drop in order: the lock is open before interrupts are on.
pub struct LockGuard<'a, T, I: Interrupts> {
    inner: RawMutexGuard<'a, T>,
    _ranked: Ranked,
    _masked: Masked<I>,
}

impl<T, I: Interrupts> Lock<T, I> {
    /// An open lock around `value`.
    pub fn new(rank: Rank, value: T) -> Self {
        Self {
            rank: Kept::new(rank),
            inner: RawMutex::new(value),
            _interrupts: PhantomData,
        }
    }

    /// Masks interrupts and waits for the lock.
    #[inline]
    pub fn lock(&self) -> LockGuard<'_, T, I> {
        let masked = Masked::new();
        let ranked = Ranked::new(&self.rank);
        #[cfg(not(loom))]
        let inner = self.inner.lock();
        #[cfg(loom)]
        let inner = self
            .inner
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        LockGuard {
            inner,
            _ranked: ranked,
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

/// A lock with many readers or one writer, held with interrupts off: [`Lent`] with a
/// rank.
///
/// Fair to writers, as that is. A thread that reads must not read again before it has
/// let go: a writer in between would wait for ever.
pub struct Shared<T, I> {
    rank: Kept,
    inner: Lent<T>,
    _interrupts: PhantomData<fn() -> I>,
}

/// Read access to what a [`Shared`] protects.
pub struct ReadGuard<'a, T, I: Interrupts> {
    inner: InUse<'a, T>,
    _ranked: Ranked,
    _masked: Masked<I>,
}

/// Write access to what a [`Shared`] protects.
pub struct WriteGuard<'a, T, I: Interrupts> {
    inner: Change<'a, T>,
    _ranked: Ranked,
    _masked: Masked<I>,
}

impl<T, I: Interrupts> Shared<T, I> {
    /// An open lock around `value`.
    pub fn new(rank: Rank, value: T) -> Self {
        Self {
            rank: Kept::new(rank),
            inner: Lent::new(value),
            _interrupts: PhantomData,
        }
    }

    /// Whether a writer waits or is inside, at this moment.
    #[inline]
    pub fn has_writer(&self) -> bool {
        self.inner.is_changing()
    }

    /// Masks interrupts and waits until no writer is inside, nor waits.
    #[inline]
    pub fn read(&self) -> ReadGuard<'_, T, I> {
        let masked = Masked::new();
        let ranked = Ranked::new(&self.rank);
        ReadGuard {
            inner: self.inner.use_it(),
            _ranked: ranked,
            _masked: masked,
        }
    }

    /// Masks interrupts and waits until nobody is inside.
    #[inline]
    pub fn write(&self) -> WriteGuard<'_, T, I> {
        let masked = Masked::new();
        let ranked = Ranked::new(&self.rank);
        WriteGuard {
            inner: self.inner.change(),
            _ranked: ranked,
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Unmasked;

    impl Interrupts for Unmasked {
        fn mask() -> u64 {
            0
        }
        fn restore(_state: u64) {}
    }

    /// The panic comes before the wait: two threads that take two locks in both
    /// orders would wait for each other only if they met.
    #[test]
    fn a_lock_out_of_order_is_noticed() {
        let window = Lock::<_, Unmasked>::new(Rank::Window, 0);
        let other = Lock::<_, Unmasked>::new(Rank::Window, 0);
        let books = Lock::<_, Unmasked>::new(Rank::Books, 0);
        let regions = Shared::<_, Unmasked>::new(Rank::Regions, 0);
        let noticed = |take: &dyn Fn()| {
            let result = std::panic::catch_unwind(core::panic::AssertUnwindSafe(take));
            result.is_err()
        };
        {
            let _window = window.lock();
            assert!(noticed(&|| drop(other.lock())), "two of one rank");
            let read = regions.read();
            assert!(noticed(&|| drop(books.lock())));
            assert!(noticed(&|| drop(regions.read())), "a second look");
            assert!(noticed(&|| drop(regions.write())));
            drop(read);
            // What panicked has left nothing behind.
            assert!(!noticed(&|| drop(books.lock())));
            assert!(!noticed(&|| drop(regions.write())));
        }
        let _write = regions.write();
        assert!(noticed(&|| drop(window.lock())));
    }

    #[test]
    fn a_reader_that_comes_later_lets_a_waiting_writer_pass() {
        let shared = Shared::<_, Unmasked>::new(Rank::Regions, 0);
        let order = Mutex::new(std::vec::Vec::new());
        std::thread::scope(|scope| {
            let first = shared.read();
            let writer = scope.spawn(|| {
                *shared.write() += 1;
            });
            while !shared.has_writer() {
                std::thread::yield_now();
            }
            let second = scope.spawn(|| order.lock().unwrap().push(*shared.read()));
            // Time to do the wrong thing: the lock is open to readers inside.
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!second.is_finished() && !writer.is_finished());
            drop(first);
        });
        assert_eq!(*order.lock().unwrap(), [1]);
        assert!(!shared.has_writer());
    }
}
