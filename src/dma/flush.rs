//! Flush: a kill on its own.

use super::error::DmaError;
use super::operation::Operation;
use super::window::Window;
use crate::seam::Platform;

impl<P: Platform> super::Engine<P> {
    /// Drains stores and kills what the window's PEs remember. When it returns
    /// `Ok`, no PHB uses any translation that was replaced before, and levels
    /// that are empty are freed.
    pub fn flush(&self, window: &Window<P>) -> Result<(), DmaError> {
        let mut state = window.state.lock();
        match state.admit() {
            // No PE remembers anything.
            Err(DmaError::Detached) => return Ok(()),
            admitted => admitted?,
        }
        state.unlink_empty(&self.platform);
        let mut operation = Operation::begin(self, window, window.range.all(), None, false);
        operation.seal(&mut state);
        drop(state);
        operation.settle(None, |_, _| ())
    }

    /// Drains this thread's stores towards the PHBs without a kill.
    pub fn barrier(&self) {
        self.platform.barrier();
    }
}
