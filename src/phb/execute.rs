//! Executes the steps that `pci::steps` lists, one after the other. It decides
//! nothing; the first failure ends a list.

use super::{Config, Phb, PhbFault, PhbHardware};
use crate::opal::pci::{Freeze, ResetScope, SlotId};
use crate::opal::{RawOpal, Waiter};
use crate::pci::function::Command;
use crate::pci::registers as reg;
use crate::pci::steps::{Step, Width};
use crate::pci::{ConfigAccess, ConfigError, FunctionId, PeNumber, Topology};
use crate::seam::{KillScope, PhbError, TveSelect};

/// Why a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The PHB, or firmware for it.
    #[error("{0}")]
    Phb(PhbFault),
    /// Configuration space.
    #[error("{0}")]
    Config(ConfigError),
    /// A register did not take what was written.
    #[error("{function}: register {offset:#05x} reads {read:#x} after {written:#x} was written")]
    ReadBack {
        /// Whose.
        function: FunctionId,
        /// Byte offset.
        offset: u16,
        /// What was written.
        written: u32,
        /// What came back.
        read: u32,
    },
    /// A PE's windows are to be open, and no TVE of it is set.
    #[error("PE {0} has no DMA window")]
    NoWindow(PeNumber),
    /// A function did not come back from its reset.
    #[error("{function}: not ready {milliseconds} ms after its reset")]
    NotReady {
        /// Which.
        function: FunctionId,
        /// How long was waited.
        milliseconds: u64,
    },
    /// A function was taken out, or what is to be kept over its reset reads as
    /// all ones.
    #[error("{0}: reads as absent")]
    Absent(FunctionId),
    /// No Express capability is where a function level reset would be started.
    #[error("{function}: no PCI Express capability at {offset:#05x}")]
    NoExpress {
        /// Which.
        function: FunctionId,
        /// Byte offset.
        offset: u16,
    },
    /// A function that nothing resets but a bus that others use too.
    #[error("{0} cannot be reset alone")]
    NotAlone(FunctionId),
    /// A PE that is to be used is frozen.
    #[error("PE {0} is frozen")]
    Frozen(PeNumber),
    /// A function that is to be reset with its bus has no bridge above it.
    #[error("{0}: nothing is above it that could reset it")]
    NoBridge(FunctionId),
}

impl<E: Into<PhbFault>> From<E> for StepError {
    fn from(error: E) -> Self {
        Self::Phb(error.into())
    }
}

