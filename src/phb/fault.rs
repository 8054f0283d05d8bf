//! Why something was not done to a PHB.

use crate::opal::{OpalError, OpalStatus};
use crate::seam::PhbError;

/// Why a PHB did not do what it was asked, with what firmware said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhbFault {
    /// Firmware refused.
    #[error("{0}")]
    Opal(OpalError),
    /// The PHB itself.
    #[error("{0}")]
    Phb(PhbError),
}

impl From<OpalError> for PhbFault {
    fn from(error: OpalError) -> Self {
        Self::Opal(error)
    }
}

impl From<PhbError> for PhbFault {
    fn from(error: PhbError) -> Self {
        Self::Phb(error)
    }
}

/// As the engine's seam says it.
pub(super) fn by_firmware(error: OpalError) -> PhbError {
    match error {
        OpalError::StillBusy { .. } => PhbError::TimedOut,
        // Absent calls and the like: as if firmware had said so.
        other => PhbError::Firmware(other.status().map_or(-7, OpalStatus::code)),
    }
}
