//! How a driver learns that a command is done.

use crate::drivers::RegisterAccess;

/// A bit per message; with a pin only bit 0 counts.
pub const INTERRUPT_MASK_SET: u64 = 0x0c;
/// As the former, but bits written as 1 end the mask.
pub const INTERRUPT_MASK_CLEAR: u64 = 0x10;

/// How the controller says that it is done. Both of its queues say it by the
/// same message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It does not: the queues are looked at.
    Polled,
    /// By its pin, which stays asserted until it is masked at the controller or
    /// all completions were taken.
    Pin,
    /// By a message of its MSI capability.
    Message,
    /// By message 0 of its MSI-X table. The mask registers are not to be touched
    /// then (NVMe 1.4, 3.1.3).
    TableMessage,
}

impl Signal {
    /// The message of a queue, if there is one.
    pub(super) fn vector(self) -> Option<u16> {
        (self != Self::Polled).then_some(0)
    }

    /// Before the controller is enabled.
    pub(super) fn prepare(self, registers: &mut impl RegisterAccess) {
        match self {
            Self::Polled | Self::Pin => registers.write32(INTERRUPT_MASK_SET, u32::MAX),
            Self::Message => registers.write32(INTERRUPT_MASK_CLEAR, u32::MAX),
            Self::TableMessage => {}
        }
    }

    /// Lets the next command's end come through. Whoever handles a pin's
    /// interrupt masks it ([`mask_pin`]).
    pub(super) fn allow(self, registers: &mut impl RegisterAccess) {
        if self == Self::Pin {
            registers.write32(INTERRUPT_MASK_CLEAR, 1);
        }
    }
}

/// For the handler of a pin's interrupt: the controller lets go of the pin.
pub fn mask_pin(registers: &mut impl RegisterAccess) {
    registers.write32(INTERRUPT_MASK_SET, 1);
    // The write must have arrived before the interrupt is ended, or it comes
    // again: a read pushes it.
    registers.read32(INTERRUPT_MASK_SET);
}
