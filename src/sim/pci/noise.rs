//! Configuration space from hell: answers that mean nothing and change.

use crate::pci::{ConfigAccess, ConfigError, FunctionId};
use std::collections::HashMap;

/// Answers from a pseudo-random sequence, by `mode`.
#[derive(Clone, Debug)]
pub struct Noise {
    state: u64,
    mode: Mode,
    written: HashMap<(u16, u16), u32>,
    /// Accesses so far.
    pub accesses: u64,
}

/// What kind of noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each read is fresh.
    Changing,
    /// One value per function and offset; writes are lost.
    Constant,
    /// As `Constant`, but all are bridges with many functions, whose command
    /// and bus numbers can be written, so that a walk goes deep.
    Bridges,
    /// As `Changing`, and a third of the accesses fail.
    Failing,
    /// All ones.
    Absent,
}

impl Noise {
    /// Noise of a kind, from a seed.
    pub fn new(seed: u64, mode: Mode) -> Self {
        Self {
            state: seed | 1,
            mode,
            written: HashMap::new(),
            accesses: 0,
        }
    }

    fn next(&mut self) -> u64 {
        // xorshift64*: enough for noise.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn read(&mut self, function: FunctionId, offset: u16) -> Result<u32, ConfigError> {
        self.accesses += 1;
        match self.mode {
            Mode::Absent => Ok(u32::MAX),
            Mode::Changing => Ok((self.next() >> 32) as u32),
            Mode::Failing => match self.next() {
                value if value % 3 == 0 => Err(ConfigError::Refused {
                    function,
                    offset,
                    status: -6,
                }),
                value => Ok((value >> 32) as u32),
            },
            Mode::Constant => Ok(self.constant(function, offset)),
            Mode::Bridges => Ok(match offset & !3 {
                0x0c => 0x0081_0000 >> (8 * (offset & 3)),
                // No capabilities and no BARs: plain bridges, and healthy ones.
                0x04 | 0x10 | 0x14 | 0x18 | 0x24 | 0x38 => {
                    let key = (function.bdfn.rid(), offset & !3);
                    self.written.get(&key).copied().unwrap_or(0) >> (8 * (offset & 3))
                }
                0x3c => 0,
                _ => self.constant(function, offset),
            }),
        }
    }

    fn constant(&self, function: FunctionId, offset: u16) -> u32 {
        let key = u64::from(function.bdfn.rid()) << 16 | u64::from(offset & !3);
        let mixed = (key ^ self.state).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
            >> (8 * (offset & 3))
    }
}

impl ConfigAccess for Noise {
    fn read8(&mut self, function: FunctionId, offset: u16) -> Result<u8, ConfigError> {
        Ok(self.read(function, offset)? as u8)
    }

    fn read16(&mut self, function: FunctionId, offset: u16) -> Result<u16, ConfigError> {
        Ok(self.read(function, offset)? as u16)
    }

    fn read32(&mut self, function: FunctionId, offset: u16) -> Result<u32, ConfigError> {
        self.read(function, offset)
    }

    fn write8(&mut self, _: FunctionId, _: u16, _: u8) -> Result<(), ConfigError> {
        Ok(())
    }

    fn write16(
        &mut self,
        function: FunctionId,
        offset: u16,
        value: u16,
    ) -> Result<(), ConfigError> {
        self.write32(function, offset, value.into())
    }

    fn write32(
        &mut self,
        function: FunctionId,
        offset: u16,
        value: u32,
    ) -> Result<(), ConfigError> {
        if matches!(offset, 0x04 | 0x18) {
            self.written.insert((function.bdfn.rid(), offset), value);
        }
        Ok(())
    }

    fn pause(&mut self, _: u32) {}
}
