//! Quiet: no write that a device has posted is on its way to memory.

use super::error::DmaError;
use crate::addr::HostAddr;
use crate::memory::ledger::{Holdings, OwnerId};
use crate::seam::{PeId, PhbError, Platform};

impl<P: Platform> super::Engine<P> {
    /// Makes the region at `start` ready for another owner: the region is closed
    /// and no mapping holds it, but a write that was translated before its kill
    /// may be on its way. Waits until what the owner's devices have posted has
    /// landed; without that, the ledger gives a region that was pinned to nobody.
    ///
    /// A PE belongs to the owner from its first attach until it was reset. One
    /// that does not answer has to be detached with
    /// [`DetachMode::Reset`](super::DetachMode::Reset) first.
    pub fn quiet(&self, holdings: &Holdings<P>, start: HostAddr) -> Result<(), DmaError> {
        if let Some(region) = holdings.begin_quieting(start)? {
            let pes = self.pes_of(region.owner());
            region.land(&self.platform, pes).map_err(not_landed)?;
        }
        Ok(())
    }

    /// Waits until the writes that the devices of `owner` have posted before are
    /// in memory: before somebody reads what they wrote.
    pub fn land_writes(&self, owner: OwnerId) -> Result<(), DmaError> {
        for pe in self.pes_of(owner) {
            let pushed = self.platform.push_writes(pe);
            pushed.map_err(|error| not_landed((pe, error)))?;
        }
        Ok(())
    }

    /// The PEs whose functions may be doing DMA for `owner`.
    fn pes_of(&self, owner: OwnerId) -> impl Iterator<Item = PeId> {
        self.each_pe()
            .filter(move |known| known.usage.lock().owner == Some(owner))
            .map(|known| known.id)
    }
}

fn not_landed((pe, error): (PeId, PhbError)) -> DmaError {
    DmaError::Push { pe, error }
}
