//! A partition's windows by number, in O(1).

use crate::dma::{DmaError, Liobn, Window};
use crate::seam::Platform;
use crate::seam::sync::{Rank, Shared};
use alloc::sync::Arc;

/// Most windows of a partition.
pub const MAX_WINDOWS: u32 = 64;

/// The LIOBN of slot 0; the others follow. A partition's numbers mean nothing
/// in another one.
pub(super) const FIRST: u32 = 0x8000_0000;

/// The table. A thread that has found a window may use it while another removes
/// it: the window refuses, it does not vanish.
pub struct Liobns<P: Platform> {
    slots: Shared<[Option<Arc<Window<P>>>; MAX_WINDOWS as usize], P>,
}

impl<P: Platform> Default for Liobns<P> {
    fn default() -> Self {
        Self {
            slots: Shared::new(Rank::Names, [const { None }; MAX_WINDOWS as usize]),
        }
    }
}

/// Slot of a LIOBN; one that is not in the table's range has one behind its end.
const fn slot(liobn: Liobn) -> usize {
    liobn.0.wrapping_sub(FIRST) as usize
}

impl<P: Platform> Liobns<P> {
    /// The LIOBN of a slot; `None` from [`MAX_WINDOWS`] on.
    pub const fn of_slot(slot: u32) -> Option<Liobn> {
        if slot < MAX_WINDOWS {
            Some(Liobn(FIRST + slot))
        } else {
            None
        }
    }

    /// The window of this number.
    #[inline]
    pub fn find(&self, liobn: Liobn) -> Option<Arc<Window<P>>> {
        self.slots.read().get(slot(liobn))?.clone()
    }

    /// Names `window`.
    ///
    /// # Errors
    /// The number is taken, or never given.
    pub fn insert(&self, liobn: Liobn, window: Arc<Window<P>>) -> Result<(), DmaError> {
        let mut slots = self.slots.write();
        let place = slots
            .get_mut(slot(liobn))
            .ok_or(DmaError::UnknownLiobn(liobn))?;
        if place.is_some() {
            return Err(DmaError::LiobnTaken(liobn));
        }
        window.set_liobn(liobn);
        *place = Some(window);
        Ok(())
    }

    /// Forgets a number; the window itself is to be removed by the engine.
    pub fn forget(&self, liobn: Liobn) -> Option<Arc<Window<P>>> {
        self.slots.write().get_mut(slot(liobn))?.take()
    }
}
