//! Access control services: what keeps functions from reaching each other
//! without passing the PHB.

use super::capability::{Acs, PortType};
use super::config::{ConfigAccess, ConfigError, Registers};
use super::topology::Function;
use bitflags::bitflags;
use core::fmt;

bitflags! {
    /// Bits of the capability and control registers.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct AcsBits: u16 {
        /// A port drops requests whose RID is not from below it.
        const SOURCE_VALIDATION = 1 << 0;
        /// A port drops requests that claim a translated address: they would
        /// pass the TCE tables by.
        const TRANSLATION_BLOCKING = 1 << 1;
        /// Requests to a peer go up to the root instead.
        const REQUEST_REDIRECT = 1 << 2;
        /// So do completions.
        const COMPLETION_REDIRECT = 1 << 3;
        /// Requests from below into the port's own windows go up too.
        const UPSTREAM_FORWARDING = 1 << 4;
    }
}

impl AcsBits {
    /// What a switch's downstream port must have on for those below it to be
    /// apart from those below its siblings.
    pub const PORT: Self = Self::SOURCE_VALIDATION
        .union(Self::REQUEST_REDIRECT)
        .union(Self::COMPLETION_REDIRECT)
        .union(Self::UPSTREAM_FORWARDING);

    /// What a function of a device with several must have on, as far as it can
    /// reach its peers at all: a bit absent from its capability register says
    /// that it has no such path (PCI Express 4.0, 6.12.1.2).
    pub const PEER: Self = Self::REQUEST_REDIRECT.union(Self::COMPLETION_REDIRECT);
}

impl fmt::Display for AcsBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::SOURCE_VALIDATION, "source validation"),
            (Self::TRANSLATION_BLOCKING, "translation blocking"),
            (Self::REQUEST_REDIRECT, "request redirect"),
            (Self::COMPLETION_REDIRECT, "completion redirect"),
            (Self::UPSTREAM_FORWARDING, "upstream forwarding"),
        ];
        let mut separator = "";
        for (_, name) in names.iter().filter(|(bit, _)| self.contains(*bit)) {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// Turns on what isolates and is present, everything else off; the control
/// register as it reads afterwards.
pub fn enable<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    acs: &Acs,
) -> Result<u16, ConfigError> {
    let wanted = AcsBits::from_bits_truncate(acs.capability);
    registers.write16(acs.offset + 6, wanted.bits())?;
    registers.read16(acs.offset + 6)
}

/// The bits that `function` lacks towards the others of its bus; empty if it is
/// apart from them.
pub fn missing(function: &Function) -> AcsBits {
    let on = AcsBits::from_bits_truncate(function.acs);
    match (function.port(), function.capabilities.acs) {
        (Some(PortType::DownstreamPort | PortType::RootPort), _) => AcsBits::PORT.difference(on),
        (_, None) => AcsBits::PEER,
        (_, Some(acs)) => {
            let able = AcsBits::from_bits_truncate(acs.capability);
            AcsBits::PEER.intersection(able).difference(on)
        }
    }
}
