//! An NVMe drive as QEMU's: data that a window refuses is dropped and reported
//! as success, a queue that it refuses is fatal.

use crate::addr::BusAddr;
use crate::drivers::nvme::{Signal, mask_pin};
use crate::drivers::{DmaMemory, RegisterAccess};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

const PAGE: u64 = 4096;

/// A page and whether the device may write it.
type Page = (Rc<RefCell<Vec<u8>>>, bool);

/// Memory as a device sees it: pages that are mapped, and no others.
#[derive(Clone, Default)]
pub struct BusMemory {
    pages: Rc<RefCell<BTreeMap<u64, Page>>>,
}

impl BusMemory {
    /// Maps `pages` fresh pages at `bus` and gives the processor's view of them.
    pub fn map(&self, bus: u64, pages: u64, writable: bool) -> SimDma {
        let memory: Vec<_> = (0..pages)
            .map(|_| Rc::new(RefCell::new(vec![0; PAGE as usize])))
            .collect();
        for (page, at) in memory.iter().zip(bus / PAGE..) {
            self.pages.borrow_mut().insert(at, (page.clone(), writable));
        }
        SimDma { bus, pages: memory }
    }

    /// Unmaps one page; the processor keeps it.
    pub fn unmap(&self, bus: u64) {
        self.pages.borrow_mut().remove(&(bus / PAGE));
    }

    /// A read by the device; what is refused reads as zero. Whether all was let
    /// through.
    pub fn dma_read(&self, bus: u64, into: &mut [u8]) -> bool {
        let pages = self.pages.borrow();
        let mut fine = true;
        for (byte, at) in into.iter_mut().zip(bus..) {
            let page = pages.get(&(at / PAGE));
            fine &= page.is_some();
            *byte = page.map_or(0, |(page, _)| page.borrow()[(at % PAGE) as usize]);
        }
        fine
    }

    /// A write by the device; what is refused is dropped. Whether all was let
    /// through.
    pub fn dma_write(&self, bus: u64, from: &[u8]) -> bool {
        let pages = self.pages.borrow();
        let mut fine = true;
        for (byte, at) in from.iter().zip(bus..) {
            match pages.get(&(at / PAGE)) {
                Some((page, true)) => page.borrow_mut()[(at % PAGE) as usize] = *byte,
                _ => fine = false,
            }
        }
        fine
    }
}

/// The processor's view of mapped pages.
pub struct SimDma {
    bus: u64,
    pages: Vec<Rc<RefCell<Vec<u8>>>>,
}

impl DmaMemory for SimDma {
    fn bus(&self) -> BusAddr {
        BusAddr::new(self.bus)
    }

    fn size(&self) -> usize {
        self.pages.len() * PAGE as usize
    }

    fn read(&self, offset: usize, into: &mut [u8]) -> bool {
        let inside = offset
            .checked_add(into.len())
            .is_some_and(|end| end <= self.size());
        if inside {
            for (byte, at) in into.iter_mut().zip(offset..) {
                *byte = self.pages[at / PAGE as usize].borrow()[at % PAGE as usize];
            }
        }
        inside
    }

    fn write(&mut self, offset: usize, from: &[u8]) -> bool {
        let inside = offset
            .checked_add(from.len())
            .is_some_and(|end| end <= self.size());
        if inside {
            for (byte, at) in from.iter().zip(offset..) {
                self.pages[at / PAGE as usize].borrow_mut()[at % PAGE as usize] = *byte;
            }
        }
        inside
    }
}

/// How the drive misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Registers read as all ones.
    pub gone: bool,
    /// Never gets ready.
    pub never_ready: bool,
    /// Never completes.
    pub silent: bool,
    /// Never interrupts.
    pub mute: bool,
    /// Interrupts before there is reason to, and then again.
    pub eager: bool,
    /// Completes under another identifier.
    pub stray: bool,
    /// Status of reads and writes, as type << 8 | code.
    pub status: u16,
}

#[derive(Clone, Copy, Default)]
struct Queue {
    base: u64,
    entries: u16,
    position: u16,
}

