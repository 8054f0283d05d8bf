//! MSI by its capability, and the interrupt pin (PCI Local Bus 3.0, 6.8.1 and
//! 6.2.2).

use super::pool::MOST_TOGETHER;
use super::{Message, MessageError};
use crate::pci::capability::Msi;
use crate::pci::config::{ConfigAccess, Registers};
use crate::pci::function::Command;
use crate::pci::registers::COMMAND;

const CONTROL: u16 = 2;
const ADDRESS: u16 = 4;
/// Turns messages on, in the control register behind id and next pointer.
pub const ENABLE: u16 = 1;
/// Multiple message enable: base-2 logarithm of the count.
const COUNT: u16 = 7 << 4;

/// The MSI capability of a function.
#[derive(Clone, Copy, Debug)]
pub struct MessageCapability(Msi);

impl MessageCapability {
    /// For a capability that lies wholly in the first 256 bytes; `None` if its
    /// mask bits do not.
    pub fn new(msi: Msi) -> Option<Self> {
        let known = Self(msi);
        (msi.offset <= 0x100 - known.bytes()).then_some(known)
    }

    /// Its offset in configuration space.
    pub fn offset(&self) -> u16 {
        self.0.offset
    }

    /// Its bytes.
    pub fn bytes(&self) -> u16 {
        match (self.0.wide, self.0.maskable) {
            (false, false) => 10,
            (true, false) => 14,
            (false, true) => 20,
            (true, true) => 24,
        }
    }

    /// Messages that the function can send.
    pub fn vectors(&self) -> u16 {
        self.0.vectors.into()
    }

    /// Whether it takes an address of 64 bits.
    pub fn is_wide(&self) -> bool {
        self.0.wide
    }

    /// Whether single messages can be masked at the function. If not, the
    /// interrupt controller is where they are.
    pub fn is_maskable(&self) -> bool {
        self.0.maskable
    }

    fn data(&self) -> u16 {
        self.0.offset + if self.0.wide { 12 } else { 8 }
    }

    /// Offset of its mask bits in configuration space, if it has any.
    pub fn mask_bits(&self) -> Option<u16> {
        self.0.maskable.then_some(self.data() + 4)
    }

    /// Lets the function send `count` messages, the first as given, the others
    /// with the low bits of its data counted up. All are masked at the function
    /// where it can. The pin is quiet from here on.
    ///
    /// # Errors
    /// What cannot be, before anything is written; or a register that does not
    /// keep what was written: then it is off.
    pub fn enable<C: ConfigAccess + ?Sized>(
        &self,
        registers: &mut Registers<'_, C>,
        message: Message,
        count: u16,
    ) -> Result<(), MessageError> {
        self.check(registers, message, count)?;
        let done = self.write_all(registers, message, count);
        if done.is_err() {
            // The first error is the one to tell.
            let _ = self.disable(registers);
        }
        done
    }

    fn check<C: ConfigAccess + ?Sized>(
        &self,
        registers: &Registers<'_, C>,
        message: Message,
        count: u16,
    ) -> Result<(), MessageError> {
        let function = registers.function();
        let vectors = u16::from(self.0.vectors);
        if !count.is_power_of_two() || count > vectors.min(MOST_TOGETHER) {
            return Err(MessageError::Vector {
                function,
                vector: count,
                vectors,
            });
        }
        let address = message.address;
        if address & 3 != 0 || !self.0.wide && address >> 32 != 0 {
            return Err(MessageError::Address { function, address });
        }
        let data = message.data;
        if data >> 16 != 0 || data & (u32::from(count) - 1) != 0 {
            return Err(MessageError::Data {
                function,
                data,
                count,
            });
        }
        Ok(())
    }

