//! The hot loops over entries of one leaf.
//!
//! Indices and entries are computed with wrapping arithmetic: the caller's
//! `SlotRange` and pins have proved that nothing wraps, and a check per page
//! would double the cost. Loops go by eight, with one branch per group. One entry,
//! which is what most operations are for, goes without a loop.

use super::entry::{self, READ, RIGHTS, Stamp, Tce};
use crate::addr::HostAddr;
use crate::seam::TableMemory;

/// Entries that the loops look at in one go.
pub const GROUP: usize = 8;

/// Index of the first entry that is not empty, among `count` from `start`.
#[inline]
pub fn first_used<M: TableMemory>(
    memory: &M,
    leaf: HostAddr,
    start: usize,
    count: usize,
) -> Option<usize> {
    if count == 1 {
        return (memory.load(leaf, start) != 0).then_some(start);
    }
    first_used_of_many(memory, leaf, start, count)
}

fn first_used_of_many<M: TableMemory>(
    memory: &M,
    leaf: HostAddr,
    start: usize,
    count: usize,
) -> Option<usize> {
    let end = start.wrapping_add(count);
    let mut index = start;
    while end.wrapping_sub(index) >= GROUP {
        let mut any = 0;
        for lane in 0..GROUP {
            any |= memory.load(leaf, index.wrapping_add(lane));
        }
        if any != 0 {
            break;
        }
        index = index.wrapping_add(GROUP);
    }
    while index < end {
        if memory.load(leaf, index) != 0 {
            return Some(index);
        }
        index = index.wrapping_add(1);
    }
    None
}

/// The bits of `count` entries from `start`, or-ed.
#[inline]
pub fn any_bits<M: TableMemory>(memory: &M, leaf: HostAddr, start: usize, count: usize) -> u64 {
    let end = start.wrapping_add(count);
    let mut index = start;
    let mut any = 0;
    while end.wrapping_sub(index) >= GROUP {
        for lane in 0..GROUP {
            any |= memory.load(leaf, index.wrapping_add(lane));
        }
        index = index.wrapping_add(GROUP);
    }
    while index < end {
        any |= memory.load(leaf, index);
        index = index.wrapping_add(1);
    }
    any
}

/// Stores `entries` from `start` on.
#[inline]
pub fn copy<M: TableMemory>(memory: &M, leaf: HostAddr, start: usize, entries: &[Tce]) {
    let (groups, rest) = entries.as_chunks::<GROUP>();
    let mut index = start;
    for group in groups {
        for (lane, entry) in group.iter().enumerate() {
            memory.store(leaf, index.wrapping_add(lane), entry.bits());
        }
        index = index.wrapping_add(GROUP);
    }
    for entry in rest {
        memory.store(leaf, index, entry.bits());
        index = index.wrapping_add(1);
    }
}

/// Stores `first`, `first + step`, ... into `count` entries from `start`.
#[inline]
pub fn fill<M: TableMemory>(
    memory: &M,
    leaf: HostAddr,
    start: usize,
    count: usize,
    first: u64,
    step: u64,
) {
    if count == 1 {
        memory.store(leaf, start, first);
    } else {
        fill_many(memory, leaf, start, count, first, step);
    }
}

fn fill_many<M: TableMemory>(
    memory: &M,
    leaf: HostAddr,
    start: usize,
    count: usize,
    first: u64,
    step: u64,
) {
    let end = start.wrapping_add(count);
    let mut index = start;
    let mut value = first;
    while end.wrapping_sub(index) >= GROUP {
        for lane in 0..GROUP {
            memory.store(leaf, index.wrapping_add(lane), value);
            value = value.wrapping_add(step);
        }
        index = index.wrapping_add(GROUP);
    }
    while index < end {
        memory.store(leaf, index, value);
        value = value.wrapping_add(step);
        index = index.wrapping_add(1);
    }
}

/// Buries entries from `start` while they are `first`, `first + step`, ...:
/// returns how many of `count` were. `first` is live.
#[inline]
pub fn bury_run<M: TableMemory>(
    memory: &M,
    leaf: HostAddr,
    start: usize,
    count: usize,
    first: u64,
    step: u64,
    stamp: Stamp,
) -> usize {
    let burial = stamp.burial(first & RIGHTS);
    if count != 1 {
        return bury_run_of_many(memory, leaf, start, count, first, step, burial);
    }
    let as_expected = memory.load(leaf, start) == first;
    if as_expected {
        memory.store(leaf, start, first ^ burial);
    }
    usize::from(as_expected)
}

fn bury_run_of_many<M: TableMemory>(
    memory: &M,
    leaf: HostAddr,
    start: usize,
    count: usize,
    first: u64,
    step: u64,
    burial: u64,
) -> usize {
    let end = start.wrapping_add(count);
    let mut index = start;
    let mut expected = first;
    while end.wrapping_sub(index) >= GROUP {
        let mut differs = 0;
        let mut value = expected;
        for lane in 0..GROUP {
            differs |= memory.load(leaf, index.wrapping_add(lane)) ^ value;
            value = value.wrapping_add(step);
        }
        if differs != 0 {
            break;
        }
        // The low bits are the same in all: the step is a multiple of a page.
        let mut buried = expected ^ burial;
        for lane in 0..GROUP {
            memory.store(leaf, index.wrapping_add(lane), buried);
            buried = buried.wrapping_add(step);
        }
        expected = value;
        index = index.wrapping_add(GROUP);
    }
    while index < end && memory.load(leaf, index) == expected {
        memory.store(leaf, index, expected ^ burial);
        expected = expected.wrapping_add(step);
        index = index.wrapping_add(1);
    }
    index.wrapping_sub(start)
}

