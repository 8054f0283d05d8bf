//! What a remap is to store, and the pins that it has for it.

use crate::memory::ledger::{Pins, RepeatedPins, ScatteredPins};
use crate::seam::{Platform, TableMemory};
use crate::tce::Tce;
use crate::tce::leaf::{self, GROUP, NewEntries};
use crate::tce::tree::Leaf;

/// The entries that a remap is to store.
pub(super) trait Wanted {
    /// The bits of entry `index`; live or 0.
    fn bits(&self, index: u64) -> u64;

    /// The bits of the entries from `first` on.
    #[inline]
    fn group(&self, first: u64) -> [u64; GROUP] {
        core::array::from_fn(|lane| self.bits(first.wrapping_add(lane as u64)))
    }

    /// Whether all are mappings.
    fn map_all(&self) -> bool {
        true
    }

    /// Whether any of the `pages` entries from `first` is a mapping.
    fn maps(&self, first: u64, pages: u64) -> bool {
        (0..pages).any(|offset| self.bits(first.wrapping_add(offset)) != 0)
    }

    /// Stores the `pages` entries from `first`, from `at` on.
    fn store<M: TableMemory>(&self, memory: &M, at: &Leaf, first: u64, pages: u64);
}

/// Any entries, in a list.
pub(super) struct Listed<'a> {
    pub(super) entries: &'a [Tce],
    // How many of them are mappings.
    pub(super) mappings: usize,
}
/// The same entry each time.
pub(super) struct Same(pub(super) Tce);
/// A run of pages.
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) page_shift: u32,
}

impl Wanted for Listed<'_> {
    #[inline]
    fn bits(&self, index: u64) -> u64 {
        self.entries
            .get(index as usize)
            .map_or(0, |entry| entry.bits())
    }

    #[inline]
    fn group(&self, first: u64) -> [u64; GROUP] {
        let rest = self.entries.get(first as usize..).unwrap_or(&[]);
        let group = rest.first_chunk();
        group.map_or([0; GROUP], |group| group.map(Tce::bits))
    }

    #[inline]
    fn map_all(&self) -> bool {
        self.mappings == self.entries.len()
    }

    #[inline]
    fn store<M: TableMemory>(&self, memory: &M, at: &Leaf, first: u64, pages: u64) {
        let rest = self.entries.get(first as usize..).unwrap_or(&[]);
        if let Some(entries) = rest.get(..pages as usize) {
            leaf::copy(memory, at.table, at.index, entries);
        }
    }
}

impl Wanted for Same {
    #[inline]
    fn bits(&self, _index: u64) -> u64 {
        self.0.bits()
    }

    #[inline]
    fn store<M: TableMemory>(&self, memory: &M, at: &Leaf, _first: u64, pages: u64) {
        leaf::fill(memory, at.table, at.index, pages as usize, self.0.bits(), 0);
    }
}

impl Wanted for Run {
    #[inline]
    fn bits(&self, index: u64) -> u64 {
        self.first.wrapping_add(index.wrapping_shl(self.page_shift))
    }

    #[inline]
    fn store<M: TableMemory>(&self, memory: &M, at: &Leaf, first: u64, pages: u64) {
        let step = 1u64.wrapping_shl(self.page_shift);
        let first = self.bits(first);
        leaf::fill(memory, at.table, at.index, pages as usize, first, step);
    }
}

/// Pins of the new pages, until entries stand for them.
pub(super) trait NewPins {
    fn keep(self);
}

impl<P: Platform> NewPins for Pins<'_, P> {
    #[inline]
    fn keep(self) {
        Pins::keep(self);
    }
}

impl<P: Platform> NewPins for RepeatedPins<'_, P> {
    #[inline]
    fn keep(self) {
        RepeatedPins::keep(self);
    }
}

impl<P: Platform> NewPins for ScatteredPins<'_, P, Tce> {
    #[inline]
    fn keep(self) {
        ScatteredPins::keep(self);
    }
}

/// The wanted entries from one on.
pub(super) struct From<'m, W> {
    pub(super) first: u64,
    pub(super) wanted: &'m W,
}

impl<W: Wanted> NewEntries for From<'_, W> {
    #[inline]
    fn one(&self, number: usize) -> u64 {
        self.wanted.bits(self.first.wrapping_add(number as u64))
    }

    #[inline]
    fn group(&self, number: usize) -> [u64; GROUP] {
        self.wanted.group(self.first.wrapping_add(number as u64))
    }
}
