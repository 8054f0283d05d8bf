//! What the engine knows of each PE, and its kills.

use super::detach::DetachStep;
use super::error::DmaError;
use super::pes::PeList;
use super::window::Window;
use crate::kill::{self, KillGate, KillNumber, Killed, Killer};
use crate::memory::ledger::OwnerId;
use crate::seam::sync::{Lock, Rank};
use crate::seam::{KillScope, PeId, PhbError, Platform};

/// What the engine knows of one PE.
pub(super) struct Pe<P: Platform> {
    pub(super) id: PeId,
    pub(super) killer: Killer<P>,
    pub(super) usage: Lock<Usage, P>,
}

/// Whose a PE is, and which of its TVEs are taken.
#[derive(Clone, Copy, Default)]
pub(super) struct Usage {
    /// Whose functions may be doing DMA: until they are reset with no TVE on.
    pub(super) owner: Option<OwnerId>,
    pub(super) tves: [bool; 2],
}

impl<P: Platform> Pe<P> {
    pub(super) fn new(platform: &P, pe: PeId) -> Self {
        Self {
            id: pe,
            killer: Killer::new(platform, pe),
            usage: Lock::new(Rank::Usage, Usage::default()),
        }
    }

    pub(super) fn gate(&self) -> &KillGate {
        self.killer.gate()
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
            self.pe(pe).map(|known| &known.killer)
        })
        .map_err(|(pe, error)| self.kill_failed(pe, error))
    }

    #[cold]
    pub(super) fn kill_failed(&self, pe: PeId, error: PhbError) -> DmaError {
        self.note_kill(pe, self.platform.ticks(), false);
        DmaError::Kill { pe, error }
    }

    /// A kill of all that `pe` remembers, even if one failed before. The PE is
    /// trusted again only after [`Engine::thaw`](super::Engine::thaw).
    pub(super) fn forced_kill(&self, pe: PeId) -> Result<KillNumber, PhbError> {
        let known = self.pe(pe).ok_or(PhbError::TimedOut)?;
        let began = self.platform.ticks();
        let killed = kill::forced_kill(&self.platform, &known.killer);
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
            if known.gate().trust(number) {
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
            kill::freeze(&self.platform, pe, known.gate());
        }
    }
}
