//! The engine: the platform, and what is known of each PE.

use alloc::boxed::Box;

use super::kill::Pe;
use crate::seam::{PeId, Platform};

/// Operations on windows. One engine serves all PHBs and partitions; it has no
/// lock of its own.
pub struct Engine<P: Platform> {
    pub(super) platform: P,
    phbs: Box<[Box<[Pe<P>]>]>,
}

impl<P: Platform> Engine<P> {
    /// An engine over `platform`, whose PHB number `n` has `pes_per_phb[n]` PEs.
    pub fn new(platform: P, pes_per_phb: &[u16]) -> Self {
        let phbs = pes_per_phb
            .iter()
            .map(|&pes| (0..pes).map(|_| Pe::new()).collect())
            .collect();
        Self { platform, phbs }
    }

    /// The platform below.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    #[inline]
    pub(super) fn pe(&self, id: PeId) -> Option<&Pe<P>> {
        self.phbs.get(usize::from(id.phb))?.get(usize::from(id.pe))
    }
}