/// The drive: 256 blocks of 512 bytes.
pub struct SimNvme {
    memory: BusMemory,
    registers: BTreeMap<u64, u64>,
    /// Submission and completion queues by number.
    submission: [Queue; 2],
    completion: [Queue; 2],
    phase: [bool; 2],
    status: u32,
    /// What is on the drive.
    pub blocks: Vec<u8>,
    /// How it misbehaves.
    pub faults: Faults,
    /// Milliseconds that the driver let pass.
    pub paused: u32,
    /// The capabilities register.
    pub capabilities: u64,
    /// How its interrupts are wired.
    pub signal: Signal,
    /// Interrupts that were waited for and came.
    pub interrupts: u32,
    mask: u32,
    raised: u32,
    /// A completion that is yet to be written.
    held: Option<(usize, [u8; 64], u16)>,
    /// Whether the IO queue interrupts.
    io_interrupts: bool,
}

impl SimNvme {
    /// A drive behind a window on `memory`, with wide doorbells.
    pub fn new(memory: BusMemory) -> Self {
        Self {
            memory,
            registers: BTreeMap::new(),
            submission: [Queue::default(); 2],
            completion: [Queue::default(); 2],
            phase: [true; 2],
            status: 0,
            blocks: vec![0; 256 * 512],
            faults: Faults::default(),
            paused: 0,
            capabilities: 1 << 37 | 1 << 32 | 4 << 24 | 0x7ff,
            signal: Signal::Polled,
            interrupts: 0,
            mask: 0,
            raised: 0,
            held: None,
            io_interrupts: false,
        }
    }

    fn register(&self, at: u64) -> u64 {
        self.registers.get(&at).copied().unwrap_or(0)
    }

    fn configure(&mut self, value: u32) {
        let was = self.register(0x14) as u32;
        self.registers.insert(0x14, value.into());
        if value & 1 == 0 {
            self.status = 0;
        } else if was & 1 == 0 && !self.faults.never_ready {
            assert_eq!(value >> 16 & 0xff, 0x46, "entry sizes");
            let entries = (self.register(0x24) & 0xfff) as u16 + 1;
            self.submission[0] = Queue {
                base: self.register(0x28),
                entries,
                position: 0,
            };
            self.completion[0] = Queue {
                base: self.register(0x30),
                entries,
                position: 0,
            };
            self.phase = [true; 2];
            self.status = 1;
        } else if value >> 14 & 3 != 0 {
            self.status = self.status & !0xc | 8;
        }
    }

    fn ring(&mut self, doorbell: u64, value: u16) {
        let (queue, is_completion) = ((doorbell / 2) as usize, doorbell % 2 == 1);
        if is_completion || self.status & 3 != 1 || self.faults.silent {
            return;
        }
        while self.submission[queue].position != value {
            let Queue {
                base,
                entries,
                position,
            } = self.submission[queue];
            assert!(value < entries, "doorbell beyond the queue");
            let mut entry = [0; 64];
            if !self
                .memory
                .dma_read(base + u64::from(position) * 64, &mut entry)
            {
                self.status |= 2;
                return;
            }
            self.submission[queue].position = (position + 1) % entries;
            let status = self.execute(queue, &entry);
            if self.faults.eager {
                self.held = Some((queue, entry, status));
                self.raised += 1;
            } else {
                self.complete(queue, &entry, status);
            }
        }
    }

    fn complete(&mut self, queue: usize, entry: &[u8; 64], status: u16) {
        let Queue {
            base,
            entries,
            position,
        } = self.completion[queue];
        let mut bytes = [0; 16];
        bytes[8..10].copy_from_slice(&self.submission[queue].position.to_le_bytes());
        bytes[10] = queue as u8;
        bytes[12..14].copy_from_slice(&entry[2..4]);
        if self.faults.stray {
            bytes[12] ^= 0x80;
        }
        let word = status << 1 | u16::from(self.phase[queue]);
        bytes[14..16].copy_from_slice(&word.to_le_bytes());
        if !self
            .memory
            .dma_write(base + u64::from(position) * 16, &bytes)
        {
            self.status |= 2;
        }
        if (queue == 0 || self.io_interrupts) && !self.faults.mute {
            self.raised += 1;
        }
        let next = (position + 1) % entries;
        self.completion[queue].position = next;
        self.phase[queue] ^= next == 0;
    }

