//! What a PHB recorded of a PE's error: its PEST entry in memory (IODA2
//! specification as in skiboot doc/opal-api/opal-pci-*; 16 bytes a PE).

use crate::pci::Bdfn;

/// A PEST entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pest {
    /// First eight bytes.
    pub word0: u64,
    /// The others.
    pub word1: u64,
}

/// What kind of access failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PestCause {
    /// No valid TCE, or none that allows it.
    PageFault,
    /// The page is there and the access is refused.
    AccessFault,
    /// DMA got no response.
    Timeout,
    /// Something else, or nothing.
    Other,
}

impl Pest {
    /// What kind of access failed.
    pub const fn cause(self) -> PestCause {
        match self.word0 {
            word if word >> 45 & 1 != 0 => PestCause::PageFault,
            word if word >> 44 & 1 != 0 => PestCause::AccessFault,
            word if word >> 43 & 1 != 0 => PestCause::Timeout,
            _ => PestCause::Other,
        }
    }

    /// Whose access it was.
    pub const fn requester(self) -> Bdfn {
        Bdfn::from_rid((self.word0 >> 16) as u16)
    }

    /// The failing address; its top three bits are not recorded.
    pub const fn address(self) -> u64 {
        self.word1 & (u64::MAX >> 3)
    }

    /// Whether anything is recorded.
    pub const fn is_empty(self) -> bool {
        self.word0 == 0 && self.word1 == 0
    }
}

impl core::fmt::Display for PestCause {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::PageFault => "page fault",
            Self::AccessFault => "access fault",
            Self::Timeout => "DMA without response",
            Self::Other => "error without a recorded cause",
        })
    }
}
