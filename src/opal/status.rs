//! Firmware's return codes as errors.

use super::Token;
use thiserror::Error;

macro_rules! statuses {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// A return code other than success (skiboot include/opal-api.h).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum OpalStatus {
            $(#[doc = $text] $name,)*
            /// A code that Pinion does not know.
            Other(i64),
        }

        impl OpalStatus {
            /// The status of a negative return code.
            pub const fn from_code(code: i64) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Other(other),
                }
            }

            /// The return code.
            pub const fn code(self) -> i64 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(code) => code,
                }
            }
        }

        impl core::fmt::Display for OpalStatus {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {
                    $(Self::$name => f.write_str(concat!($text, " (", stringify!($code), ")")),)*
                    Self::Other(code) => write!(f, "unknown status {code}"),
                }
            }
        }
    };
}

statuses! {
    Parameter = -1, "bad parameter";
    Busy = -2, "busy";
    Partial = -3, "partial";
    Constrained = -4, "constrained";
    Closed = -5, "closed";
    Hardware = -6, "hardware error";
    Unsupported = -7, "unsupported";
    Permission = -8, "no permission";
    NoMem = -9, "no memory";
    Resource = -10, "no resource";
    InternalError = -11, "internal error";
    BusyEvent = -12, "busy, poll events";
    HardwareFrozen = -13, "hardware frozen";
    WrongState = -14, "wrong state";
    AsyncCompletion = -15, "completes later";
    Empty = -16, "empty";
    I2cTimeout = -17, "i2c time-out";
    Timeout = -21, "time-out";
    XiveProvisioning = -31, "it needs memory for its tables";
    XiveFreeActive = -32, "still active";
}

/// Why a call did not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpalError {
    /// Firmware answered with an error.
    #[error("OPAL {token:?}: {status}")]
    Status {
        /// The call.
        token: Token,
        /// Firmware's answer.
        status: OpalStatus,
    },
    /// Firmware kept answering busy for longer than the caller waits.
    #[error("OPAL {token:?}: still busy after {milliseconds} ms")]
    StillBusy {
        /// The call.
        token: Token,
        /// How long was waited.
        milliseconds: u64,
    },
    /// Firmware does not have this call.
    #[error("OPAL {token:?}: this firmware does not have the call")]
    Absent {
        /// The call.
        token: Token,
    },
    /// A call from inside a machine-check handler, where firmware may be the
    /// very code that was interrupted.
    #[error("OPAL {token:?}: refused inside a machine-check handler")]
    InMachineCheck {
        /// The call.
        token: Token,
    },
    /// A call from a thread that crashed inside another, whose locks are held.
    #[error("OPAL {token:?}: refused inside another call that crashed")]
    Reentered {
        /// The call.
        token: Token,
    },
    /// A call from a thread that keeps firmware out of a PHB's tables.
    #[error("OPAL {token:?}: refused while IODA tables are read")]
    Gated {
        /// The call.
        token: Token,
    },
    /// No firmware: there is no `/ibm,opal`, or it is unusable.
    #[error("OPAL {token:?}: this machine has no OPAL")]
    NoFirmware {
        /// The call.
        token: Token,
    },
    /// An answer that makes no sense.
    #[error("OPAL {token:?}: answered {value:#x}, which makes no sense")]
    Nonsense {
        /// The call.
        token: Token,
        /// The value.
        value: u64,
    },
}

impl OpalError {
    /// Firmware's status, where there is one.
    pub fn status(&self) -> Option<OpalStatus> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}
