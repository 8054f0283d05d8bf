//! The processors that Pinion knows.
#![forbid(unsafe_code)]

use core::fmt;

/// A processor's generation, as far as Pinion treats them differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    /// POWER8, 8E, 8NVL.
    Power8,
    /// POWER9.
    Power9,
    /// POWER10.
    Power10,
}

impl Generation {
    /// The generation of a processor version (PVR), if Pinion knows it
    /// (skiboot include/processor.h).
    pub const fn of_pvr(pvr: u32) -> Option<Self> {
        match pvr >> 16 {
            0x4b..=0x4d => Some(Self::Power8),
            0x4e => Some(Self::Power9),
            0x80 => Some(Self::Power10),
            _ => None,
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Power8 => "POWER8",
            Self::Power9 => "POWER9",
            Self::Power10 => "POWER10",
        })
    }
}

/// The architecture's usual timebase, in ticks per second.
pub const DEFAULT_TIMEBASE_HZ: u64 = 512_000_000;
