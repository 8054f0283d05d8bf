//! Who owns memory and PEs.

/// Who owns a region, a window or a PE: a partition's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OwnerId(pub u32);
