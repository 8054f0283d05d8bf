//! A window: bus addresses of some PEs, one table, one lock.

use alloc::sync::Arc;

use super::error::DmaError;
use super::liobn::Liobn;
use super::quota::Quota;
use super::state::State;
use crate::addr::{BusAddr, HostAddr};
use crate::kill::{Killed, Stake};
use crate::memory::ledger::{Holdings, OwnerId, PinError, Pins};
use crate::seam::sync::{AtomicU32, AtomicU64, Lock, LockGuard, Ordering, Rank, relax};
use crate::seam::{DmaTable, Platform};
use crate::tce::segments::Segment;
use crate::tce::{Access, Entry, PageSizes, Slot, SlotRange, TableShape, Tce, Tree, WindowRange};

/// Entries for which the lock is held at a time, where the operation need not
/// be atomic as a whole.
pub(super) const CHUNK: u64 = 512;

/// Largest possible [`WindowConfig::limit`].
pub const MOST_PAGES_AT_ONCE: u64 = 1 << 20;

/// What a window is to be.
#[derive(Clone, Copy, Debug)]
pub struct WindowConfig {
    /// First bus address; bit 59 selects the TVE.
    pub base: BusAddr,
    /// Size in IO pages.
    pub pages: u64,
    /// How its table is built.
    pub shape: TableShape,
    /// IO page sizes of all PHBs whose PEs may use it.
    pub sizes: PageSizes,
    /// Most pages that one operation may name. A map holds the lock, with
    /// interrupts off, for this many. At most [`MOST_PAGES_AT_ONCE`].
    pub limit: u64,
}

/// A window. Dropping it without [`Engine::remove`](super::Engine::remove)
/// frees neither its table nor its pins: nothing is released without a kill.
/// It is shared by reference: removal refuses new operations and
/// waits for those that run, whoever still holds a reference.
pub struct Window<P: Platform> {
    pub(super) range: WindowRange,
    pub(super) limit: u64,
    pub(super) holdings: Arc<Holdings<P>>,
    pub(super) quota: Arc<Quota>,
    pub(super) state: Lock<State, P>,
    // What its kills are for.
    pub(super) stake: Stake,
    // Operations between their first store and their last release: those that
    // began in an even turn, and in an odd one.
    // The low 14 bits count them, the others those that ever began.
    in_flight: [AtomicU64; 2],
    // Changes under the lock, by who controls the window.
    turn: AtomicU32,
    // What people and the trace call it; 0 for nothing.
    liobn: AtomicU32,
}

impl<P: Platform> Window<P> {
    /// Its addresses and shape.
    pub fn range(&self) -> &WindowRange {
        &self.range
    }

    /// The number that it is called by, if it has one: a partition's own, or one
    /// that only people use.
    #[inline]
    pub fn liobn(&self) -> Option<Liobn> {
        match self.number() {
            0 => None,
            number => Some(Liobn(number)),
        }
    }

    /// The same, 0 if it has none.
    #[inline]
    pub(super) fn number(&self) -> u32 {
        self.liobn.load(Ordering::Relaxed)
    }

    /// Calls it by a number, which is not 0.
    pub fn set_liobn(&self, liobn: Liobn) {
        self.liobn.store(liobn.0, Ordering::Relaxed);
    }

    /// The partition whose memory it maps.
    #[inline]
    pub fn owner(&self) -> OwnerId {
        self.stake.owner()
    }

    /// The regions that it may map.
    pub fn holdings(&self) -> &Arc<Holdings<P>> {
        &self.holdings
    }

    /// Whether `killed` is of this window. No other frees a table of it.
    pub(super) fn believes(&self, killed: &Killed) -> bool {
        let mine = killed.is_of(&self.stake);
        debug_assert!(mine, "released for a kill of another window");
        mine
    }

    /// The table as a PHB is told of it.
    pub(super) fn table(&self, tree: &Tree) -> DmaTable {
        let shape = tree.shape();
        DmaTable {
            root: tree.root(),
            levels: shape.levels(),
            level_shift: shape.level_shift(),
            page_shift: shape.page().get(),
        }
    }

