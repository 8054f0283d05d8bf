//! A partition's windows by number, in O(1).

use crate::dma::{DmaError, Liobn, Window};
use crate::seam::Platform;
use crate::seam::lent::{InUse, Lent};
use alloc::sync::Arc;

/// Most windows of a partition.
pub const MAX_WINDOWS: u32 = 64;

/// The LIOBN of slot 0; the others follow. A partition's numbers mean nothing
/// in another one.
pub(super) const FIRST: u32 = 0x8000_0000;

/// The table. A window stays as long as a thread uses it; the engine makes it refuse.
pub struct Liobns<P: Platform> {
    slots: [Lent<Option<Arc<Window<P>>>>; MAX_WINDOWS as usize],
}

impl<P: Platform> Default for Liobns<P> {
    fn default() -> Self {
        Self {
            slots: core::array::from_fn(|_| Lent::new(None)),
        }
    }
}

/// What a number stands for, a window or nothing, which stays so meanwhile.
pub struct Named<'t, P: Platform>(InUse<'t, Option<Arc<Window<P>>>>);

impl<P: Platform> Named<'_, P> {
    /// The window, if there is one.
    #[inline]
    pub fn window(&self) -> Option<&Window<P>> {
        self.0.as_deref()
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
    pub fn find(&self, liobn: Liobn) -> Option<Arc<Window<P>>> {
        self.slots.get(slot(liobn))?.use_it().clone()
    }

    /// What this number names, without a count of references; `None` also while another
    /// thread changes that. Who wants to change it waits until this is dropped: for one
    /// operation of the engine, which is waited for anyhow when a window goes.
    #[inline]
    pub fn named(&self, liobn: Liobn) -> Option<Named<'_, P>> {
        Some(Named(self.slots.get(slot(liobn))?.try_use()?))
    }

    /// Names `window`.
    ///
    /// # Errors
    /// The number is taken, or never given.
    pub fn insert(&self, liobn: Liobn, window: Arc<Window<P>>) -> Result<(), DmaError> {
        let slot = self.slots.get(slot(liobn));
        let mut place = slot.ok_or(DmaError::UnknownLiobn(liobn))?.change();
        if place.is_some() {
            return Err(DmaError::LiobnTaken(liobn));
        }
        window.set_liobn(liobn);
        *place = Some(window);
        Ok(())
    }

    /// Forgets a number; the window itself is to be removed by the engine.
    pub fn forget(&self, liobn: Liobn) -> Option<Arc<Window<P>>> {
        self.slots.get(slot(liobn))?.change().take()
    }
}
