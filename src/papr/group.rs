//! A group of functions, as its partition's calls name it: host bridge, functions,
//! LIOBNs, and whose turn it is to change them.

use super::ddw::{Described, described};
use super::liobn::{FIRST, MAX_WINDOWS};
use super::turns::{Claim as Turn, Turns};
use crate::dma::{Liobn, PES_PER_WINDOW, Window};
use crate::seam::sync::{AtomicU32, Ordering};
use crate::seam::{PeId, Platform, TveSelect};
use alloc::boxed::Box;
use alloc::sync::Arc;
use arrayvec::ArrayVec;

/// Most windows of a group, and LIOBNs that are kept for it.
pub const WINDOWS: u32 = 2;

/// Most groups of a partition.
pub const MAX_GROUPS: u32 = MAX_WINDOWS / WINDOWS;

/// The windows of a group by TVE, in the order of their LIOBNs.
pub(super) const TVES: [TveSelect; WINDOWS as usize] = [TveSelect::Low, TveSelect::High];

/// A group that a partition has, as its calls name it. Its default window belongs
/// to whoever made the group, who attaches it before [`Group::open`] and detaches
/// it after [`super::ddw::WindowCalls::close`]: the partition may do without it meanwhile.
pub struct Group<P: Platform> {
    buid: u64,
    functions: Box<[u32]>,
    pes: ArrayVec<PeId, PES_PER_WINDOW>,
    /// Its first LIOBN.
    first: u32,
    default: Arc<Window<P>>,
    turns: Turns<P>,
    /// 1 if the partition has removed the default window.
    without: AtomicU32,
}

/// Why a group cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GroupError {
    /// No PE, or more than can share a window.
    #[error("{0} PEs: a group has 1 to {PES_PER_WINDOW}")]
    Pes(usize),
    /// The LIOBNs are all given.
    #[error("group {0}: a partition has at most {MAX_GROUPS}")]
    Index(u32),
}

impl<P: Platform> Group<P> {
    /// Group number `index` of a partition, from 0, closed. `buid` names its host
    /// bridge to the partition; `functions` are its functions there, as
    /// `bus << 16 | device << 11 | function << 8`.
    ///
    /// # Errors
    /// Too many PEs, or too high an index.
    pub fn new(
        index: u32,
        buid: u64,
        functions: Box<[u32]>,
        pes: &[PeId],
        default: Arc<Window<P>>,
    ) -> Result<Self, GroupError> {
        if index >= MAX_GROUPS {
            return Err(GroupError::Index(index));
        }
        let known = ArrayVec::try_from(pes).ok().filter(|pes| !pes.is_empty());
        Ok(Self {
            buid,
            functions,
            pes: known.ok_or(GroupError::Pes(pes.len()))?,
            first: FIRST + index * WINDOWS,
            default,
            turns: Turns::new(),
            without: AtomicU32::new(0),
        })
    }

    /// What names its host bridge to the partition.
    pub fn buid(&self) -> u64 {
        self.buid
    }

    /// Its functions, as the partition names them.
    pub fn functions(&self) -> &[u32] {
        &self.functions
    }

    /// The LIOBN of the window behind `tve`, whether there is one or not.
    pub const fn liobn(&self, tve: TveSelect) -> Liobn {
        Liobn(match tve {
            TveSelect::Low => self.first,
            TveSelect::High => self.first + 1,
        })
    }

    /// What the partition's tree says of its default window.
    pub fn default_window(&self) -> Described {
        described(self.liobn(TveSelect::Low), &self.default)
    }

    /// Its PEs.
    pub(super) fn pes(&self) -> &[PeId] {
        &self.pes
    }

    /// Its default window.
    pub(super) fn default(&self) -> &Arc<Window<P>> {
        &self.default
    }

    /// Whether the partition has removed the default window; only for whoever
    /// has claimed the group.
    pub(super) fn is_without(&self) -> bool {
        self.without.load(Ordering::Relaxed) != 0
    }

    /// Notes that.
    pub(super) fn set_without(&self, is: bool) {
        self.without.store(is.into(), Ordering::Relaxed);
    }

    /// Does `act` while the group stays the partition's; `None` if it is closed.
    /// One at a time, in the order in which they come; `act` takes none of the
    /// engine's locks, and nobody waits here for a call that changes windows.
    pub fn keep<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        self.turns.keep(act)
    }

    /// The partition may change its windows from now on.
    pub fn open(&self) {
        self.turns.open();
    }

    /// Its windows are this call's to change, until the result is dropped.
    ///
    /// # Errors
    /// The RTAS status.
    pub(super) fn claim(&self) -> Result<Claim<'_, P>, i32> {
        let _turn = self.turns.claim()?;
        Ok(Claim { group: self, _turn })
    }

    /// The same to close it: nobody comes in any more, and who is inside ends by
    /// itself. It stays closed.
    pub(super) fn claim_last(&self) -> Claim<'_, P> {
        let _turn = self.turns.claim_last();
        Claim { group: self, _turn }
    }
}

/// A group that one call changes.
pub(super) struct Claim<'a, P: Platform> {
    /// Which.
    pub(super) group: &'a Group<P>,
    _turn: Turn<'a, P>,
}
