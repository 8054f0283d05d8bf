//! What the engine asks of a PCI host bridge, PE by PE.

use core::fmt;

use crate::addr::{BusAddr, HostAddr};

/// A partitionable endpoint: which PHB, and the PE's number there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeId {
    /// Index of the PHB, in the platform's own order.
    pub phb: u16,
    /// Number of the PE in its PHB, from 0.
    pub pe: u16,
}

impl fmt::Display for PeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PE {}:{:#x}", self.phb, self.pe)
    }
}

/// Which of a PE's two translation validation entries; bit 59 of the PCI
/// address selects it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TveSelect {
    /// TVE#0, addresses from 0.
    Low,
    /// TVE#1, addresses from 1 << 59.
    High,
}

/// A TCE table as a PHB is told of it (OPAL call 44, or a TVE).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DmaTable {
    /// Root table, aligned to its size.
    pub root: HostAddr,
    /// Levels, 1 to 5.
    pub levels: u32,
    /// Log2 of the bytes of one table, 12 to 42.
    pub level_shift: u32,
    /// Log2 of the bytes of one IO page.
    pub page_shift: u32,
}

/// Which tables a PHB can walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableLimits {
    /// IO page sizes: bit `n` is set if pages of `1 << n` bytes are supported
    /// (`ibm,supported-tce-sizes`).
    pub page_shifts: u64,
    /// Most levels, 1 to 5.
    pub levels: u32,
}

/// What a TCE kill has to cover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KillScope {
    /// `pages` IO pages of `1 << page_shift` bytes from `bus`.
    Pages {
        /// First address, as the device uses it.
        bus: BusAddr,
        /// Number of IO pages.
        pages: u64,
        /// Log2 of the bytes of one IO page.
        page_shift: u32,
    },
    /// All translations of the PE.
    Pe,
    /// All translations of the PHB.
    All,
}

/// Which scope is right for a PHB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KillStyle {
    /// PHB3: pages one by one up to `limit`, the PE above it.
    Pages {
        /// Largest number of pages for which a page kill is cheaper.
        limit: u64,
    },
    /// PHB4 and PHB5: always the PE, since a page kill may be dropped
    /// (erratum HW560152).
    Pe,
    /// A PHB whose PE kill is unusable: always everything.
    All,
}

/// Why a PHB did not do what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PhbError {
    /// It did not answer in time.
    #[error("the PHB did not complete in time")]
    TimedOut,
    /// Its registers read as all ones.
    #[error("the PHB is fenced")]
    Fenced,
    /// An earlier failure froze the PE; nothing was tried.
    #[error("the PE is frozen since an earlier failure")]
    Frozen,
    /// Firmware refused, with this OPAL return code.
    #[error("firmware refused with {0}")]
    Firmware(i64),
    /// A read back showed another value than the one written.
    #[error("read back {0:#x}")]
    ReadBack(u64),
}

/// A platform's PHBs. Called without any engine lock held; the per-PHB lock is
/// the implementation's.
pub trait PhbPort {
    /// The way to the kills of one PE, found once for all of them.
    type KillPort;

    /// The way to the kills of `pe`. It stays good as long as the platform.
    fn kill_port(&self, pe: PeId) -> Self::KillPort;

    /// The kind of kill that is right for the PHB of `pe`, always the same.
    fn kill_style(&self, pe: PeId) -> KillStyle;

    /// The tables that the PHB of `pe` can walk.
    fn table_limits(&self, pe: PeId) -> TableLimits;

    /// Invalidates cached translations of the PE behind `port` and waits until that is done and
    /// DMA reads that used them are over. `Ok` means: no later DMA uses an
    /// entry that was replaced before a barrier, of any thread, that came before
    /// this call: the access that starts the kill is ordered after all that this
    /// thread has read before (hwsync before it). The read that
    /// tells completion is ordered before all later accesses of this thread,
    /// stores to memory included (twi and isync after the load, or hwsync).
    ///
    /// Writes that were translated before and are posted may still be on their
    /// way to memory: see [`PhbPort::push_writes`].
    fn kill(&self, port: &Self::KillPort, scope: KillScope) -> Result<(), PhbError>;

    /// [`PhbPort::kill`] of [`KillScope::Pe`], which most kills are, where nothing
    /// is unusual. `false` says nothing, but that it may not be complete: it is to
    /// be done by [`PhbPort::kill`] then, from its start.
    fn kill_quickly(&self, _port: &Self::KillPort) -> bool {
        false
    }

    /// Stops MMIO and DMA of `pe`.
    fn freeze(&self, pe: PeId) -> Result<(), PhbError>;

    /// Clears a freeze of `pe` and its recorded error.
    fn clear_freeze(&self, pe: PeId) -> Result<(), PhbError>;

    /// Points a TVE of `pe` at `table`, or disables it, and reads it back.
    fn set_tve(&self, pe: PeId, tve: TveSelect, table: Option<&DmaTable>) -> Result<(), PhbError>;

    /// Waits until writes that functions of `pe` have posted, and that the PHB has
    /// translated, are in memory: reads from each function (its config space).
    /// A completion does not pass posted writes (PCI Express base
    /// specification, transaction ordering rules), so the answer comes after
    /// them. All ones, or no answer, is a failure, unless the function is known
    /// to be gone: then nothing says that they have landed.
    fn push_writes(&self, pe: PeId) -> Result<(), PhbError>;

    /// Turns bus mastering of all functions of `pe` off and reads it back: the
    /// completion of the read pushes posted writes.
    fn bus_master_off(&self, pe: PeId) -> Result<(), PhbError>;

    /// Resets all functions of `pe` and waits until they are ready.
    fn reset_functions(&self, pe: PeId) -> Result<(), PhbError>;
}
