//! Messages of a function whose interrupts are not Pinion's: vectors that its PE
//! has for as long as somebody else has the function, and the function told as he
//! asks. Which source goes where is between him and the interrupt controller.
//!
//! A message is a write of the function's, which the PHB takes for a vector only
//! if that is its PE's. So nothing depends on what the function's registers hold:
//! whoever has the function may change them, and reaches his own vectors only.

use super::pool::MOST_TOGETHER;
use super::{
    Message, MessageCapability, MessageError, MessagePort, MessageTable, VectorError, VectorPool,
    VectorTable, Vectors,
};
use crate::pci::address::PeNumber;
use crate::pci::config::{ConfigAccess, Registers};
use crate::pci::function::Command;
use crate::pci::registers as reg;
use core::fmt::{Debug, Display};

/// How a function sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// By its MSI capability.
    Msi,
    /// By its MSI-X table.
    Msix,
}

/// The ways that a function has.
#[derive(Clone, Copy, Debug)]
pub struct Senders {
    /// MSI.
    pub capability: Option<MessageCapability>,
    /// MSI-X.
    pub table: Option<MessageTable>,
}

impl Senders {
    /// Messages of one kind that it can send, of `limit` at most; 0 if it has not
    /// this way.
    fn most(&self, kind: MessageKind, limit: u16) -> u16 {
        let all = match kind {
            MessageKind::Msi => self.capability.map(|it| it.vectors()),
            MessageKind::Msix => self.table.map(|it| it.vectors()),
        };
        all.unwrap_or(0).min(limit)
    }
}

