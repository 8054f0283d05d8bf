//! Events and messages: what firmware wants to be noticed.

use super::Message;
use bitflags::bitflags;
use core::fmt;

bitflags! {
    /// Pending events (skiboot include/opal-api.h, OPAL_EVENT_*).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EventBits: u64 {
        /// NVRAM traffic.
        const NVRAM = 0x2;
        /// The real-time clock has answered.
        const RTC = 0x4;
        /// A terminal can take output.
        const CONSOLE_OUTPUT = 0x8;
        /// A terminal has input.
        const CONSOLE_INPUT = 0x10;
        /// An error log can be read.
        const ERROR_LOG_AVAILABLE = 0x20;
        /// An error log is wanted.
        const ERROR_LOG = 0x40;
        /// Environment or power warning.
        const EPOW = 0x80;
        /// LED status.
        const LED_STATUS = 0x100;
        /// A PHB has an error.
        const PCI_ERROR = 0x200;
        /// A dump can be read.
        const DUMP_AVAILABLE = 0x400;
        /// A message can be fetched.
        const MESSAGE_PENDING = 0x800;
        const _ = !0;
    }
}

/// A message, decoded as far as Pinion acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call that completes later has completed: its token and status.
    AsyncComplete(u64, i64),
    /// Memory has failed: first and last address, and whether it still can be
    /// read (errors that were corrected too often) or not.
    MemoryError {
        /// First failing address, in bytes.
        start: u64,
        /// Last failing address, in bytes.
        end: u64,
        /// Whether the data is lost.
        uncorrectable: bool,
    },
    /// Environment or power warning: the platform has changed its state.
    Epow,
    /// Somebody wants the machine to be shut down (0) or rebooted (1): the
    /// power button, the BMC.
    Shutdown {
        /// Whether it is to come back.
        reboot: bool,
    },
    /// A hypervisor maintenance event that was handled: its severity (0 none,
    /// 1 warning, 2 error, 3 fatal) and kind.
    Maintenance {
        /// How bad.
        severity: u8,
        /// Which kind.
        kind: u8,
        /// Whether firmware recovered from it.
        recovered: bool,
    },
    /// Delayed power-off: the machine will lose power before long. The message
    /// says no more (skiboot platforms/ibm-fsp/, hw/fsp/fsp-dpo.c).
    DelayedPowerOff,
    /// Something else.
    Other(u32),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::AsyncComplete(token, status) => {
                write!(f, "call {token:#x} completed with {status}")
            }
            Self::MemoryError {
                start,
                end,
                uncorrectable,
            } => write!(
                f,
                "memory {start:#x} to {end:#x} has {} errors",
                if uncorrectable {
                    "uncorrectable"
                } else {
                    "too many corrected"
                }
            ),
            Self::Epow => f.write_str("environment or power warning"),
            Self::Shutdown { reboot: false } => f.write_str("shutdown requested"),
            Self::Shutdown { reboot: true } => f.write_str("reboot requested"),
            Self::Maintenance {
                severity,
                kind,
                recovered,
            } => write!(
                f,
                "hypervisor maintenance event: kind {kind}, severity {severity}, {}recovered",
                if recovered { "" } else { "not " }
            ),
            Self::DelayedPowerOff => f.write_str("power goes off before long"),
            Self::Other(kind) => write!(f, "message of unknown kind {kind}"),
        }
    }
}

