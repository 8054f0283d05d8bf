//! Waiting for another thread's unmap of the same entries.

use super::error::DmaError;
use crate::seam::sync::relax;

/// Looks at a window before a remap gives up. With the pauses between them, some
/// milliseconds: a kill takes microseconds, and one that takes longer than this is
/// about to fail.
const LOOKS: u32 = if cfg!(loom) { 64 } else { 1 << 12 };

/// Longest pause, in turns of a waiting loop.
const PAUSE: u32 = if cfg!(loom) { 1 } else { 64 };

/// How long an operation has waited for tombstones of others. What a remap means
/// (H_PUT_TCE) is to replace whatever is there, so a mapping waits where an unmap
/// is not over: that ends by itself with its kill. The wait has a bound, as
/// others may unmap the entry again and again; then the entry is busy.
#[derive(Default)]
pub(super) struct Patience {
    looks: u32,
}

impl Patience {
    /// Whether to look again after `error`, once this has returned. Without any
    /// lock held.
    #[cold]
    pub(super) fn bears(&mut self, error: &DmaError) -> bool {
        if !matches!(error, DmaError::Busy { .. }) || self.looks == LOOKS {
            return false;
        }
        self.looks += 1;
        for _ in 0..self.looks.min(PAUSE) {
            relax();
        }
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::addr::BusAddr;
    use crate::tce::Entry;

    #[test]
    fn it_bears_a_busy_entry_so_often_and_nothing_else() {
        let busy = DmaError::Busy {
            bus: BusAddr::new(0x1000),
            entry: Entry::Empty,
        };
        let mut patience = Patience::default();
        for look in 0..LOOKS {
            assert!(!patience.bears(&DmaError::WindowClosing), "{look}");
            assert!(patience.bears(&busy), "{look}");
        }
        assert!(!patience.bears(&busy) && !patience.bears(&busy));
        assert!(!patience.bears(&DmaError::WindowClosing));
    }
}
