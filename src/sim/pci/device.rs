//! One function's configuration space: bytes, which bits can be written, and
//! how it lies.

use crate::pci::registers as reg;
use crate::pci::registers::{capability as id, express, sriov};

/// A way in which a device deceives whoever scans it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The size mask of the BAR at this offset changes with each write.
    ChangingBar(u16),
    /// The register at this offset never changes.
    Stuck(u16),
    /// Reads as all ones after so many reads.
    GoneAfter(u32),
    /// Asks for so many retries first.
    Retries(u32),
}

/// A model of one function.
#[derive(Clone, Debug)]
pub struct DeviceModel {
    bytes: Vec<u8>,
    writable: Vec<u8>,
    last_capability: Option<u16>,
    next_free: u16,
    last_extended: Option<u16>,
    next_extended: u16,
    lies: Vec<Lie>,
    reads: u32,
    flips: u32,
    pub(super) express: Option<u16>,
    pub(super) acs: Option<u16>,
    pub(super) sriov: Option<u16>,
    pub(super) port: u8,
}

impl DeviceModel {
    /// A function without BARs or capabilities. `class` is the 24-bit code.
    pub fn new(vendor: u16, device: u16, class: u32) -> Self {
        let mut it = Self {
            bytes: vec![0; 4096],
            writable: vec![0; 4096],
            last_capability: None,
            next_free: 0x40,
            last_extended: None,
            next_extended: 0x100,
            lies: Vec::new(),
            reads: 0,
            flips: 0,
            express: None,
            acs: None,
            sriov: None,
            port: 0,
        };
        it.put32(reg::VENDOR, u32::from(device) << 16 | u32::from(vendor));
        it.put32(reg::REVISION_CLASS, class << 8 | 1);
        it.allow16(reg::COMMAND, 0x0547);
        it
    }

    /// A bridge with a memory window and a 64-bit prefetchable one.
    pub fn bridge(vendor: u16, device: u16) -> Self {
        let mut it = Self::new(vendor, device, 0x06_0400);
        it.bytes[usize::from(reg::HEADER_TYPE)] = 1;
        it.allow32(reg::BUS_NUMBERS, 0x00ff_ffff);
        it.allow32(reg::MEMORY_WINDOW, 0xfff0_fff0);
        it.put32(reg::PREFETCH_WINDOW, 0x0001_0001);
        it.allow32(reg::PREFETCH_WINDOW, 0xfff0_fff0);
        it.allow32(reg::PREFETCH_BASE_HIGH, u32::MAX);
        it.allow32(reg::PREFETCH_LIMIT_HIGH, u32::MAX);
        it
    }

    /// Takes the 64-bit half of the prefetchable window away.
    pub fn with_32_bit_prefetch(mut self) -> Self {
        self.put32(reg::PREFETCH_WINDOW, 0);
        self.allow32(reg::PREFETCH_BASE_HIGH, 0);
        self.allow32(reg::PREFETCH_LIMIT_HIGH, 0);
        self
    }

    /// Says that the device has more than one function.
    pub fn multi_function(mut self) -> Self {
        self.bytes[usize::from(reg::HEADER_TYPE)] |= reg::HEADER_MULTI_FUNCTION;
        self
    }

    /// A 32-bit memory BAR of `size` bytes, a power of two.
    pub fn bar32(self, index: u16, size: u32, prefetchable: bool) -> Self {
        let flags = if prefetchable { 8 } else { 0 };
        self.raw_bar(reg::BAR0 + 4 * index, flags, !(size - 1))
    }

    /// A 64-bit memory BAR of `size` bytes, a power of two.
    pub fn bar64(self, index: u16, size: u64, prefetchable: bool) -> Self {
        let flags = if prefetchable { 0xc } else { 4 };
        self.wide_bar(reg::BAR0 + 4 * index, flags, size)
    }

    fn wide_bar(self, offset: u16, flags: u32, size: u64) -> Self {
        let mask = !(size - 1);
        self.raw_bar(offset, flags, mask as u32)
            .raw_bar(offset + 4, 0, (mask >> 32) as u32)
    }

    /// An IO BAR of `size` bytes.
    pub fn bar_io(self, index: u16, size: u32) -> Self {
        self.raw_bar(reg::BAR0 + 4 * index, 1, !(size - 1))
    }

