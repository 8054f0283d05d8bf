//! How a manifest names a device.

use crate::pci::FunctionId;
use core::fmt;
use core::str::FromStr;

/// A device that a partition asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// `0000:01:00.0`: PHB, bus, device, function.
    At(FunctionId),
    /// `1b36:0010`: the first function of this kind that nobody has, in the
    /// order of PHBs and routing ids.
    Kind {
        /// Vendor id.
        vendor: u16,
        /// Device id.
        device: u16,
    },
}

/// A text that names no device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address as 0000:01:00.0 or vendor:device as 1b36:0010")]
pub struct BadDevice;

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(function) => function.fmt(f),
            Self::Kind { vendor, device } => write!(f, "{vendor:04x}:{device:04x}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = BadDevice;

    fn from_str(text: &str) -> Result<Self, BadDevice> {
        if let Ok(function) = text.parse() {
            return Ok(Self::At(function));
        }
        let (vendor, device) = text.split_once(':').ok_or(BadDevice)?;
        let id = |digits: &str| -> Result<u16, BadDevice> {
            if digits.len() != 4 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(BadDevice);
            }
            u16::from_str_radix(digits, 16).map_err(|_| BadDevice)
        };
        Ok(Self::Kind {
            vendor: id(vendor)?,
            device: id(device)?,
        })
    }
}
