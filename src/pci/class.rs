//! Class codes, and what a person calls them.

use core::fmt;

/// Base class, sub-class and programming interface: 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClassCode(u32);

impl ClassCode {
    /// From the upper 24 bits of the register at offset 8.
    pub const fn from_register(revision_class: u32) -> Self {
        Self(revision_class >> 8)
    }

    /// From the 24-bit code, as the device tree's `class-code` has it; the top
    /// byte is not part of a code and is dropped by the type.
    pub const fn new(base: u8, sub: u8, interface: u8) -> Self {
        Self(((base as u32) << 16) | ((sub as u32) << 8) | interface as u32)
    }

    /// The 24-bit code.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Base class: 6 is a bridge.
    pub const fn base(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Sub-class.
    pub const fn sub(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Programming interface.
    pub const fn interface(self) -> u8 {
        self.0 as u8
    }

    /// A short name for the kinds of function this platform carries.
    pub const fn name(self) -> &'static str {
        match (self.base(), self.sub(), self.interface()) {
            (0x00, ..) => "unclassified",
            (0x01, 0x04, _) => "RAID",
            (0x01, 0x06, 0x01) => "AHCI",
            (0x01, 0x07, _) => "SAS",
            (0x01, 0x08, 0x02) => "NVMe",
            (0x01, ..) => "storage",
            (0x02, 0x00, _) => "ethernet",
            (0x02, 0x07, _) => "InfiniBand",
            (0x02, ..) => "network",
            (0x03, ..) => "display",
            (0x04, ..) => "multimedia",
            (0x05, ..) => "memory",
            (0x06, 0x00, _) => "host bridge",
            (0x06, 0x04 | 0x09, _) => "bridge",
            (0x06, ..) => "other bridge",
            (0x07, ..) => "communication",
            (0x08, ..) => "system",
            (0x0b, ..) => "processor",
            (0x0c, 0x03, 0x30) => "xHCI",
            (0x0c, 0x03, _) => "USB",
            (0x0c, 0x04, _) => "Fibre Channel",
            (0x0c, ..) => "serial bus",
            (0x10, ..) => "encryption",
            (0x12, ..) => "accelerator",
            (0xff, ..) => "vendor's own",
            _ => "device",
        }
    }
}

impl fmt::Display for ClassCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