    /// An expansion ROM of `size` bytes.
    pub fn rom(self, size: u32) -> Self {
        self.raw_bar(reg::ROM_BAR, 0, !(size - 1) | 1)
    }

    /// A register with read-only `flags` and the writable bits `mask`: lies too.
    pub fn raw_bar(mut self, offset: u16, flags: u32, mask: u32) -> Self {
        self.put32(offset, flags);
        self.allow32(offset, mask & !flags);
        self
    }

    /// An interrupt pin: 1 for INTA.
    pub fn pin(mut self, pin: u8) -> Self {
        self.bytes[usize::from(reg::INTERRUPT_PIN)] = pin;
        self
    }

    /// A lie.
    pub fn lie(mut self, lie: Lie) -> Self {
        self.lies.push(lie);
        self
    }

    /// PCI Express capability of the given port type, with ARI forwarding if
    /// it is a port and FLR if it is an endpoint.
    pub fn express(mut self, port: u8) -> Self {
        let at = self.capability(id::EXPRESS, 0x3c);
        self.put16(at + express::FLAGS, 2 | u16::from(port) << 4);
        let endpoint = port <= 1;
        self.put32(
            at + express::DEVICE_CAPABILITY,
            if endpoint { express::DEVICE_FLR } else { 0 },
        );
        if matches!(port, 4 | 6) {
            self.put32(at + express::DEVICE_CAPABILITY_2, express::ARI_FORWARDING);
            self.allow16(
                at + express::DEVICE_CONTROL_2,
                express::ARI_FORWARDING as u16,
            );
        }
        self.express = Some(at);
        self.port = port;
        self
    }

    /// MSI-X with its table at the start of `bar` and the pending bits behind.
    pub fn msix(mut self, vectors: u16, bar: u8) -> Self {
        let at = self.capability(id::MSIX, 12);
        self.put16(at + 2, vectors - 1);
        self.put32(at + 4, u32::from(bar));
        self.put32(at + 8, (u32::from(vectors) * 16) | u32::from(bar));
        self.allow16(at + 2, 0xc000);
        self
    }

    /// MSI with `1 << log2` vectors, 64-bit.
    pub fn msi(mut self, log2: u16) -> Self {
        let at = self.capability(id::MSI, 14);
        self.put16(at + 2, log2 << 1 | 1 << 7);
        self
    }

    /// Power management whose D3hot resets.
    pub fn power(mut self) -> Self {
        self.capability(id::POWER, 8);
        self
    }

    /// Access control with these capability bits, all of which can be set.
    pub fn acs(mut self, bits: u16) -> Self {
        let at = self.extended(id::ACS, 8);
        self.put16(at + 4, bits);
        self.allow16(at + 6, bits);
        self.acs = Some(at);
        self
    }

    /// AER.
    pub fn aer(mut self) -> Self {
        self.extended(id::AER, 0x2c);
        self
    }

    /// ARI with the next function's number.
    pub fn ari(mut self, next: u8) -> Self {
        let at = self.extended(id::ARI, 8);
        self.put16(at + 4, u16::from(next) << 8);
        self
    }

    /// SR-IOV: `total` functions at `offset` and `stride`, BARs by register,
    /// size and prefetchability (64-bit).
    pub fn sriov(
        mut self,
        total: u16,
        offset: u16,
        stride: u16,
        bars: &[(u16, u64, bool)],
    ) -> Self {
        let at = self.extended(id::SRIOV, 0x40);
        self.put16(at + sriov::INITIAL_VFS, total);
        self.put16(at + sriov::TOTAL_VFS, total);
        self.put16(at + sriov::FIRST_OFFSET, offset);
        self.put16(at + sriov::STRIDE, stride);
        self.put16(at + sriov::VF_DEVICE, 0x10ca);
        self.put32(at + sriov::SUPPORTED_PAGES, 0x553);
        self.put32(at + sriov::SYSTEM_PAGE, 1);
        self.allow32(at + sriov::SYSTEM_PAGE, 0x553);
        self.allow16(at + sriov::CONTROL, 0x19);
        self.allow16(at + sriov::NUM_VFS, 0xffff);
        self.sriov = Some(at);
        for (index, size, prefetchable) in bars {
            let flags = if *prefetchable { 0xc } else { 4 };
            self = self.wide_bar(at + sriov::VF_BAR0 + 4 * index, flags, *size);
        }
        self
    }

