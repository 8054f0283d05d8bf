//! The tree of tables behind a TVE, from the root to the leaves.
//!
//! Levels below the root exist only where something is mapped. The second half
//! of each table above the leaves counts, per child, the entries in use: a
//! child whose count is 0 can be unlinked without scanning it. The hardware
//! never reads that half.

use super::chain::Tables;
use super::entry;
use super::segments::Segments;
use super::shape::TableShape;
use super::window::{Slot, SlotRange};
use crate::addr::HostAddr;
use crate::seam::TableMemory;
use core::hint::cold_path;

/// The entry of the table above that leads to a table, and its count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parent {
    table: HostAddr,
    index: usize,
    // Where in the same table its count is.
    count: usize,
}

/// A leaf, and where in it a slot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// The leaf's table.
    pub table: HostAddr,
    /// Index of the slot in it.
    pub index: usize,
    parent: Option<Parent>,
}

/// Where a slot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// In a leaf.
    In(Leaf),
    /// Nowhere: no table up to this slot, which may be beyond the range asked for.
    Hole {
        /// The first slot behind the hole.
        end: Slot,
    },
}

/// Tables that a range needs and the tree lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Missing {
    /// Of the last level.
    pub leaves: u64,
    /// Of the levels between root and leaves.
    pub nodes: u64,
}

/// A table tree. It has no lock and frees nothing when it is dropped: its
/// window does both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tree {
    root: HostAddr,
    shape: TableShape,
}

impl Tree {
    /// The tree of `shape` below `root`, whose frame of `shape.frame_shift(0)`
    /// is all zero.
    pub const fn new(root: HostAddr, shape: TableShape) -> Self {
        Self { root, shape }
    }

    /// The root table.
    pub const fn root(&self) -> HostAddr {
        self.root
    }

    /// The shape.
    pub const fn shape(&self) -> TableShape {
        self.shape
    }

    /// Where `slot` is.
    #[inline]
    pub fn find<M: TableMemory>(&self, memory: &M, slot: Slot) -> Position {
        if self.shape.levels() != 1 {
            return self.find_below(memory, slot);
        }
        Position::In(Leaf {
            table: self.root,
            index: self.shape.leaf_index(slot),
            parent: None,
        })
    }

    /// As [`Tree::find`], for one slot; `None` for one in a hole.
    #[inline(always)] // For those few callers to whom a call is dear.
    pub fn find_leaf<M: TableMemory>(&self, memory: &M, slot: Slot) -> Option<Leaf> {
        if self.shape.levels() == 1 {
            return Some(Leaf {
                table: self.root,
                // No window reaches beyond its table.
                index: slot.get() as usize,
                parent: None,
            });
        }
        if self.shape.levels() != 2 {
            cold_path();
            return self.find_deep(memory, slot);
        }
        // No mask: no window reaches beyond its table.
        let index = slot.get().wrapping_shr(self.shape.index_bits()) as usize;
        let parent = self.parent(self.root, index);
        let entry = memory.load(parent.table, parent.index);
        if entry == 0 {
            return None;
        }
        Some(Leaf {
            table: entry::address(entry),
            index: self.shape.leaf_index(slot),
            parent: Some(parent),
        })
    }

    /// As [`Tree::find_leaf`], in more than two levels.
    #[inline(always)] // A call would take registers from those who need none.
    fn find_deep<M: TableMemory>(&self, memory: &M, slot: Slot) -> Option<Leaf> {
        let (mut table, mut parent) = (self.root, None);
        let bits = self.shape.index_bits();
        let mut below = bits.wrapping_mul(self.shape.levels().wrapping_sub(1));
        while below != 0 {
            let index = slot.get().wrapping_shr(below) as usize & self.shape.index_mask();
            let entry = memory.load(table, index);
            if entry == 0 {
                return None;
            }
            parent = Some(self.parent(table, index));
            table = entry::address(entry);
            below = below.wrapping_sub(bits);
        }
        let index = self.shape.leaf_index(slot);
        Some(Leaf {
            table,
            index,
            parent,
        })
    }

    /// As [`Tree::find`], in any number of levels.
    fn find_below<M: TableMemory>(&self, memory: &M, slot: Slot) -> Position {
        let mut table = self.root;
        let mut parent = None;
        for level in 0..self.shape.levels().wrapping_sub(1) {
            let index = self.shape.index(slot, level);
            let bits = memory.load(table, index);
            if bits == 0 {
                let below = 1u64
                    .wrapping_shl(self.shape.entry_bits(level))
                    .wrapping_sub(1);
                return Position::Hole {
                    end: Slot::new((slot.get() | below).wrapping_add(1)),
                };
            }
            parent = Some(self.parent(table, index));
            table = entry::address(bits);
        }
        Position::In(Leaf {
            table,
            index: self.shape.leaf_index(slot),
            parent,
        })
    }