    #[inline]
    pub(super) fn page_shift(&self) -> u32 {
        self.range.shape().page().get()
    }

    #[inline]
    pub(super) fn slots(&self, bus: BusAddr, pages: u64) -> Result<SlotRange, DmaError> {
        Ok(self.range.slots(bus, pages, self.limit)?)
    }

    /// The entry that maps the page at `host` to `bus`.
    #[inline]
    pub(super) fn entry(
        &self,
        bus: BusAddr,
        host: HostAddr,
        access: Access,
    ) -> Result<Tce, DmaError> {
        let aligned = host.is_aligned(self.page_shift());
        Tce::new(host, access)
            .filter(|_| aligned)
            .ok_or_else(|| self.misaligned(bus, host))
    }

    /// The page at `host`, for `bus`, is no IO page.
    #[cold]
    pub(super) fn misaligned(&self, bus: BusAddr, host: HostAddr) -> DmaError {
        DmaError::MisalignedHost {
            bus,
            host,
            page_bytes: self.range.shape().page().bytes(),
        }
    }

    /// What is in the way at the slot that is `further` slots after `first`.
    #[cold]
    pub(super) fn busy(&self, first: Slot, further: u64, entry: Entry) -> DmaError {
        let slot = Slot::new(first.get().wrapping_add(further));
        DmaError::Busy {
            bus: self.range.bus(slot),
            entry,
        }
    }

