//! One region: where it is, what holds it, what was written.

use alloc::sync::Arc;

use super::dirty::{DirtyMap, Marks};
use super::gate::Gate;
use super::{FRAME_SHIFT, LedgerError, REGIONS_PER_OWNER};
use crate::addr::HostAddr;
use crate::memory::span::{self, Span};

/// What its owner calls a region as long as it has it; below [`REGIONS_PER_OWNER`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RegionNumber(u8);

impl RegionNumber {
    /// `None` for a number that no region has.
    pub fn new(number: usize) -> Option<Self> {
        u8::try_from(number).ok().map(Self)
    }

    /// That of a region which has it.
    #[inline]
    pub(super) fn named(number: u8) -> Self {
        Self(number)
    }

    /// As it is kept for all of an owner's regions.
    #[inline]
    pub(super) fn get(self) -> u8 {
        self.0
    }

    /// As an index of a list with room for all of an owner's regions.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

// All numbers fit.
const _: () = assert!(REGIONS_PER_OWNER == 1 << u8::BITS);

/// A contiguous piece of host memory with one owner.
#[derive(Debug)]
pub struct Region {
    start: HostAddr,
    bytes: u64,
    number: RegionNumber,
    gate: Gate,
    // What replaces the region when it changes its owner has the same.
    dirty: Arc<DirtyMap>,
}

/// A region's state at one moment, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegionInfo {
    /// First address.
    pub start: HostAddr,
    /// Its number among its owner's.
    pub number: RegionNumber,
    /// Bytes.
    pub bytes: u64,
    /// Mappings that hold it.
    pub pins: u64,
    /// Whether its gate is closed.
    pub closing: bool,
    /// Log2 of the bytes of a dirty granule.
    pub granule: u32,
}

impl Region {
    /// An open, clean region.
    pub(super) fn new(start: HostAddr, bytes: u64, granule: u32) -> Result<Self, LedgerError> {
        if bytes == 0 {
            return Err(LedgerError::Empty(start));
        }
        if !start.is_aligned(FRAME_SHIFT) || !HostAddr::new(bytes).is_aligned(FRAME_SHIFT) {
            return Err(LedgerError::Misaligned { start, bytes });
        }
        if start.checked_add(bytes - 1).is_none() {
            return Err(LedgerError::Overflow { start, bytes });
        }
        if !(FRAME_SHIFT..=30).contains(&granule) {
            return Err(LedgerError::Granule(granule));
        }
        Ok(Self {
            start,
            bytes,
            number: RegionNumber::default(),
            gate: Gate::new(),
            dirty: Arc::new(DirtyMap::new(bytes, granule)?),
        })
    }

    /// First address.
    #[inline]
    pub fn start(&self) -> HostAddr {
        self.start
    }

    /// Bytes.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Last address.
    #[inline]
    pub fn last(&self) -> HostAddr {
        HostAddr::new(self.start.get().wrapping_add(self.bytes - 1))
    }

    /// Bytes from the region's start to `host`, if it is inside.
    #[inline]
    pub fn offset(&self, host: HostAddr) -> Option<u64> {
        let offset = host.get().wrapping_sub(self.start.get());
        (offset < self.bytes).then_some(offset)
    }

    /// Bytes from `host`, which is inside, to the region's end.
    #[inline]
    pub(super) fn room(&self, host: HostAddr) -> u64 {
        let offset = host.get().wrapping_sub(self.start.get());
        self.bytes.wrapping_sub(offset)
    }

    /// What its owner calls it.
    #[inline]
    pub fn number(&self) -> RegionNumber {
        self.number
    }

    pub(super) fn set_number(&mut self, number: RegionNumber) {
        self.number = number;
    }

    /// Its pins.
    #[inline]
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Marks the `bytes` bytes at `offset` as written by a device; both inside.
    #[inline]
    pub(super) fn mark(&self, offset: u64, bytes: u64) {
        self.dirty.mark(offset, bytes);
    }

    /// Its whole pages of `1 << page_shift` bytes, in entries with the low bits of
    /// `like`.
    #[inline]
    pub(super) fn span(&self, page_shift: u32, like: u64) -> Span {
        Span::new(self.start.get(), self.bytes, page_shift, like)
    }

    /// Marks the page of `1 << page_shift` bytes at `offset`.
    #[inline]
    pub(super) fn mark_page(&self, offset: u64, page_shift: u32) {
        self.dirty.mark(offset, 1u64.wrapping_shl(page_shift));
    }

    /// The marks of the pages of `span`, if they are of these only and no page has
    /// several.
    #[inline]
    pub(super) fn marks_of(&self, span: &Span, page_shift: u32) -> Option<Marks<'_>> {
        // No page that only begins in the region has been skipped.
        let starts = span::page(span.first()) == self.start.get();
        let marks = self.dirty.of_pages(span.pages(), page_shift)?;
        starts.then_some(marks)
    }

    pub(super) fn is_dirty(&self, offset: u64) -> bool {
        self.dirty.is_marked(offset)
    }

    pub(super) fn dirty(&self) -> &DirtyMap {
        &self.dirty
    }

    /// The same memory for a new owner, open and clean. Nothing holds the region,
    /// which stays closed for those who still know it.
    pub(super) fn renewed(&self) -> Self {
        self.dirty.wipe();
        Self {
            start: self.start,
            bytes: self.bytes,
            number: RegionNumber::default(),
            gate: Gate::new(),
            dirty: Arc::clone(&self.dirty),
        }
    }

    pub(super) fn info(&self) -> RegionInfo {
        RegionInfo {
            start: self.start,
            number: self.number,
            bytes: self.bytes,
            pins: self.gate.pins(),
            closing: self.gate.is_closed(),
            granule: self.dirty.granule(),
        }
    }
}
