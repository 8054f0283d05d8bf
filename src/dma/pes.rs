//! The PEs that use a window.

use core::ops::Deref;

use crate::seam::PeId;

/// Most PEs that can share one window.
pub const PES_PER_WINDOW: usize = 8;

/// Some PEs, in the order in which they came. Each operation takes a copy of its
/// window's under the lock: it is as small as that needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeList {
    list: [PeId; PES_PER_WINDOW],
    count: u32,
}

impl PeList {
    /// None.
    pub(super) const fn new() -> Self {
        Self {
            list: [PeId { phb: 0, pe: 0 }; PES_PER_WINDOW],
            count: 0,
        }
    }

    /// Whether there is no room for another.
    pub(super) fn is_full(&self) -> bool {
        self.len() == PES_PER_WINDOW
    }

    /// Adds `pe`; false if there is no room.
    #[must_use]
    pub(super) fn push(&mut self, pe: PeId) -> bool {
        let Some(place) = self.list.get_mut(self.count as usize) else {
            return false;
        };
        *place = pe;
        self.count += 1;
        true
    }

    /// Takes `pe` out, if it is in.
    pub(super) fn remove(&mut self, pe: PeId) {
        let before = *self;
        *self = Self::new();
        for &other in before.iter().filter(|&&other| other != pe) {
            let _fits = self.push(other);
        }
    }
}

impl Deref for PeList {
    type Target = [PeId];

    #[inline]
    fn deref(&self) -> &[PeId] {
        // Never more than there are: no check that could fail.
        let count = (self.count as usize).min(PES_PER_WINDOW);
        self.list.split_at(count).0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn eight_fit_and_leave_in_any_order() {
        let pe = |pe| PeId { phb: 1, pe };
        let mut pes = PeList::new();
        assert!(pes.is_empty());
        for number in 0..8 {
            assert!(!pes.is_full());
            assert!(pes.push(pe(number)));
        }
        assert!(pes.is_full() && !pes.push(pe(8)));
        pes.remove(pe(3));
        pes.remove(pe(0));
        pes.remove(pe(99));
        assert_eq!(*pes, [1, 2, 4, 5, 6, 7].map(pe));
        assert!(!pes.is_full() && pes.push(pe(3)));
        assert_eq!(pes.last(), Some(&pe(3)));
    }
}
