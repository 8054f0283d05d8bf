//! How a function, a bridge and a PE are named.

use core::fmt;
use core::str::FromStr;

/// A PCI host bridge, by the number firmware gave it (`ibm,opal-phbid`, low
/// 16 bits). People read it as the domain in `0000:01:00.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhbId(u16);

impl PhbId {
    /// The PHB with this number.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for PhbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

/// Bus, device and function within one PHB: the 16-bit routing id (RID) that a
/// function's transactions carry, bus in the high byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bdfn(u16);

impl Bdfn {
    /// Device 0, function 0 of bus 0: the root port.
    pub const ROOT: Self = Self(0);

    /// From its parts, or `None` if `device` exceeds 31 or `function` 7.
    pub const fn new(bus: u8, device: u8, function: u8) -> Option<Self> {
        if device > 31 || function > 7 {
            return None;
        }
        Some(Self(
            ((bus as u16) << 8) | ((device as u16) << 3) | function as u16,
        ))
    }

    /// From the low byte as ARI reads it: one 8-bit function number.
    pub const fn on_bus(bus: u8, devfn: u8) -> Self {
        Self(((bus as u16) << 8) | devfn as u16)
    }

    /// From a routing id as it appears in the RTT and in OPAL calls.
    pub const fn from_rid(rid: u16) -> Self {
        Self(rid)
    }

    /// The routing id.
    pub const fn rid(self) -> u16 {
        self.0
    }

    /// Bus number.
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Device number, 0 to 31.
    pub const fn device(self) -> u8 {
        ((self.0 >> 3) & 31) as u8
    }

    /// Function number, 0 to 7.
    pub const fn function(self) -> u8 {
        (self.0 & 7) as u8
    }

    /// Device and function in one byte.
    pub const fn devfn(self) -> u8 {
        self.0 as u8
    }

    /// The routing id `distance` further on, or `None` beyond `ff:1f.7`.
    pub const fn checked_add(self, distance: u32) -> Option<Self> {
        let sum = self.0 as u64 + distance as u64;
        if sum > 0xffff {
            return None;
        }
        Some(Self(sum as u16))
    }
}

impl fmt::Display for Bdfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:02x}:{:02x}.{:x}",
            self.bus(),
            self.device(),
            self.function()
        )
    }
}

impl fmt::Debug for Bdfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One function of the machine, in the form `0000:01:00.0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionId {
    /// The host bridge above it.
    pub phb: PhbId,
    /// Its routing id there.
    pub bdfn: Bdfn,
}

impl FunctionId {
    /// The function `bdfn` of `phb`.
    pub const fn new(phb: PhbId, bdfn: Bdfn) -> Self {
        Self { phb, bdfn }
    }
}

impl fmt::Display for FunctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.phb, self.bdfn)
    }
}

impl fmt::Debug for FunctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text does not name a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseFunctionError {
    /// The separators are not where they belong.
    #[error("expected PHB:bus:device.function, as in 0000:01:00.0")]
    Form,
    /// A part is empty, too long, or not hexadecimal.
    #[error("the {0} is not a hexadecimal number of the right length")]
    Number(&'static str),
    /// The device exceeds 0x1f.
    #[error("device {0:#x} exceeds 0x1f")]
    Device(u8),
    /// The function exceeds 7.
    #[error("function {0:#x} exceeds 7")]
    Function(u8),
}

impl FromStr for FunctionId {
    type Err = ParseFunctionError;

    /// Reads `0000:01:00.0`. All four parts are required: a short form would
    /// leave the PHB to be guessed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (phb, rest) = text.split_once(':').ok_or(ParseFunctionError::Form)?;
        let (bus, rest) = rest.split_once(':').ok_or(ParseFunctionError::Form)?;
        let (device, function) = rest.split_once('.').ok_or(ParseFunctionError::Form)?;
        let phb = hex(phb, 4, "PHB")?;
        let bus = hex(bus, 2, "bus")? as u8;
        let device = hex(device, 2, "device")? as u8;
        let function = hex(function, 1, "function")? as u8;
        if device > 31 {
            return Err(ParseFunctionError::Device(device));
        }
        let bdfn =
            Bdfn::new(bus, device, function).ok_or(ParseFunctionError::Function(function))?;
        Ok(Self::new(PhbId::new(phb), bdfn))
    }
}

/// At most `digits` hexadecimal digits; `from_str_radix` alone would take a sign.
fn hex(text: &str, digits: usize, part: &'static str) -> Result<u16, ParseFunctionError> {
    if text.len() > digits || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ParseFunctionError::Number(part));
    }
    u16::from_str_radix(text, 16).map_err(|_| ParseFunctionError::Number(part))
}

/// A partitionable endpoint of one PHB, by number. Whether the PHB has that
/// many is known where [`super::phb::PhbInfo`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeNumber(u16);

impl PeNumber {
    /// The PE with this number.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for PeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_name_survives_the_round_trip() {
        let id = FunctionId::new(PhbId::new(0x12), Bdfn::new(0xff, 31, 7).unwrap());
        assert_eq!(id.to_string(), "0012:ff:1f.7");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn damaged_names_are_refused() {
        use ParseFunctionError as E;
        let parse = |text: &str| text.parse::<FunctionId>().unwrap_err();
        assert_eq!(parse("01:00.0"), E::Form);
        assert_eq!(parse("0000:01:00"), E::Form);
        assert_eq!(parse("0000:01:20.0"), E::Device(0x20));
        assert_eq!(parse("0000:01:00.8"), E::Function(8));
        assert_eq!(parse("0000:+1:00.0"), E::Number("bus"));
        assert_eq!(parse("0000::00.0"), E::Number("bus"));
        assert_eq!(parse("00000:01:00.0"), E::Number("PHB"));
        assert_eq!(parse("0000:01:00.0.0"), E::Number("function"));
    }

    #[test]
    fn a_rid_beyond_the_last_bus_is_none() {
        assert_eq!(Bdfn::from_rid(0xffff).checked_add(1), None);
        assert_eq!(
            Bdfn::from_rid(0x0100).checked_add(0x80),
            Some(Bdfn::from_rid(0x0180))
        );
        assert_eq!(Bdfn::from_rid(1).checked_add(u32::MAX), None);
    }
}
