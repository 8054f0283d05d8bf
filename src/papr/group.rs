//! A group of functions, as its partition's calls name it: host bridge, functions,
//! LIOBNs, and whose turn it is to change them.

use super::ddw::{Described, described};
use super::liobn::{FIRST, MAX_WINDOWS};
use super::rtas::{BUSY, HARDWARE};
use crate::dma::{Liobn, PES_PER_WINDOW, Window};
use crate::seam::sync::{AtomicU32, Ordering, relax};
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
    /// [`FREE`], [`CLAIMED`] or [`CLOSED`].
    state: AtomicU32,
    /// 1 if the partition has removed the default window.
    without: AtomicU32,
}

/// Its windows may be changed.
const FREE: u32 = 0;
/// A call changes them.
const CLAIMED: u32 = 1;
/// The partition cannot change them.
const CLOSED: u32 = 2;

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
            state: AtomicU32::new(CLOSED),
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

    /// Does `act` while the group stays the partition's, and nobody changes its
    /// windows: after a call that is at work. `None` if it is closed.
    pub fn keep<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        loop {
            match self.claim() {
                Ok(_claim) => return Some(act()),
                Err(BUSY) => relax(),
                Err(_) => return None,
            }
        }
    }

    /// The partition may change its windows from now on.
    pub fn open(&self) {
        self.state.store(FREE, Ordering::Release);
    }

    /// Its windows are this call's to change, until the result is dropped.
    ///
    /// # Errors
    /// The RTAS status.
    pub(super) fn claim(&self) -> Result<Claim<'_, P>, i32> {
        let claimed =
            self.state
                .compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed);
        match claimed {
            Ok(_) => Ok(Claim {
                group: self,
                then: FREE,
            }),
            Err(CLAIMED) => Err(BUSY),
            Err(_) => Err(HARDWARE),
        }
    }

    /// The same to close it; a call that is at work ends by itself.
    pub(super) fn claim_last(&self) -> Claim<'_, P> {
        while self.state.swap(CLAIMED, Ordering::Acquire) == CLAIMED {
            relax();
        }
        Claim {
            group: self,
            then: CLOSED,
        }
    }
}

/// A group that one call changes.
pub(super) struct Claim<'a, P: Platform> {
    /// Which.
    pub(super) group: &'a Group<P>,
    then: u32,
}

impl<P: Platform> Drop for Claim<'_, P> {
    fn drop(&mut self) {
        self.group.state.store(self.then, Ordering::Release);
    }
}
