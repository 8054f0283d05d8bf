//! One thing that a driver does to a PHB or a function.

use super::address::{FunctionId, PeNumber};
use super::function::Command;
use super::rid::RidMatch;
use super::topology::ResetMethod;
use crate::addr::HostAddr;

/// Bytes of a configuration register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// Two.
    Two,
    /// Four.
    Four,
}

/// One thing to do. The PHB is known to whoever executes; any failure ends the
/// list, and the group stays as it is, without bus mastering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reset the IODA tables: RIDs with the reserved PE, windows closed, message
    /// vectors and M32 segments with PE 0.
    ResetIoda,
    /// Set an M64 BAR's range.
    SetM64 {
        /// Its number.
        number: u16,
        /// First address, aligned to the size.
        base: HostAddr,
        /// Bytes, a power of two.
        size: u64,
    },
    /// Enable an M64 BAR, split among all PEs.
    SplitM64 {
        /// Its number.
        number: u16,
    },
    /// Give an M32 segment to a PE.
    MapM32 {
        /// Segment number.
        segment: u16,
        /// The PE.
        pe: PeNumber,
    },
    /// Let one PE, and no other, send the first message vectors.
    MapVectors {
        /// How many.
        count: u16,
        /// The PE.
        pe: PeNumber,
    },
    /// Map RIDs to a PE; the reserved one takes them back.
    MapRids {
        /// The PE.
        pe: PeNumber,
        /// Which.
        rids: RidMatch,
    },
    /// Clear a PE's freeze, MMIO and DMA.
    ClearFreeze {
        /// The PE.
        pe: PeNumber,
    },
    /// An error of `parent` freezes `child`, or no longer.
    Peltv {
        /// The PE with the error.
        parent: PeNumber,
        /// The PE that freezes with it.
        child: PeNumber,
        /// Add or remove.
        on: bool,
    },
    /// Write a configuration register and read it back.
    Write {
        /// The function.
        function: FunctionId,
        /// Byte offset.
        offset: u16,
        /// Size of the access.
        width: Width,
        /// Value.
        value: u32,
        /// Bits that must read back as written.
        verify: u32,
    },
    /// Write the command register and read it back, which also pushes writes
    /// that the function had posted. What is in [`Command::LIVE`] must read as
    /// written; other bits may be hard-wired.
    Command {
        /// The function.
        function: FunctionId,
        /// Its new value.
        command: Command,
    },
    /// Program the DMA windows of a PE: what they hold is the table engine's.
    OpenDma {
        /// The PE.
        pe: PeNumber,
    },
    /// Zero the TVEs of a PE.
    CloseDma {
        /// The PE.
        pe: PeNumber,
    },
    /// Kill the PE's cached TCEs and wait for completion.
    KillTces {
        /// The PE.
        pe: PeNumber,
    },
    /// Reset a function and wait; its registers are lost.
    Reset {
        /// The function.
        function: FunctionId,
        /// How.
        method: ResetMethod,
    },
    /// Let time go by.
    Wait {
        /// How much.
        milliseconds: u32,
    },
}
