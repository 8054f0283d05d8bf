//! Interrupts of a partition's function, for one run: vectors of its PE, and its
//! line. They are sources of the partition's from its start on, which it routes,
//! takes and ends itself: no exit of it comes with one.

use super::memory::Space;
use super::xive::{Exploited, XiveError};
use crate::boot::pci::vectors::{NoWords, line_of, table_of, with_pool};
use crate::boot::pci::{self, Host};
use crate::irq::{IrqError, Source};
use crate::papr::bridge::Line;
use crate::papr::messages::{Limits, Messages, Sender};
use crate::papr::xive::{Lisn, Purpose, Refused};
use crate::pci::msi::{Lease, MessageCapability, MessageKind, MessageTable, Senders, VectorTable};
use crate::pci::{FunctionId, FunctionIndex, PeNumber, Registers};
use crate::phb::Config;
use crate::{debug, warning};
use alloc::vec::Vec;
use core::fmt::Display;
use spin::Mutex;

/// Interrupts of a function. Its vectors are its PE's until it is silenced or
/// dropped; the sources are off by then.
pub(super) struct Signals {
    phb: u16,
    at: FunctionIndex,
    lease: Mutex<Option<Lease>>,
    messages: Option<Messages>,
    line: Option<Line>,
}

impl Signals {
    /// Gives a partition the sources of a function: of its messages, as far as there
    /// are vectors and numbers, and of its line, if that is its group's own.
    ///
    /// # Errors
    /// A source cannot be the partition's, which must not be run.
    pub(super) fn new(
        phb: u16,
        (at, pe): (FunctionIndex, PeNumber),
        (xive, space): (&Exploited, &Space),
    ) -> Result<Self, XiveError> {
        let mut signals = Self {
            phb,
            at,
            lease: Mutex::new(None),
            messages: None,
            line: None,
        };
        let bridge = pci::bridges().get(usize::from(phb));
        let Some((bridge, host)) = bridge.and_then(|it| Some((it, it.host()?))) else {
            return Ok(signals);
        };
        let senders = senders(host, at);
        let lease = with_pool(phb, |pool| Lease::new(senders, pe, &host.phb, pool));
        match lease {
            Some(Ok(Some(lease))) => {
                let lease = signals.lease.get_mut().insert(lease);
                let messages = messages(lease, xive, space)?;
                if messages.limits() != limits(lease) {
                    let id = host.topology[at].id;
                    let left = messages.sources().len();
                    warning!("{id} has {left} messages only: its partition's numbers are used up");
                }
                signals.messages = (messages.limits() != Limits::default()).then_some(messages);
            }
            Some(Err(error)) => {
                let id = host.topology[at].id;
                warning!("{id} has no messages for its partition: {error}");
            }
            Some(Ok(None)) | None => {}
        }
        if let Ok((_, source)) = line_of(bridge, host, at) {
            let pin = host.topology[at].pin;
            signals.line = match give(source, xive, space) {
                Ok(source) => Some(Line { pin, source }),
                Err(XiveError::Full(full)) => {
                    warning!("{} has no line: {full}", host.topology[at].id);
                    None
                }
                Err(error) => return Err(error),
            };
        }
        Ok(signals)
    }

    /// Messages that it can send.
    pub(super) fn limits(&self) -> Limits {
        let messages = self.messages.as_ref();
        messages.map_or(Limits::default(), Messages::limits)
    }

    /// Its line.
    pub(super) fn line(&self) -> Option<Line> {
        self.line
    }

    /// Calls `act` with its messages and the function; `None` without messages.
    pub(super) fn with_messages(
        &self,
        act: &mut dyn FnMut(&Messages, &mut dyn Sender),
    ) -> Option<()> {
        let messages = self.messages.as_ref()?;
        let host = pci::host(self.phb)?;
        let lease = self.lease.lock();
        let mut told = Told {
            host,
            at: self.at,
            lease: lease.as_ref()?,
        };
        act(messages, &mut told);
        Some(())
    }

