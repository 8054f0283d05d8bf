//! What is wrong with a partition's node, and what was expected instead.

use super::{MAX_BOOTARGS, MAX_DEVICES, MAX_NAME, MAX_PARTITIONS, MEMORY_UNIT, TABLE_UNIT};
use alloc::string::String;
use core::fmt;

/// One thing that is wrong: node, property, expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The node's name.
    pub node: String,
    /// The property; empty if it is the node itself.
    pub property: String,
    /// What was expected there.
    pub expected: Expected,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}: ", self.node)?;
        if !self.property.is_empty() {
            write!(f, "{}: ", self.property)?;
        }
        self.expected.fmt(f)
    }
}

impl core::error::Error for Problem {}

/// What was expected, with the value that was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Expected {
    /// A name that can be typed and shown.
    #[error("expected a name of 1 to {MAX_NAME} letters, digits, - and _")]
    Name,
    /// A name of its own.
    #[error("expected a name that no other partition has")]
    OwnName,
    /// Fewer partitions.
    #[error("expected at most {MAX_PARTITIONS} partitions")]
    FewerPartitions,
    /// A property that must be there.
    #[error("expected, but it is not there")]
    Present,
    /// A property that a partition has.
    #[error(
        "not known; expected memory, cpus, kernel, initrd, bootargs, devices, dma-limit, autostart or share"
    )]
    Known,
    /// No node inside a partition's.
    #[error("expected no node inside a partition's node")]
    NoChild,
    /// A number in two cells.
    #[error("expected two cells <high low>, found {0} bytes")]
    TwoCells(usize),
    /// A number in one cell.
    #[error("expected one cell, found {0} bytes")]
    OneCell(usize),
    /// No value at all.
    #[error("expected no value, found {0} bytes")]
    NoValue(usize),
    /// Memory of a possible size.
    #[error("expected a multiple of {MEMORY_UNIT:#x} bytes above 0, found {0:#x}")]
    MemoryUnit(u64),
    /// Less memory.
    #[error("expected at most the {most:#x} bytes that there are, found {found:#x}")]
    LessMemory {
        /// What was found.
        found: u64,
        /// What is possible.
        most: u64,
    },
    /// Processors that there are.
    #[error("expected 1 to {most} processors, found {found}")]
    Processors {
        /// What was found.
        found: u32,
        /// Hardware threads that there are.
        most: u32,
    },
    /// A text.
    #[error("expected one text")]
    Text,
    /// A shorter text.
    #[error("expected at most {MAX_BOOTARGS} bytes, found {0}")]
    ShorterText(usize),
    /// A file of the bundle.
    #[error("expected the name of a file in the bundle, found \"{0}\"")]
    File(String),
    /// A kernel for a partition that is to start, or has an initrd.
    #[error("expected a kernel too")]
    Kernel,
    /// The name of a device.
    #[error("expected devices as 0000:01:00.0 or vendor:device as 1b36:0010, found \"{0}\"")]
    Device(String),
    /// Fewer devices.
    #[error("expected at most {MAX_DEVICES} devices")]
    FewerDevices,
    /// A device that is named once.
    #[error("expected {device} in one partition only, but \"{other}\" has it")]
    FreeDevice {
        /// The device.
        device: String,
        /// The partition that named it first.
        other: String,
    },
    /// Table memory of a possible size.
    #[error("expected a multiple of {TABLE_UNIT:#x} bytes above 0, found {0:#x}")]
    TableUnit(u64),
}