/// What [`bury`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Live entries, which are tombstones now.
    pub live: u64,
    /// Tombstones of other operations.
    pub foreign: u64,
}

/// Turns each live entry of `count` from `start` into a tombstone.
#[inline]
pub fn bury<M: TableMemory>(
    memory: &M,
    leaf: HostAddr,
    start: usize,
    count: usize,
    stamp: Stamp,
) -> Found {
    let end = start.wrapping_add(count);
    let mut found = Found::default();
    let mut index = start;
    let mut live = 0u64;
    let (both, read) = (stamp.burial(RIGHTS), stamp.burial(READ));
    while end.wrapping_sub(index) >= GROUP {
        if memory.load(leaf, index) == 0 {
            let used = first_used(memory, leaf, index, end.wrapping_sub(index));
            index = used.unwrap_or(end);
            continue;
        }
        let group: [u64; GROUP] =
            core::array::from_fn(|lane| memory.load(leaf, index.wrapping_add(lane)));
        let any = || group.iter().fold(0, |any, bits| any | bits);
        let all = || group.iter().fold(u64::MAX, |all, bits| all & bits);
        // What of a group goes at once: its first entry tells what to look for.
        let [one, ..] = group;
        let burial = match one & RIGHTS {
            RIGHTS if all() & RIGHTS == RIGHTS => both,
            READ if all() & READ != 0 && entry::low(any()) == READ => read,
            _ => {
                found.bury_each(memory, leaf, index, GROUP, stamp);
                0
            }
        };
        if burial != 0 {
            for (lane, bits) in group.into_iter().enumerate() {
                memory.store(leaf, index.wrapping_add(lane), bits ^ burial);
            }
            live = live.wrapping_add(GROUP as u64);
        }
        index = index.wrapping_add(GROUP);
    }
    found.bury_each(memory, leaf, index, end.wrapping_sub(index), stamp);
    found.live = found.live.wrapping_add(live);
    found
}

impl Found {
    #[inline(never)]
    fn bury_each<M: TableMemory>(
        &mut self,
        memory: &M,
        leaf: HostAddr,
        start: usize,
        count: usize,
        stamp: Stamp,
    ) {
        for index in start..start.wrapping_add(count) {
            let bits = memory.load(leaf, index);
            if bits & RIGHTS != 0 {
                memory.store(leaf, index, stamp.bury(bits));
                self.live = self.live.wrapping_add(1);
            } else if bits != 0 {
                self.foreign = self.foreign.wrapping_add(1);
            }
        }
    }
}

/// Empties entries from `start` as long as `is_mine` says so, which it asks once of
/// each; returns how many of `count` they were.
#[inline]
pub fn empty_while<M: TableMemory>(
    memory: &M,
    leaf: HostAddr,
    start: usize,
    count: usize,
    mut is_mine: impl FnMut(u64) -> bool,
) -> usize {
    let end = start.wrapping_add(count);
    let mut index = start;
    while end.wrapping_sub(index) >= GROUP {
        for lane in 0..GROUP {
            let at = index.wrapping_add(lane);
            if !is_mine(memory.load(leaf, at)) {
                return at.wrapping_sub(start);
            }
            memory.store(leaf, at, 0);
        }
        index = index.wrapping_add(GROUP);
    }
    while index < end && is_mine(memory.load(leaf, index)) {
        memory.store(leaf, index, 0);
        index = index.wrapping_add(1);
    }
    index.wrapping_sub(start)
}

/// Entries that are to be stored, by number.
pub trait NewEntries {
    /// The bits of entry `number`.
    fn one(&self, number: usize) -> u64;

    /// The bits of the [`GROUP`] entries from `number` on.
    #[inline]
    fn group(&self, number: usize) -> [u64; GROUP] {
        core::array::from_fn(|lane| self.one(number.wrapping_add(lane)))
    }
}

/// Stores entry 0, 1, ... of `new` in place of those from `start`, as long as
/// `is_mine` says so of the old one, which it asks once of each; returns how many of
/// `count` they were.
#[inline]
pub fn replace_while<M: TableMemory>(
    memory: &M,
    leaf: HostAddr,
    start: usize,
    count: usize,
    new: &impl NewEntries,
    mut is_mine: impl FnMut(u64) -> bool,
) -> usize {
    let mut done = 0usize;
    while count.wrapping_sub(done) >= GROUP {
        for (lane, bits) in new.group(done).into_iter().enumerate() {
            let at = start.wrapping_add(done).wrapping_add(lane);
            if !is_mine(memory.load(leaf, at)) {
                return done.wrapping_add(lane);
            }
            memory.store(leaf, at, bits);
        }
        done = done.wrapping_add(GROUP);
    }
    while done < count && is_mine(memory.load(leaf, start.wrapping_add(done))) {
        memory.store(leaf, start.wrapping_add(done), new.one(done));
        done = done.wrapping_add(1);
    }
    done
}
