//! The engine: the platform, and what is known of each PE.

use alloc::boxed::Box;

use super::kill::Pe;
use crate::seam::{PeId, Platform};

/// Operations on windows. One engine serves all PHBs and partitions; it has no
/// lock of its own.
pub struct Engine<P: Platform> {
    pub(super) platform: P,
    pes: Box<[Pe<P>]>,
    // Where in `pes` those of each PHB begin, and how many they are.
    phbs: Box<[(u32, u16)]>,
}

impl<P: Platform> Engine<P> {
    /// An engine over `platform`, whose PHB number `n` has `pes_per_phb[n]` PEs.
    pub fn new(platform: P, pes_per_phb: &[u16]) -> Self {
        let ids = (0..)
            .zip(pes_per_phb)
            .flat_map(|(phb, &pes)| (0..pes).map(move |pe| PeId { phb, pe }));
        let pes = ids.map(|id| Pe::new(&platform, id)).collect();
        let mut first = 0;
        let phb = |&pes: &u16| {
            let begin = first;
            first += u32::from(pes);
            (begin, pes)
        };
        let phbs = pes_per_phb.iter().map(phb).collect();
        Self {
            platform,
            pes,
            phbs,
        }
    }

    /// The platform below.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    /// All PEs, in the order of their numbers.
    pub(super) fn each_pe(&self) -> impl Iterator<Item = &Pe<P>> {
        self.pes.iter()
    }

    #[inline]
    pub(super) fn pe(&self, id: PeId) -> Option<&Pe<P>> {
        self.pe_at(self.place(id)?)
    }

    /// Where the PE is among all; [`Engine::pe_at`] finds it there.
    #[inline]
    pub(super) fn place(&self, id: PeId) -> Option<u32> {
        let &(first, pes) = self.phbs.get(usize::from(id.phb))?;
        (id.pe < pes).then(|| first.wrapping_add(u32::from(id.pe)))
    }

    /// The PE at a place.
    #[inline]
    pub(super) fn pe_at(&self, place: u32) -> Option<&Pe<P>> {
        self.pes.get(place as usize)
    }
}
