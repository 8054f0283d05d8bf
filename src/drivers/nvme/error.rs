//! What a drive may be found to do wrong.

use super::command::Opcode;
use super::controller::IN_FLIGHT;
use crate::addr::BusAddr;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NvmeError {
    /// Too little DMA memory.
    #[error("{size} bytes of DMA memory, {needed} are needed")]
    Memory {
        /// Bytes needed.
        needed: usize,
        /// Bytes given.
        size: usize,
    },
    /// Registers read as all ones: gone, or its PE is frozen.
    #[error("registers read as all ones")]
    Gone,
    /// The controller cannot do what the driver needs.
    #[error("capabilities {capabilities:#018x}: no {what}")]
    Unable {
        /// What is missing.
        what: &'static str,
        /// The register.
        capabilities: u64,
    },
    /// CSTS.CFS: it could not fetch from its queues, for instance.
    #[error("controller reports a fatal error, status {status:#x}")]
    Fatal {
        /// The register.
        status: u32,
    },
    /// It did not get ready, or not finished.
    #[error("no {what} after {milliseconds} ms, status {status:#x}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        milliseconds: u32,
        /// The register.
        status: u32,
    },
    /// A command is done, but no interrupt said so.
    #[error("no interrupt within {milliseconds} ms; the command is {state}", state = if *done { "done" } else { "not done" })]
    NoInterrupt {
        /// How long was waited.
        milliseconds: u32,
        /// Whether its completion was there all the same.
        done: bool,
    },
    /// A command failed.
    #[error("{opcode:?} failed with status type {kind}, code {code:#04x}")]
    Failed {
        /// The command.
        opcode: Opcode,
        /// Status code type.
        kind: u8,
        /// Status code.
        code: u8,
    },
    /// A completion for another command than the one that runs.
    #[error("completion for command {got} of queue {queue}, expected {expected}")]
    Stray {
        /// Its identifier.
        got: u16,
        /// Its queue.
        queue: u16,
        /// The running command's.
        expected: u16,
    },
    /// As many commands as a queue can hold are under way.
    #[error("{IN_FLIGHT} commands are under way, no more are possible")]
    Full,
    /// Blocks of a size that the driver does not handle.
    #[error("namespace has blocks of 2^{shift} bytes and {metadata} bytes of metadata")]
    Format {
        /// Log2 of the block size.
        shift: u8,
        /// Bytes of metadata.
        metadata: u16,
    },
    /// A transfer that is empty, ends beyond the namespace, or needs more than
    /// two pages.
    #[error("{blocks} blocks from {block} to {bus} cannot be one command")]
    Range {
        /// First block.
        block: u64,
        /// Blocks.
        blocks: u32,
        /// First bus address.
        bus: BusAddr,
    },
}
