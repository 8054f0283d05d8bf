//! What a source is, and what is done when it fires.

use super::name::Name;
use core::fmt;

/// An interrupt source's number: cell 0 of an `interrupts` property, or what
/// firmware handed out. XICS numbers have 24 bits, XIVE's 31 (an event queue's
/// entry keeps bit 31 for itself).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(u32);

impl Source {
    /// The source with this number; `None` from 2^31 on.
    pub const fn new(number: u32) -> Option<Self> {
        match number >> 31 {
            0 => Some(Self(number)),
            _ => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// What kind of source it is; says how it is ended. On XIVE firmware's flags
/// decide between level and message, whatever was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Level: fires again after its end while the device still asserts it.
    Lsi,
    /// Message: fires once.
    Msi,
    /// Message of a PHB3, whose end also needs OPAL_PCI_MSI_EOI (skiboot
    /// hw/phb3.c; the tree says so by `ibm,msi-eoi-method`).
    Phb3Msi {
        /// `ibm,opal-phbid` of its bridge.
        phb: u64,
    },
}

impl Kind {
    /// For a person: "level" or "message".
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lsi => "level",
            Self::Msi | Self::Phb3Msi { .. } => "message",
        }
    }
}

/// What a handler did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The device is served; the interrupt can be ended.
    Served,
    /// The device did not ask for anything. A source that does this again and
    /// again is silenced (see [`super::storm`]).
    NotMine,
    /// It is served outside of the handler; [`super::Interrupts::end`] follows.
    Later,
    /// It is served, and silent (XIVE) until its owner turns it on in its ESB.
    Kept,
}

/// Called when a source fires, with the word it was registered with.
pub type Handler = fn(usize) -> Outcome;

/// A source and what is done with it.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    /// For a person.
    pub name: Name,
    /// What kind of source it is.
    pub kind: Kind,
    /// What is called.
    pub handler: Handler,
    /// What it is called with: an index, an address.
    pub data: usize,
}