/// What has to be done about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Power the machine off in order, for this reason.
    PowerOff(&'static str),
    /// Reboot the machine in order, for this reason.
    Reboot(&'static str),
    /// Only say that something is wrong.
    Complain,
    /// Only say that something happened.
    Tell,
}

impl Event {
    /// What has to be done about it. Pinion cannot give up a part of memory
    /// that it uses yet, so failing memory ends everything in order.
    pub const fn response(&self) -> Response {
        match self {
            Self::Shutdown { reboot: false } => Response::PowerOff("firmware asks for it"),
            Self::Shutdown { reboot: true } => Response::Reboot("firmware asks for it"),
            Self::Epow | Self::DelayedPowerOff => Response::PowerOff("before power is lost"),
            Self::MemoryError { .. } => Response::PowerOff("memory has failed"),
            Self::Maintenance {
                recovered,
                severity,
                ..
            } if !*recovered || *severity > 1 => Response::Complain,
            Self::Maintenance { .. } | Self::AsyncComplete(..) | Self::Other(_) => Response::Tell,
        }
    }
}

/// Decodes a message (skiboot include/opal-api.h, enum opal_msg_type).
pub fn decode_message(message: &Message) -> Event {
    let parameter = |index: usize| message.parameters.get(index).copied().unwrap_or(0);
    match message.kind {
        0 => Event::AsyncComplete(parameter(0), parameter(1) as i64),
        1 => memory_error(message),
        2 => Event::Epow,
        3 => Event::Shutdown {
            reboot: parameter(0) == 1,
        },
        4 => {
            // struct OpalHMIEvent: version, severity, type, disposition, a byte each.
            let [_, severity, kind, disposition, ..] = parameter(0).to_be_bytes();
            Event::Maintenance {
                severity,
                kind,
                recovered: disposition == 0,
            }
        }
        5 => Event::DelayedPowerOff,
        other => Event::Other(other),
    }
}

/// struct OpalMemoryErrorData: version 8, type 8, flags 16, padding 32; kind of
/// error 8, padding 56; start; end. Type 0 is a resilience event, whose kind 0
/// is an error that was corrected; type 1 asks for memory to be given up.
fn memory_error(message: &Message) -> Event {
    let [head, kind, start, end, ..] = message.parameters;
    let resilience = (head >> 48) & 0xff == 0;
    let uncorrectable = resilience && kind >> 56 != 0;
    Event::MemoryError {
        start,
        end,
        uncorrectable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u32, parameters: &[u64]) -> Message {
        let mut all = [0; 8];
        all[..parameters.len()].copy_from_slice(parameters);
        Message {
            kind,
            parameters: all,
        }
    }

    #[test]
    fn the_power_button_is_a_shutdown() {
        assert_eq!(
            decode_message(&message(3, &[0])),
            Event::Shutdown { reboot: false }
        );
        assert_eq!(
            decode_message(&message(3, &[1])),
            Event::Shutdown { reboot: true }
        );
    }

    #[test]
    fn a_scrub_error_is_uncorrectable_and_a_corrected_one_is_not() {
        let scrub = message(1, &[0x0100_0000_0000_0000, 2 << 56, 0x1000, 0x1fff]);
        let wanted = Event::MemoryError {
            start: 0x1000,
            end: 0x1fff,
            uncorrectable: true,
        };
        assert_eq!(decode_message(&scrub), wanted);
        let corrected = message(1, &[0x0100_0000_0000_0000, 0, 0x1000, 0x1fff]);
        let wanted = Event::MemoryError {
            start: 0x1000,
            end: 0x1fff,
            uncorrectable: false,
        };
        assert_eq!(decode_message(&corrected), wanted);
    }

    #[test]
    fn power_and_memory_trouble_end_in_an_orderly_power_off() {
        for (kind, parameters) in [
            (1, [0, 0, 0, 0]),
            (2, [0; 4]),
            (3, [0; 4]),
            (5, [9, 0, 0, 0]),
        ] {
            let event = decode_message(&message(kind, &parameters));
            assert!(matches!(event.response(), Response::PowerOff(_)), "{event}");
        }
        let reboot = decode_message(&message(3, &[1]));
        assert!(matches!(reboot.response(), Response::Reboot(_)));
        assert_eq!(decode_message(&message(0, &[])).response(), Response::Tell);
        let handled = decode_message(&message(4, &[0x0101_0000_0000_0000]));
        assert_eq!(handled.response(), Response::Tell);
        let not_recovered = decode_message(&message(4, &[0x0102_0001_0000_0000]));
        assert_eq!(not_recovered.response(), Response::Complain);
    }

    #[test]
    fn delayed_power_off_says_no_more_and_unknown_kinds_keep_their_number() {
        assert_eq!(decode_message(&message(5, &[])), Event::DelayedPowerOff);
        assert_eq!(decode_message(&message(77, &[])), Event::Other(77));
    }
}
