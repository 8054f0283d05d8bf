//! The way from a function to its interrupt sources, made and undone in an order
//! in which no message goes astray.
//!
//! Made: vectors to the PE, sources in use but masked, the function told, and
//! only then sources and function opened. A vector is given to its PE before its
//! source is used, as that clears the source's state (skiboot hw/phb4.c,
//! phb4_set_ive_pe).
//!
//! Undone: the function off, sources masked, vectors to the reserved PE, so that
//! a function that does not obey reaches nobody, sources off, vectors back.

use super::{
    Message, MessageCapability, MessageError, MessageTable, VectorError, VectorPool, VectorTable,
    Vectors,
};
use crate::pci::address::PeNumber;
use crate::pci::config::{ConfigAccess, Registers};
use core::fmt::{Debug, Display};

/// A PHB's side of messages.
pub trait MessagePort {
    /// What it refuses with.
    type Error: Debug + Display;
    /// Lets a PE, and no other, send a vector.
    ///
    /// # Errors
    /// What firmware says.
    fn give(&self, vector: u16, pe: PeNumber) -> Result<(), Self::Error>;
    /// Lets nobody send a vector: it is the reserved PE's.
    ///
    /// # Errors
    /// What firmware says.
    fn take_back(&self, vector: u16) -> Result<(), Self::Error>;
    /// What raises a vector, as a 64-bit message or a 32-bit one.
    ///
    /// # Errors
    /// What firmware says.
    fn message(&self, vector: u16, pe: PeNumber, wide: bool) -> Result<Message, Self::Error>;
}

/// The interrupt controller's side: `index` counts a function's vectors.
pub trait SourceControl {
    /// What it refuses with.
    type Error: Debug + Display;
    /// Takes a source into use, masked.
    ///
    /// # Errors
    /// It cannot be used.
    fn register(&self, index: u16, source: u32) -> Result<(), Self::Error>;
    /// Lets it through.
    ///
    /// # Errors
    /// What the controller says.
    fn unmask(&self, source: u32) -> Result<(), Self::Error>;
    /// Keeps it back.
    ///
    /// # Errors
    /// What the controller says.
    fn mask(&self, source: u32) -> Result<(), Self::Error>;
    /// Takes it out of use: off, and nothing of it on its way.
    ///
    /// # Errors
    /// What the controller says.
    fn unregister(&self, source: u32) -> Result<(), Self::Error>;
}

/// How a function sends.
#[derive(Clone, Copy, Debug)]
pub enum Sender {
    /// By its MSI capability.
    Capability(MessageCapability),
    /// By its MSI-X table.
    Table(MessageTable),
}

/// Why a function has no interrupts.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError<P: Debug + Display, S: Debug + Display> {
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
    /// The controller refuses.
    #[error("interrupt source {source_number:#x}: {error}")]
    Source {
        /// The source.
        source_number: u32,
        /// What it says.
        error: S,
    },
    /// The function does not take it.
    #[error(transparent)]
    Function(#[from] MessageError),
}

/// A function that is connected.
#[derive(Debug)]
#[must_use = "it stays connected until it is disconnected"]
pub struct Wired {
    vectors: Vectors,
    sender: Sender,
    /// The first so many sources are in use.
    registered: u16,
}

impl Wired {
    /// Its vectors.
    pub fn vectors(&self) -> &Vectors {
        &self.vectors
    }
}

type Fault<P, S> = WireError<<P as MessagePort>::Error, <S as SourceControl>::Error>;

/// Connects one function.
pub struct Wiring<'a, C: ConfigAccess + ?Sized, P, S> {
    /// The function's configuration space.
    pub registers: Registers<'a, C>,
    /// Its table, if it has one, in the BAR.
    pub table: &'a mut dyn VectorTable,
    /// Its PHB.
    pub port: &'a P,
    /// The controller.
    pub sources: &'a S,
    /// The PHB's vectors.
    pub pool: &'a mut VectorPool,
}

