//! What a window's lock protects.

use core::ops::{Deref, DerefMut};

use arrayvec::ArrayVec;

use super::error::DmaError;
use super::pes::PeList;
use super::recent::Recent;
use crate::addr::BusAddr;
use crate::memory::ledger::{KnownRegion, RegionCounts};
use crate::seam::{PeId, TableMemory};
use crate::tce::chain::Tables;
use crate::tce::{Slot, Stamp, Tree};

/// How many empty leaves stay linked, so that mapping and unmapping one page
/// again and again does not make and zero a leaf each time.
const EMPTY_LEAVES_KEPT: usize = 4;

/// Whether operations are admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Open,
    /// The last PE has left: the window is empty, and stays so until one is
    /// attached. Whoever attaches it next expects that, and whoever takes its
    /// memory back looks at no window without a PE.
    Detached,
    /// The table is being cleared for the last detach, or for removal.
    Closing,
    Removed,
    /// The end of a window whose cleared table does not read as zero: its
    /// memory does not do what it is told. Nothing of it is ever released, and
    /// each operation gets [`DmaError::NotZero`].
    Corrupt {
        /// Where.
        bus: BusAddr,
        /// What was read.
        bits: u64,
    },
}

/// A window's changing part.
pub(super) struct State {
    /// What an operation on one page has to know, if it was found out since the
    /// last change of what is behind it.
    front: Option<Front>,
    pub(super) tree: Tree,
    pub(super) stamps: Stamps,
    /// The region of a page that was mapped alone, lately.
    pub(super) last: Option<KnownRegion>,
    /// The last unmaps, for people.
    pub(super) recent: Recent,
    rest: Rest,
}

/// Nothing is unusual: operations are admitted, no level has come or gone, and one
/// PE uses the window.
#[derive(Clone, Copy)]
pub(super) struct Front {
    /// Its place among the engine's.
    pub(super) place: u32,
}

/// What changes seldom. Whoever changes it, an operation on one page looks at all
/// of it anew.
pub(super) struct Rest {
    pub(super) phase: Phase,
    /// A PE whose kill failed: only recovery or detach goes on.
    pub(super) failed: Option<PeId>,
    /// Attach, detach, recovery or removal is running.
    pub(super) controlled: bool,
    pub(super) pes: PeList,
    /// Tables that are out of the tree; the next kill lets them go.
    pub(super) retired: Tables,
    /// Operations that linked or unlinked levels and whose kill is not over: a
    /// PHB may remember indirect entries that only a kill of the PE removes.
    pub(super) relinking: u32,
    /// Leaves that were empty when last seen, by their first slot.
    empty: ArrayVec<Slot, EMPTY_LEAVES_KEPT>,
    /// Pins of replaced pages whose kill failed: no entry remembers them.
    pub(super) stranded: RegionCounts,
}

impl Deref for State {
    type Target = Rest;

    #[inline]
    fn deref(&self) -> &Rest {
        &self.rest
    }
}

impl DerefMut for State {
    #[inline]
    fn deref_mut(&mut self) -> &mut Rest {
        self.front = None;
        &mut self.rest
    }
}

impl State {
    pub(super) fn new(tree: Tree) -> Self {
        Self {
            front: None,
            tree,
            stamps: Stamps::new(),
            last: None,
            recent: Recent::default(),
            rest: Rest {
                phase: Phase::Open,
                failed: None,
                controlled: false,
                pes: PeList::new(),
                retired: Tables::default(),
                relinking: 0,
                empty: ArrayVec::new(),
                stranded: RegionCounts::new(),
            },
        }
    }

    /// What an operation on one page has to know, if it is known.
    #[inline]
    pub(super) fn front(&self) -> Option<Front> {
        self.front
    }

    /// Finds that out; `place` gives the place of a PE whose kills are as usual.
    pub(super) fn find_front(&mut self, place: impl FnOnce(PeId) -> Option<u32>) {
        let Rest {
            pes,
            retired,
            relinking,
            ..
        } = &self.rest;
        self.front = match **pes {
            [pe] if self.admit().is_ok() && retired.is_empty() && *relinking == 0 => {
                place(pe).map(|place| Front { place })
            }
            _ => None,
        };
    }

    /// Whether the table is there, and to be relied on.
    #[inline]
    pub(super) fn exists(&self) -> Result<(), DmaError> {
        match self.phase {
            Phase::Open | Phase::Detached | Phase::Closing => Ok(()),
            Phase::Removed => Err(DmaError::WindowClosing),
            Phase::Corrupt { bus, bits } => Err(DmaError::NotZero { bus, bits }),
        }
    }

