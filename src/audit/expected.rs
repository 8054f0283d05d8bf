//! What a PHB's tables should hold: the sum of the steps that were carried out.

use alloc::vec;
use alloc::vec::Vec;

use crate::addr::HostAddr;
use crate::memory::ledger::OwnerId;
use crate::memory::sorted::Sorted;
use crate::pci::steps::Step;
use crate::pci::{Bdfn, Generation, PeNumber, PhbId, PhbInfo, RidMatch, Window};

/// Where firmware says that the PHB's tables are (`ibm,opal-rtt-table`,
/// `ibm,opal-peltv-table`). The PHB's registers are compared with it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct TableBases {
    /// RID to PE.
    pub rtt: Option<HostAddr>,
    /// PE to the PEs that freeze with it.
    pub peltv: Option<HostAddr>,
}

/// An M64 BAR: a range of which segment *n* belongs to PE *n*.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct M64Bar {
    /// First address, the same for the processor and on the bus.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// What one PHB should hold.
///
/// It starts as firmware's IODA reset leaves a PHB, and follows the driver:
/// [`Expected::apply`] for each step that was carried out, and the setters for
/// what is no step.
#[derive(Clone, Debug)]
pub struct Expected {
    id: PhbId,
    generation: Generation,
    pes: u16,
    reserved: PeNumber,
    m32: Window,
    bases: TableBases,
    vectors: u16,
    // Whose a vector is that was given to nobody.
    spare: PeNumber,
    rids: Sorted<u16, PeNumber>,
    links: Sorted<(u16, u16), ()>,
    // Not there: as a reset leaves it, PE 0's.
    segments: Vec<Option<PeNumber>>,
    m64: Sorted<u16, (M64Bar, bool)>,
    msis: Sorted<u16, PeNumber>,
    owners: Sorted<u16, OwnerId>,
}

impl Expected {
    /// A PHB after firmware's IODA reset.
    pub fn new(phb: &PhbInfo, bases: TableBases) -> Self {
        Self {
            id: phb.id(),
            generation: phb.generation(),
            pes: phb.pes(),
            reserved: phb.reserved(),
            m32: phb.m32(),
            bases,
            vectors: phb.vectors(),
            spare: PeNumber::new(0),
            rids: Sorted::new(),
            links: Sorted::new(),
            segments: vec![None; usize::from(phb.pes())],
            m64: Sorted::new(),
            msis: Sorted::new(),
            owners: Sorted::new(),
        }
    }

    /// Where firmware says that tables in memory are; without it that is not
    /// known.
    pub fn set_tables(&mut self, bases: TableBases) {
        self.bases = bases;
    }

    /// Follows a step that was carried out.
    pub fn apply(&mut self, step: &Step) {
        match *step {
            Step::ResetIoda => {
                self.rids.clear();
                self.links.clear();
                self.segments.fill(None);
                self.m64.clear();
                self.msis.clear();
                self.spare = PeNumber::new(0);
                self.owners.clear();
            }
            Step::SetM64 { number, base, size } => {
                let base = base.get();
                self.m64.insert(number, (M64Bar { base, size }, false));
            }
            Step::SplitM64 { number } => {
                if let Some((_, on)) = self.m64.get_mut(&number) {
                    *on = true;
                }
            }
            Step::MapM32 { segment, pe } => {
                if let Some(at) = self.segments.get_mut(usize::from(segment)) {
                    *at = Some(pe);
                }
            }
            Step::MapVectors { count, pe } => {
                if count >= self.vectors && pe == self.reserved {
                    self.msis.clear();
                    self.spare = pe;
                } else {
                    self.msis.extend((0..count).map(|vector| (vector, pe)));
                }
            }
            Step::MapRids { pe, rids } => self.map_rids(pe, rids),
            Step::Peltv { parent, child, on } => {
                let link = (parent.get(), child.get());
                if on {
                    self.links.insert(link, ());
                } else {
                    self.links.remove(&link);
                }
            }
            // No entry of a table that is audited, or told by its owner.
            Step::ClearFreeze { .. }
            | Step::Write { .. }
            | Step::Command { .. }
            | Step::OpenDma { .. }
            | Step::CloseDma { .. }
            | Step::KillTces { .. }
            | Step::Reset { .. }
            | Step::Wait { .. } => {}
        }
    }

