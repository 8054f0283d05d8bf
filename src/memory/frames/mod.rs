//! The frame allocator: naturally aligned blocks of 2^n pages, as TCE tables,
//! radix roots and partitions' memory need them, with exact return.
//!
//! A buddy allocator that keeps its records apart from the memory it hands
//! out: a bit set of free blocks per order and zone. The storage for the bits
//! is passed in, so this file needs neither a heap nor `unsafe`.

mod bits;

use crate::addr::HostAddr;
use crate::memory::ranges::Range;
use arrayvec::ArrayVec;
use bits::{BitSet, words_for};
use core::fmt;
use thiserror::Error;

/// Smallest block: 2^12 bytes.
pub const MIN_SHIFT: u32 = 12;

/// Largest block: 2^30 bytes.
pub const MAX_SHIFT: u32 = 30;

/// Most zones, one for each separate range of usable memory on one chip.
pub const MAX_ZONES: usize = 64;

/// Most memory that is managed, in bytes: 64 TiB, what the largest POWER
/// machines have. Their records take 4 GiB.
pub const MAX_BYTES: u64 = 1 << 46;

const ORDERS: usize = (MAX_SHIFT - MIN_SHIFT + 1) as usize;

/// A block that is in use. It has no copy: giving it back takes it.
#[derive(PartialEq, Eq)]
#[must_use = "a block that is dropped is memory that is lost"]
pub struct Block {
    start: HostAddr,
    shift: u32,
}

impl Block {
    /// First byte, a multiple of the size.
    pub const fn start(&self) -> HostAddr {
        self.start
    }

    /// Base-2 logarithm of the size in bytes.
    pub const fn shift(&self) -> u32 {
        self.shift
    }

    /// Size in bytes.
    pub const fn size(&self) -> u64 {
        1 << self.shift
    }

    /// Keeps the memory for ever; returns its first byte.
    pub const fn leak(self) -> HostAddr {
        self.start
    }

    /// The block that [`Block::leak`] took apart. The allocator refuses what it
    /// did not hand out, or what is free.
    pub const fn unleak(start: HostAddr, shift: u32) -> Self {
        Self { start, shift }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({:#x}, 2^{})", self.start.get(), self.shift)
    }
}

/// Why the allocator did not do what it was asked for.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// No free block of this size.
    #[error("no free block of 2^{0} bytes")]
    OutOfMemory(u32),
    /// A size that is never handed out.
    #[error("blocks have 2^{MIN_SHIFT} to 2^{MAX_SHIFT} bytes, not 2^{0}")]
    Size(u32),
    /// A block that no zone could have handed out, or that is free already.
    /// The block comes back.
    #[error("{0:?} was not handed out by this allocator, or is free already")]
    NotInUse(Block),
    /// More zones than there is room for.
    #[error("more than {MAX_ZONES} separate ranges of memory")]
    TooManyZones,
    /// More memory than [`MAX_BYTES`], in bytes.
    #[error("{0:#x} bytes of memory are more than the {MAX_BYTES:#x} that can be managed")]
    TooMuch(u64),
    /// A range that overlaps a zone.
    #[error("memory {0} is managed already")]
    Overlap(Range),
    /// Less storage than the bits take, in words.
    #[error("{needed} words of storage are needed, {given} were given")]
    Storage {
        /// Words that are needed.
        needed: usize,
        /// Words that were given.
        given: usize,
    },
}

/// A contiguous range of memory on one chip.
struct Zone {
    /// What it manages, in whole pages.
    range: Range,
    /// `range`'s start, rounded down to the largest block: block numbers count
    /// from here, so that a block's number tells its alignment.
    origin: u64,
    chip: u32,
    /// First word of the free blocks' bits, for each order. 2^32 words are the
    /// bits of 512 TiB.
    words: [u32; ORDERS],
}

impl Zone {
    /// The free blocks of an order.
    fn free(&self, order: usize) -> BitSet {
        let bytes = self.range.end().get() - self.origin;
        match self.words.get(order) {
            Some(&base) => BitSet::new(base as usize, count(bytes, order)),
            None => BitSet::new(0, 0),
        }
    }

