//! Small drivers for Pinion's own use of a device: they show that a window lets
//! through what is mapped. Pure above two seams: registers and DMA memory.
#![forbid(unsafe_code)]

pub mod edu;
pub mod nvme;

use crate::addr::BusAddr;

/// A device's registers. Offsets in bytes from the start of its BAR, naturally
/// aligned; values in the processor's order, whatever the device's is.
pub trait RegisterAccess {
    /// Reads four bytes.
    fn read32(&mut self, offset: u64) -> u32;
    /// Reads eight bytes.
    fn read64(&mut self, offset: u64) -> u64;
    /// Writes four bytes, after all writes to DMA memory before it.
    fn write32(&mut self, offset: u64, value: u32);
    /// Writes eight bytes, after all writes to DMA memory before it.
    fn write64(&mut self, offset: u64, value: u64);
    /// Lets `milliseconds` go by.
    fn pause(&mut self, milliseconds: u32);
    /// Waits until the device has interrupted since this was called last, but not
    /// longer than `milliseconds`. Whether it has.
    fn wait_for_interrupt(&mut self, milliseconds: u32) -> bool;
}

/// Memory that the device reaches at consecutive bus addresses.
///
/// The device writes it at any time: reads are never cached by the compiler,
/// and what was read may differ the next time.
pub trait DmaMemory {
    /// Bus address of the first byte, aligned to 4 KB.
    fn bus(&self) -> BusAddr;
    /// Bytes.
    fn size(&self) -> usize;
    /// Reads bytes; `false` if the range is not inside, and nothing is read.
    fn read(&self, offset: usize, into: &mut [u8]) -> bool;
    /// Writes bytes; `false` if the range is not inside, and nothing is written.
    fn write(&mut self, offset: usize, from: &[u8]) -> bool;
}
