//! The seam to configuration space: everything above it is pure.

use super::address::FunctionId;

/// Why an access to configuration space did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Firmware or the PHB refused it.
    #[error("{function}: config access at {offset:#05x} refused with status {status}")]
    Refused {
        /// The function addressed.
        function: FunctionId,
        /// Byte offset in its configuration space.
        offset: u16,
        /// Firmware's status, as OPAL returns it.
        status: i64,
    },
    /// It reads as all ones, which it cannot hold: the function is gone, or its
    /// PE frozen.
    #[error("{function}: config offset {offset:#05x} reads as all ones")]
    Silent {
        /// The function addressed.
        function: FunctionId,
        /// Byte offset in its configuration space.
        offset: u16,
    },
    /// The offset is not a multiple of the access size, or beyond 0xfff.
    #[error("{function}: config offset {offset:#05x} is out of range or misaligned")]
    Offset {
        /// The function addressed.
        function: FunctionId,
        /// The offending byte offset.
        offset: u16,
    },
}

/// Access to configuration space by PHB, bus, device and function.
///
/// Values are in the processor's order: the caller never swaps bytes. Offsets
/// are in bytes, naturally aligned, below 0x1000. A function that is not there
/// reads as all ones; an error means the access itself failed.
///
/// On real PHBs a probe of an absent function freezes the PE its RID belongs
/// to. An implementation clears that freeze before it returns, as else each
/// later access through the PE reads all ones.
pub trait ConfigAccess {
    /// Reads one byte.
    fn read8(&mut self, function: FunctionId, offset: u16) -> Result<u8, ConfigError>;
    /// Reads two bytes; `offset` is even.
    fn read16(&mut self, function: FunctionId, offset: u16) -> Result<u16, ConfigError>;
    /// Reads four bytes; `offset` is a multiple of four.
    fn read32(&mut self, function: FunctionId, offset: u16) -> Result<u32, ConfigError>;
    /// Writes one byte.
    fn write8(&mut self, function: FunctionId, offset: u16, value: u8) -> Result<(), ConfigError>;
    /// Writes two bytes; `offset` is even.
    fn write16(&mut self, function: FunctionId, offset: u16, value: u16)
    -> Result<(), ConfigError>;
    /// Writes four bytes; `offset` is a multiple of four.
    fn write32(&mut self, function: FunctionId, offset: u16, value: u32)
    -> Result<(), ConfigError>;
    /// Lets `milliseconds` go by, while a function that asked for a retry
    /// finishes its reset.
    fn pause(&mut self, milliseconds: u32);
}

/// One function's configuration space, so that callers name offsets only.
pub struct Registers<'a, C: ConfigAccess + ?Sized> {
    access: &'a mut C,
    function: FunctionId,
}

impl<'a, C: ConfigAccess + ?Sized> Registers<'a, C> {
    /// The configuration space of `function`.
    pub fn new(access: &'a mut C, function: FunctionId) -> Self {
        Self { access, function }
    }

    /// Whose registers these are.
    pub fn function(&self) -> FunctionId {
        self.function
    }

    /// One byte at `offset`.
    pub fn read8(&mut self, offset: u16) -> Result<u8, ConfigError> {
        self.check(offset, 1)?;
        self.access.read8(self.function, offset)
    }

    /// Two bytes at `offset`.
    pub fn read16(&mut self, offset: u16) -> Result<u16, ConfigError> {
        self.check(offset, 2)?;
        self.access.read16(self.function, offset)
    }

    /// Four bytes at `offset`.
    pub fn read32(&mut self, offset: u16) -> Result<u32, ConfigError> {
        self.check(offset, 4)?;
        self.access.read32(self.function, offset)
    }

    /// Writes one byte at `offset`.
    pub fn write8(&mut self, offset: u16, value: u8) -> Result<(), ConfigError> {
        self.check(offset, 1)?;
        self.access.write8(self.function, offset, value)
    }

    /// Writes two bytes at `offset`.
    pub fn write16(&mut self, offset: u16, value: u16) -> Result<(), ConfigError> {
        self.check(offset, 2)?;
        self.access.write16(self.function, offset, value)
    }

    /// Writes four bytes at `offset`.
    pub fn write32(&mut self, offset: u16, value: u32) -> Result<(), ConfigError> {
        self.check(offset, 4)?;
        self.access.write32(self.function, offset, value)
    }

    /// See [`ConfigAccess::pause`].
    pub fn pause(&mut self, milliseconds: u32) {
        self.access.pause(milliseconds);
    }

    // A hostile capability may point anywhere: the seam sees valid offsets only.
    fn check(&self, offset: u16, size: u16) -> Result<(), ConfigError> {
        if offset > 0x1000 - size || !offset.is_multiple_of(size) {
            return Err(ConfigError::Offset {
                function: self.function,
                offset,
            });
        }
        Ok(())
    }
}
