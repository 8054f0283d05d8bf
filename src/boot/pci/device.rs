//! A device's registers and a piece of memory that it reaches, for Pinion's own
//! drivers.

use crate::addr::{BusAddr, HostAddr};
use crate::drivers::{DmaMemory, RegisterAccess};
use crate::{cpu, mmio};
use core::sync::atomic::{AtomicU64, Ordering};

/// The byte order of a device's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// PCI's own: nearly all devices.
    Little,
    /// QEMU's edu on a big-endian machine.
    Big,
}

/// The registers behind a BAR.
pub struct Bar {
    start: HostAddr,
    bytes: u64,
    order: Order,
    /// Interrupts of the device so far, and how many of them were waited for.
    interrupts: Option<&'static AtomicU64>,
    seen: u64,
    awake: bool,
}

impl Bar {
    /// The BAR that the processor sees at `start`.
    ///
    /// # Safety
    /// A device that belongs to the caller decodes `bytes` bytes there.
    pub const unsafe fn new(start: HostAddr, bytes: u64, order: Order) -> Self {
        Self {
            start,
            bytes,
            order,
            interrupts: None,
            seen: 0,
            awake: false,
        }
    }

    /// The device's interrupts are counted in `count`.
    #[must_use]
    pub fn with_interrupts(self, count: &'static AtomicU64) -> Self {
        Self {
            seen: count.load(Ordering::Acquire),
            interrupts: Some(count),
            ..self
        }
    }

    /// Waits for the device are spent awake: asleep, the clock of an emulator
    /// that counts instructions runs ahead of a disk behind the device.
    #[must_use]
    pub const fn awake(self) -> Self {
        Self {
            awake: true,
            ..self
        }
    }

    /// Where a register is; `None` if it is not in the BAR or misaligned.
    fn at(&self, offset: u64, size: u64) -> Option<HostAddr> {
        let end = offset.checked_add(size)?;
        if end > self.bytes || !offset.is_multiple_of(size) {
            return None;
        }
        self.start.checked_add(offset)
    }
}

/// A register that is not there reads as all ones, as on the bus.
impl RegisterAccess for Bar {
    fn read32(&mut self, offset: u64) -> u32 {
        let Some(at) = self.at(offset, 4) else {
            return u32::MAX;
        };
        // SAFETY: see `new`.
        let value = unsafe { mmio::read32(at) };
        match self.order {
            Order::Little => value.swap_bytes(),
            Order::Big => value,
        }
    }

    fn read64(&mut self, offset: u64) -> u64 {
        let Some(at) = self.at(offset, 8) else {
            return u64::MAX;
        };
        // SAFETY: see `new`.
        let value = unsafe { mmio::read64(at) };
        match self.order {
            Order::Little => value.swap_bytes(),
            Order::Big => value,
        }
    }

    fn write32(&mut self, offset: u64, value: u32) {
        let Some(at) = self.at(offset, 4) else { return };
        let value = match self.order {
            Order::Little => value.swap_bytes(),
            Order::Big => value,
        };
        // SAFETY: see `new`. What it makes the device do to memory is bounded by
        // its window.
        unsafe { mmio::write32(at, value) }
    }

    fn write64(&mut self, offset: u64, value: u64) {
        let Some(at) = self.at(offset, 8) else { return };
        let value = match self.order {
            Order::Little => value.swap_bytes(),
            Order::Big => value,
        };
        // SAFETY: as above.
        unsafe { mmio::write64(at, value) }
    }

    fn pause(&mut self, milliseconds: u32) {
        if self.awake {
            cpu::wait_ms(milliseconds.into());
        } else {
            cpu::idle::pause_ms(milliseconds.into());
        }
    }

    fn wait_for_interrupt(&mut self, milliseconds: u32) -> bool {
        let start = cpu::timebase();
        let limit = cpu::timebase_hz() / 1000 * u64::from(milliseconds);
        loop {
            let count = self.interrupts.map(|count| count.load(Ordering::Acquire));
            if let Some(count) = count.filter(|count| *count != self.seen) {
                self.seen = count;
                return true;
            }
            let passed = cpu::timebase().wrapping_sub(start);
            if passed >= limit {
                return false;
            }
            // Interrupts are taken in there only.
            cpu::idle::sleep(if self.awake { 1 } else { limit - passed });
            let pause = cpu::timebase();
            let length = cpu::timebase_hz() / 20_000;
            while self.awake && cpu::timebase().wrapping_sub(pause) < length {
                core::hint::spin_loop();
            }
        }
    }
}

/// Memory of a region of the caller's, at consecutive bus addresses.
pub struct Buffer {
    host: HostAddr,
    bus: BusAddr,
    bytes: usize,
}

impl Buffer {
    /// `bytes` bytes at `host`, which the device sees at `bus`.
    ///
    /// # Safety
    /// It is memory that the caller owns and no reference points to.
    pub const unsafe fn new(host: HostAddr, bus: BusAddr, bytes: usize) -> Self {
        Self { host, bus, bytes }
    }

    fn at(&self, offset: usize, count: usize) -> Option<*mut u8> {
        let end = offset.checked_add(count)?;
        (end <= self.bytes).then(|| (self.host.get() as *mut u8).wrapping_add(offset))
    }
}

impl DmaMemory for Buffer {
    fn bus(&self) -> BusAddr {
        self.bus
    }

    fn size(&self) -> usize {
        self.bytes
    }

    fn read(&self, offset: usize, into: &mut [u8]) -> bool {
        let Some(from) = self.at(offset, into.len()) else {
            return false;
        };
        for (index, byte) in into.iter_mut().enumerate() {
            // SAFETY: inside, see `new`; the device writes it at any time.
            *byte = unsafe { from.wrapping_add(index).read_volatile() };
        }
        // What is read next was written before what was read now: a driver that
        // saw a completion reads its data behind it.
        mmio::full_barrier();
        true
    }

    fn write(&mut self, offset: usize, from: &[u8]) -> bool {
        let Some(to) = self.at(offset, from.len()) else {
            return false;
        };
        for (index, byte) in from.iter().enumerate() {
            // SAFETY: inside, see `new`.
            unsafe { to.wrapping_add(index).write_volatile(*byte) }
        }
        true
    }
}
