//! MSI-X: its control register, and the table in a BAR (PCI Local Bus 3.0,
//! 6.8.2).

use super::capability::write_bits16;
use super::{Message, MessageError};
use crate::pci::address::FunctionId;
use crate::pci::capability::Msix;
use crate::pci::config::{ConfigAccess, Registers};

const CONTROL: u16 = 2;
const ENABLE: u16 = 1 << 15;
/// Masks all messages, whatever their entries say.
const FUNCTION_MASK: u16 = 1 << 14;

/// What of the control register can be written.
pub const CONTROL_BITS: u16 = ENABLE | FUNCTION_MASK;

/// Bytes of an entry: address (8), data (4), vector control (4).
pub const ENTRY: u32 = 16;
const DATA: u32 = 8;
const VECTOR_CONTROL: u32 = 12;
const MASKED: u32 = 1;

/// The table's registers. Offsets are in bytes from the start of the table,
/// multiples of four; values in the processor's order. A write is done before
/// the read that follows it.
pub trait VectorTable {
    /// Reads four bytes.
    fn read32(&mut self, offset: u32) -> u32;
    /// Writes four bytes.
    fn write32(&mut self, offset: u32, value: u32);
}

/// The MSI-X capability of a function, which decodes memory.
#[derive(Clone, Copy, Debug)]
pub struct MessageTable {
    function: FunctionId,
    msix: Msix,
}

impl MessageTable {
    /// For a capability whose table lies in its BAR, as the scan has checked.
    pub fn new(function: FunctionId, msix: Msix) -> Self {
        Self { function, msix }
    }

    /// Messages that the function has.
    pub fn vectors(&self) -> u16 {
        self.msix.vectors
    }

    /// Turns MSI-X on with every message masked, twice: by the function's mask
    /// and by each entry. The pin is quiet from here on.
    ///
    /// # Errors
    /// A register that does not keep what was written: then it is off.
    pub fn enable<C: ConfigAccess + ?Sized>(
        &self,
        registers: &mut Registers<'_, C>,
        table: &mut (impl VectorTable + ?Sized),
    ) -> Result<(), MessageError> {
        // An entry may be written while the function's mask is set, and many
        // functions have no table before they are enabled.
        self.write_control(registers, ENABLE | FUNCTION_MASK)?;
        let masked = self.each(|at| self.write(table, at + VECTOR_CONTROL, MASKED, MASKED));
        if masked.is_err() {
            let _ = self.write_control(registers, FUNCTION_MASK);
        }
        masked
    }

    /// Says what a message is. It stays masked.
    ///
    /// # Errors
    /// There is no such message, the address is not one of four bytes, or the
    /// table does not keep it.
    pub fn set(
        &self,
        table: &mut (impl VectorTable + ?Sized),
        vector: u16,
        message: Message,
    ) -> Result<(), MessageError> {
        let at = self.entry(vector)?;
        let address = message.address;
        if address & 3 != 0 {
            let function = self.function;
            return Err(MessageError::Address { function, address });
        }
        // Masked first: address and data must not change under an entry that
        // sends.
        self.write(table, at + VECTOR_CONTROL, MASKED, MASKED)?;
        self.write(table, at, address as u32, u32::MAX)?;
        self.write(table, at + 4, (address >> 32) as u32, u32::MAX)?;
        self.write(table, at + DATA, message.data, u32::MAX)
    }

    /// Masks or unmasks a message.
    ///
    /// # Errors
    /// There is no such message, or the table does not keep it.
    pub fn set_masked(
        &self,
        table: &mut (impl VectorTable + ?Sized),
        vector: u16,
        masked: bool,
    ) -> Result<(), MessageError> {
        let at = self.entry(vector)?;
        self.write(table, at + VECTOR_CONTROL, masked.into(), MASKED)
    }

    /// Ends the function's mask: what its entries say holds.
    ///
    /// # Errors
    /// The register does not keep it.
    pub fn open<C: ConfigAccess + ?Sized>(
        &self,
        registers: &mut Registers<'_, C>,
    ) -> Result<(), MessageError> {
        self.write_control(registers, ENABLE)
    }

    /// Ends all messages: masked, forgotten, off.
    ///
    /// # Errors
    /// A register that does not keep what was written; the rest was done.
    pub fn disable<C: ConfigAccess + ?Sized>(
        &self,
        registers: &mut Registers<'_, C>,
        table: &mut (impl VectorTable + ?Sized),
    ) -> Result<(), MessageError> {
        let masked = self.write_control(registers, ENABLE | FUNCTION_MASK);
        let cleared = self.each(|at| {
            let masked = self.write(table, at + VECTOR_CONTROL, MASKED, MASKED);
            for word in [0, 4, DATA] {
                table.write32(at + word, 0);
            }
            masked
        });
        let off = self.write_control(registers, FUNCTION_MASK);
        off.and(masked).and(cleared)
    }

    /// Ends all messages, and leaves the table as it is: for a function that may
    /// not decode memory.
    ///
    /// # Errors
    /// The register does not keep it.
    pub fn turn_off<C: ConfigAccess + ?Sized>(
        &self,
        registers: &mut Registers<'_, C>,
    ) -> Result<(), MessageError> {
        self.write_control(registers, FUNCTION_MASK)
    }

    fn entry(&self, vector: u16) -> Result<u32, MessageError> {
        if vector >= self.msix.vectors {
            return Err(MessageError::Vector {
                function: self.function,
                vector,
                vectors: self.msix.vectors,
            });
        }
        Ok(u32::from(vector) * ENTRY)
    }

    /// Does it for every entry; the first error.
    fn each(
        &self,
        mut what: impl FnMut(u32) -> Result<(), MessageError>,
    ) -> Result<(), MessageError> {
        let mut result = Ok(());
        for vector in 0..u32::from(self.msix.vectors) {
            let done = what(vector * ENTRY);
            result = result.and(done);
        }
        result
    }

    /// Writes and reads back; bits outside of `verify` are reserved.
    fn write(
        &self,
        table: &mut (impl VectorTable + ?Sized),
        offset: u32,
        value: u32,
        verify: u32,
    ) -> Result<(), MessageError> {
        table.write32(offset, value);
        let read = table.read32(offset) & verify;
        if read == value & verify {
            return Ok(());
        }
        Err(MessageError::Stuck {
            function: self.function,
            offset,
            written: value,
            read,
        })
    }

    fn write_control<C: ConfigAccess + ?Sized>(
        &self,
        registers: &mut Registers<'_, C>,
        value: u16,
    ) -> Result<(), MessageError> {
        let at = self.msix.offset + CONTROL;
        write_bits16(registers, at, value, CONTROL_BITS)
    }
}