/// Why there is no lease, or why the function does not do as it is told.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError<P: Debug + Display> {
    /// No vectors.
    #[error(transparent)]
    Vectors(#[from] VectorError),
    /// The PHB refuses.
    #[error("vector {vector:#x}: {error}")]
    Port {
        /// The vector's number in the PHB.
        vector: u16,
        /// What it says.
        error: P,
    },
    /// More than it has vectors for, or of a kind that it has not.
    #[error("{count} messages by {kind:?} cannot be had")]
    Count {
        /// How many.
        count: u16,
        /// How.
        kind: MessageKind,
    },
    /// Its table cannot be reached: it does not decode memory.
    #[error("it does not decode memory, where its table is")]
    Dark,
    /// The function does not take it.
    #[error(transparent)]
    Function(#[from] MessageError),
}

/// A function's vectors.
#[derive(Debug)]
#[must_use = "the vectors stay the PE's until they are taken back"]
pub struct Lease {
    senders: Senders,
    vectors: Vectors,
}

impl Lease {
    /// Gives a function's PE as many vectors as it can use, 32 at most, side by
    /// side; fewer, if there are not as many; `None` if it sends no messages.
    ///
    /// # Errors
    /// There is none, or the PHB refuses: nothing is kept but what could not be
    /// taken back.
    pub fn new<P: MessagePort>(
        senders: Senders,
        pe: PeNumber,
        port: &P,
        pool: &mut VectorPool,
    ) -> Result<Option<Self>, LeaseError<P::Error>> {
        let kinds = [MessageKind::Msi, MessageKind::Msix];
        let most = kinds.map(|kind| senders.most(kind, MOST_TOGETHER));
        let most = most.into_iter().max().unwrap_or(0);
        if most == 0 {
            return Ok(None);
        }
        let mut count = most.next_power_of_two();
        let vectors = loop {
            match pool.allocate_block(pe, count) {
                Err(VectorError::Exhausted { .. }) if count > 1 => count /= 2,
                vectors => break vectors?,
            }
        };
        let lease = Self { senders, vectors };
        match lease.each(|vector| port.give(vector, pe)) {
            Ok(()) => Ok(Some(lease)),
            Err(error) => {
                // The first error is the one to tell; the pool remembers what could
                // not be taken back.
                let _ = lease.end(port, pool);
                Err(error)
            }
        }
    }

    /// Its vectors: a power of two.
    pub fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// Does it for every vector, up to the first error.
    fn each<P: Debug + Display>(
        &self,
        act: impl Fn(u16) -> Result<(), P>,
    ) -> Result<(), LeaseError<P>> {
        let mut all = (0..self.vectors.count()).filter_map(|index| self.vectors.number(index));
        all.try_for_each(|vector| act(vector).map_err(|error| LeaseError::Port { vector, error }))
    }

    /// Messages of a kind that it can send; 0: it has not this way.
    pub fn most(&self, kind: MessageKind) -> u16 {
        self.senders.most(kind, self.vectors.count())
    }

    /// Tells the function to send its first `count` messages by a way, and none by
    /// the other one: to 64-bit addresses if `wide` and it can. It may send at once.
    ///
    /// # Errors
    /// What is not possible; it sends nothing then, as far as it obeys.
    pub fn set<P: MessagePort, C: ConfigAccess + ?Sized>(
        &self,
        (kind, count, wide): (MessageKind, u16, bool),
        registers: &mut Registers<'_, C>,
        words: &mut dyn VectorTable,
        port: &P,
    ) -> Result<(), LeaseError<P::Error>> {
        self.silence(registers)?;
        let done = match (kind, self.senders) {
            _ if count == 0 || count > self.most(kind) => Err(LeaseError::Count { count, kind }),
            (MessageKind::Msi, Senders { capability, .. }) => {
                let capability = capability.ok_or(LeaseError::Count { count, kind })?;
                let first = self.message(port, 0, wide && capability.is_wide())?;
                let told = capability.enable(registers, first, count);
                let told = told.and_then(|()| capability.set_masked(registers, count, false));
                told.map_err(LeaseError::from)
            }
            (MessageKind::Msix, Senders { table, .. }) => {
                let table = table.ok_or(LeaseError::Count { count, kind })?;
                self.write(table, (count, wide), registers, words, port)
            }
        };
        if done.is_err() {
            let _ = self.silence(registers);
        }
        done
    }

    fn write<P: MessagePort, C: ConfigAccess + ?Sized>(
        &self,
        table: MessageTable,
        (count, wide): (u16, bool),
        registers: &mut Registers<'_, C>,
        words: &mut dyn VectorTable,
        port: &P,
    ) -> Result<(), LeaseError<P::Error>> {
        let command = registers.read16(reg::COMMAND).map_err(MessageError::from)?;
        let command = Command::from_bits_retain(command);
        if !command.contains(Command::MEMORY) {
            return Err(LeaseError::Dark);
        }
        table.enable(registers, words)?;
        for index in 0..count {
            let message = self.message(port, index, wide)?;
            table.set(words, index, message)?;
            table.set_masked(words, index, false)?;
        }
        Ok(table.open(registers)?)
    }

    fn message<P: MessagePort>(
        &self,
        port: &P,
        index: u16,
        wide: bool,
    ) -> Result<Message, LeaseError<P::Error>> {
        let vector = self.vectors.number(index);
        let vector = vector.ok_or(VectorError::Count(index))?;
        port.message(vector, self.vectors.pe(), wide)
            .map_err(|error| LeaseError::Port { vector, error })
    }

    /// Tells the function to send nothing. Its table is not touched: it may decode
    /// nothing.
    ///
    /// # Errors
    /// What it does not obey; the rest was done.
    pub fn silence<C: ConfigAccess + ?Sized>(
        &self,
        registers: &mut Registers<'_, C>,
    ) -> Result<(), MessageError> {
        let table = self.senders.table.map(|it| it.turn_off(registers));
        let capability = self.senders.capability.map(|it| it.disable(registers));
        table.unwrap_or(Ok(())).and(capability.unwrap_or(Ok(())))
    }

    /// Takes the vectors from the PE. Their sources are off, and the function is
    /// silent: what one sends that is not freezes its PE.
    ///
    /// # Errors
    /// The PHB refuses: the lease goes on, and this may be tried again.
    pub fn end<P: MessagePort>(
        self,
        port: &P,
        pool: &mut VectorPool,
    ) -> Result<(), (LeaseError<P::Error>, Self)> {
        if let Err(error) = self.each(|vector| port.take_back(vector)) {
            return Err((error, self));
        }
        let Self { senders, vectors } = self;
        pool.release(vectors)
            .map_err(|(error, vectors)| (error.into(), Self { senders, vectors }))
    }
}