    fn number(&self, address: u64, order: usize) -> usize {
        ((address - self.origin) >> (MIN_SHIFT as usize + order)) as usize
    }

    fn address(&self, number: usize, order: usize) -> u64 {
        self.origin + ((number as u64) << (MIN_SHIFT as usize + order))
    }
}

/// The allocator. `words` is where it keeps its bits.
pub struct FrameAllocator<'a> {
    words: &'a mut [u64],
    used: usize,
    zones: ArrayVec<Zone, MAX_ZONES>,
    free_bytes: u64,
    total_bytes: u64,
}

/// The range from the largest-block boundary below `range` to its end, in
/// blocks of each order.
fn counts(range: &Range) -> (u64, [usize; ORDERS]) {
    let origin = range.start().get() & !((1 << MAX_SHIFT) - 1);
    let bytes = range.end().get() - origin;
    (origin, core::array::from_fn(|order| count(bytes, order)))
}

/// Whole blocks of an order in so many bytes.
fn count(bytes: u64, order: usize) -> usize {
    (bytes >> (MIN_SHIFT as usize + order)) as usize
}

impl<'a> FrameAllocator<'a> {
    /// Words of storage that [`FrameAllocator::add_zone`] takes for this range.
    pub fn storage_for(range: &Range) -> usize {
        let (_, counts) = counts(&range.whole_blocks(MIN_SHIFT));
        counts.iter().map(|&count| words_for(count)).sum()
    }

    /// An allocator without memory; `words` are zero and hold what the zones
    /// to be added take.
    pub const fn new(words: &'a mut [u64]) -> Self {
        Self {
            words,
            used: 0,
            zones: ArrayVec::new_const(),
            free_bytes: 0,
            total_bytes: 0,
        }
    }

    /// Adds the whole pages of `range`, which lies on `chip`, as free memory. A
    /// range without a whole page adds nothing.
    ///
    /// # Errors
    /// Too many zones, too much memory, too little storage, or a page of the
    /// range is in a zone; nothing has changed.
    pub fn add_zone(&mut self, range: Range, chip: u32) -> Result<(), FrameError> {
        let pages = range.whole_blocks(MIN_SHIFT);
        if pages.is_empty() {
            return Ok(());
        }
        let total = self.total_bytes.saturating_add(pages.size());
        if total > MAX_BYTES {
            return Err(FrameError::TooMuch(total));
        }
        let apart =
            |zone: &Zone| zone.range.end() <= pages.start() || pages.end() <= zone.range.start();
        if !self.zones.iter().all(apart) {
            return Err(FrameError::Overlap(pages));
        }
        let needed = self.used + Self::storage_for(&range);
        if needed > self.words.len() {
            return Err(FrameError::Storage {
                needed,
                given: self.words.len(),
            });
        }
        let (origin, counts) = counts(&pages);
        let mut base = self.used;
        let words = counts.map(|count| {
            let first = base;
            base += words_for(count);
            first as u32
        });
        if u32::try_from(base).is_err() {
            return Err(FrameError::TooMuch(total));
        }
        let zone = Zone {
            range: pages,
            origin,
            chip,
            words,
        };
        self.zones
            .try_push(zone)
            .map_err(|_| FrameError::TooManyZones)?;
        self.used = needed;
        let Some(zone) = self.zones.last() else {
            return Ok(());
        };
        let (mut at, end) = (pages.start().get(), pages.end().get());
        while at < end {
            // The largest block that is aligned here and still fits.
            let aligned = at.trailing_zeros().min(MAX_SHIFT);
            let fits = (end - at).ilog2();
            let order = (aligned.min(fits) - MIN_SHIFT) as usize;
            zone.free(order)
                .set(self.words, zone.number(at, order), true);
            at += 1u64 << (MIN_SHIFT as usize + order);
        }
        self.free_bytes += pages.size();
        self.total_bytes = total;
        Ok(())
    }

