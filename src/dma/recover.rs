//! Recovery after a failed kill.

use super::detach::DetachStep;
use super::error::DmaError;
use super::unmap::exhume;
use super::window::Window;
use crate::kill::Killed;
use crate::seam::{KillScope, PeId, PhbError, Platform};
use crate::tce::entry;

impl<P: Platform> super::Engine<P> {
    /// [`Engine::recover`](super::Engine::recover), not noted.
    pub(super) fn do_recover(&self, window: &Window<P>) -> Result<(), DmaError> {
        let _control = window.control()?;
        let mut state = window.state.lock();
        let pes = state.pes;
        // Frozen through another window, or by a detach: this one needs it too.
        let frozen = pes
            .iter()
            .find(|&&pe| self.pe(pe).is_some_and(|known| known.gate().has_failed()));
        state.failed = state.failed.or(frozen.copied());
        if state.failed.is_none() {
            return Ok(());
        }
        drop(state);
        // No operation starts as long as the window counts as failed.
        window.quiesce();
        for &pe in pes.iter() {
            if self.pe(pe).is_some_and(|known| known.gate().has_failed()) {
                self.recover_pe(pe)
                    .map_err(|(step, error)| DmaError::Detach { pe, step, error })?;
            }
        }
        let killed = self.kill(window, &pes, KillScope::Pe)?;
        self.release_stranded(window, &killed);
        Ok(())
    }

    /// Makes a PE that failed usable: its functions are reset, its kill is
    /// complete, its freeze is cleared.
    pub(super) fn recover_pe(&self, pe: PeId) -> Result<(), (DetachStep, PhbError)> {
        let at = |step| move |error| (step, error);
        self.platform
            .reset_functions(pe)
            .map_err(at(DetachStep::Reset))?;
        let number = self.forced_kill(pe).map_err(at(DetachStep::Kill))?;
        self.thaw(pe, number)
    }

    /// Releases what failed kills left, for a kill that started after all of
    /// them; no operation is in the window. Levels that become empty only now
    /// wait for the next kill.
    pub(super) fn release_stranded(&self, window: &Window<P>, killed: &Killed) {
        if !window.believes(killed) {
            return;
        }
        let memory = &self.platform;
        let mut state = window.state.lock();
        let stamps = state.stamps.burnt();
        state = window.sweep(memory, window.range.all(), state, |state, segment| {
            exhume(memory, window, state, segment, killed, move |bits| {
                entry::owned_by(bits, stamps)
            });
        });
        state.stamps.renew();
        state.stranded.release(&window.holdings, killed);
        state.failed = None;
    }
}
