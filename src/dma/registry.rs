//! A partition's windows by the name that its guest uses.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;

use super::error::DmaError;
use super::window::Window;
use crate::seam::Platform;
use crate::seam::sync::Shared;

/// A logical IO bus number: how a guest names a window in a hypervisor call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Liobn(pub u32);

impl fmt::Display for Liobn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The windows of one partition. A thread that has found a window may use it
/// while another removes it: the window refuses, it does not vanish.
pub struct Registry<P: Platform> {
    windows: Shared<BTreeMap<Liobn, Arc<Window<P>>>, P>,
}

impl<P: Platform> Default for Registry<P> {
    fn default() -> Self {
        Self {
            windows: Shared::new(BTreeMap::new()),
        }
    }
}

impl<P: Platform> Registry<P> {
    /// The window that `liobn` names, in O(log n).
    pub fn find(&self, liobn: Liobn) -> Result<Arc<Window<P>>, DmaError> {
        self.windows
            .read()
            .get(&liobn)
            .cloned()
            .ok_or(DmaError::UnknownLiobn(liobn))
    }

    /// Names `window`.
    pub fn insert(&self, liobn: Liobn, window: Arc<Window<P>>) -> Result<(), DmaError> {
        let mut windows = self.windows.write();
        if windows.contains_key(&liobn) {
            return Err(DmaError::LiobnTaken(liobn));
        }
        windows.insert(liobn, window);
        Ok(())
    }

    /// Forgets the name; the window itself is to be removed by the engine.
    pub fn forget(&self, liobn: Liobn) -> Result<Arc<Window<P>>, DmaError> {
        self.windows
            .write()
            .remove(&liobn)
            .ok_or(DmaError::UnknownLiobn(liobn))
    }
}