    fn write_all<C: ConfigAccess + ?Sized>(
        &self,
        registers: &mut Registers<'_, C>,
        message: Message,
        count: u16,
    ) -> Result<(), MessageError> {
        self.write_control(registers, 0, ENABLE)?;
        let low = self.0.offset + ADDRESS;
        write_verified(registers, low, message.address as u32)?;
        if self.0.wide {
            write_verified(registers, low + 4, (message.address >> 32) as u32)?;
        }
        registers.write16(self.data(), message.data as u16)?;
        let read = registers.read16(self.data())?;
        verify(registers, self.data(), message.data, read.into())?;
        if let Some(at) = self.mask_bits() {
            // Bits of messages that it does not have may be hard-wired.
            registers.write32(at, u32::MAX)?;
            let wanted = mask_of(count);
            let read = registers.read32(at)? & wanted;
            verify(registers, at, wanted, read)?;
        }
        let enable = (count.trailing_zeros() as u16) << 4 | ENABLE;
        self.write_control(registers, enable, ENABLE | COUNT)
    }

    /// Masks or unmasks all of `count` messages at the function, where it can.
    ///
    /// # Errors
    /// A register that does not keep what was written.
    pub fn set_masked<C: ConfigAccess + ?Sized>(
        &self,
        registers: &mut Registers<'_, C>,
        count: u16,
        masked: bool,
    ) -> Result<(), MessageError> {
        let Some(at) = self.mask_bits() else {
            return Ok(());
        };
        let bits = mask_of(count);
        let before = registers.read32(at)?;
        let wanted = if masked {
            before | bits
        } else {
            before & !bits
        };
        registers.write32(at, wanted)?;
        let read = registers.read32(at)?;
        verify(registers, at, wanted & bits, read & bits)
    }

    /// Ends all messages: masked, off, and with no address that a later enable
    /// could send to. The read-back also pushes what was on its way.
    ///
    /// # Errors
    /// A register that does not keep what was written; the rest was done.
    pub fn disable<C: ConfigAccess + ?Sized>(
        &self,
        registers: &mut Registers<'_, C>,
    ) -> Result<(), MessageError> {
        let masked = self.set_masked(registers, self.0.vectors.into(), true);
        let off = self.write_control(registers, 0, ENABLE | COUNT);
        registers.write32(self.0.offset + ADDRESS, 0)?;
        if self.0.wide {
            registers.write32(self.0.offset + ADDRESS + 4, 0)?;
        }
        registers.write16(self.data(), 0)?;
        off.and(masked)
    }

    /// Writes the bits in `which` of the control register.
    fn write_control<C: ConfigAccess + ?Sized>(
        &self,
        registers: &mut Registers<'_, C>,
        value: u16,
        which: u16,
    ) -> Result<(), MessageError> {
        write_bits16(registers, self.0.offset + CONTROL, value, which)
    }
}

/// Lets the function use its interrupt pin, or keeps it quiet.
///
/// # Errors
/// The bit does not stay: a function of before PCI 2.3 has none, and its pin
/// cannot be silenced.
pub fn set_pin<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    allowed: bool,
) -> Result<(), MessageError> {
    let quiet = Command::NO_PIN.bits();
    write_bits16(registers, COMMAND, if allowed { 0 } else { quiet }, quiet)
}

fn mask_of(count: u16) -> u32 {
    // 1 to 32.
    u32::MAX >> (32 - u32::from(count.clamp(1, 32)))
}

pub(super) fn write_bits16<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    offset: u16,
    value: u16,
    which: u16,
) -> Result<(), MessageError> {
    let before = registers.read16(offset)?;
    registers.write16(offset, before & !which | value)?;
    let read = registers.read16(offset)? & which;
    verify(registers, offset, value.into(), read.into())
}

fn write_verified<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    offset: u16,
    value: u32,
) -> Result<(), MessageError> {
    registers.write32(offset, value)?;
    let read = registers.read32(offset)?;
    verify(registers, offset, value, read)
}

fn verify<C: ConfigAccess + ?Sized>(
    registers: &Registers<'_, C>,
    offset: u16,
    written: u32,
    read: u32,
) -> Result<(), MessageError> {
    if read == written {
        return Ok(());
    }
    Err(MessageError::Stuck {
        function: registers.function(),
        offset: offset.into(),
        written,
        read,
    })
}
