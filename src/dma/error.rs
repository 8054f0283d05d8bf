//! Why an operation did not happen, with the value that was wrong.

use super::detach::DetachStep;
use super::liobn::Liobn;
use super::quota::QuotaError;
use crate::addr::{BusAddr, HostAddr};
use crate::memory::ledger::{LedgerError, OwnerId, PinError};
use crate::seam::{PeId, PhbError, TveSelect};
use crate::tce::entry::BadAccess;
use crate::tce::page::PageShift;
use crate::tce::window::WindowError;
use crate::tce::{Entry, RangeError, ShapeError};

/// The failure of an operation. Unless a variant says otherwise, nothing has
/// changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DmaError {
    /// The bus addresses name no pages of the window.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// No table has this shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// No window has these addresses.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// The PHB does not have this IO page size.
    #[error("the PHB has no IO pages of {0}")]
    PageSize(PageShift),
    /// The PHB of this PE does not have the window's IO page size.
    #[error("the PHB of {pe} has no IO pages of {page}")]
    PePageSize {
        /// The PE.
        pe: PeId,
        /// The window's page size.
        page: PageShift,
    },
    /// The PHB of this PE cannot walk so many levels.
    #[error("the window's table has {levels} levels, the PHB of {pe} walks {most}")]
    PeLevels {
        /// The PE.
        pe: PeId,
        /// Levels of the window's table.
        levels: u32,
        /// Levels that the PHB walks.
        most: u32,
    },
    /// A window's limit of pages for one operation is too high.
    #[error("a limit of {0:#x} pages at once: {most:#x} are possible", most = super::window::MOST_PAGES_AT_ONCE)]
    Limit(u64),
    /// Rights that are not read, write or both.
    #[error(transparent)]
    Access(#[from] BadAccess),
    /// The host address is not the start of an IO page.
    #[error("page {host:#x} for {bus:#x} is not aligned to IO pages of {page_bytes:#x} bytes")]
    MisalignedHost {
        /// Bus address it was for.
        bus: BusAddr,
        /// The address.
        host: HostAddr,
        /// Bytes of an IO page.
        page_bytes: u64,
    },
    /// The pages cannot be pinned.
    #[error("for {bus:#x}: {error}")]
    Pin {
        /// Bus address that the page was for.
        bus: BusAddr,
        /// Which page, and why.
        error: PinError,
    },
    /// An entry is in use, or its kill is not over.
    #[error("{bus:#x} is in use: {entry:?}")]
    Busy {
        /// The first such address.
        bus: BusAddr,
        /// What is there.
        entry: Entry,
    },
    /// Nothing is mapped there.
    #[error("nothing is mapped at {0:#x}")]
    NotMapped(BusAddr),
    /// No frame for a table.
    #[error("no memory for a table of {bytes:#x} bytes")]
    NoTableMemory {
        /// Bytes of the table.
        bytes: u64,
    },
    /// The partition's limit of table memory.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// The window is being torn down or removed.
    #[error("the window is being removed")]
    WindowClosing,
    /// The last PE has left the window: it is empty, and maps nothing until one is
    /// attached again.
    #[error("no PE uses the window any more")]
    Detached,
    /// A kill failed earlier; the window needs recovery.
    #[error("{0} is frozen after a failed kill")]
    Frozen(PeId),
    /// The kill of this operation failed: the PE is frozen. Entries that the
    /// operation made or removed are tombstones, and all pins stay.
    #[error("{pe}: kill failed: {error}")]
    Kill {
        /// Whose kill.
        pe: PeId,
        /// Why.
        error: PhbError,
    },
    /// Another attach, detach, recovery or removal of the window is running.
    #[error("the window is being changed by another thread")]
    ControlBusy,
    /// The platform has no such PE.
    #[error("there is no {0}")]
    UnknownPe(PeId),
    /// The window serves the largest number of PEs.
    #[error("{0} would be one too many for the window")]
    TooManyPes(PeId),
    /// The PE uses the window already.
    #[error("{0} uses the window already")]
    Attached(PeId),
    /// The PE does not use the window.
    #[error("{0} does not use the window")]
    NotAttached(PeId),
    /// The PE's TVE belongs to another window.
    #[error("{tve:?} TVE of {pe} belongs to another window")]
    TveInUse {
        /// The PE.
        pe: PeId,
        /// The TVE.
        tve: TveSelect,
    },
    /// The PE belongs to another partition.
    #[error("{pe} belongs to partition {}", owner.0)]
    PeOwned {
        /// The PE.
        pe: PeId,
        /// Its owner.
        owner: OwnerId,
    },
    /// The PHB did not enable the window. The TVE is off again, unless the PHB
    /// failed at that too: then the PE stays attached, frozen, to be detached.
    #[error("{pe}: window not enabled: {error}")]
    Attach {
        /// The PE.
        pe: PeId,
        /// Why.
        error: PhbError,
    },
    /// A step of a detach failed: the PE is frozen, still attached, and all
    /// pins stay. Detach may be tried again.
    #[error("{pe}: detach failed at {step:?}: {error}")]
    Detach {
        /// The PE.
        pe: PeId,
        /// Where.
        step: DetachStep,
        /// Why.
        error: PhbError,
    },
    /// A cleared table does not read as zero. The window takes nothing any more:
    /// each operation gets this, its table and its pins stay for ever. Its PEs
    /// are detached.
    #[error("entry of {bus:#x} reads {bits:#x} after it was cleared")]
    NotZero {
        /// The address.
        bus: BusAddr,
        /// What was read.
        bits: u64,
    },
    /// The region is not in a state to be made quiet.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The PE's posted writes cannot be waited for: a detach with a reset makes
    /// sure of them.
    #[error("{pe}: writes may be on their way: {error}")]
    Push {
        /// The PE.
        pe: PeId,
        /// Why.
        error: PhbError,
    },
    /// The LIOBN is taken.
    #[error("LIOBN {0} is taken")]
    LiobnTaken(Liobn),
    /// No window has this LIOBN.
    #[error("LIOBN {0} is unknown")]
    UnknownLiobn(Liobn),
}

