//! What is wrong with a function, so that it is named and left alone.

use super::address::{Bdfn, FunctionId, PhbId};
use super::bar::BarFault;
use super::capability::ListFault;
use super::config::ConfigError;
use super::sriov::VfFault;
use core::fmt;

/// One function's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The function.
    pub function: FunctionId,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            // Names the function itself.
            Fault::Config(error) => write!(f, "{error}"),
            fault => write!(f, "{}: {fault}", self.function),
        }
    }
}

/// What is wrong. Each carries the value that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Configuration space cannot be reached.
    #[error("{0}")]
    Config(ConfigError),
    /// Neither an endpoint nor a PCI-to-PCI bridge.
    #[error("header type {0:#04x} is not known")]
    Header(u8),
    /// It answered, and then read as all ones.
    #[error("stopped answering while it was read")]
    Gone,
    /// It asked for a retry until patience ran out.
    #[error("still initialising after {milliseconds} ms")]
    StillInitialising {
        /// How long it was given.
        milliseconds: u32,
    },
    /// A capability list is broken.
    #[error("{0}")]
    List(ListFault),
    /// A BAR lies.
    #[error("BAR {index}: {fault}")]
    Bar {
        /// Register number; 6 is the ROM.
        index: u8,
        /// How.
        fault: BarFault,
    },
    /// Only 1 to 4 are INTA to INTD.
    #[error("interrupt pin {0} is not INTA to INTD")]
    InterruptPin(u8),
    /// Decoding or bus mastering stayed on.
    #[error("command register reads {read:#06x} after {written:#06x} was written")]
    CommandStuck {
        /// What was written.
        written: u16,
        /// What came back.
        read: u16,
    },
    /// A bridge did not take its bus numbers.
    #[error("bus numbers read {read:#08x} after {written:#08x} was written")]
    BusNumbersStuck {
        /// Primary, secondary, subordinate, lowest byte first.
        written: u32,
        /// What came back.
        read: u32,
    },
    /// No number is left for the bus below.
    #[error("no bus number left up to {limit:#04x} for the bus below")]
    NoBusNumber {
        /// Highest number that the bridges above forward.
        limit: u8,
    },
    /// The scan ends: a machine has fewer.
    #[error("the scan ends after {limit} functions")]
    TooManyFunctions {
        /// The bound.
        limit: usize,
    },
    /// The chain of ARI function numbers does not ascend.
    #[error("ARI chain goes from {from} to {next}")]
    AriChain {
        /// The function whose pointer is wrong.
        from: u8,
        /// Where it points.
        next: u8,
    },
    /// Virtual functions cannot be used; the physical function can.
    #[error("{0}")]
    Virtual(VfFault),
    /// Its registers do not fit into the window.
    #[error("no room for {bytes:#x} bytes in {space}")]
    NoRoom {
        /// Bytes that its group would take there, segments included.
        bytes: u64,
        /// "M32" or "M64".
        space: &'static str,
    },
    /// No PE is left for its group.
    #[error("no PE left: the PHB has {pes}")]
    NoPe {
        /// How many the PHB has.
        pes: u16,
    },
}

impl Fault {
    /// Whether the function must be left alone. The others cost a feature.
    pub fn is_fatal(&self) -> bool {
        if matches!(self, Self::Virtual(VfFault::StayOn(_))) {
            return true;
        }
        !matches!(
            self,
            Self::Virtual(_) | Self::AriChain { .. } | Self::TooManyFunctions { .. }
        )
    }
}

impl Problem {
    /// The fault of function `bdfn` below `phb`.
    pub fn new(phb: PhbId, bdfn: Bdfn, fault: Fault) -> Self {
        Self {
            function: FunctionId::new(phb, bdfn),
            fault,
        }
    }
}