    /// Pins the `pages` pages from `host` that are to be mapped from `bus` on.
    #[inline]
    pub(super) fn pin_run(
        &self,
        bus: BusAddr,
        host: HostAddr,
        pages: u64,
    ) -> Result<Pins<'_, P>, DmaError> {
        let pinned = self.holdings.pin(host, pages, self.page_shift());
        pinned.map_err(|error| self.not_pinned(bus, host, error))
    }

    /// Why the pages from `host` on, for `bus`, were not pinned.
    #[cold]
    fn not_pinned(&self, bus: BusAddr, host: HostAddr, error: PinError) -> DmaError {
        // The bus address that the page of the error was for.
        let offset = error.host().get().wrapping_sub(host.get());
        let bus = BusAddr::new(bus.get().wrapping_add(offset));
        DmaError::Pin { bus, error }
    }

    /// Removes the pin of the page at `host` that an entry stood for.
    #[cold]
    pub(super) fn release_page(&self, host: HostAddr, wrote: bool, killed: &Killed) {
        if wrote {
            self.holdings
                .unpin_dirty(host, 1, self.page_shift(), killed);
        } else {
            self.holdings.unpin(host, 1, self.page_shift(), killed);
        }
    }

    /// Counts a thread that uses the table, until the result is dropped. Under
    /// the lock, when the phase admits it.
    #[inline]
    pub(super) fn enter(&self) -> InFlight<'_> {
        let count = self.in_flight(self.turn.load(Ordering::Relaxed));
        count.fetch_add(BEGUN + 1, Ordering::Relaxed);
        InFlight { count }
    }

    /// Claims the window for attach, detach, recovery or removal.
    pub(super) fn control(&self) -> Result<Control<'_, P>, DmaError> {
        let mut state = self.state.lock();
        state.exists()?;
        if state.controlled {
            return Err(DmaError::ControlBusy);
        }
        state.controlled = true;
        Ok(Control { window: self })
    }

    #[inline]
    fn in_flight(&self, turn: u32) -> &AtomicU64 {
        &self.in_flight[turn as usize % 2]
    }

    /// Waits until no operation runs. New ones are refused already; those that
    /// run end by themselves, as a kill has a time-out.
    pub(super) fn quiesce(&self) {
        for count in &self.in_flight {
            wait_for_none(count);
        }
        // What they stored under the lock is this thread's to drain, too: the
        // model does not see that the count says so already.
        drop(self.state.lock());
    }

    /// Waits until the operations that run now are over; others may begin
    /// meanwhile. For whoever controls the window.
    pub(super) fn outlast(&self) {
        let turn = {
            let _state = self.state.lock();
            self.turn.fetch_add(1, Ordering::Relaxed)
        };
        // None of the turn before is left: it was waited for, here or by the
        // last who came here.
        wait_for_none(self.in_flight(turn));
    }

    /// How many threads are in the table, and a number that changes when another
    /// comes. Under the lock.
    pub(super) fn activity(&self) -> (u64, u64) {
        let (mut running, mut begun) = (0u64, 0u64);
        for count in &self.in_flight {
            let word = count.load(Ordering::Relaxed);
            running = running.wrapping_add(word % BEGUN);
            begun = begun.wrapping_add(word / BEGUN);
        }
        (running, begun)
    }

    /// Calls `visit` for each segment of `range`, holes included, under the
    /// lock, which is let go and taken again after every 512 entries. `held`
    /// is the lock if it is held already; returns the lock as it is at the end.
    #[inline]
    pub(super) fn sweep<'w>(
        &'w self,
        memory: &P,
        range: SlotRange,
        held: LockGuard<'w, State, P>,
        mut visit: impl FnMut(&mut State, &Segment),
    ) -> LockGuard<'w, State, P> {
        let mut state = held;
        if range.pages() <= CHUNK
            && let Some(leaf) = state.tree.one_leaf(memory, range)
        {
            let segment = Segment {
                first: range.first(),
                pages: range.pages(),
                leaf: Some(leaf),
            };
            visit(&mut state, &segment);
            return state;
        }
        self.sweep_parts(memory, range, state, &mut visit)
    }

    fn sweep_parts<'w>(
        &'w self,
        memory: &P,
        range: SlotRange,
        held: LockGuard<'w, State, P>,
        visit: &mut dyn FnMut(&mut State, &Segment),
    ) -> LockGuard<'w, State, P> {
        let mut state = held;
        let mut done = 0;
        loop {
            let Some(rest) = range.part(done, u64::MAX) else {
                return state;
            };
            let tree = state.tree;
            let mut budget = CHUNK;
            for mut segment in tree.segments(memory, rest) {
                let cost = if segment.leaf.is_some() {
                    segment.pages = segment.pages.min(budget);
                    segment.pages
                } else {
                    1
                };
                visit(&mut state, &segment);
                done += segment.pages;
                budget -= cost;
                if budget == 0 {
                    break;
                }
            }
            if done == range.pages() {
                return state;
            }
            drop(state);
            state = self.state.lock();
        }
    }
}

/// One that began, in [`Window`]'s count of operations.
/// Fewer threads than this run, and it is short enough to be part of an instruction.
const BEGUN: u64 = 1 << 14;

fn wait_for_none(count: &AtomicU64) {
    while !count.load(Ordering::Acquire).is_multiple_of(BEGUN) {
        relax();
    }
}

/// A thread is in the window: its table stays. Made under the window's lock.
pub(super) struct InFlight<'w> {
    count: &'w AtomicU64,
}

impl Drop for InFlight<'_> {
    #[inline]
    fn drop(&mut self) {
        // One less.
        self.count.fetch_add(u64::MAX, Ordering::Release);
    }
}

/// The right to change what a window is attached to; one at a time.
pub(super) struct Control<'w, P: Platform> {
    window: &'w Window<P>,
}

impl<P: Platform> Drop for Control<'_, P> {
    fn drop(&mut self) {
        self.window.state.lock().controlled = false;
    }
}