/// Errors by what a caller can do about them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// Something is in the way: unmap it, or wait.
    Busy,
    /// Nothing is mapped there.
    NotMapped,
    /// The request makes no sense: alignment, sizes, rights.
    Invalid,
    /// The request is not inside the window.
    OutOfRange,
    /// The memory is not the caller's, or is being taken back.
    NotOwned,
    /// Memory or a limit.
    NoResources,
    /// The window or PE is gone or unknown.
    Gone,
    /// The PHB failed.
    Hardware,
}

impl DmaError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Range(RangeError::Outside { .. }) => ErrorKind::OutOfRange,
            Self::Range(RangeError::TooMany { .. })
            | Self::Pin {
                error: PinError::TooMany { .. },
                ..
            }
            | Self::NoTableMemory { .. }
            | Self::Quota(_)
            | Self::TooManyPes(_) => ErrorKind::NoResources,
            Self::Pin {
                error: PinError::NotOwned { .. } | PinError::Closing { .. },
                ..
            }
            | Self::PeOwned { .. } => ErrorKind::NotOwned,
            Self::Range(_)
            | Self::Shape(_)
            | Self::Window(_)
            | Self::PageSize(_)
            | Self::PePageSize { .. }
            | Self::PeLevels { .. }
            | Self::Limit(_)
            | Self::Access(_)
            | Self::MisalignedHost { .. }
            | Self::Pin {
                error: PinError::Overflow { .. },
                ..
            } => ErrorKind::Invalid,
            Self::Ledger(LedgerError::NoRegion(_)) => ErrorKind::NotOwned,
            Self::Busy { .. }
            | Self::Ledger(_)
            | Self::ControlBusy
            | Self::Attached(_)
            | Self::TveInUse { .. }
            | Self::LiobnTaken(_) => ErrorKind::Busy,
            Self::NotMapped(_) => ErrorKind::NotMapped,
            Self::WindowClosing
            | Self::Detached
            | Self::UnknownPe(_)
            | Self::NotAttached(_)
            | Self::UnknownLiobn(_) => ErrorKind::Gone,
            Self::Frozen(_)
            | Self::Kill { .. }
            | Self::Attach { .. }
            | Self::Detach { .. }
            | Self::Push { .. }
            | Self::NotZero { .. } => ErrorKind::Hardware,
        }
    }
}
