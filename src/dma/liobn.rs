//! The name that a guest uses for a window.

use core::fmt;

/// A logical IO bus number: how a guest names a window in a hypervisor call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Liobn(pub u32);

impl fmt::Display for Liobn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
