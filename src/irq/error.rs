//! What goes wrong with a source, and what a person is told.

use super::esb::EsbError;
use super::name::Name;
use super::source::Source;
use super::storm::Storm;
use crate::opal::OpalError;
use thiserror::Error;

/// Why something cannot be done to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IrqError {
    /// It is registered already.
    #[error("interrupt source {0} is in use")]
    InUse(Source),
    /// No room.
    #[error("interrupt source {0} is one too many ({max} are possible)", max = super::table::MAX_SOURCES)]
    Full(Source),
    /// It is not registered.
    #[error("interrupt source {0} is not in use")]
    NotInUse(Source),
    /// The thread takes no devices' interrupts, or is unknown.
    #[error("thread {0:#x} takes no interrupts of devices")]
    NoThread(u32),
    /// A number beyond what the controller has.
    #[error("{0:#x} is no interrupt source's number")]
    Number(u32),
    /// The controller cannot do it.
    #[error("interrupt source {0} cannot be triggered by software")]
    NoTrigger(Source),
    /// The source's hardware.
    #[error(transparent)]
    Esb(#[from] EsbError),
    /// Firmware refuses.
    #[error(transparent)]
    Firmware(#[from] OpalError),
}

/// What a person should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A source was silenced until it is unmasked.
    Silenced {
        /// Which.
        source: Source,
        /// Its name.
        name: Name,
        /// Why.
        storm: Storm,
    },
    /// A source without a handler fired; it is masked.
    Unknown(Source),
}
