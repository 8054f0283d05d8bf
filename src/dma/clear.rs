//! Clear: unmap all of a window.

use super::error::DmaError;
use super::window::Window;
use crate::seam::Platform;

impl<P: Platform> super::Engine<P> {
    /// Unmaps whatever is mapped in the window, whatever its size, and returns
    /// how many pages that were. The PEs stay attached. Its time follows what
    /// is populated. For each reset of a partition or a function.
    pub fn clear(&self, window: &Window<P>) -> Result<u64, DmaError> {
        self.unmap_slots(window, window.range.all())
    }
}
