//! A XIVE event queue: a page that the controller fills with 4-byte entries.
//!
//! An entry is a generation bit (bit 31) and the source's number. The
//! controller writes round after round; the bit is 1 in the first round, 0 in
//! the second, and so on, so an entry is new if it has the bit of the round that
//! the reader is in (skiboot doc/xive.rst, OPAL_XIVE_GET_QUEUE_INFO; a queue that
//! is enabled starts with generation 1).
//!
//! A queue never overflows: a source that is in it does not fire again until
//! it was ended, and there are fewer sources than entries.

use super::Bus;
use crate::addr::HostAddr;
use core::sync::atomic::{AtomicU32, Ordering};

/// Base-2 logarithm of the bytes of Pinion's queues: the smallest that each
/// XIVE has (`ibm,xive-eq-sizes`).
pub const QUEUE_SHIFT: u32 = 12;

/// Sizes that firmware takes (skiboot hw/xive.c, opal_xive_set_queue_info).
pub const SIZES: [u32; 4] = [12, 16, 21, 24];

/// Bytes of an entry.
pub const ENTRY: u64 = 4;

const GENERATION: u32 = 1 << 31;

const _: () = assert!((super::table::MAX_SOURCES as u64) < (1 << QUEUE_SHIFT) / ENTRY);

/// The source in an entry, if it is of the round with this generation bit.
pub const fn decode(entry: u32, generation: bool) -> Option<u32> {
    if (entry & GENERATION != 0) == generation {
        Some(entry & !GENERATION)
    } else {
        None
    }
}

/// The reader's side of a thread's queue. Only that thread reads it.
pub struct Queue {
    page: HostAddr,
    shift: u32,
    /// Entries taken, modulo twice the length: where the next is, and in which
    /// kind of round.
    taken: AtomicU32,
}

impl Queue {
    /// The queue in 2^`shift` zeroed bytes at `page`, which firmware has just
    /// been told of. `None` if it has no such queues, or the page is not
    /// aligned.
    pub fn new(page: HostAddr, shift: u32) -> Option<Self> {
        (SIZES.contains(&shift) && page.is_aligned(shift)).then_some(Self {
            page,
            shift,
            taken: AtomicU32::new(0),
        })
    }

    /// Address of the page.
    pub fn page(&self) -> HostAddr {
        self.page
    }

    /// Takes the oldest new entry.
    pub fn next(&self, bus: &impl Bus) -> Option<u32> {
        let length = 1u32 << (self.shift - 2);
        let taken = self.taken.load(Ordering::Relaxed);
        let offset = u64::from(taken % length) * ENTRY;
        let entry = bus.load_memory32(HostAddr::new(self.page.get().wrapping_add(offset)));
        let number = decode(entry, taken < length)?;
        self.taken
            .store((taken + 1) % (2 * length), Ordering::Relaxed);
        Some(number)
    }
}
