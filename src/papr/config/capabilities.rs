//! The capabilities that a partition sees: where the function has them, in a list
//! of their own.

use super::Identity;
use crate::pci::msi::{MSI_ENABLE, MSIX_CONTROL, MessageCapability};
use crate::pci::registers::{self as reg, express};
use crate::pci::{ConfigAccess, ConfigError};
use arrayvec::ArrayVec;

/// Bytes of the PCI Express capability of an endpoint: in version 1, and from
/// version 2 on.
const EXPRESS_BYTES: [u16; 2] = [0x14, 0x3c];

/// Bytes of the MSI-X capability.
const MSIX_BYTES: u16 = 12;

/// The pointer to the next capability, in a capability's first word.
const NEXT: u32 = 0x0000_ff00;

/// Configuration space below it has no capabilities.
const HEADER: u16 = 0x40;

/// A capability that is seen.
#[derive(Clone, Copy)]
enum What {
    /// Read only.
    Express,
    /// Can be turned on and off, and messages masked.
    Msi(MessageCapability),
    /// Can be turned on and off, and masked.
    Msix,
}

/// A capability at its offset.
#[derive(Clone, Copy)]
struct Capability {
    start: u16,
    what: What,
}

impl Capability {
    /// The most that it has; another one may begin before, as behind a short version
    /// of PCI Express.
    fn bytes(&self) -> u16 {
        match self.what {
            What::Express => EXPRESS_BYTES[1],
            What::Msi(msi) => msi.bytes().next_multiple_of(4),
            What::Msix => MSIX_BYTES,
        }
    }

    fn holds(&self, at: u16) -> bool {
        let end = (self.start + self.bytes()).min(reg::EXTENDED);
        (self.start..end).contains(&at)
    }
}

/// Those that are seen, in the order of their list.
pub(super) struct Capabilities(ArrayVec<Capability, 3>);

impl Capabilities {
    /// Of a function, which is looked at if what is known of it may not be so.
    pub(super) fn new<C: ConfigAccess + ?Sized>(
        of: &Identity,
        access: &mut C,
    ) -> Result<Self, ConfigError> {
        let express = of.express.filter(|start| *start >= HEADER);
        let is_there = match express {
            Some(start) if of.is_virtual => {
                access.read8(of.function, start)? == reg::capability::EXPRESS
            }
            _ => true,
        };
        let express = express.filter(|_| is_there).map(|it| (it, What::Express));
        let msi = of.msi.map(|it| (it.offset(), What::Msi(it)));
        let msix = of.msix.map(|it| (it, What::Msix));
        let all = [express, msi, msix].into_iter().flatten();
        let all = all.map(|(start, what)| Capability { start, what });
        let mut all: ArrayVec<_, 3> = all.filter(|it| it.start < reg::EXTENDED).collect();
        all.sort_unstable_by_key(|it| it.start);
        Ok(Self(all))
    }

    /// Where the first one is; 0 without any.
    pub(super) fn first(&self) -> u16 {
        self.0.first().map_or(0, |first| first.start)
    }

    /// The word at `at`: 0 if it is in none of them.
    pub(super) fn word<C: ConfigAccess + ?Sized>(
        &self,
        of: &Identity,
        access: &mut C,
        at: u16,
    ) -> Result<u32, ConfigError> {
        let Some((place, it)) = self.find(at) else {
            return Ok(0);
        };
        let inside = at - it.start;
        if matches!(it.what, What::Express) && inside >= EXPRESS_BYTES[0] {
            let flags = access.read16(of.function, it.start + express::FLAGS)?;
            if flags & 0xf < 2 {
                return Ok(0);
            }
        }
        let word = access.read32(of.function, at)?;
        Ok(match (it.what, inside) {
            (_, 0) => {
                let next = self.0.get(place + 1).map_or(0, |next| next.start);
                word & !NEXT | u32::from(next) << 8
            }
            (What::Express, express::DEVICE_CAPABILITY) => word & !express::DEVICE_FLR,
            _ => word,
        })
    }

    /// Writes what of the word at `at` is the partition's. `bits`: those that are
    /// written.
    ///
    /// What it may write lets the function send no message that it could not send as
    /// any other write.
    pub(super) fn write<C: ConfigAccess + ?Sized>(
        &self,
        of: &Identity,
        access: &mut C,
        at: u16,
        (value, bits): (u32, u32),
    ) -> Result<(), ConfigError> {
        let Some((_, it)) = self.find(at) else {
            return Ok(());
        };
        let given = match it.what {
            What::Msi(_) if at == it.start => u32::from(MSI_ENABLE) << 16,
            What::Msi(msi) if msi.mask_bits() == Some(at) => u32::MAX,
            What::Msix if at == it.start => u32::from(MSIX_CONTROL) << 16,
            _ => 0,
        };
        let bits = bits & given;
        if bits == 0 {
            return Ok(());
        }
        let function = of.function;
        let old = access.read32(function, at)?;
        if old == u32::MAX && access.read32(function, reg::REVISION_CLASS)? == u32::MAX {
            return Err(ConfigError::Silent {
                function,
                offset: at,
            });
        }
        access.write32(function, at, old & !bits | value & bits)
    }

    /// The last one that begins at or before `at`, if it goes as far.
    fn find(&self, at: u16) -> Option<(usize, &Capability)> {
        let all = self.0.iter().enumerate();
        let mut before = all.rev().skip_while(|(_, it)| it.start > at);
        before.next().filter(|(_, it)| it.holds(at))
    }
}