    fn execute(&mut self, queue: usize, entry: &[u8; 64]) -> u16 {
        let word = |at: usize| {
            u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
        };
        let wide = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let (data, arguments) = ([wide(24), wide(32)], [word(40), word(44), word(48)]);
        match (queue, entry[0]) {
            (0, 6) => {
                self.memory
                    .dma_write(data[0], &identity(arguments[0] & 0xff));
                0
            }
            (0, 5 | 1) => {
                let made = Queue {
                    base: data[0],
                    entries: (arguments[0] >> 16) as u16 + 1,
                    position: 0,
                };
                let side = if entry[0] == 5 {
                    assert_eq!(arguments[1] >> 16, 0, "message 0");
                    self.io_interrupts = arguments[1] & 2 != 0;
                    &mut self.completion
                } else {
                    &mut self.submission
                };
                side[(arguments[0] & 1) as usize] = made;
                0
            }
            (1, 0) => 0,
            (1, 1 | 2) if self.faults.status != 0 => self.faults.status,
            (1, 1 | 2) => self.transfer(entry[0] == 1, data, wide(40), arguments[2] & 0xffff),
            // Invalid opcode.
            _ => 1,
        }
    }

    fn transfer(&mut self, write: bool, data: [u64; 2], block: u64, last: u32) -> u16 {
        let (start, bytes) = (block as usize * 512, (last as usize + 1) * 512);
        let Some(part) = self.blocks.get_mut(start..start + bytes) else {
            return 0x80;
        };
        let first = ((PAGE - data[0] % PAGE) as usize).min(bytes);
        for (range, bus) in [(0..first, data[0]), (first..bytes, data[1])] {
            let part = &mut part[range];
            // Refused data is not reported: as QEMU.
            if write {
                self.memory.dma_read(bus, part);
            } else {
                self.memory.dma_write(bus, part);
            }
        }
        0
    }
}

fn identity(what: u32) -> Vec<u8> {
    let mut page = vec![0; PAGE as usize];
    if what == 1 {
        page[..2].copy_from_slice(&0x1b36u16.to_le_bytes());
        page[4..24].copy_from_slice(b"model               ");
        page[24..64].copy_from_slice(b"Pinion model drive                      ");
    } else {
        page[..8].copy_from_slice(&256u64.to_le_bytes());
        // Format 1 of the list: 512 bytes, no metadata.
        page[26] = 1;
        page[128 + 4 + 2] = 9;
    }
    page
}

impl RegisterAccess for SimNvme {
    fn read32(&mut self, offset: u64) -> u32 {
        self.read64(offset) as u32
    }

    fn read64(&mut self, offset: u64) -> u64 {
        match offset {
            _ if self.faults.gone => u64::MAX,
            0 => self.capabilities,
            0x1c => self.status.into(),
            0x0c | 0x10 => self.mask.into(),
            _ => self.register(offset),
        }
    }

    fn write32(&mut self, offset: u64, value: u32) {
        match offset {
            0x14 => self.configure(value),
            0x0c | 0x10 => {
                assert_ne!(self.signal, Signal::TableMessage, "mask with MSI-X");
                if offset == 0x0c {
                    self.mask |= value;
                } else {
                    self.mask &= !value;
                }
            }
            // The stride is 8 bytes, as the capabilities say.
            0x1000.. => self.ring((offset - 0x1000) / 8, value as u16),
            _ => {
                self.registers.insert(offset, value.into());
            }
        }
    }

    fn write64(&mut self, offset: u64, value: u64) {
        self.registers.insert(offset, value);
    }

    fn pause(&mut self, milliseconds: u32) {
        self.paused += milliseconds;
    }

    fn wait_for_interrupt(&mut self, milliseconds: u32) -> bool {
        if self.raised == 0
            && let Some((queue, entry, status)) = self.held.take()
        {
            self.complete(queue, &entry, status);
        }
        if self.raised == 0 || self.mask & 1 != 0 {
            self.paused += milliseconds;
            return false;
        }
        self.raised -= 1;
        self.interrupts += 1;
        if self.signal == Signal::Pin {
            mask_pin(self);
        }
        true
    }
}
