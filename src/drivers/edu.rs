//! QEMU's `edu` device: one DMA at a time, between a 4 KB buffer and memory.
//!
//! Its registers have the byte order of the emulated processor: big-endian on
//! a POWER machine. A refused transfer shows only by what was not copied.

use super::RegisterAccess;
use crate::addr::BusAddr;

const IDENTITY: u64 = 0x00;
const LIVENESS: u64 = 0x04;
const STATUS: u64 = 0x24;
const RAISE: u64 = 0x60;
const ACKNOWLEDGE: u64 = 0x64;
const DMA_SOURCE: u64 = 0x80;
const DMA_TARGET: u64 = 0x88;
const DMA_COUNT: u64 = 0x90;
const DMA_COMMAND: u64 = 0x98;

/// Where the device's buffer is in its own address space.
const BUFFER: u64 = 0x4_0000;
/// Bytes of the buffer. A larger count corrupts the emulator itself.
pub const BUFFER_SIZE: u64 = 4096;

const RUN: u64 = 1;
const TO_MEMORY: u64 = 2;
const INTERRUPT: u64 = 4;

/// A transfer takes 100 ms of the device's time.
const PATIENCE_MS: u32 = 2000;
const POLL_MS: u32 = 10;
const INTERRUPT_MS: u32 = 1000;

/// For the handler of a pin's interrupt: the device lets go of the pin.
pub fn release_pin(registers: &mut impl RegisterAccess) {
    let status = registers.read32(STATUS);
    registers.write32(ACKNOWLEDGE, status);
    // Arrived before the interrupt is ended: a read pushes the write.
    registers.read32(STATUS);
}

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device reads memory.
    FromMemory,
    /// The device writes memory.
    ToMemory,
}

/// Why a transfer did not take place, as far as the device tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EduError {
    /// The identity register is another device's, or absent.
    #[error("identity {0:#010x} is not edu's")]
    Identity(u32),
    /// The liveness register does not invert.
    #[error("liveness reads {read:#010x} after {written:#010x} was written")]
    Dead {
        /// What was written.
        written: u32,
        /// What came back.
        read: u32,
    },
    /// Offset and count leave the buffer.
    #[error("{count} bytes at {offset} leave the buffer of {BUFFER_SIZE} bytes")]
    Range {
        /// Offset in the buffer.
        offset: u64,
        /// Bytes.
        count: u64,
    },
    /// An interrupt did not come.
    #[error("no interrupt within {milliseconds} ms of one being asked for; status {status:#x}")]
    NoInterrupt {
        /// How long was waited.
        milliseconds: u32,
        /// What the device says it asks for.
        status: u32,
    },
    /// The device did not finish.
    #[error("transfer still running after {milliseconds} ms")]
    Timeout {
        /// How long it was given.
        milliseconds: u32,
    },
}

/// The device.
pub struct Edu<R> {
    registers: R,
}

impl<R: RegisterAccess> Edu<R> {
    /// Checks that it is one and alive.
    pub fn new(mut registers: R) -> Result<Self, EduError> {
        let identity = registers.read32(IDENTITY);
        if identity & 0xffff != 0x00ed {
            return Err(EduError::Identity(identity));
        }
        let written = 0x1234_5678;
        registers.write32(LIVENESS, written);
        let read = registers.read32(LIVENESS);
        if read != !written {
            return Err(EduError::Dead { written, read });
        }
        Ok(Self { registers })
    }

    /// Makes the device interrupt, and waits until the interrupt has come. `why`
    /// is any number but 0.
    pub fn interrupt(&mut self, why: u32) -> Result<(), EduError> {
        let registers = &mut self.registers;
        registers.write32(RAISE, why);
        let came = registers.wait_for_interrupt(INTERRUPT_MS);
        let status = registers.read32(STATUS);
        registers.write32(ACKNOWLEDGE, status);
        if came {
            return Ok(());
        }
        Err(EduError::NoInterrupt {
            milliseconds: INTERRUPT_MS,
            status,
        })
    }

    /// Gives the registers back.
    pub fn into_registers(self) -> R {
        self.registers
    }

    /// Copies `count` bytes between `offset` in the buffer and `bus`, and waits.
    /// `Ok` says that the device is done, not that the PHB let it through.
    pub fn transfer(
        &mut self,
        direction: Direction,
        offset: u64,
        bus: BusAddr,
        count: u64,
        interrupt: bool,
    ) -> Result<(), EduError> {
        self.begin(direction, offset, bus, count, interrupt)?;
        let registers = &mut self.registers;
        for _ in 0..PATIENCE_MS / POLL_MS {
            if registers.read64(DMA_COMMAND) & RUN == 0 {
                return Ok(());
            }
            registers.pause(POLL_MS);
        }
        Err(EduError::Timeout {
            milliseconds: PATIENCE_MS,
        })
    }

    /// As [`Edu::transfer`], without waiting: the device copies 100 ms later.
    pub fn begin(
        &mut self,
        direction: Direction,
        offset: u64,
        bus: BusAddr,
        count: u64,
        interrupt: bool,
    ) -> Result<(), EduError> {
        let end = offset.checked_add(count);
        if count == 0 || end.is_none_or(|end| end > BUFFER_SIZE) {
            return Err(EduError::Range { offset, count });
        }
        let inside = BUFFER + offset;
        let (source, target, way) = match direction {
            Direction::FromMemory => (bus.get(), inside, 0),
            Direction::ToMemory => (inside, bus.get(), TO_MEMORY),
        };
        let registers = &mut self.registers;
        registers.write64(DMA_SOURCE, source);
        registers.write64(DMA_TARGET, target);
        registers.write64(DMA_COUNT, count);
        let signal = if interrupt { INTERRUPT } else { 0 };
        registers.write64(DMA_COMMAND, RUN | way | signal);
        Ok(())
    }
}
