//! The capability lists of a function.

use super::config::{ConfigAccess, ConfigError, Registers};
use super::registers::{self as reg, capability as id, express};
use super::sriov::{self, Sriov};
use core::fmt;

/// As many capabilities as fit below 0x100, four bytes each after the header.
pub const STANDARD_LIMIT: usize = 48;
/// As many as fit from 0x100 to 0xfff.
pub const EXTENDED_LIMIT: usize = 960;

/// What kind of port or device a PCI Express function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortType {
    /// An endpoint, legacy ones included.
    Endpoint,
    /// The port at the top of a hierarchy.
    RootPort,
    /// A switch's port towards the root.
    UpstreamPort,
    /// A switch's port away from the root.
    DownstreamPort,
    /// PCI Express above, conventional PCI below.
    ToPci,
    /// Conventional PCI above, PCI Express below.
    FromPci,
    /// An endpoint inside the root complex.
    Integrated,
    /// Collects the events of the former.
    EventCollector,
    /// A value that the specification reserves.
    Reserved(u8),
}

impl PortType {
    const fn from_flags(flags: u16) -> Self {
        match (flags >> 4) & 0xf {
            0 | 1 => Self::Endpoint,
            4 => Self::RootPort,
            5 => Self::UpstreamPort,
            6 => Self::DownstreamPort,
            7 => Self::ToPci,
            8 => Self::FromPci,
            9 => Self::Integrated,
            10 => Self::EventCollector,
            other => Self::Reserved(other as u8),
        }
    }
}

impl fmt::Display for PortType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Endpoint => "endpoint",
            Self::RootPort => "root port",
            Self::UpstreamPort => "switch upstream port",
            Self::DownstreamPort => "switch downstream port",
            Self::ToPci => "PCIe-to-PCI bridge",
            Self::FromPci => "PCI-to-PCIe bridge",
            Self::Integrated => "integrated endpoint",
            Self::EventCollector => "event collector",
            Self::Reserved(_) => "reserved port type",
        })
    }
}

/// PCI Express capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Express {
    /// Its offset in bytes.
    pub offset: u16,
    /// Port or device type.
    pub port: PortType,
    /// Function level reset.
    pub flr: bool,
    /// A port that can forward to functions beyond 7.
    pub ari_forwarding: bool,
}

/// MSI capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msi {
    /// Its offset in bytes.
    pub offset: u16,
    /// Vectors the function can use: 1, 2, 4, 8, 16 or 32.
    pub vectors: u8,
    /// Takes a 64-bit address.
    pub wide: bool,
    /// Has mask bits.
    pub maskable: bool,
}

/// MSI-X capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    /// Its offset in bytes.
    pub offset: u16,
    /// Entries of the table: 1 to 2048.
    pub vectors: u16,
    /// BAR with the table.
    pub table_bar: u8,
    /// Byte offset of the table in it.
    pub table_offset: u32,
    /// BAR with the pending bits.
    pub pending_bar: u8,
    /// Byte offset of the pending bits in it.
    pub pending_offset: u32,
}

/// Access control services: which of them a function has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acs {
    /// Its offset in bytes.
    pub offset: u16,
    /// The capability register, as read.
    pub capability: u16,
}

/// Alternative routing-id interpretation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ari {
    /// Its offset in bytes.
    pub offset: u16,
    /// The next function's number, 0 at the end of the chain.
    pub next: u8,
}

/// The capabilities that matter here, by offset; others are skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Power management.
    pub power: Option<Power>,
    /// MSI.
    pub msi: Option<Msi>,
    /// MSI-X.
    pub msix: Option<Msix>,
    /// PCI Express.
    pub express: Option<Express>,
    /// Advanced features (conventional PCI) with function level reset.
    pub advanced_flr: Option<u16>,
    /// Advanced error reporting, by offset.
    pub aer: Option<u16>,
    /// Access control services.
    pub acs: Option<Acs>,
    /// ARI.
    pub ari: Option<Ari>,
    /// SR-IOV.
    pub sriov: Option<Sriov>,
}

/// Power management capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Power {
    /// Its offset in bytes.
    pub offset: u16,
    /// D3hot to D0 resets the function (No_Soft_Reset is clear).
    pub resets: bool,
}

/// How a list of capabilities is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// More entries than fit: the list must loop.
    #[error("capability list loops back to {offset:#05x}")]
    Loop {
        /// An offset that came twice.
        offset: u16,
    },
    /// A pointer into the header, or misaligned.
    #[error("capability pointer {offset:#05x} is out of range")]
    Pointer {
        /// The pointer.
        offset: u16,
    },
    /// A capability whose registers do not fit into configuration space.
    #[error("capability {id:#04x} at {offset:#05x} reaches beyond configuration space")]
    Truncated {
        /// Capability id.
        id: u16,
        /// Its offset.
        offset: u16,
    },
    /// The function stopped answering within the list.
    #[error("capability at {offset:#05x} reads as all ones")]
    Gone {
        /// The offset.
        offset: u16,
    },
}

/// What a walk over one list found: capabilities up to the fault, if any.
pub struct Walk {
    /// Those found.
    pub found: Capabilities,
    /// Why the walk stopped early; all of the function is then suspect.
    pub fault: Option<ListFault>,
}

/// Reads both lists. `config_size` is 256 or 4096 bytes; `status` the
/// register at offset 6.
pub fn walk<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    config_size: u16,
) -> Result<Walk, ConfigError> {
    let mut found = Capabilities::default();
    let mut fault = None;
    if registers.read16(reg::STATUS)? & reg::STATUS_CAPABILITIES != 0 {
        fault = standard(registers, &mut found)?;
    }
    // Extended space exists only where PCI Express does.
    if fault.is_none() && found.express.is_some() && config_size > reg::EXTENDED {
        fault = extended(registers, &mut found)?;
    }
    Ok(Walk { found, fault })
}

