//! What the engine knows of each PE, and its kills.

use super::detach::DetachStep;
use super::error::DmaError;
use super::pes::PeList;
use super::window::Window;
use crate::kill::{self, KillGate, KillNumber, Killed};
use crate::memory::ledger::OwnerId;
use crate::seam::sync::{Lock, Rank};
use crate::seam::{Interrupts, KillScope, PeId, PhbError, Platform};

/// What the engine knows of one PE.
pub(super) struct Pe<I: Interrupts> {
    pub(super) gate: KillGate,
    pub(super) usage: Lock<Usage, I>,
}

/// Whose a PE is, and which of its TVEs are taken.
#[derive(Clone, Copy, Default)]
pub(super) struct Usage {
    /// Whose functions may be doing DMA: until they are reset with no TVE on.
    pub(super) owner: Option<OwnerId>,
    pub(super) tves: [bool; 2],
}

impl<I: Interrupts> Pe<I> {
    pub(super) fn new() -> Self {
        Self {
            gate: KillGate::new(),
            usage: Lock::new(Rank::Usage, Usage::default()),
        }
    }
}

impl<P: Platform> super::Engine<P> {
    /// One kill of each of `pes`, all that use `window`; see [`kill::kill_each`].
    #[inline(always)] // A call more is a twentieth of what one page costs.
    pub(super) fn kill<'w>(
        &self,
        window: &'w Window<P>,
        pes: &PeList,
        pages: KillScope,
    ) -> Result<Killed<'w>, DmaError> {
        kill::kill_each(&self.platform, &window.stake, pes, pages, |pe| {
            self.pe(pe).map(|known| &known.gate)
        })
        .map_err(|(pe, error)| self.kill_failed(pe, error))
    }

    #[cold]
    fn kill_failed(&self, pe: PeId, error: PhbError) -> DmaError {
        self.note_kill(pe, self.platform.ticks(), false);
        DmaError::Kill { pe, error }
    }

    /// A kill of all that `pe` remembers, even if one failed before. The PE is
    /// trusted again only after [`Engine::thaw`](super::Engine::thaw).
    pub(super) fn forced_kill(&self, pe: PeId) -> Result<KillNumber, PhbError> {
        let known = self.pe(pe).ok_or(PhbError::TimedOut)?;
        let began = self.platform.ticks();
        let killed = kill::forced_kill(&self.platform, pe, &known.gate);
        self.note_kill(pe, began, killed.is_ok());
        killed
    }

    /// Clears the freeze of `pe` after its forced kill `number`, and trusts it
    /// again. A failure that came in between needs a kill and a thaw of its own.
    pub(super) fn thaw(
        &self,
        pe: PeId,
        mut number: KillNumber,
    ) -> Result<(), (DetachStep, PhbError)> {
        let Some(known) = self.pe(pe) else {
            return Err((DetachStep::ClearFreeze, PhbError::TimedOut));
        };
        loop {
            self.platform
                .clear_freeze(pe)
                .map_err(|error| (DetachStep::ClearFreeze, error))?;
            if known.gate.trust(number) {
                return Ok(());
            }
            number = self
                .forced_kill(pe)
                .map_err(|error| (DetachStep::Kill, error))?;
        }
    }

    /// Freezes `pe` after a failure; see [`kill::freeze`].
    pub(super) fn freeze(&self, pe: PeId) {
        if let Some(known) = self.pe(pe) {
            kill::freeze(&self.platform, pe, &known.gate);
        }
    }
}
