//! Plain memory and a PHB that answers at once: the engine's own cost.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::Vec;

use super::frames::Frames;
use crate::addr::HostAddr;
use crate::seam::{
    DmaTable, Interrupts, KillScope, KillStyle, PeId, PhbError, PhbPort, TableFrames, TableLimits,
    TableMemory, TveSelect,
};
use crate::trace::Noted;

/// A platform that adds as little as possible.
pub struct Flat {
    words: Vec<AtomicU64>,
    frames: Mutex<Frames>,
    kills: AtomicU64,
}

/// Where table memory begins.
const BASE: u64 = 0x1_0000_0000;

impl Flat {
    /// `bytes` of table memory.
    pub fn new(bytes: u64) -> Self {
        Self {
            words: (0..bytes / 8).map(|_| AtomicU64::new(0)).collect(),
            frames: Mutex::new(Frames::new(HostAddr::new(BASE), bytes)),
            kills: AtomicU64::new(0),
        }
    }

    /// Kills until now.
    pub fn kills(&self) -> u64 {
        self.kills.load(Ordering::Relaxed)
    }

    #[inline]
    fn word(&self, table: HostAddr, index: usize) -> &AtomicU64 {
        &self.words[(table.get() - BASE) as usize / 8 + index]
    }
}

impl TableMemory for Flat {
    #[inline]
    fn load(&self, table: HostAddr, index: usize) -> u64 {
        u64::from_be(self.word(table, index).load(Ordering::Relaxed))
    }

    #[inline]
    fn store(&self, table: HostAddr, index: usize, value: u64) {
        self.word(table, index)
            .store(value.to_be(), Ordering::Relaxed);
    }

    #[inline]
    fn barrier(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
    }
}

impl TableFrames for Flat {
    fn allocate(&self, shift: u32) -> Option<HostAddr> {
        self.frames.lock().ok()?.allocate(shift)
    }

    fn free(&self, frame: HostAddr, shift: u32) {
        if let Ok(mut frames) = self.frames.lock() {
            frames.free(frame, shift);
        }
    }
}

impl PhbPort for Flat {
    type KillPort = ();

    fn kill_port(&self, _pe: PeId) {}

    fn kill_style(&self, _pe: PeId) -> KillStyle {
        KillStyle::Pe
    }

    fn kill(&self, _port: &(), _scope: KillScope) -> Result<(), PhbError> {
        self.kills.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn kill_quickly(&self, port: &()) -> bool {
        self.kill(port, KillScope::Pe).is_ok()
    }

    fn table_limits(&self, _pe: PeId) -> TableLimits {
        TableLimits {
            page_shifts: u64::MAX,
            levels: 5,
        }
    }

    fn push_writes(&self, _pe: PeId) -> Result<(), PhbError> {
        Ok(())
    }

    fn freeze(&self, _pe: PeId) -> Result<(), PhbError> {
        Ok(())
    }

    fn clear_freeze(&self, _pe: PeId) -> Result<(), PhbError> {
        Ok(())
    }

    fn set_tve(
        &self,
        _pe: PeId,
        _tve: TveSelect,
        _table: Option<&DmaTable>,
    ) -> Result<(), PhbError> {
        Ok(())
    }

    fn bus_master_off(&self, _pe: PeId) -> Result<(), PhbError> {
        Ok(())
    }

    fn reset_functions(&self, _pe: PeId) -> Result<(), PhbError> {
        Ok(())
    }
}

impl Noted for Flat {}

impl Interrupts for Flat {
    #[inline]
    fn mask() -> u64 {
        0
    }

    #[inline]
    fn restore(_state: u64) {}
}
