//! Sizes of base address registers, read from devices that may lie.

use super::config::{ConfigAccess, ConfigError, Registers};
use core::fmt;

/// What a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BarKind {
    /// I/O space, which these host bridges do not have: reported, left alone.
    Io,
    /// Memory at a 32-bit address.
    Memory32 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// Memory at a 64-bit address; takes two registers.
    Memory64 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// The expansion ROM: reported, left disabled.
    Rom,
}

impl BarKind {
    /// Whether the space is memory that a plan places.
    pub const fn is_memory(self) -> bool {
        matches!(self, Self::Memory32 { .. } | Self::Memory64 { .. })
    }
}

impl fmt::Display for BarKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io => "IO",
            Self::Memory32 {
                prefetchable: false,
            } => "32-bit",
            Self::Memory32 { prefetchable: true } => "32-bit prefetchable",
            Self::Memory64 {
                prefetchable: false,
            } => "64-bit",
            Self::Memory64 { prefetchable: true } => "64-bit prefetchable",
            Self::Rom => "ROM",
        })
    }
}

/// One base address register that passed the checks of [`probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Register number, 0 to 5; 6 for the ROM.
    pub index: u8,
    /// Offset of the (lower) register in configuration space, in bytes.
    pub offset: u16,
    /// What it decodes.
    pub kind: BarKind,
    /// Bytes; a power of two, at least 4 for IO, 16 for memory, 2048 for a ROM.
    pub size: u64,
    /// Bits of the register below the address: the type.
    pub flags: u32,
}

/// How a BAR contradicts the specification or itself. Values are as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarFault {
    /// The writable bits are not one run up to the top: no power of two.
    #[error("size mask {mask:#x} is not a power of two")]
    NotPowerOfTwo {
        /// The address bits that kept a one.
        mask: u64,
    },
    /// The type says memory or ROM, but no address bit can be written.
    #[error("type bits {raw:#x} but no writable address bit")]
    NothingWritable {
        /// The register after all ones were written.
        raw: u32,
    },
    /// Two sizings gave two answers.
    #[error("size mask changed from {first:#x} to {second:#x}")]
    Changed {
        /// Mask of the first sizing.
        first: u64,
        /// Mask of the second.
        second: u64,
    },
    /// The type bits differ between reads.
    #[error("type bits changed from {first:#x} to {second:#x}")]
    TypeChanged {
        /// Bits 0 to 3 of the first read.
        first: u32,
        /// Bits 0 to 3 of the second.
        second: u32,
    },
    /// Address bits stay one after zero was written.
    #[error("address bits {stuck:#x} cannot be cleared")]
    Stuck {
        /// The bits.
        stuck: u64,
    },
    /// Type bits 2:1 have a value that the specification reserves.
    #[error("reserved type bits {raw:#x}")]
    ReservedType {
        /// Bits 0 to 3.
        raw: u32,
    },
    /// The last register claims to be the lower half of a 64-bit pair.
    #[error("64-bit type in the last register")]
    NoUpperHalf,
    /// The size is smaller than the kind allows.
    #[error("size of {size} bytes is below the minimum")]
    TooSmall {
        /// Bytes.
        size: u64,
    },
    /// A MSI-X structure points outside the BAR it names, or at no BAR.
    #[error("MSI-X {what} at offset {offset:#x} of BAR {bar}, {bytes} bytes, lies outside it")]
    MsixOutside {
        /// "table" or "pending bits".
        what: &'static str,
        /// Register number.
        bar: u8,
        /// Byte offset in the BAR.
        offset: u32,
        /// Length in bytes.
        bytes: u32,
    },
}

/// What probing one register found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Not implemented: reads zero.
    Absent,
    /// A BAR; `registers` it takes is 1 or 2.
    Present(Bar, u8),
    /// It lies; `registers` to skip is 1 or 2.
    Faulty(BarFault, u8),
}

/// Sizes register `index` of those that start at `first`, of `count`.
///
/// The function's decoding must be off: the register is overwritten. Its value
/// is restored. Each sizing is done twice, and zero is written and read
/// back, since a BAR that changes its mind would later lie over another's.
pub fn probe<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    first: u16,
    index: u8,
    count: u8,
) -> Result<Probe, ConfigError> {
    let offset = first + 4 * u16::from(index);
    let original = registers.read32(offset)?;
    registers.write32(offset, u32::MAX)?;
    let raw = registers.read32(offset)?;
    if raw == 0 && original == 0 {
        return Ok(Probe::Absent);
    }
    let is_64 = raw & 0b111 == 0b100;
    if is_64 && index + 1 >= count {
        registers.write32(offset, original)?;
        return Ok(Probe::Faulty(BarFault::NoUpperHalf, 1));
    }
    let used = if is_64 { 2 } else { 1 };
    let original_high = if is_64 {
        registers.read32(offset + 4)?
    } else {
        0
    };
    let result = examine(registers, offset, index, raw, is_64);
    registers.write32(offset, original)?;
    if is_64 {
        registers.write32(offset + 4, original_high)?;
    }
    Ok(match result? {
        Ok(bar) => Probe::Present(bar, used),
        Err(fault) => Probe::Faulty(fault, used),
    })
}

