//! The seam to registers, to the memory that a controller writes, and to the
//! thread that runs.

use crate::addr::HostAddr;

/// Access to an interrupt controller. All registers are big-endian; the values
/// here are the processor's.
///
/// An implementation for hardware is made by an `unsafe` constructor: whoever
/// calls it promises that the addresses which this module gets from the device
/// tree and from firmware (ICP, TIMA and ESB pages) are the controller's.
pub trait Bus: Sync {
    /// Loads a byte of a register.
    fn load8(&self, at: HostAddr) -> u8;
    /// Loads two bytes, naturally aligned.
    fn load16(&self, at: HostAddr) -> u16;
    /// Loads four bytes, naturally aligned.
    fn load32(&self, at: HostAddr) -> u32;
    /// Loads eight bytes, naturally aligned.
    fn load64(&self, at: HostAddr) -> u64;
    /// Stores a byte to a register.
    fn store8(&self, at: HostAddr, value: u8);
    /// Stores four bytes, naturally aligned.
    fn store32(&self, at: HostAddr, value: u32);
    /// Stores eight bytes, naturally aligned.
    fn store64(&self, at: HostAddr, value: u64);
    /// Loads four bytes of ordinary memory that the controller writes.
    fn load_memory32(&self, at: HostAddr) -> u32;
    /// Orders all accesses before against all after, registers and memory
    /// alike: hwsync.
    fn barrier(&self);
    /// Interrupt server number of the thread that runs: its PIR.
    fn running_thread(&self) -> u32;
    /// A number that changes each time the running thread gets on with its work
    /// between interrupts.
    fn round(&self) -> u32;
    /// Seconds, from any start.
    fn seconds(&self) -> u64;
}
