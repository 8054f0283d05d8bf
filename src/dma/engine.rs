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

    /// All PEs, in the order of their numbers.
    pub(super) fn each_pe(&self) -> impl Iterator<Item = (PeId, &Pe<P>)> {
        (0..).zip(&self.phbs).flat_map(|(phb, pes)| {
            let pes = (0..).zip(pes);
            pes.map(move |(pe, known)| (PeId { phb, pe }, known))
        })
    }

    #[inline]
    pub(super) fn pe(&self, id: PeId) -> Option<&Pe<P>> {
        self.phbs.get(usize::from(id.phb))?.get(usize::from(id.pe))
    }
}
