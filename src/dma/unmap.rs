//! Unmap: bury, kill, exhume.

use super::error::DmaError;
use super::operation::Operation;
use super::state::State;
use super::window::Window;
use crate::addr::{BusAddr, HostAddr};
use crate::kill::Killed;
use crate::memory::ledger::{Pages, Place, RegionCounts, Scan};
use crate::seam::{Platform, TableMemory};
use crate::tce::entry::{self, RIGHTS};
use crate::tce::segments::Segment;
use crate::tce::tree::Leaf;
use crate::tce::{SlotRange, Stamp, leaf};

/// What the first pass over the entries found.
struct Buried {
    live: u64,
    /// Tombstones of operations whose kill is not over.
    foreign: u64,
    run: Run,
}

/// Whether all entries so far map one run of pages.
#[derive(Clone, Copy)]
enum Run {
    NotBegun,
    /// Yes: its first entry, and the one expected next.
    Whole {
        first: u64,
        next: u64,
    },
    Broken,
}

impl<P: Platform> super::Engine<P> {
    /// [`Engine::unmap`](super::Engine::unmap), not noted.
    #[inline]
    pub(super) fn do_unmap(
        &self,
        window: &Window<P>,
        bus: BusAddr,
        pages: u64,
    ) -> Result<u64, DmaError> {
        self.unmap_slots(window, window.slots(bus, pages)?)
    }