fn standard<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    found: &mut Capabilities,
) -> Result<Option<ListFault>, ConfigError> {
    // The two low bits are reserved and to be masked by software.
    let mut offset = u16::from(registers.read8(reg::CAPABILITY_POINTER)? & !3);
    let mut seen = [false; 64];
    for _ in 0..=STANDARD_LIMIT {
        if offset == 0 {
            return Ok(None);
        }
        if offset < 0x40 {
            return Ok(Some(ListFault::Pointer { offset }));
        }
        let slot = usize::from(offset / 4);
        if core::mem::replace(&mut seen[slot], true) {
            return Ok(Some(ListFault::Loop { offset }));
        }
        let header = registers.read16(offset)?;
        if header == u16::MAX {
            return Ok(Some(ListFault::Gone { offset }));
        }
        let id = header as u8;
        if usize::from(offset) + length_of(id) > 0x100 {
            return Ok(Some(ListFault::Truncated {
                id: u16::from(id),
                offset,
            }));
        }
        parse_standard(registers, found, id, offset)?;
        offset = (header >> 8) & 0xfc;
    }
    Ok(Some(ListFault::Loop { offset }))
}

/// Bytes of a capability that are read here; 4 for those skipped.
const fn length_of(id: u8) -> usize {
    match id {
        id::POWER => 8,
        id::MSI => 10,
        id::MSIX => 12,
        id::EXPRESS => 0x14,
        id::ADVANCED => 6,
        _ => 2,
    }
}

fn parse_standard<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    found: &mut Capabilities,
    capability: u8,
    offset: u16,
) -> Result<(), ConfigError> {
    match capability {
        id::POWER => {
            let control = registers.read16(offset + 4)?;
            found.power = Some(Power {
                offset,
                resets: control & (1 << 3) == 0,
            });
        }
        id::MSI => {
            let control = registers.read16(offset + 2)?;
            // Encodings 6 and 7 are reserved: count them as one vector.
            let encoded = (control >> 1) & 7;
            found.msi = Some(Msi {
                offset,
                vectors: if encoded <= 5 { 1 << encoded } else { 1 },
                wide: control & (1 << 7) != 0,
                maskable: control & (1 << 8) != 0,
            });
        }
        id::MSIX => {
            let control = registers.read16(offset + 2)?;
            let table = registers.read32(offset + 4)?;
            let pending = registers.read32(offset + 8)?;
            found.msix = Some(Msix {
                offset,
                vectors: (control & 0x7ff) + 1,
                table_bar: (table & 7) as u8,
                table_offset: table & !7,
                pending_bar: (pending & 7) as u8,
                pending_offset: pending & !7,
            });
        }
        id::EXPRESS => {
            let flags = registers.read16(offset + express::FLAGS)?;
            let device = registers.read32(offset + express::DEVICE_CAPABILITY)?;
            // Version 1 of the structure has no second set of registers.
            let second = flags & 0xf >= 2 && offset + express::DEVICE_CAPABILITY_2 + 4 <= 0x100;
            let device2 = if second {
                registers.read32(offset + express::DEVICE_CAPABILITY_2)?
            } else {
                0
            };
            found.express = Some(Express {
                offset,
                port: PortType::from_flags(flags),
                flr: device & express::DEVICE_FLR != 0,
                ari_forwarding: device2 & express::ARI_FORWARDING != 0,
            });
        }
        id::ADVANCED => {
            let features = registers.read8(offset + 3)?;
            if features & 0b11 == 0b11 {
                found.advanced_flr = Some(offset);
            }
        }
        _ => {}
    }
    Ok(())
}

fn extended<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    found: &mut Capabilities,
) -> Result<Option<ListFault>, ConfigError> {
    let mut offset = reg::EXTENDED;
    let mut seen = [0u64; 16];
    for _ in 0..=EXTENDED_LIMIT {
        let header = registers.read32(offset)?;
        if offset == reg::EXTENDED && (header == 0 || header == u32::MAX) {
            return Ok(None);
        }
        if header == u32::MAX {
            return Ok(Some(ListFault::Gone { offset }));
        }
        let slot = usize::from(offset / 4);
        if seen[slot / 64] & (1 << (slot % 64)) != 0 {
            return Ok(Some(ListFault::Loop { offset }));
        }
        seen[slot / 64] |= 1 << (slot % 64);
        let capability = header as u16;
        if usize::from(offset) + extended_length_of(capability) > 0x1000 {
            return Ok(Some(ListFault::Truncated {
                id: capability,
                offset,
            }));
        }
        match capability {
            id::AER => found.aer = Some(offset),
            id::ACS => {
                found.acs = Some(Acs {
                    offset,
                    capability: registers.read16(offset + 4)?,
                });
            }
            id::ARI => {
                let next = (registers.read16(offset + 4)? >> 8) as u8;
                found.ari = Some(Ari { offset, next });
            }
            id::SRIOV => found.sriov = Some(sriov::read(registers, offset)?),
            _ => {}
        }
        offset = (header >> 20) as u16 & 0xffc;
        if offset == 0 {
            return Ok(None);
        }
        if offset < reg::EXTENDED {
            return Ok(Some(ListFault::Pointer { offset }));
        }
    }
    Ok(Some(ListFault::Loop { offset }))
}

const fn extended_length_of(capability: u16) -> usize {
    match capability {
        id::AER => 0x2c,
        id::ACS | id::ARI => 8,
        id::SRIOV => 0x40,
        _ => 4,
    }
}
