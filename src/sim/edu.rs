//! QEMU's `edu` device, with memory behind bus addresses that may refuse it.

use super::nvme::BusMemory;
use crate::drivers::RegisterAccess;
use std::collections::HashMap;

/// The device.
pub struct SimEdu {
    memory: BusMemory,
    registers: HashMap<u64, u64>,
    buffer: [u8; 4096],
    running: u32,
    /// Stops finishing its transfers.
    pub stuck: bool,
    /// Its interrupts arrive.
    pub interrupts: bool,
}

impl SimEdu {
    /// Behind a window on `memory`.
    pub fn new(memory: BusMemory) -> Self {
        Self {
            memory,
            registers: HashMap::new(),
            buffer: [0; 4096],
            running: 0,
            stuck: false,
            interrupts: true,
        }
    }

    fn transfer(&mut self, command: u64) {
        let register = |at: u64| self.registers.get(&at).copied().unwrap_or(0);
        let (source, target, count) = (register(0x80), register(0x88), register(0x90) as usize);
        let to_memory = command & 2 != 0;
        let inside = if to_memory { source } else { target }.wrapping_sub(0x4_0000) as usize;
        assert!(
            count <= 4096 && inside + count <= 4096,
            "this would corrupt the emulator"
        );
        let part = &mut self.buffer[inside..inside + count];
        if to_memory {
            self.memory.dma_write(target, part);
        } else {
            self.memory.dma_read(source, part);
        }
        self.running = 3;
    }
}

impl RegisterAccess for SimEdu {
    fn read32(&mut self, offset: u64) -> u32 {
        match offset {
            0 => 0x0100_00ed,
            4 => !(self.registers.get(&4).copied().unwrap_or(0) as u32),
            _ => self.read64(offset) as u32,
        }
    }

    fn read64(&mut self, offset: u64) -> u64 {
        match offset {
            0x98 => {
                self.running = if self.stuck {
                    1
                } else {
                    self.running.saturating_sub(1)
                };
                u64::from(self.running > 0)
            }
            _ => self.registers.get(&offset).copied().unwrap_or(0),
        }
    }

    fn write32(&mut self, offset: u64, value: u32) {
        self.write64(offset, value.into());
    }

    fn write64(&mut self, offset: u64, value: u64) {
        let status = self.registers.get(&0x24).copied().unwrap_or(0);
        match offset {
            0x60 => self.registers.insert(0x24, status | value),
            0x64 => self.registers.insert(0x24, status & !value),
            _ => self.registers.insert(offset, value),
        };
        if offset == 0x98 && value & 1 != 0 {
            self.transfer(value);
        }
    }

    fn pause(&mut self, _: u32) {}

    fn wait_for_interrupt(&mut self, _: u32) -> bool {
        self.interrupts && self.registers.get(&0x24).is_some_and(|status| *status != 0)
    }
}
