//! Devices that an earlier system may have left running, and what is left to the
//! next one.

use super::runtime::OPAL;
use crate::machine::Phb;
use crate::opal::pci::Freeze;
use crate::opal::{OpalError, OpalStatus};
use crate::pci::quiesce::quiesce as quiesce_below;
use crate::pci::{ConfigAccess, ConfigError, FunctionId, PhbId};
use crate::{cpu, debug, warning};

/// Turns bus mastering off on every function below a PHB that answers: see
/// [`crate::pci::quiesce`].
pub fn quiesce(phb: &Phb) {
    let mut access = Untaken { phb };
    // The number names functions to this access only, which has its own.
    let id = PhbId::new(phb.id as u16);
    let done = quiesce_below(&mut access, id, phb.buses.0, 4096);
    debug!(
        "{}: {} functions, bus mastering was on at {}",
        phb.name(),
        done.seen,
        done.masters
    );
    if done.failed > 0 {
        warning!(
            "{}: bus mastering stayed on at {} functions",
            phb.name(),
            done.failed
        );
    }
}

/// Configuration space below a PHB that nobody has taken, or that is given up.
struct Untaken<'a> {
    phb: &'a Phb,
}

impl Untaken<'_> {
    fn done<T>(
        &self,
        function: FunctionId,
        offset: u16,
        result: Result<T, OpalError>,
    ) -> Result<T, ConfigError> {
        result.map_err(|error| {
            self.end_freeze();
            ConfigError::Refused {
                function,
                offset,
                status: error.status().map_or(-7, OpalStatus::code),
            }
        })
    }

    /// All ones may be an answer, or what is not there.
    fn read<T: PartialEq>(&self, value: T, ones: T) -> T {
        if value == ones {
            self.end_freeze();
        }
        value
    }

    /// A read of what is not there freezes the PE that its RID belongs to: all
    /// reads after it would look like holes too (skiboot core/pci.c,
    /// pci_check_clear_freeze). What has no PE of its own is in the reserved one.
    fn end_freeze(&self) {
        let Some(reserved) = self.phb.reserved else {
            return;
        };
        if OPAL
            .freeze_status(self.phb.id, reserved as u16)
            .is_ok_and(|status| status.is_frozen())
            && let Err(error) = OPAL.freeze_clear(self.phb.id, reserved as u16, Freeze::Both)
        {
            warning!(
                "{}: {error}: what is behind it may be missed",
                self.phb.name()
            );
        }
    }
}

impl ConfigAccess for Untaken<'_> {
    fn read8(&mut self, function: FunctionId, offset: u16) -> Result<u8, ConfigError> {
        let result = OPAL.config_read8(self.phb.id, function.bdfn.rid(), offset);
        let value = self.done(function, offset, result)?;
        Ok(self.read(value, u8::MAX))
    }

    fn read16(&mut self, function: FunctionId, offset: u16) -> Result<u16, ConfigError> {
        let result = OPAL.config_read16(self.phb.id, function.bdfn.rid(), offset);
        let value = self.done(function, offset, result)?;
        Ok(self.read(value, u16::MAX))
    }

    fn read32(&mut self, function: FunctionId, offset: u16) -> Result<u32, ConfigError> {
        let result = OPAL.config_read32(self.phb.id, function.bdfn.rid(), offset);
        let value = self.done(function, offset, result)?;
        Ok(self.read(value, u32::MAX))
    }

    fn write8(&mut self, function: FunctionId, offset: u16, value: u8) -> Result<(), ConfigError> {
        let result = OPAL.config_write8(self.phb.id, function.bdfn.rid(), offset, value);
        self.done(function, offset, result)
    }

    fn write16(
        &mut self,
        function: FunctionId,
        offset: u16,
        value: u16,
    ) -> Result<(), ConfigError> {
        let result = OPAL.config_write16(self.phb.id, function.bdfn.rid(), offset, value);
        self.done(function, offset, result)
    }

    fn write32(
        &mut self,
        function: FunctionId,
        offset: u16,
        value: u32,
    ) -> Result<(), ConfigError> {
        let result = OPAL.config_write32(self.phb.id, function.bdfn.rid(), offset, value);
        self.done(function, offset, result)
    }

    fn pause(&mut self, milliseconds: u32) {
        cpu::wait_ms(milliseconds.into());
    }
}
