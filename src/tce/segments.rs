//! A range of slots, cut where leaves and holes begin.

use super::tree::{Leaf, Position, Tree};
use super::window::{Slot, SlotRange};
use crate::seam::TableMemory;

/// Part of a range: in one leaf, or without any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its first slot.
    pub first: Slot,
    /// How many slots.
    pub pages: u64,
    /// Where they are; `None` for a hole.
    pub leaf: Option<Leaf>,
}

/// Iterator over the segments of a range, in order. Holes are skipped whole,
/// whatever their size and wherever the range begins in them.
pub struct Segments<'a, M> {
    tree: &'a Tree,
    memory: &'a M,
    next: u64,
    left: u64,
}

impl<'a, M: TableMemory> Segments<'a, M> {
    #[inline]
    pub(super) fn new(tree: &'a Tree, memory: &'a M, range: SlotRange) -> Self {
        Self {
            tree,
            memory,
            next: range.first().get(),
            left: range.pages(),
        }
    }
}

impl<M: TableMemory> Iterator for Segments<'_, M> {
    type Item = Segment;

    #[inline]
    fn next(&mut self) -> Option<Segment> {
        if self.left == 0 {
            return None;
        }
        let first = Slot::new(self.next);
        let (leaf, most) = match self.tree.find(self.memory, first) {
            Position::In(leaf) => (
                Some(leaf),
                self.tree.shape().entries().wrapping_sub(leaf.index) as u64,
            ),
            Position::Hole { end } => (None, end.get().wrapping_sub(self.next)),
        };
        let pages = most.min(self.left);
        self.next = self.next.wrapping_add(pages);
        self.left = self.left.wrapping_sub(pages);
        Some(Segment { first, pages, leaf })
    }
}
