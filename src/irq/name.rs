//! What a source is called.

use core::fmt;

use crate::pci::FunctionId;

/// A source's name for a person. It is kept as its parts, so that a source of a
/// device that comes and goes needs no memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// As the device tree or the code has it: `psi#0:lpchc`.
    Fixed(&'static str),
    /// A message of a function: `nvme 0002:01:00.0 vector 0`.
    Vector {
        /// Which driver.
        driver: &'static str,
        /// The function.
        function: FunctionId,
        /// The function's own number for it.
        vector: u16,
    },
    /// A line of a bridge, by the function that has it: `nvme 0002:01:00.0 line
    /// 0`.
    Line {
        /// Which driver.
        driver: &'static str,
        /// The function.
        function: FunctionId,
        /// 0 to 3, at the bridge.
        line: u8,
    },
    /// What wakes a partition's vCPU: `escalation of LPID 1 vCPU 0`.
    Escalation {
        /// The partition's.
        lpid: u64,
        /// Its vCPU.
        vcpu: u32,
    },
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(name) => f.write_str(name),
            Self::Vector {
                driver,
                function,
                vector,
            } => write!(f, "{driver} {function} vector {vector}"),
            Self::Line {
                driver,
                function,
                line,
            } => write!(f, "{driver} {function} line {line}"),
            Self::Escalation { lpid, vcpu } => {
                write!(f, "escalation of LPID {lpid} vCPU {vcpu}")
            }
        }
    }
}

impl From<&'static str> for Name {
    fn from(name: &'static str) -> Self {
        Self::Fixed(name)
    }
}
