//! Clear: unmap all of a window.

use super::error::DmaError;
use super::window::Window;
use crate::seam::Platform;

impl<P: Platform> super::Engine<P> {
    /// [`Engine::clear`](super::Engine::clear), not noted.
    pub(super) fn do_clear(&self, window: &Window<P>) -> Result<u64, DmaError> {
        self.unmap_slots(window, window.range.all())
    }
}