fn examine<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    offset: u16,
    index: u8,
    raw: u32,
    is_64: bool,
) -> Result<Result<Bar, BarFault>, ConfigError> {
    let io = raw & 1 != 0;
    let type_mask = if io { 0b11 } else { 0b1111 };
    let prefetchable = raw & 0b1000 != 0;
    let kind = match (io, (raw >> 1) & 0b11) {
        (true, _) => BarKind::Io,
        (false, 0b00) => BarKind::Memory32 { prefetchable },
        (false, 0b10) => BarKind::Memory64 { prefetchable },
        (false, _) => return Ok(Err(BarFault::ReservedType { raw: raw & 0xf })),
    };
    let mut masks = [0u64; 2];
    for mask in &mut masks {
        write_all(registers, offset, is_64, u32::MAX)?;
        let (value, type_bits) = read_all(registers, offset, is_64, type_mask)?;
        if type_bits != raw & type_mask {
            return Ok(Err(BarFault::TypeChanged {
                first: raw & type_mask,
                second: type_bits,
            }));
        }
        *mask = value;
    }
    if masks[0] != masks[1] {
        return Ok(Err(BarFault::Changed {
            first: masks[0],
            second: masks[1],
        }));
    }
    write_all(registers, offset, is_64, 0)?;
    let (stuck, _) = read_all(registers, offset, is_64, type_mask)?;
    if masks[0] == 0 {
        return Ok(Err(BarFault::NothingWritable { raw }));
    }
    if stuck != 0 {
        return Ok(Err(BarFault::Stuck { stuck }));
    }
    let minimum = if io { 4 } else { 16 };
    Ok(size_of(masks[0], kind, minimum).map(|size| Bar {
        index,
        offset,
        kind,
        size,
        flags: raw & type_mask,
    }))
}

/// The size that a mask of writable address bits means.
fn size_of(mask: u64, kind: BarKind, minimum: u64) -> Result<u64, BarFault> {
    // Below 64 bits the top bits are not there; an IO BAR may stop at bit 15.
    let top = match kind {
        BarKind::Memory64 { .. } => 63,
        BarKind::Io if mask & 0xffff_0000 == 0 => 15,
        _ => 31,
    };
    let low = mask.trailing_zeros();
    let run = (u64::MAX >> (63 - top)) & (u64::MAX << low);
    if mask != run {
        return Err(BarFault::NotPowerOfTwo { mask });
    }
    let size = 1 << low;
    if size < minimum {
        return Err(BarFault::TooSmall { size });
    }
    Ok(size)
}

fn write_all<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    offset: u16,
    is_64: bool,
    value: u32,
) -> Result<(), ConfigError> {
    registers.write32(offset, value)?;
    if is_64 {
        registers.write32(offset + 4, value)?;
    }
    Ok(())
}

/// Address bits and type bits.
fn read_all<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    offset: u16,
    is_64: bool,
    type_mask: u32,
) -> Result<(u64, u32), ConfigError> {
    let low = registers.read32(offset)?;
    let high = if is_64 {
        registers.read32(offset + 4)?
    } else {
        0
    };
    let address = (u64::from(high) << 32) | u64::from(low & !type_mask);
    Ok((address, low & type_mask))
}

/// Sizes the expansion ROM register at `offset` and leaves it disabled.
pub fn probe_rom<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    offset: u16,
) -> Result<Probe, ConfigError> {
    // All address bits, without the enable bit.
    registers.write32(offset, 0xffff_f800)?;
    let raw = registers.read32(offset)?;
    registers.write32(offset, 0)?;
    let mask = u64::from(raw & 0xffff_f800);
    if mask == 0 {
        return Ok(Probe::Absent);
    }
    Ok(match size_of(mask, BarKind::Rom, 2048) {
        Ok(size) => Probe::Present(
            Bar {
                index: 6,
                offset,
                kind: BarKind::Rom,
                size,
                flags: 0,
            },
            1,
        ),
        Err(fault) => Probe::Faulty(fault, 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_give_sizes() {
        let kind = BarKind::Memory32 {
            prefetchable: false,
        };
        assert_eq!(size_of(0xfff0_0000, kind, 16), Ok(1 << 20));
        assert_eq!(size_of(0xffff_fff0, kind, 16), Ok(16));
        assert_eq!(size_of(0x8000_0000, kind, 16), Ok(1 << 31));
        assert_eq!(size_of(0xff00, BarKind::Io, 4), Ok(256));
        assert_eq!(size_of(0xffff_ff00, BarKind::Io, 4), Ok(256));
        let wide = BarKind::Memory64 { prefetchable: true };
        assert_eq!(size_of(0xffff_fffc_0000_0000, wide, 16), Ok(16 << 30));
    }

    #[test]
    fn masks_with_holes_are_refused() {
        let kind = BarKind::Memory32 {
            prefetchable: false,
        };
        for mask in [0xff7f_0000, 0x7fff_0000, 0x0010_0000, 0xfff0_1000] {
            assert_eq!(
                size_of(mask, kind, 16),
                Err(BarFault::NotPowerOfTwo { mask })
            );
        }
        assert_eq!(
            size_of(0xffff_fff8, kind, 16),
            Err(BarFault::TooSmall { size: 8 })
        );
    }
}