impl<C: ConfigAccess + ?Sized, P: MessagePort, S: SourceControl> Wiring<'_, C, P, S> {
    /// Connects `count` messages of the function to as many sources and opens
    /// them. The function decodes memory if its messages are in a table; it may
    /// send once it masters the bus.
    ///
    /// # Errors
    /// The first thing that failed, with all undone. Vectors that could not be
    /// taken from the PE again stay with it.
    pub fn connect(
        &mut self,
        sender: Sender,
        pe: PeNumber,
        count: u16,
    ) -> Result<Wired, Fault<P, S>> {
        let vectors = match sender {
            Sender::Capability(_) => self.pool.allocate_block(pe, count)?,
            Sender::Table(_) => self.pool.allocate(pe, count)?,
        };
        let mut wired = Wired {
            vectors,
            sender,
            registered: 0,
        };
        match self.make(&mut wired) {
            Ok(()) => Ok(wired),
            Err(error) => {
                // The first error is the one to tell; the pool remembers what
                // could not be undone.
                let _ = self.disconnect(wired);
                Err(error)
            }
        }
    }

    fn make(&mut self, wired: &mut Wired) -> Result<(), Fault<P, S>> {
        let pe = wired.vectors.pe();
        for index in 0..wired.vectors.count() {
            let (vector, source) = at(&wired.vectors, index)?;
            let port = |error| WireError::Port { vector, error };
            self.port.give(vector, pe).map_err(port)?;
            let refused = source_error(source);
            self.sources.register(index, source).map_err(refused)?;
            wired.registered = index + 1;
        }
        self.tell(wired)?;
        for index in 0..wired.vectors.count() {
            let (_, source) = at(&wired.vectors, index)?;
            self.sources.unmask(source).map_err(source_error(source))?;
        }
        self.open(wired)
    }

    /// Programs the function, which stays masked where it can be.
    fn tell(&mut self, wired: &Wired) -> Result<(), Fault<P, S>> {
        match wired.sender {
            Sender::Capability(capability) => {
                let message = self.message(wired, 0, capability.is_wide())?;
                let count = wired.vectors.count();
                capability.enable(&mut self.registers, message, count)?;
            }
            Sender::Table(table) => {
                table.enable(&mut self.registers, self.table)?;
                for index in 0..wired.vectors.count() {
                    let message = self.message(wired, index, true)?;
                    table.set(self.table, index, message)?;
                }
            }
        }
        Ok(())
    }

    fn message(&self, wired: &Wired, index: u16, wide: bool) -> Result<Message, Fault<P, S>> {
        let (vector, _) = at(&wired.vectors, index)?;
        self.port
            .message(vector, wired.vectors.pe(), wide)
            .map_err(|error| WireError::Port { vector, error })
    }

    fn open(&mut self, wired: &Wired) -> Result<(), Fault<P, S>> {
        let count = wired.vectors.count();
        match wired.sender {
            Sender::Capability(capability) => {
                capability.set_masked(&mut self.registers, count, false)?;
            }
            Sender::Table(table) => {
                for index in 0..count {
                    table.set_masked(self.table, index, false)?;
                }
                table.open(&mut self.registers)?;
            }
        }
        Ok(())
    }

    /// Disconnects the function: nothing of it interrupts any more. The value is
    /// what the function itself said: one that is gone, or does not obey, is
    /// disconnected all the same.
    ///
    /// # Errors
    /// The PHB or the controller refused: the vectors stay with the PE, and this
    /// can be tried again.
    pub fn disconnect(
        &mut self,
        mut wired: Wired,
    ) -> Result<Result<(), MessageError>, (Fault<P, S>, Wired)> {
        let function = match wired.sender {
            Sender::Capability(capability) => capability.disable(&mut self.registers),
            Sender::Table(table) => table.disable(&mut self.registers, self.table),
        };
        if let Err(error) = self.undo(&mut wired) {
            return Err((error, wired));
        }
        let Wired {
            vectors, sender, ..
        } = wired;
        match self.pool.release(vectors) {
            Ok(()) => Ok(function),
            Err((error, vectors)) => Err((
                error.into(),
                Wired {
                    vectors,
                    sender,
                    registered: 0,
                },
            )),
        }
    }

    fn undo(&mut self, wired: &mut Wired) -> Result<(), Fault<P, S>> {
        for index in 0..wired.registered {
            let (_, source) = at(&wired.vectors, index)?;
            self.sources.mask(source).map_err(source_error(source))?;
        }
        for index in 0..wired.vectors.count() {
            let (vector, _) = at(&wired.vectors, index)?;
            let port = |error| WireError::Port { vector, error };
            self.port.take_back(vector).map_err(port)?;
        }
        while let Some(index) = wired.registered.checked_sub(1) {
            let (_, source) = at(&wired.vectors, index)?;
            let refused = source_error(source);
            self.sources.unregister(source).map_err(refused)?;
            wired.registered = index;
        }
        Ok(())
    }
}

fn source_error<P: Debug + Display, S: Debug + Display>(
    source_number: u32,
) -> impl FnOnce(S) -> WireError<P, S> {
    move |error| WireError::Source {
        source_number,
        error,
    }
}

/// Number and source of a vector. `index` is below the count.
fn at(vectors: &Vectors, index: u16) -> Result<(u16, u32), VectorError> {
    let found = vectors.number(index).zip(vectors.source(index));
    found.ok_or(VectorError::Count(index))
}
