//! Configuration space by firmware's calls.

use super::{Phb, PhbHardware};
use crate::opal::{Opal, OpalError, OpalStatus, RawOpal, Waiter};
use crate::pci::{ConfigAccess, ConfigError, FunctionId};

/// Configuration space below one PHB.
pub struct Config<'p, 'o, H, F, W> {
    phb: &'p Phb<'o, H, F, W>,
    probing: bool,
}

impl<'p, 'o, H: PhbHardware, F: RawOpal, W: Waiter> Config<'p, 'o, H, F, W> {
    /// For a scan: what is not there is no error, and the freeze that an access
    /// to it provokes is cleared.
    pub const fn probing(phb: &'p Phb<'o, H, F, W>) -> Self {
        Self { phb, probing: true }
    }

    /// For functions that are known to be there: a freeze stays.
    pub const fn known(phb: &'p Phb<'o, H, F, W>) -> Self {
        Self {
            phb,
            probing: false,
        }
    }

    fn access<T>(
        &self,
        function: FunctionId,
        offset: u16,
        what: impl FnOnce(&Opal<F, W>, u64, u16) -> Result<T, OpalError>,
    ) -> Result<T, ConfigError> {
        let rid = function.bdfn.rid();
        self.phb
            .call(|opal, phb| what(opal, phb, rid))
            .map_err(|error| ConfigError::Refused {
                function,
                offset,
                status: error.status().map_or(-7, OpalStatus::code),
            })
    }

    /// All ones may be an answer, or the mark of a freeze.
    fn answered<T: PartialEq>(&self, function: FunctionId, value: T, ones: T) -> T {
        if self.probing && value == ones {
            // A freeze that stays shows in the next access.
            let _ = self.phb.end_probe(function.bdfn);
        }
        value
    }
}

impl<H: PhbHardware, F: RawOpal, W: Waiter> ConfigAccess for Config<'_, '_, H, F, W> {
    fn read8(&mut self, function: FunctionId, offset: u16) -> Result<u8, ConfigError> {
        self.access(function, offset, |opal, phb, rid| {
            opal.config_read8(phb, rid, offset)
        })
        .map(|value| self.answered(function, value, u8::MAX))
    }

    fn read16(&mut self, function: FunctionId, offset: u16) -> Result<u16, ConfigError> {
        self.access(function, offset, |opal, phb, rid| {
            opal.config_read16(phb, rid, offset)
        })
        .map(|value| self.answered(function, value, u16::MAX))
    }

    fn read32(&mut self, function: FunctionId, offset: u16) -> Result<u32, ConfigError> {
        self.access(function, offset, |opal, phb, rid| {
            opal.config_read32(phb, rid, offset)
        })
        .map(|value| self.answered(function, value, u32::MAX))
    }

    fn write8(&mut self, function: FunctionId, offset: u16, value: u8) -> Result<(), ConfigError> {
        self.access(function, offset, |opal, phb, rid| {
            opal.config_write8(phb, rid, offset, value)
        })
    }

    fn write16(
        &mut self,
        function: FunctionId,
        offset: u16,
        value: u16,
    ) -> Result<(), ConfigError> {
        self.access(function, offset, |opal, phb, rid| {
            opal.config_write16(phb, rid, offset, value)
        })
    }

    fn write32(
        &mut self,
        function: FunctionId,
        offset: u16,
        value: u32,
    ) -> Result<(), ConfigError> {
        self.access(function, offset, |opal, phb, rid| {
            opal.config_write32(phb, rid, offset, value)
        })
    }

    fn pause(&mut self, milliseconds: u32) {
        self.phb.hardware().wait_ms(milliseconds.into());
    }
}