    /// The leaf that all of `range` is in, which is what most operations are for.
    #[inline]
    pub fn one_leaf<M: TableMemory>(&self, memory: &M, range: SlotRange) -> Option<Leaf> {
        let room = |leaf: &Leaf| self.shape.entries().wrapping_sub(leaf.index) as u64;
        match self.find(memory, range.first()) {
            Position::In(leaf) if range.pages() <= room(&leaf) => Some(leaf),
            _ => None,
        }
    }

    /// The parts of `range`, each in one leaf or in none.
    #[inline]
    pub fn segments<'a, M: TableMemory>(
        &'a self,
        memory: &'a M,
        range: SlotRange,
    ) -> Segments<'a, M> {
        Segments::new(self, memory, range)
    }

    /// The entry of `slot`, 0 if no table has it.
    #[inline]
    pub fn load<M: TableMemory>(&self, memory: &M, slot: Slot) -> u64 {
        match self.find(memory, slot) {
            Position::In(leaf) => memory.load(leaf.table, leaf.index),
            Position::Hole { .. } => 0,
        }
    }

    /// How many tables `range` needs that do not exist.
    pub fn missing<M: TableMemory>(&self, memory: &M, range: SlotRange) -> Missing {
        self.missing_where(memory, range, |_, _| true)
    }

    /// As [`Tree::missing`], for those leaves only of which `wanted` says so: it
    /// gets the first page, counted from the start of `range`, and the number
    /// of pages of `range` that are in the leaf.
    pub fn missing_where<M: TableMemory>(
        &self,
        memory: &M,
        range: SlotRange,
        wanted: impl Fn(u64, u64) -> bool,
    ) -> Missing {
        let mut missing = Missing::default();
        if self.shape.levels() == 1 {
            return missing;
        }
        let leaf_bits = self.shape.index_bits();
        let last = range.end().get() - 1;
        let mut slot = range.first().get();
        let mut previous: Option<u64> = None;
        loop {
            let next = ((slot >> leaf_bits) + 1) << leaf_bits;
            let pages = next.min(last + 1) - slot;
            let present = if wanted(slot - range.first().get(), pages) {
                self.present_levels(memory, Slot::new(slot))
            } else {
                self.shape.levels()
            };
            for level in present..self.shape.levels() {
                // The table on this level covers what one entry above it does.
                let covers = self.shape.entry_bits(level - 1);
                if previous.is_none_or(|before| before >> covers != slot >> covers) {
                    if self.shape.is_leaf(level) {
                        missing.leaves += 1;
                    } else {
                        missing.nodes += 1;
                    }
                }
            }
            if present < self.shape.levels() {
                previous = Some(slot);
            }
            if next > last {
                return missing;
            }
            slot = next;
        }
    }

    /// Levels of tables that exist on the way to `slot`, the root included.
    fn present_levels<M: TableMemory>(&self, memory: &M, slot: Slot) -> u32 {
        let mut table = self.root;
        for level in 0..self.shape.levels() - 1 {
            let bits = memory.load(table, self.shape.index(slot, level));
            if bits == 0 {
                return level + 1;
            }
            table = entry::address(bits);
        }
        self.shape.levels()
    }

    /// The leaf of `slot`, made from `spare` where tables are missing. `None`,
    /// with at most empty tables added, if `spare` has too few.
    ///
    /// The spare tables were zeroed before a barrier that this thread has
    /// passed, so that a PHB finds no garbage in them.
    pub fn ensure<M: TableMemory>(
        &self,
        memory: &M,
        slot: Slot,
        spare: &mut Tables,
    ) -> Option<Leaf> {
        let mut table = self.root;
        let mut parent: Option<Parent> = None;
        for level in 0..self.shape.levels() - 1 {
            let index = self.shape.index(slot, level);
            let bits = memory.load(table, index);
            let child = if bits != 0 {
                entry::address(bits)
            } else {
                let chain = if self.shape.is_leaf(level + 1) {
                    &mut spare.leaves
                } else {
                    &mut spare.nodes
                };
                let child = chain.pop(memory)?;
                memory.store(table, index, entry::indirect(child));
                self.add_used(memory, parent, 1);
                child
            };
            parent = Some(self.parent(table, index));
            table = child;
        }
        Some(Leaf {
            table,
            index: self.shape.leaf_index(slot),
            parent,
        })
    }

    /// Counts `entries` of `leaf` that came into use.
    #[inline]
    pub fn used<M: TableMemory>(&self, memory: &M, leaf: &Leaf, entries: u64) {
        self.add_used(memory, leaf.parent, entries);
    }

    /// Counts `entries` of `leaf` that became empty; whether all are, if the
    /// leaf can be unlinked at all.
    #[inline]
    pub fn emptied<M: TableMemory>(&self, memory: &M, leaf: &Leaf, entries: u64) -> bool {
        self.sub_used(memory, leaf.parent, entries) == Some(0)
    }

    #[inline]
    fn add_used<M: TableMemory>(&self, memory: &M, parent: Option<Parent>, entries: u64) {
        if let Some(parent) = parent {
            let count = memory.load(parent.table, parent.count);
            memory.store(parent.table, parent.count, count.wrapping_add(entries));
        }
    }

    #[inline]
    fn sub_used<M: TableMemory>(
        &self,
        memory: &M,
        parent: Option<Parent>,
        entries: u64,
    ) -> Option<u64> {
        let parent = parent?;
        let count = memory
            .load(parent.table, parent.count)
            .wrapping_sub(entries);
        memory.store(parent.table, parent.count, count);
        Some(count)
    }

    #[inline]
    fn parent(&self, table: HostAddr, index: usize) -> Parent {
        let count = self.shape.entries().wrapping_add(index);
        Parent {
            table,
            index,
            count,
        }
    }

    /// Unlinks the leaf of `slot` and each table above it that becomes empty,
    /// and adds them to `retired`, if the leaf exists and no entry is in use.
    /// They may be freed only after a kill that started later.
    pub fn unlink_if_empty<M: TableMemory>(&self, memory: &M, slot: Slot, retired: &mut Tables) {
        let mut path: [Option<Parent>; 4] = [None; 4];
        let mut table = self.root;
        for (level, step) in (0..self.shape.levels() - 1).zip(&mut path) {
            let index = self.shape.index(slot, level);
            let bits = memory.load(table, index);
            if bits == 0 {
                return;
            }
            *step = Some(self.parent(table, index));
            table = entry::address(bits);
        }
        let mut chain = &mut retired.leaves;
        let mut freed = 0;
        for depth in (0..path.len()).rev() {
            let Some(parent) = path[depth] else { continue };
            if self.sub_used(memory, Some(parent), freed) != Some(0) {
                return;
            }
            let child = entry::address(memory.load(parent.table, parent.index));
            memory.store(parent.table, parent.index, 0);
            chain.push(memory, child);
            chain = &mut retired.nodes;
            freed = 1;
        }
    }

    /// Unlinks tables below the root into `retired`, as they are: with all leaves
    /// empty. Looks at no more than `steps` entries from slot `from` on, so that a
    /// lock need not be held for the whole tree; returns where to go on, `None`
    /// when only the root is left. Visits tables that exist only.
    pub fn dismantle<M: TableMemory>(
        &self,
        memory: &M,
        from: Slot,
        steps: u64,
        retired: &mut Tables,
    ) -> Option<Slot> {
        let end = 1 << self.shape.slot_bits();
        let mut at = from.get();
        if self.shape.levels() > 1 {
            for _ in 0..steps {
                if at >= end {
                    return None;
                }
                at = self.dismantle_at(memory, Slot::new(at), retired);
            }
        } else {
            at = end;
        }
        (at < end).then_some(Slot::new(at))
    }

    /// Unlinks the leaf of `slot`, if there is one, and each table of which this
    /// was the last entry. Returns the slot behind the leaf, or behind the hole.
    fn dismantle_at<M: TableMemory>(&self, memory: &M, slot: Slot, retired: &mut Tables) -> u64 {
        let mut path: [Option<Parent>; 4] = [None; 4];
        let mut table = self.root;
        let mut next = slot.get();
        for (level, step) in (0..self.shape.levels() - 1).zip(&mut path) {
            let index = self.shape.index(slot, level);
            *step = Some(self.parent(table, index));
            let below = (1 << self.shape.entry_bits(level)) - 1;
            next = (slot.get() | below).wrapping_add(1);
            let bits = memory.load(table, index);
            if bits == 0 {
                break;
            }
            table = entry::address(bits);
        }
        for level in (0..self.shape.levels() - 1).rev() {
            let Some(parent) = path.get(level as usize).copied().flatten() else {
                continue;
            };
            if next & ((1 << self.shape.entry_bits(level)) - 1) != 0 {
                break;
            }
            let bits = memory.load(parent.table, parent.index);
            if bits == 0 {
                continue;
            }
            memory.store(parent.table, parent.index, 0);
            memory.store(parent.table, parent.count, 0);
            let chain = if self.shape.is_leaf(level + 1) {
                &mut retired.leaves
            } else {
                &mut retired.nodes
            };
            chain.push(memory, entry::address(bits));
        }
        next
    }
}
