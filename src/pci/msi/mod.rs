//! Messages as interrupts: which vectors a PE has, and how a function is told
//! to send them. Which source a vector is and who is interrupted by it are the
//! interrupt controller's.
//!
//! A PHB takes a message only from the PE that the vector was given to, so
//! vectors are handed out per PE: [`VectorPool`].

mod capability;
mod lease;
mod pool;
mod table;
mod wire;

pub use capability::{ENABLE as MSI_ENABLE, MessageCapability, set_pin};
pub use lease::{Lease, LeaseError, MessageKind, Senders};
pub use pool::{PoolFault, VectorError, VectorPool, Vectors};
pub use table::{CONTROL_BITS as MSIX_CONTROL, ENTRY, MessageTable, VectorTable};
pub use wire::{MessagePort, Sender, SourceControl, WireError, Wired, Wiring};

use super::address::FunctionId;
use super::config::ConfigError;

/// What a function writes, and where, to raise a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Bus address of the four bytes.
    pub address: u64,
    /// What is written.
    pub data: u32,
}

/// Why a function cannot be told to send messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Configuration space could not be accessed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A register did not keep what was written.
    #[error("{function}: register {offset:#05x} reads {read:#x} after {written:#x} was written")]
    Stuck {
        /// The function.
        function: FunctionId,
        /// Offset in configuration space, or in the table of messages.
        offset: u32,
        /// What was written.
        written: u32,
        /// What was read, reserved bits left out.
        read: u32,
    },
    /// The function has fewer messages.
    #[error("{function} has no message {vector}: it has {vectors}")]
    Vector {
        /// The function.
        function: FunctionId,
        /// The number asked for.
        vector: u16,
        /// How many there are.
        vectors: u16,
    },
    /// An address that the function cannot hold, or that is not one of four
    /// bytes.
    #[error("{function} cannot send messages to {address:#x}")]
    Address {
        /// The function.
        function: FunctionId,
        /// The address.
        address: u64,
    },
    /// Data that the function changes: its low bits are the message's number.
    #[error("{function}: data {data:#x} does not leave room for {count} messages")]
    Data {
        /// The function.
        function: FunctionId,
        /// The data.
        data: u32,
        /// Messages.
        count: u16,
    },
}
