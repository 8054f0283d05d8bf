//! Before memory changes its owner, posted writes have to land.

use super::gate::GateState;
use super::holdings::Holdings;
use super::{LedgerError, OwnerId};
use crate::addr::HostAddr;
use crate::seam::{Interrupts, PeId, PhbError, PhbPort};

/// A closed, unpinned region that stays so until this ends: time to wait for
/// what its owner's devices have posted. Dropping it changes nothing.
#[must_use = "the region is quiet only after `Engine::quiet`"]
pub struct Quieting<'a, I: Interrupts> {
    holdings: &'a Holdings<I>,
    start: HostAddr,
}

impl<I: Interrupts> Holdings<I> {
    /// Starts to make the region at `start` quiet, which is closed and unpinned.
    /// `None` if it is quiet already: if nothing of it was pinned since.
    pub fn begin_quieting(&self, start: HostAddr) -> Result<Option<Quieting<'_, I>>, LedgerError> {
        match self.with_region(start, |region| region.gate().begin_quieting())? {
            Ok(()) => Ok(Some(Quieting {
                holdings: self,
                start,
            })),
            Err(GateState::Quiet) => Ok(None),
            Err(state) => Err(LedgerError::of(start, state)),
        }
    }
}

impl<I: Interrupts> Quieting<'_, I> {
    /// Whose devices are meant.
    pub fn owner(&self) -> OwnerId {
        self.holdings.owner()
    }

    /// Waits until what `pes` have posted is in memory; the region is quiet then.
    /// They are all PEs of the owner: whoever asks, the engine, knows them. There
    /// is no proof to carry here: one made earlier, or for another owner, would
    /// say nothing. Stops at the first PE that fails, and changes nothing then.
    pub(crate) fn land(
        self,
        port: &impl PhbPort,
        pes: impl Iterator<Item = PeId>,
    ) -> Result<(), (PeId, PhbError)> {
        for pe in pes {
            port.push_writes(pe).map_err(|error| (pe, error))?;
        }
        self.finish(true);
        core::mem::forget(self);
        Ok(())
    }

    fn finish(&self, quiet: bool) {
        let found = self
            .holdings
            .with_region(self.start, |region| region.gate().end_quieting(quiet));
        debug_assert!(found.is_ok(), "{found:?}");
    }
}

impl<I: Interrupts> Drop for Quieting<'_, I> {
    fn drop(&mut self) {
        self.finish(false);
    }
}

impl LedgerError {
    /// Why a region whose gate is in this state keeps its owner.
    pub(super) fn of(start: HostAddr, state: GateState) -> Self {
        match state {
            GateState::Open => Self::Open(start),
            GateState::Pinned(pins) => Self::Pinned { start, pins },
            GateState::Quieting => Self::Quieting(start),
            GateState::NotQuiet | GateState::Quiet => Self::NotQuiet(start),
            GateState::Broken => Self::Broken(start),
        }
    }
}