    fn map_rids(&mut self, pe: PeNumber, rids: RidMatch) {
        let range = match rids {
            RidMatch::Function(bdfn) => bdfn.rid()..=bdfn.rid(),
            RidMatch::Bus(bus) => u16::from(bus) << 8..=u16::from(bus) << 8 | 0xff,
            RidMatch::All => 0..=u16::MAX,
        };
        if pe == self.reserved {
            self.rids.retain(|rid, _| !range.contains(rid));
        } else {
            self.rids.extend(range.map(|rid| (rid, pe)));
        }
    }

    /// A partition, or Pinion itself, has the DMA windows of `pe`; or nobody
    /// any more, and its TVEs must be zero.
    pub fn set_owner(&mut self, pe: PeNumber, owner: Option<OwnerId>) {
        match owner {
            Some(owner) => self.owners.insert(pe.get(), owner),
            None => self.owners.remove(&pe.get()),
        };
    }

    /// MSI vector `vector` belongs to `pe`, or to nobody any more: then it must
    /// be the reserved PE's.
    pub fn set_msi(&mut self, vector: u16, pe: Option<PeNumber>) {
        match pe {
            Some(pe) => self.msis.insert(vector, pe),
            None => self.msis.remove(&vector),
        };
    }

    /// The PHB.
    pub fn id(&self) -> PhbId {
        self.id
    }

    /// Its generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// How many PEs it has.
    pub fn pes(&self) -> u16 {
        self.pes
    }

    /// The PE of what belongs to no other.
    pub fn reserved(&self) -> PeNumber {
        self.reserved
    }

    /// Who has the DMA windows of a PE.
    pub fn owner(&self, pe: PeNumber) -> Option<OwnerId> {
        self.owners.get(&pe.get()).copied()
    }

    /// Whether anything leads to a PE: a RID, a window, an MSI vector, an M32
    /// segment or an error of another.
    pub fn is_used(&self, pe: PeNumber) -> bool {
        self.owner(pe).is_some()
            || self.rids.values().any(|it| *it == pe)
            || self.msis.values().any(|it| *it == pe)
            || self.segments.contains(&Some(pe))
            || self.links.iter().any(|((_, child), ())| *child == pe.get())
    }

    pub(super) fn bases(&self) -> TableBases {
        self.bases
    }

    pub(super) fn m32(&self) -> Window {
        self.m32
    }

    pub(super) fn vectors(&self) -> u16 {
        self.vectors
    }

    pub(super) fn rid(&self, bdfn: Bdfn) -> PeNumber {
        self.rids.get(&bdfn.rid()).copied().unwrap_or(self.reserved)
    }

    /// The first RID from `rid` on that is not the reserved PE's.
    pub(super) fn next_rid(&self, rid: u16) -> Option<u16> {
        self.rids.range(rid..).next().map(|(rid, _)| *rid)
    }

    /// The bits of `parent`'s row that are to be set among PEs `first` to
    /// `first + 63`, the first in the highest bit.
    pub(super) fn row(&self, parent: u16, first: u16) -> u64 {
        let last = (parent, first | 63);
        self.links
            .range((parent, first)..)
            .take_while(|(link, ())| **link <= last)
            .fold(0, |bits, ((_, child), ())| bits | 1 << (63 - (child & 63)))
    }

    /// Who was given an M32 segment; nobody since the last reset, or by it.
    pub(super) fn segment(&self, segment: u16) -> Option<PeNumber> {
        *self.segments.get(usize::from(segment))?
    }

    pub(super) fn bar(&self, number: u16) -> Option<M64Bar> {
        let (bar, on) = self.m64.get(&number)?;
        on.then_some(*bar)
    }

    /// Who may send a vector, and whether it was given to it; else nobody has
    /// it, and the PE is the reserved one once it was given them all.
    pub(super) fn msi(&self, vector: u16) -> (PeNumber, bool) {
        let given = self.msis.get(&vector);
        (given.copied().unwrap_or(self.spare), given.is_some())
    }
}
