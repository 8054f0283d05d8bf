//! The hot loops over entries of one leaf.
//!
//! Indices and entries are computed with wrapping arithmetic: the caller's
//! `SlotRange` and pins have proved that nothing wraps, and a check per page
//! would double the cost. Loops go by eight, with one branch per group. One entry,
//! which is what most operations are for, goes without a loop.

use super::entry::{self, RIGHTS, Stamp};
use crate::addr::HostAddr;
use crate::seam::TableMemory;

const GROUP: usize = 8;

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

/// Whether a tombstone is among `count` entries from `start`.
#[inline]
pub fn any_buried<M: TableMemory>(memory: &M, leaf: HostAddr, start: usize, count: usize) -> bool {
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
    entry::any_buried(any)
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
    while index < end {
        if end.wrapping_sub(index) >= GROUP {
            let mut any = 0;
            for lane in 0..GROUP {
                any |= memory.load(leaf, index.wrapping_add(lane));
            }
            if any == 0 {
                index = index.wrapping_add(GROUP);
                continue;
            }
        }
        let group_end = end.min(index.wrapping_add(GROUP));
        while index < group_end {
            let bits = memory.load(leaf, index);
            if bits & RIGHTS != 0 {
                memory.store(leaf, index, stamp.bury(bits));
                found.live = found.live.wrapping_add(1);
            } else if bits != 0 {
                found.foreign = found.foreign.wrapping_add(1);
            }
            index = index.wrapping_add(1);
        }
    }
    found
}

/// Empties each tombstone of `stamp` among `count` entries from `start`, and
/// calls `release` with its page and whether a device may have written it.
/// Returns how many they were.
#[inline]
pub fn exhume<M: TableMemory>(
    memory: &M,
    leaf: HostAddr,
    start: usize,
    count: usize,
    owned: impl Fn(u64) -> bool,
    mut release: impl FnMut(HostAddr, bool),
) -> u64 {
    let end = start.wrapping_add(count);
    let mut index = start;
    let mut freed = 0u64;
    while index < end {
        let bits = memory.load(leaf, index);
        if owned(bits) {
            release(entry::address(bits), entry::wrote(bits));
            memory.store(leaf, index, 0);
            freed = freed.wrapping_add(1);
        }
        index = index.wrapping_add(1);
    }
    freed
}