    /// The chip whose memory `at` is, if it is of a zone.
    pub fn chip_of(&self, at: HostAddr) -> Option<u32> {
        let is_in = |zone: &&Zone| zone.range.start() <= at && at < zone.range.end();
        self.zones.iter().find(is_in).map(|zone| zone.chip)
    }

    /// A block of 2^`shift` bytes, naturally aligned; from `chip` if it has
    /// one, else from any.
    ///
    /// # Errors
    /// Out of memory, or no such size.
    pub fn allocate(&mut self, shift: u32, chip: Option<u32>) -> Result<Block, FrameError> {
        match self.allocate_on(shift, chip) {
            Err(FrameError::OutOfMemory(_)) if chip.is_some() => self.allocate_on(shift, None),
            found => found,
        }
    }

    /// As [`FrameAllocator::allocate`], but from no other chip.
    ///
    /// # Errors
    /// Out of memory there, or no such size.
    pub fn allocate_on(&mut self, shift: u32, chip: Option<u32>) -> Result<Block, FrameError> {
        if !(MIN_SHIFT..=MAX_SHIFT).contains(&shift) {
            return Err(FrameError::Size(shift));
        }
        let order = (shift - MIN_SHIFT) as usize;
        let near = |zone: &&Zone| chip.is_none_or(|chip| zone.chip == chip);
        for zone in self.zones.iter().filter(near) {
            // The smallest block that is large enough, in this zone.
            let found = (order..ORDERS).find_map(|large| {
                let number = zone.free(large).first(self.words)?;
                Some((large, number))
            });
            let Some((large, number)) = found else {
                continue;
            };
            let start = zone.address(number, large);
            zone.free(large).set(self.words, number, false);
            for at in order..large {
                // The upper half of each split stays free.
                zone.free(at)
                    .set(self.words, zone.number(start, at) + 1, true);
            }
            self.free_bytes -= 1 << shift;
            return Ok(Block {
                start: HostAddr::new(start),
                shift,
            });
        }
        Err(FrameError::OutOfMemory(shift))
    }

    /// Takes a block back, and joins it with its buddies.
    ///
    /// # Errors
    /// The block, if it is not in use: it or a part of it is free, or it lies
    /// outside of all zones. Nothing has changed.
    pub fn free(&mut self, block: Block) -> Result<(), FrameError> {
        let (start, shift) = (block.start.get(), block.shift);
        let zone = Range::new(start, block.size())
            .ok()
            .and_then(|range| self.zones.iter().find(|zone| zone.range.contains(&range)));
        let Some(zone) = zone else {
            return Err(FrameError::NotInUse(block));
        };
        let order = (shift - MIN_SHIFT) as usize;
        let larger_is_free =
            (order..ORDERS).any(|at| zone.free(at).contains(self.words, zone.number(start, at)));
        // A block has no copy, so this is a mistake inside Pinion. A part of it
        // cannot be free: only a whole block is ever given back.
        if larger_is_free {
            return Err(FrameError::NotInUse(block));
        }
        let (mut at, mut address) = (order, start);
        while at + 1 < ORDERS {
            let number = zone.number(address, at);
            let buddy = number ^ 1;
            let set = zone.free(at);
            if !set.contains(self.words, buddy) {
                break;
            }
            set.set(self.words, buddy, false);
            address = zone.address(number & !1, at);
            at += 1;
        }
        zone.free(at)
            .set(self.words, zone.number(address, at), true);
        self.free_bytes += 1 << shift;
        Ok(())
    }

    /// Bytes that are free.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// Bytes that there are.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Base-2 logarithm of the largest free block, if any is free.
    pub fn largest_free(&self) -> Option<u32> {
        (0..ORDERS).rev().find_map(|order| {
            self.zones
                .iter()
                .any(|zone| zone.free(order).first(self.words).is_some())
                .then_some(MIN_SHIFT + order as u32)
        })
    }
}

#[cfg(test)]
mod tests;
