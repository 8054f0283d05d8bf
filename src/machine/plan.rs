//! How free memory becomes frames: which ranges, on which chip, and where the
//! frame allocator keeps its records. Pure, so that it can be tried on any
//! tree.

use super::{MachineError, MemoryMap};
use crate::memory::frames::{FrameAllocator, MAX_BYTES, MAX_ZONES, MIN_SHIFT};
use crate::memory::ranges::{Range, RangeError};
use arrayvec::ArrayVec;

/// What to do with free memory.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the allocator's records go: whole pages, free, in no zone.
    pub records: Range,
    /// The zones: ranges of whole pages, apart from each other, each with the
    /// chip that it is on.
    pub zones: ArrayVec<(Range, u32), MAX_ZONES>,
    /// Bytes of free memory in ranges that were too many: the smallest ones.
    pub left_out: u64,
}

impl MemoryMap {
    /// Plans the use of what is free.
    ///
    /// # Errors
    /// Nothing is free, there is more than can be managed, or no range holds
    /// the records.
    pub fn plan(&self) -> Result<Plan, MachineError> {
        let free = self.free()?;
        let mut zones = ArrayVec::new();
        let mut left_out = 0;
        for range in free.iter() {
            self.split_by_chip(range, |piece, chip| {
                left_out += add(&mut zones, piece.whole_blocks(MIN_SHIFT), chip);
            });
        }
        let total = zones.iter().map(|(range, _)| range.size()).sum();
        if total > MAX_BYTES {
            return Err(MachineError::TooMuch(total));
        }
        let words: usize = zones
            .iter()
            .map(|(range, _)| FrameAllocator::storage_for(range))
            .sum();
        let bytes = (words as u64 * 8).next_multiple_of(1 << MIN_SHIFT);
        let no_room = MachineError::NoRoom(bytes);
        let holder = zones.iter_mut().find(|(range, _)| range.size() > bytes);
        let Some((holder, _)) = holder else {
            return Err(no_room);
        };
        let part = |start, size| match Range::new(start, size) {
            Ok(range) => Ok(range),
            Err(RangeError::Overflow { .. } | RangeError::TooMany(_)) => Err(no_room.clone()),
        };
        let start = holder.start().get();
        let records = part(start, bytes)?;
        *holder = part(records.end().get(), holder.size() - bytes)?;
        Ok(Plan {
            records,
            zones,
            left_out,
        })
    }

    /// Hands on the pieces of `range`, each on one chip, in ascending order.
    fn split_by_chip(&self, range: &Range, mut hand_on: impl FnMut(Range, u32)) {
        let (mut at, end) = (range.start(), range.end());
        while at < end {
            // The node that holds this address, or else the next one above it,
            // whatever their order in the tree.
            let holder = self
                .chips()
                .find(|(node, _)| node.start() <= at && at < node.end());
            let (until, chip) = match holder {
                Some((node, chip)) => (node.end(), chip),
                None => {
                    let above = self.chips().map(|(node, _)| node.start());
                    (above.filter(|&start| start > at).min().unwrap_or(end), 0)
                }
            };
            let until = until.min(end);
            let Ok(piece) = Range::new(at.get(), until.get() - at.get()) else {
                return;
            };
            hand_on(piece, chip);
            at = until;
        }
    }
}

/// Adds a zone; if there are too many, the smallest of all goes. Returns the
/// bytes that were left out.
fn add(zones: &mut ArrayVec<(Range, u32), MAX_ZONES>, range: Range, chip: u32) -> u64 {
    if range.is_empty() {
        return 0;
    }
    let Err(error) = zones.try_push((range, chip)) else {
        return 0;
    };
    let new = error.element();
    let smallest = zones
        .iter()
        .enumerate()
        .min_by_key(|(_, (range, _))| range.size())
        .map(|(index, (range, _))| (index, range.size()));
    match smallest {
        Some((index, size)) if size < new.0.size() => {
            zones.remove(index);
            zones.push(new);
            size
        }
        _ => new.0.size(),
    }
}