impl<H: PhbHardware, F: RawOpal, W: Waiter> Phb<'_, H, F, W> {
    /// Executes `steps`, which were made for what `topology` found.
    ///
    /// `OpenDma` finds the windows open already: the engine's attach has set
    /// and killed them, and the step sees that it did.
    ///
    /// # Errors
    /// The step that failed, and why; those behind it were not tried.
    pub fn run(&self, topology: &Topology, steps: &[Step]) -> Result<(), (Step, StepError)> {
        steps.iter().try_for_each(|step| {
            self.step(topology, step).map_err(|error| (*step, error))?;
            self.expect(|expected| expected.apply(step));
            Ok(())
        })
    }

    fn step(&self, topology: &Topology, step: &Step) -> Result<(), StepError> {
        match *step {
            Step::ResetIoda => self.reset_ioda()?,
            Step::SetM64 { number, base, size } => {
                self.call(|opal, phb| opal.set_m64(phb, number, base.get(), size))?;
            }
            Step::SplitM64 { number } => {
                self.call(|opal, phb| opal.enable_m64_split(phb, number))?;
            }
            Step::MapM32 { segment, pe } => {
                self.call(|opal, phb| opal.map_m32(phb, pe.get(), segment))?;
            }
            Step::MapVectors { count, pe } => (0..count).try_for_each(|vector| {
                self.call(|opal, phb| opal.set_xive_pe(phb, pe.get(), vector.into()))
            })?,
            Step::MapRids { pe, rids } => {
                let (bdfn, bus, device, function) = rids.arguments();
                let compare = (bus, device, function);
                self.call(|opal, phb| opal.set_pe(phb, pe.get(), bdfn, compare, true))?;
            }
            Step::ClearFreeze { pe } => {
                self.call(|opal, phb| opal.freeze_clear(phb, pe.get(), Freeze::Both))?;
            }
            Step::Peltv { parent, child, on } => {
                self.call(|opal, phb| opal.set_peltv(phb, parent.get(), child.get(), on))?;
            }
            Step::Write {
                function,
                offset,
                width,
                value,
                verify,
            } => self.write(function, offset, width, value, verify)?,
            Step::Command { function, command } => self.command(function, command)?,
            Step::OpenDma { pe } => self.expect_window(pe)?,
            Step::CloseDma { pe } => {
                self.set_tve(pe.get(), TveSelect::Low, None)?;
                self.set_tve(pe.get(), TveSelect::High, None)?;
            }
            Step::KillTces { pe } => self.kill(pe.get(), KillScope::Pe)?,
            Step::Reset { function, method } => self.reset(topology, function, method)?,
            Step::Wait { milliseconds } => self.hardware().wait_ms(milliseconds.into()),
        }
        Ok(())
    }

    /// Empties the IODA tables.
    ///
    /// # Errors
    /// Firmware's refusal.
    pub fn reset_ioda(&self) -> Result<(), PhbFault> {
        self.slot(
            SlotId::phb(self.setup().id),
            ResetScope::IodaTable,
            super::reset::SLOT_LIMIT_MS,
        )
    }

    fn write(
        &self,
        function: FunctionId,
        offset: u16,
        width: Width,
        value: u32,
        verify: u32,
    ) -> Result<(), StepError> {
        let mut config = Config::known(self);
        let read = match width {
            Width::Two => config
                .write16(function, offset, value as u16)
                .and_then(|()| config.read16(function, offset))
                .map(u32::from),
            Width::Four => config
                .write32(function, offset, value)
                .and_then(|()| config.read32(function, offset)),
        }
        .map_err(StepError::Config)?;
        if (read ^ value) & verify != 0 {
            return Err(StepError::ReadBack {
                function,
                offset,
                written: value,
                read,
            });
        }
        Ok(())
    }

    /// The read's completion pushes what the function had posted.
    pub(super) fn command(&self, function: FunctionId, command: Command) -> Result<(), StepError> {
        let written = command.bits().into();
        let live = Command::LIVE.bits().into();
        self.write(function, reg::COMMAND, Width::Two, written, live)
    }

    fn expect_window(&self, pe: PeNumber) -> Result<(), StepError> {
        for tve in [TveSelect::Low, TveSelect::High] {
            match self.tve(pe.get(), tve) {
                Ok(value) if value.bits() != 0 => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(StepError::Phb(PhbFault::Phb(error))),
            }
        }
        Err(StepError::NoWindow(pe))
    }
}

impl StepError {
    /// As the engine's seam says it.
    pub(super) fn for_engine(self) -> PhbError {
        match self {
            Self::Phb(PhbFault::Phb(error)) => error,
            Self::Phb(PhbFault::Opal(error)) => super::fault::by_firmware(error),
            Self::Config(ConfigError::Refused { status, .. }) => PhbError::Firmware(status),
            Self::Config(ConfigError::Offset { .. } | ConfigError::Silent { .. }) => {
                PhbError::Firmware(-1)
            }
            Self::ReadBack { read, .. } => PhbError::ReadBack(read.into()),
            Self::NoWindow(_) => PhbError::ReadBack(0),
            Self::NotReady { .. } => PhbError::TimedOut,
            Self::Absent(_) => PhbError::ReadBack(u32::MAX.into()),
            Self::NoBridge(_) | Self::NotAlone(_) | Self::NoExpress { .. } | Self::Frozen(_) => {
                PhbError::Firmware(-7)
            }
        }
    }
}
