//! Messages of a function, as its partition asks for them: `ibm,change-msi` and
//! `ibm,query-interrupt-source-number` (LoPAR 2.9, 7.3.10.5; Linux's side is
//! `arch/powerpc/platforms/pseries/msi.c`).
//!
//! The partition has the sources of all messages that the function may send from
//! its start on; the calls only tell the function how many of them to send, and
//! by MSI or by MSI-X.

use super::rtas::{HARDWARE, PARAMETER};
use super::xive::{Lisn, Refused};
use crate::pci::msi::MessageKind;
use crate::seam::sync::{AtomicU32, Ordering};
use alloc::boxed::Box;

/// The function itself.
pub trait Sender {
    /// Tells it to send its first `count` messages by a way, and none by the other;
    /// to 64-bit addresses if `wide` and it can.
    ///
    /// # Errors
    /// It does not: it sends nothing then.
    fn set(&mut self, kind: MessageKind, count: u16, wide: bool) -> Result<(), Refused>;

    /// Tells it to send nothing.
    ///
    /// # Errors
    /// It does not obey.
    fn silence(&mut self) -> Result<(), Refused>;
}

/// Messages that a function can send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// By MSI; 0: it cannot.
    pub msi: u16,
    /// By MSI-X; 0: it cannot.
    pub msix: u16,
}

impl Limits {
    /// Of one kind.
    pub const fn of(&self, kind: MessageKind) -> u16 {
        match kind {
            MessageKind::Msi => self.msi,
            MessageKind::Msix => self.msix,
        }
    }
}

impl Limits {
    /// What is left where there are no more than so many sources: for MSI a power of
    /// two.
    pub fn within(self, sources: usize) -> Self {
        let most = u16::try_from(sources).unwrap_or(u16::MAX);
        let msi = self.msi.min(most);
        Self {
            msi: msi.checked_ilog2().map_or(0, |bits| 1 << bits),
            msix: self.msix.min(most),
        }
    }
}

/// What a function sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How many messages.
    pub count: u16,
    /// How; of no message the kind that was asked for.
    pub kind: MessageKind,
}

impl Sent {
    /// As the call's fourth answer tells the kind.
    pub const fn kind_number(&self) -> u32 {
        match self.kind {
            MessageKind::Msi => 1,
            MessageKind::Msix => 2,
        }
    }

    /// In one word.
    const fn pack(self) -> u32 {
        (self.count as u32) << 8 | self.kind_number()
    }

    const fn unpack(word: u32) -> Self {
        Self {
            count: (word >> 8) as u16,
            kind: match word & 0xff {
                1 => MessageKind::Msi,
                _ => MessageKind::Msix,
            },
        }
    }
}

/// A function's messages.
#[derive(Debug)]
pub struct Messages {
    limits: Limits,
    sources: Box<[Lisn]>,
    /// What it sends now, packed.
    now: AtomicU32,
}

/// Functions of `ibm,change-msi`: what is sent now.
const QUERY: u32 = 0;
/// By MSI if it can, else by MSI-X.
const SET: u32 = 1;
/// As at the partition's start: nothing.
const RESET: u32 = 2;
const SET_MSI: u32 = 3;
const SET_MSIX: u32 = 4;
/// To 32-bit addresses.
const SET_MSI_32: u32 = 5;
const SET_MSIX_32: u32 = 6;

impl Messages {
    /// Of a function that sends nothing yet. `sources` are those of its messages,
    /// as many as either limit at least.
    pub fn new(limits: Limits, sources: Box<[Lisn]>) -> Self {
        let kind = MessageKind::Msi;
        Self {
            limits,
            sources,
            now: AtomicU32::new(Sent { count: 0, kind }.pack()),
        }
    }

    /// How many it can send.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The sources of all that it may send.
    pub fn sources(&self) -> &[Lisn] {
        &self.sources
    }

    /// What it sends.
    pub fn now(&self) -> Sent {
        Sent::unpack(self.now.load(Ordering::Relaxed))
    }

    /// The source of message number `index` of those that it sends.
    pub fn source(&self, index: u32) -> Option<Lisn> {
        let index = usize::try_from(index).ok()?;
        let sent = usize::from(self.now().count);
        self.sources.get(..sent)?.get(index).copied()
    }

    /// `ibm,change-msi`: function and number of messages.
    ///
    /// # Errors
    /// The RTAS status.
    pub fn change(&self, function: u32, wanted: u32, sender: &mut dyn Sender) -> Result<Sent, i32> {
        use MessageKind::{Msi, Msix};
        let (kind, wide, wanted) = match function {
            QUERY => return Ok(self.now()),
            SET | RESET => {
                let kind = if self.limits.msi > 0 { Msi } else { Msix };
                (kind, true, if function == SET { wanted } else { 0 })
            }
            SET_MSI => (Msi, true, wanted),
            SET_MSIX => (Msix, true, wanted),
            SET_MSI_32 => (Msi, false, wanted),
            SET_MSIX_32 => (Msix, false, wanted),
            _ => return Err(PARAMETER),
        };
        let limit = self.limits.of(kind);
        if wanted > 0 && limit == 0 {
            return Err(PARAMETER);
        }
        // As many as there are, which the answer tells.
        let count = u16::try_from(wanted).unwrap_or(u16::MAX).min(limit);
        let count = match (kind, count.checked_ilog2()) {
            (Msi, Some(log)) => 1 << log,
            _ => count,
        };
        // None of the old ones, whatever comes of the new ones.
        self.note(Sent { count: 0, kind });
        let done = match count {
            0 => sender.silence(),
            _ => sender.set(kind, count, wide),
        };
        done.map_err(|Refused| HARDWARE)?;
        let sent = Sent { count, kind };
        self.note(sent);
        Ok(sent)
    }

    fn note(&self, sent: Sent) {
        self.now.store(sent.pack(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn fewer_sources_are_fewer_messages() {
        let all = Limits { msi: 16, msix: 32 };
        let within = |sources| {
            let left = all.within(sources);
            (left.msi, left.msix)
        };
        assert_eq!(within(100), (16, 32));
        assert_eq!(within(31), (16, 31));
        assert_eq!(within(15), (8, 15));
        assert_eq!(within(1), (1, 1));
        assert_eq!(within(0), (0, 0));
    }
}