    pub(super) fn unmap_slots(
        &self,
        window: &Window<P>,
        range: SlotRange,
    ) -> Result<u64, DmaError> {
        let memory = &self.platform;
        let (state, stamp) = match window.lock_with_stamp() {
            Ok(admitted) => admitted,
            // It is empty, and no PE remembers anything else.
            Err(DmaError::Detached) => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut operation = Operation::begin(self, window, range, Some(stamp), false);
        let mut buried = Buried {
            live: 0,
            foreign: 0,
            run: Run::NotBegun,
        };
        let mut state = window.sweep(memory, range, state, |state, segment| {
            buried.add(memory, state, segment, stamp);
        });
        if buried.live == 0 && buried.foreign == 0 {
            operation.cancel(&mut state);
            return Ok(0);
        }
        operation.seal(&mut state);
        state.recent.note(range);
        drop(state);
        operation.settle(None, |operation, killed| match buried.run {
            Run::Whole { first, .. } => release_run(memory, operation, first, killed),
            Run::NotBegun | Run::Broken => release_scattered(memory, operation, stamp, killed),
        })?;
        Ok(buried.live)
    }
}

impl Buried {
    #[inline]
    fn add<M: TableMemory>(&mut self, memory: &M, state: &State, segment: &Segment, stamp: Stamp) {
        let Some(at) = segment.leaf else {
            self.run = Run::Broken;
            return;
        };
        let (mut index, mut left) = (at.index, segment.pages as usize);
        if let Run::NotBegun = self.run {
            let first = memory.load(at.table, index);
            self.run = if first & RIGHTS != 0 {
                Run::Whole { first, next: first }
            } else {
                Run::Broken
            };
        }
        if let Run::Whole { first, next } = self.run {
            let step = state.tree.shape().page().bytes();
            let count = leaf::bury_run(memory, at.table, index, left, next, step, stamp);
            self.live += count as u64;
            index += count;
            left -= count;
            let next = next.wrapping_add((count as u64).wrapping_mul(step));
            self.run = if left == 0 {
                Run::Whole { first, next }
            } else {
                Run::Broken
            };
        }
        if left != 0 {
            let found = leaf::bury(memory, at.table, index, left, stamp);
            self.live += found.live;
            self.foreign += found.foreign;
        }
    }
}

/// All entries of the operation are tombstones of one run of pages: they need
/// not be read again, and the pins go in one subtraction.
fn release_run<P: Platform>(
    memory: &P,
    operation: &mut Operation<'_, P>,
    first: u64,
    killed: &Killed,
) {
    let (window, range) = (operation.window, operation.range);
    let mut state = window.sweep(memory, range, window.state.lock(), |state, segment| {
        if let Some(at) = segment.leaf {
            leaf::fill(memory, at.table, at.index, segment.pages as usize, 0, 0);
            if state.tree.emptied(memory, &at, segment.pages) {
                state.note_empty(memory, segment.first);
            }
        }
    });
    operation.give_stamp(&mut state);
    drop(state);
    let host: HostAddr = entry::address(first);
    if entry::wrote(first) {
        window
            .holdings
            .unpin_dirty(host, range.pages(), window.page_shift(), killed);
    } else {
        window
            .holdings
            .unpin(host, range.pages(), window.page_shift(), killed);
    }
}

/// Releases the page of each tombstone of `stamp` in the operation's range.
pub(super) fn release_scattered<P: Platform>(
    memory: &P,
    operation: &mut Operation<'_, P>,
    stamp: Stamp,
    killed: &Killed,
) {
    let (window, range) = (operation.window, operation.range);
    let mut state = window.sweep(memory, range, window.state.lock(), |state, segment| {
        exhume(memory, window, state, segment, killed, move |bits| {
            stamp.owns(bits)
        });
    });
    operation.give_stamp(&mut state);
}

/// Empties the entries of `segment` that are `owned` and releases their pages.
#[inline]
pub(super) fn exhume<P: Platform>(
    memory: &P,
    window: &Window<P>,
    state: &mut State,
    segment: &Segment,
    killed: &Killed,
    owned: impl Fn(u64) -> bool + Copy,
) {
    let Some(at) = segment.leaf else { return };
    let held = window.holdings.hold();
    let mut counts = RegionCounts::new();
    let Some(mut releaser) = held.releaser(window.page_shift(), &mut counts, killed) else {
        return;
    };
    let freed = empty_owned(memory, &at, segment.pages, owned, &mut releaser);
    drop(releaser);
    drop(held);
    if freed != 0 && state.tree.emptied(memory, &at, freed) {
        state.note_empty(memory, segment.first);
    }
}

/// Empties those of the `count` entries from `at` that are `owned`, and gives their
/// pages to `pages`. Returns how many they were.
#[inline]
pub(super) fn empty_owned<M: TableMemory>(
    memory: &M,
    at: &Leaf,
    count: u64,
    owned: impl Fn(u64) -> bool + Copy,
    pages: &mut impl Pages,
) -> u64 {
    let (table, mut index) = (at.table, at.index);
    let end = index.wrapping_add(count as usize);
    let mut freed = 0u64;
    while index < end {
        let bits = memory.load(table, index);
        // Of those here, passed and freed. One way through the loop, or it becomes two
        // loops, and each change of region a start of the inner one.
        let (mut passed, mut gone) = (1usize, 0u64);
        if owned(bits) {
            let wrote = entry::wrote(bits);
            let place = pages.take(entry::address(bits), wrote);
            memory.store(table, index, 0);
            let next = index.wrapping_add(1);
            let rest = Emptying {
                memory,
                table,
                index: next,
                count: end.wrapping_sub(next),
                owned,
            };
            let more = match place {
                Place::First => 0,
                Place::Same => pages.take_like(bits, wrote, rest),
                Place::Other => pages.take_each(rest),
            };
            passed = passed.wrapping_add(more as usize);
            gone = more.wrapping_add(1);
        } else if bits == 0 {
            let rest = end.wrapping_sub(index);
            let used = leaf::first_used(memory, table, index, rest);
            passed = used.map_or(rest, |used| used.wrapping_sub(index));
        }
        index = index.wrapping_add(passed);
        freed = freed.wrapping_add(gone);
    }
    freed
}

/// Empties entries: those with the low bits of one that is owned, which are owned
/// too, or all that are owned.
struct Emptying<'m, M, O> {
    memory: &'m M,
    table: HostAddr,
    index: usize,
    count: usize,
    owned: O,
}

impl<M: TableMemory, O: Fn(u64) -> bool> Emptying<'_, M, O> {
    #[inline]
    fn passed(&mut self, count: usize) -> u64 {
        self.index = self.index.wrapping_add(count);
        self.count = self.count.wrapping_sub(count);
        count as u64
    }
}

impl<M: TableMemory, O: Fn(u64) -> bool> Scan for Emptying<'_, M, O> {
    #[inline]
    fn like(&mut self, is_like: impl FnMut(u64) -> bool) -> u64 {
        let count = leaf::empty_while(self.memory, self.table, self.index, self.count, is_like);
        self.passed(count)
    }

    #[inline]
    fn each(&mut self, mut take: impl FnMut(u64, bool) -> bool) -> u64 {
        let mut index = self.index;
        let end = index.wrapping_add(self.count);
        while index < end {
            let bits = self.memory.load(self.table, index);
            if !(self.owned)(bits) || !take(bits, entry::wrote(bits)) {
                break;
            }
            self.memory.store(self.table, index, 0);
            index = index.wrapping_add(1);
        }
        self.passed(index.wrapping_sub(self.index))
    }
}