    /// Whether a map, unmap or remap may start.
    #[inline]
    pub(super) fn admit(&self) -> Result<(), DmaError> {
        if self.phase != Phase::Open {
            return Err(self.refusal());
        }
        self.is_healthy()
    }

    /// Whether a PE may be attached.
    pub(super) fn admit_pe(&self) -> Result<(), DmaError> {
        match self.phase {
            Phase::Open | Phase::Detached => self.is_healthy(),
            _ => Err(self.refusal()),
        }
    }

    /// Why nothing is admitted, when the phase is not [`Phase::Open`].
    #[cold]
    fn refusal(&self) -> DmaError {
        match self.phase {
            Phase::Detached => DmaError::Detached,
            _ => self.exists().err().unwrap_or(DmaError::WindowClosing),
        }
    }

    #[inline]
    fn is_healthy(&self) -> Result<(), DmaError> {
        match self.failed {
            Some(pe) => Err(DmaError::Frozen(pe)),
            None => Ok(()),
        }
    }

    /// Remembers that the leaf of `slot` is empty; the one remembered longest
    /// is unlinked if there are too many.
    pub(super) fn note_empty<M: TableMemory>(&mut self, memory: &M, slot: Slot) {
        let tree = self.tree;
        let bits = tree.shape().index_bits();
        let first = Slot::new(slot.get() >> bits << bits);
        if self.empty.contains(&first) {
            return;
        }
        let Rest { empty, retired, .. } = &mut **self;
        if let Some(oldest) = empty.is_full().then(|| empty.remove(0)) {
            tree.unlink_if_empty(memory, oldest, retired);
        }
        empty.push(first);
    }

    /// Unlinks all leaves that are known to be empty.
    pub(super) fn unlink_empty<M: TableMemory>(&mut self, memory: &M) {
        let tree = self.tree;
        let Rest { empty, retired, .. } = &mut **self;
        for slot in empty.drain(..) {
            tree.unlink_if_empty(memory, slot, retired);
        }
    }

    /// Forgets the empty leaves: the tree is taken apart.
    pub(super) fn forget_empty(&mut self) {
        self.empty.clear();
    }
}

/// The stamps that operations put on their tombstones: each running operation
/// has its own.
pub(super) struct Stamps {
    free: u64,
    burnt: u64,
}

impl Stamps {
    const STRANDED: u64 = 1 << Stamp::STRANDED.get();

    fn new() -> Self {
        Self {
            free: !Self::STRANDED,
            burnt: Self::STRANDED,
        }
    }

    /// A stamp, or `None` while 63 operations run.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Stamp> {
        let stamp = Stamp::new(self.free.trailing_zeros())?;
        self.free &= self.free.wrapping_sub(1);
        Some(stamp)
    }

    /// Gives back a stamp of which no tombstone is left.
    #[inline]
    pub(super) fn give(&mut self, stamp: Stamp) {
        self.free |= 1 << stamp.get();
    }

    /// A stamp whose tombstones stay, as their kill failed.
    pub(super) fn burn(&mut self, stamp: Stamp) {
        self.burnt |= 1 << stamp.get();
    }

    /// All burnt stamps, as a bit set.
    pub(super) fn burnt(&self) -> u64 {
        self.burnt
    }

    /// Makes burnt stamps usable: no tombstone of them is left.
    pub(super) fn renew(&mut self) {
        self.free |= self.burnt & !Self::STRANDED;
        self.burnt = Self::STRANDED;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn take_all(stamps: &mut Stamps) -> Vec<u32> {
        core::iter::from_fn(|| stamps.take())
            .map(Stamp::get)
            .collect()
    }

    #[test]
    fn running_operations_have_different_stamps() {
        let all: Vec<u32> = (0..64)
            .filter(|&number| number != Stamp::STRANDED.get())
            .collect();
        let mut stamps = Stamps::new();
        assert_eq!(take_all(&mut stamps), all);
        for number in [7, 40] {
            stamps.give(Stamp::new(number).unwrap());
        }
        assert_eq!(take_all(&mut stamps), [7, 40]);
        // A burnt one comes back when it is renewed; the one for stranded
        // entries never does.
        let stranded = 1 << Stamp::STRANDED.get();
        assert_eq!(stamps.burnt(), stranded);
        stamps.burn(Stamp::new(9).unwrap());
        assert_eq!(stamps.burnt(), stranded | 1 << 9);
        assert_eq!(take_all(&mut stamps), []);
        stamps.renew();
        assert_eq!(stamps.burnt(), stranded);
        assert_eq!(take_all(&mut stamps), [9]);
    }
}