    /// Any capability in the standard list; its offset.
    pub fn capability(&mut self, id: u8, length: u16) -> u16 {
        let at = self.next_free;
        self.next_free += length.next_multiple_of(4);
        self.bytes[usize::from(at)] = id;
        match self.last_capability.replace(at) {
            Some(previous) => self.bytes[usize::from(previous) + 1] = at as u8,
            None => self.bytes[usize::from(reg::CAPABILITY_POINTER)] = at as u8,
        }
        self.put16(reg::STATUS, reg::STATUS_CAPABILITIES);
        at
    }

    /// Any capability in the extended list; its offset.
    pub fn extended(&mut self, id: u16, length: u16) -> u16 {
        let at = self.next_extended;
        self.next_extended += length;
        self.put32(at, u32::from(id) | 1 << 16);
        if let Some(previous) = self.last_extended.replace(at) {
            let header = self.get32(previous);
            self.put32(previous, header | u32::from(at) << 20);
        }
        at
    }

    /// Closes both lists into loops.
    pub fn looping(mut self) -> Self {
        if let Some(last) = self.last_capability {
            self.bytes[usize::from(last) + 1] = self.bytes[usize::from(reg::CAPABILITY_POINTER)];
        }
        if let Some(last) = self.last_extended {
            let header = self.get32(last);
            self.put32(last, header | 0x100 << 20);
        }
        self
    }

    /// Sets two bytes, past all masks.
    pub fn put16(&mut self, at: u16, value: u16) {
        self.bytes[usize::from(at)..][..2].copy_from_slice(&value.to_le_bytes());
    }

    /// Sets four bytes, past all masks.
    pub fn put32(&mut self, at: u16, value: u32) {
        self.bytes[usize::from(at)..][..4].copy_from_slice(&value.to_le_bytes());
    }

    /// Makes these bits writable, all others of the register read-only.
    pub fn allow16(&mut self, at: u16, mask: u16) {
        self.writable[usize::from(at)..][..2].copy_from_slice(&mask.to_le_bytes());
    }

    /// Makes these bits writable, all others of the register read-only.
    pub fn allow32(&mut self, at: u16, mask: u32) {
        self.writable[usize::from(at)..][..4].copy_from_slice(&mask.to_le_bytes());
    }

    /// Two bytes as they are, without the lies.
    pub fn get16(&self, at: u16) -> u16 {
        self.get32(at & !3).to_le_bytes()[usize::from(at & 2)..][..2]
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u16::from(*byte))
    }

    /// Four bytes as they are, without the lies.
    pub fn get32(&self, at: u16) -> u32 {
        self.bytes[usize::from(at)..][..4]
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    /// The writable bits of a register.
    pub fn mask32(&self, at: u16) -> u32 {
        let bytes = &self.writable[usize::from(at)..][..4];
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    /// What a config read of `size` bytes sees.
    pub(super) fn read(&mut self, at: u16, size: u16) -> u32 {
        self.reads = self.reads.saturating_add(1);
        let mut value = self.get32(at & !3);
        for lie in &mut self.lies {
            match lie {
                Lie::GoneAfter(count) if self.reads > *count => value = u32::MAX,
                Lie::Retries(count) if *count > 0 && at == reg::VENDOR => {
                    *count -= 1;
                    value = 0xffff_0001;
                }
                Lie::ChangingBar(offset) if *offset == at => {
                    self.flips += 1;
                    if self.flips.is_multiple_of(2) {
                        value <<= 1;
                    }
                }
                _ => {}
            }
        }
        let shifted = value >> (8 * (at & 3));
        if size == 4 {
            shifted
        } else {
            shifted & ((1 << (8 * size)) - 1)
        }
    }

    /// A config write of `size` bytes.
    pub(super) fn write(&mut self, at: u16, size: u16, value: u32) {
        let stuck = |lie: &Lie| matches!(lie, Lie::Stuck(offset) if *offset == at & !3);
        if self.lies.iter().any(stuck) {
            return;
        }
        for (byte, new) in value
            .to_le_bytes()
            .into_iter()
            .enumerate()
            .take(usize::from(size))
        {
            let place = usize::from(at) + byte;
            let mask = self.writable[place];
            self.bytes[place] = self.bytes[place] & !mask | new & mask;
        }
    }
}
