//! A PHB's hardware with a spy on it: each barrier, each store to a register,
//! and the end of each TCE kill.

use super::PhbHardware;
use super::kill::{DMA_SYNC, SYNC_COMPLETE, TCE_KILL};
use crate::addr::HostAddr;
use crate::spy::Spy;

/// `hardware`, whose registers are at `registers`, watched by `spy`.
pub struct Spied<'s, H> {
    hardware: H,
    registers: HostAddr,
    spy: &'s Spy,
}

impl<'s, H: PhbHardware> Spied<'s, H> {
    /// Puts `spy` on `hardware`.
    pub const fn new(hardware: H, registers: HostAddr, spy: &'s Spy) -> Self {
        Self {
            hardware,
            registers,
            spy,
        }
    }
}

impl<H: PhbHardware> PhbHardware for Spied<'_, H> {
    #[inline]
    fn load(&self, offset: u64) -> u64 {
        let value = self.hardware.load(offset);
        // All ones is a fence, not a completion.
        if offset == DMA_SYNC && value & SYNC_COMPLETE != 0 && value != u64::MAX {
            self.spy.done();
        }
        value
    }

    #[inline]
    fn store(&self, offset: u64, value: u64) {
        let register = HostAddr::new(self.registers.get().wrapping_add(offset));
        self.spy.write(register, value, offset == TCE_KILL);
        self.hardware.store(offset, value);
    }

    #[inline]
    fn barrier(&self) {
        self.hardware.barrier();
        self.spy.barrier();
    }

    fn memory16(&self, at: HostAddr) -> u16 {
        self.hardware.memory16(at)
    }

    fn memory64(&self, at: HostAddr) -> u64 {
        self.hardware.memory64(at)
    }

    fn microseconds(&self) -> u64 {
        self.hardware.microseconds()
    }

    fn wait_ms(&self, milliseconds: u64) {
        self.hardware.wait_ms(milliseconds);
    }

    fn thread(&self) -> u64 {
        self.hardware.thread()
    }
}