    /// Takes everything from a partition that goes on running without the function,
    /// and whose calls for it have ended: it gets no interrupt of it any more when
    /// this returns, and its sources may be anybody's.
    ///
    /// # Errors
    /// The interrupt controller or the PHB do not let go: what is left must not be
    /// anybody else's. May be tried again.
    pub(super) fn silence(&self, xive: &Exploited, space: &Space) -> Result<(), XiveError> {
        let messages = self.messages.as_ref().map_or(&[][..], Messages::sources);
        let line = self.line.map(|line| line.source);
        let sources: Vec<Lisn> = messages.iter().copied().chain(line).collect();
        xive.take(&sources, space)?;
        match self.end() {
            true => Ok(()),
            false => Err(XiveError::Vectors),
        }
    }

    /// The function is silent and its vectors are nobody's; `false` if the PHB
    /// refuses, who is told then.
    fn end(&self) -> bool {
        let mut held = self.lease.lock();
        let (Some(lease), Some(host)) = (held.take(), pci::host(self.phb)) else {
            return true;
        };
        let id = host.topology[self.at].id;
        let mut config = Config::known(&host.phb);
        if let Err(error) = lease.silence(&mut Registers::new(&mut config, id)) {
            // It may be gone, or frozen. It is reset before it is anybody else's.
            debug!("{id}: {error}");
        }
        match with_pool(self.phb, |pool| lease.end(&host.phb, pool)) {
            Some(Err((error, lease))) => {
                warning!("{id} keeps its vectors: {error}");
                *held = Some(lease);
                false
            }
            Some(Ok(())) | None => true,
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // What is not taken back stays unused.
        self.end();
    }
}

/// How a function can send.
fn senders(host: &Host, at: FunctionIndex) -> Senders {
    let function = &host.topology[at];
    let capabilities = &function.capabilities;
    let msix = capabilities.msix;
    let table = msix.filter(|msix| table_of(host, at, msix).is_ok());
    Senders {
        capability: capabilities.msi.and_then(MessageCapability::new),
        table: table.map(|msix| MessageTable::new(function.id, msix)),
    }
}

/// Messages of a lease.
fn limits(lease: &Lease) -> Limits {
    Limits {
        msi: lease.most(MessageKind::Msi),
        msix: lease.most(MessageKind::Msix),
    }
}

/// Gives the partition the sources of the messages of a lease, as long as it has
/// numbers for them.
fn messages(lease: &Lease, xive: &Exploited, space: &Space) -> Result<Messages, XiveError> {
    let limits = limits(lease);
    let used = 0..limits.msi.max(limits.msix);
    let mut sources = Vec::with_capacity(used.len());
    for number in used.filter_map(|index| lease.vectors().source(index)) {
        match give(number, xive, space) {
            Ok(source) => sources.push(source),
            Err(XiveError::Full(_)) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Messages::new(limits.within(sources.len()), sources.into()))
}

fn give(number: u32, xive: &Exploited, space: &Space) -> Result<Lisn, XiveError> {
    let source = Source::new(number).ok_or(IrqError::Number(number))?;
    xive.give(source, Purpose::Device, space)
}

/// A function that is told what to send.
struct Told<'a> {
    host: &'a Host,
    at: FunctionIndex,
    lease: &'a Lease,
}

impl Told<'_> {
    fn id(&self) -> FunctionId {
        self.host.topology[self.at].id
    }

    /// A partition may ask for what its function refuses as often as it likes.
    fn told<E: Display>(&self, done: Result<(), E>) -> Result<(), Refused> {
        done.map_err(|error| {
            debug!("{}: {error}", self.id());
            Refused
        })
    }
}

impl Sender for Told<'_> {
    fn set(&mut self, kind: MessageKind, count: u16, wide: bool) -> Result<(), Refused> {
        let msix = self.host.topology[self.at].capabilities.msix;
        let words = msix.and_then(|msix| table_of(self.host, self.at, &msix).ok());
        let (mut words, mut none) = (words, NoWords);
        let words: &mut dyn VectorTable = match &mut words {
            Some(words) => words,
            None => &mut none,
        };
        let phb = &self.host.phb;
        let mut config = Config::known(phb);
        let mut registers = Registers::new(&mut config, self.id());
        let asked = (kind, count, wide);
        self.told(self.lease.set(asked, &mut registers, words, phb))
    }

    fn silence(&mut self) -> Result<(), Refused> {
        let mut config = Config::known(&self.host.phb);
        let mut registers = Registers::new(&mut config, self.id());
        self.told(self.lease.silence(&mut registers))
    }
}