impl<P: Platform> super::Engine<P> {
    /// Makes a window over the memory of `holdings`, with an empty table that
    /// is charged to `quota`. No PE uses it yet.
    pub fn create_window(
        &self,
        config: &WindowConfig,
        holdings: Arc<Holdings<P>>,
        quota: Arc<Quota>,
    ) -> Result<Arc<Window<P>>, DmaError> {
        let page = config.shape.page();
        if !config.sizes.contains(page) {
            return Err(DmaError::PageSize(page));
        }
        if config.limit > MOST_PAGES_AT_ONCE {
            return Err(DmaError::Limit(config.limit));
        }
        let range = WindowRange::new(config.base, config.pages, config.shape)?;
        let root = self.new_table(&quota, config.shape.frame_shift(0))?;
        self.platform.barrier();
        Ok(Arc::new(Window {
            stake: Stake::new(holdings.owner()),
            range,
            limit: config.limit,
            holdings,
            quota,
            state: Lock::new(Rank::Window, State::new(Tree::new(root, config.shape))),
            in_flight: [AtomicU64::new(0), AtomicU64::new(0)],
            turn: AtomicU32::new(0),
            liobn: AtomicU32::new(0),
        }))
    }

    /// A zeroed table of `1 << shift` bytes, charged to `quota`. The caller
    /// passes a barrier before a PHB can find it.
    pub(super) fn new_table(&self, quota: &Quota, shift: u32) -> Result<HostAddr, DmaError> {
        let bytes = 1u64 << shift;
        quota.charge(bytes)?;
        let Some(table) = self.platform.allocate(shift) else {
            quota.refund(bytes);
            return Err(DmaError::NoTableMemory { bytes });
        };
        self.platform.clear(table, 0, 1 << (shift - 3));
        Ok(table)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::AssertUnwindSafe;

    use super::*;
    use crate::dma::Engine;
    use crate::kill::kill_each;
    use crate::memory::ledger::Ledger;
    use crate::seam::KillScope;
    use crate::sim::Flat;
    use crate::tce::PageShift;

    fn window() -> Arc<Window<Flat>> {
        let engine = Engine::new(Flat::new(1 << 16), &[1]);
        let holdings = Ledger::new().add_owner(OwnerId(1)).unwrap();
        let config = WindowConfig {
            base: BusAddr::new(0),
            pages: 512,
            shape: TableShape::new(PageShift::K4, 1, 12).unwrap(),
            sizes: PageSizes::PHB4,
            limit: 512,
        };
        let quota = Arc::new(Quota::new(1 << 16));
        engine.create_window(&config, holdings, quota).unwrap()
    }

    /// Of a kill that was for another window, nothing is released; where assertions
    /// are on, it is said.
    #[test]
    fn a_kill_of_another_window_is_not_believed() {
        let (mine, other) = (window(), window());
        let machine = Flat::new(1 << 12);
        let killed = |window: &Window<Flat>, of: &Window<Flat>| {
            let killed = kill_each(&machine, &of.stake, &[], KillScope::Pe, |_| None);
            window.believes(&killed.ok().unwrap())
        };
        assert!(killed(&mine, &mine));
        let foreign = AssertUnwindSafe(|| killed(&mine, &other));
        let told = std::panic::catch_unwind(foreign).ok();
        assert_eq!(told, (!cfg!(debug_assertions)).then_some(false));
    }

    /// Who waits for the operations of one turn must not wait for those of the
    /// next, which go on for ever.
    #[test]
    fn neighbouring_turns_are_counted_apart() {
        let window = window();
        for turn in (0..5).chain([u32::MAX - 1, u32::MAX]) {
            let count = |turn: u32| core::ptr::from_ref(window.in_flight(turn));
            assert_ne!(count(turn), count(turn.wrapping_add(1)), "{turn}");
            assert_eq!(count(turn), count(turn.wrapping_add(2)), "{turn}");
        }
    }

    /// An operation that came and went is seen, in whichever turn.
    #[test]
    fn the_activity_of_a_window_tells_of_operations_that_are_over() {
        let window = window();
        assert_eq!(window.activity(), (0, 0));
        for begun in 1..4 {
            let one = window.enter();
            assert_eq!(window.activity(), (1, begun));
            drop(one);
            assert_eq!(window.activity(), (0, begun));
            window.outlast();
        }
        let both = (window.enter(), window.enter());
        assert_eq!(window.activity(), (2, 5));
        drop(both);
        assert_eq!(window.activity(), (0, 5));
        window.quiesce();
    }
}
