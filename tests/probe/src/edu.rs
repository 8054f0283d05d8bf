//! QEMU's edu: copies between its buffer and memory. Its registers are as the
//! processor's bytes are.

use crate::checks::{Outcome, pause, want};
use crate::device::{BOTH, BUFFERS, Device, PAGE, READ};
use core::arch::asm;

const LIVENESS: u64 = 0x04;
const STATUS: u64 = 0x24;
const RAISE: u64 = 0x60;
const ACKNOWLEDGE: u64 = 0x64;
const SOURCE: u64 = 0x80;
const TARGET: u64 = 0x88;
const COUNT: u64 = 0x90;
const COMMAND: u64 = 0x98;

/// Its buffer, as it sees it.
const BUFFER: u64 = 0x4_0000;
/// Bytes that are copied.
const BYTES: usize = 256;

pub struct Edu(u64);

fn load(address: u64) -> u32 {
    let value: u64;
    // SAFETY: a register of this partition's device.
    unsafe { asm!("sync", "lwz {0}, 0({1})", out(reg) value, in(reg) address, options(nostack)) };
    value as u32
}

fn store(address: u64, value: u32) {
    // SAFETY: as above.
    unsafe { asm!("sync", "stw {0}, 0({1})", in(reg) value, in(reg) address, options(nostack)) };
}

fn store_wide(address: u64, value: u64) {
    // SAFETY: as above.
    unsafe { asm!("sync", "std {0}, 0({1})", in(reg) value, in(reg) address, options(nostack)) };
}

/// Bytes of memory that the device may write at any time.
fn memory(at: u64) -> [u8; BYTES] {
    // SAFETY: memory of this partition that nothing else uses.
    core::array::from_fn(|index| unsafe { ((at + index as u64) as *const u8).read_volatile() })
}

fn fill(at: u64, with: impl Fn(usize) -> u8) {
    for index in 0..BYTES {
        // SAFETY: as above.
        unsafe { ((at + index as u64) as *mut u8).write_volatile(with(index)) };
    }
}

impl Edu {
    pub fn new(registers: u64) -> Result<Self, &'static str> {
        want(load(registers) & 0xffff == 0xed, "it is no edu")?;
        store(registers + LIVENESS, 0x1234_5678);
        want(
            load(registers + LIVENESS) == !0x1234_5678,
            "it does not invert its word",
        )?;
        Ok(Self(registers))
    }

    /// Interrupts.
    pub fn raise(&self) {
        store(self.0 + RAISE, 1);
    }

    /// Its interrupt is over: the pin is let go of.
    pub fn acknowledge(&self) {
        store(self.0 + ACKNOWLEDGE, load(self.0 + STATUS));
    }

    fn copy(&self, from: u64, to: u64, command: u64) -> Outcome {
        let Self(registers) = *self;
        store_wide(registers + SOURCE, from);
        store_wide(registers + TARGET, to);
        store_wide(registers + COUNT, BYTES as u64);
        store_wide(registers + COMMAND, command);
        for _ in 0..200 {
            if load(registers + COMMAND) & 1 == 0 {
                return Ok(());
            }
            pause(10);
        }
        Err("a transfer does not end")
    }

    fn fetch(&self, bus: u64) -> Outcome {
        self.copy(bus, BUFFER, 1)
    }

    fn deliver(&self, bus: u64) -> Outcome {
        self.copy(BUFFER, bus, 3)
    }

    /// Both ways, at a bus address whose low bits are those of the memory from
    /// [`BUFFERS`] on.
    pub fn round_trip(&self, bus: u64) -> Outcome {
        let at = BUFFERS + (bus & 0xffff);
        let pattern = |index: usize| (index as u8).wrapping_mul(7) ^ bus as u8;
        fill(at, pattern);
        self.fetch(bus)?;
        fill(at, |_| 0x55);
        self.deliver(bus)?;
        want(
            memory(at) == core::array::from_fn(pattern),
            "what came back is not what was sent",
        )
    }

    /// Nothing is written at a bus address, though the device tries.
    pub fn is_refused(&self, bus: u64) -> Outcome {
        let at = BUFFERS + (bus & 0xffff);
        fill(at, |_| 0x33);
        self.deliver(bus)?;
        want(
            memory(at) == [0x33; BYTES],
            "the device writes unmapped memory",
        )
    }

    /// DMA through the default window.
    pub fn exercise(&self, device: &Device) -> Outcome {
        want(device.put(0, BUFFERS | BOTH) == 0, "H_PUT_TCE fails")?;
        self.round_trip(0x800)?;
        // Read-only: what is there can be fetched, and not be changed.
        want(device.put(0, BUFFERS | READ) == 0, "H_PUT_TCE fails")?;
        self.fetch(0x800)?;
        self.is_refused(0x800)?;
        want(device.put(0, 0) == 0, "H_PUT_TCE fails")?;
        self.is_refused(0x800)?;
        // Another page at the same bus address.
        want(
            device.put(0, (BUFFERS + PAGE) | BOTH) == 0,
            "H_PUT_TCE fails",
        )?;
        fill(BUFFERS + PAGE + 0x800, |_| 0);
        self.deliver(0x800)?;
        want(
            memory(BUFFERS + 0x800) == [0x33; BYTES]
                && memory(BUFFERS + PAGE + 0x800) != [0; BYTES],
            "the old page is written, or the new one is not",
        )
    }
}
