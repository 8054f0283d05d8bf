//! Proofs by data: what was written comes back, and what is not mapped stays
//! untouched whatever the drive says.

use super::command::Opcode;
use super::controller::Controller;
use super::error::NvmeError;
use super::queue::PAGE;
use crate::addr::BusAddr;
use crate::drivers::{DmaMemory, RegisterAccess};

/// What fills memory that nobody should write.
const CANARY: u8 = 0xc5;

/// Bytes of data memory that the proofs need: one page to write from, one to
/// read into.
pub const DATA_SIZE: usize = 2 * PAGE;

/// Why a proof failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExerciseError {
    /// The drive.
    #[error(transparent)]
    Drive(#[from] NvmeError),
    /// Too little data memory.
    #[error("{0} bytes of data memory, {DATA_SIZE} are needed")]
    Memory(usize),
    /// A byte did not come back.
    #[error("byte {at:#x} reads {read:#04x} instead of {written:#04x}")]
    Differs {
        /// Its offset in the page.
        at: usize,
        /// What was written.
        written: u8,
        /// What came back.
        read: u8,
    },
    /// A byte changed that the device must not reach.
    #[error(
        "byte {at:#x} was reached through {bus}, where nothing is mapped: it reads {read:#04x}"
    )]
    Reached {
        /// Its offset in the page.
        at: usize,
        /// The bus address used.
        bus: BusAddr,
        /// What it reads.
        read: u8,
    },
    /// The drive holds what it could not read.
    #[error("byte {at:#x} left memory through {bus}, where nothing is mapped")]
    Leaked {
        /// Its offset in the page.
        at: usize,
        /// The bus address used.
        bus: BusAddr,
    },
}

/// The byte at an offset of a pattern.
fn pattern(seed: u8, at: usize) -> u8 {
    // Neither a period of a page nor of a block, and never the canary twice in
    // a row.
    (at as u8)
        .wrapping_mul(31)
        .wrapping_add((at >> 8) as u8)
        .wrapping_add(seed)
}

fn fill<M: DmaMemory>(memory: &mut M, page: usize, byte: impl Fn(usize) -> u8) {
    let mut chunk = [0; 64];
    for start in (0..PAGE).step_by(chunk.len()) {
        for (place, at) in chunk.iter_mut().zip(start..) {
            *place = byte(at);
        }
        memory.write(page * PAGE + start, &chunk);
    }
}

/// The first byte of a page that is not as it should be, and what it reads.
fn difference<M: DmaMemory>(
    memory: &M,
    page: usize,
    byte: impl Fn(usize) -> u8,
) -> Option<(usize, u8)> {
    let mut chunk = [0; 64];
    (0..PAGE).step_by(chunk.len()).find_map(|start| {
        memory.read(page * PAGE + start, &mut chunk);
        let wrong = chunk
            .iter()
            .zip(start..)
            .find(|(read, at)| **read != byte(*at));
        wrong.map(|(read, at)| (at, *read))
    })
}

impl<R: RegisterAccess, M: DmaMemory> Controller<R, M> {
    fn blocks_of_a_page(&self) -> u32 {
        // Blocks have 512 or 4096 bytes.
        PAGE as u32 / self.identity().block_size.max(1)
    }

    /// Writes a page of a pattern to the drive from `block` on and reads it back
    /// into another. What was there is lost.
    ///
    /// # Errors
    /// What the drive says, or a byte that differs.
    pub fn write_and_compare<D: DmaMemory>(
        &mut self,
        data: &mut D,
        block: u64,
        seed: u8,
    ) -> Result<(), ExerciseError> {
        let (from, into) = pages(data)?;
        fill(data, 0, |at| pattern(seed, at));
        fill(data, 1, |_| CANARY);
        let blocks = self.blocks_of_a_page();
        self.transfer(Opcode::Write, block, blocks, from)?;
        self.flush()?;
        self.transfer(Opcode::Read, block, blocks, into)?;
        match difference(data, 1, |at| pattern(seed, at)) {
            None => Ok(()),
            Some((at, read)) => Err(ExerciseError::Differs {
                at,
                written: pattern(seed, at),
                read,
            }),
        }
    }

    /// The device reads from and writes to `bus`, where nothing is mapped, and
    /// where `data` was before: none of it may change, and nothing of it may get
    /// onto the drive. `checked` is memory that is mapped, to read the drive
    /// back. The drive may call it a success or a failure.
    ///
    /// # Errors
    /// A byte that changed or got out, or a drive that is in no state to go on.
    pub fn try_unmapped<D: DmaMemory, C: DmaMemory>(
        &mut self,
        data: &mut D,
        bus: BusAddr,
        checked: &mut C,
        block: u64,
    ) -> Result<(), ExerciseError> {
        let (_, into) = pages(checked)?;
        let blocks = self.blocks_of_a_page();
        self.write_and_compare(checked, block, 0x11)?;
        fill(data, 0, |_| CANARY);
        // A block is enough, and an emulator writes a line for each few bytes that
        // it refuses.
        tolerate(self.transfer(Opcode::Read, block, 1, bus))?;
        if let Some((at, read)) = difference(data, 0, |_| CANARY) {
            return Err(ExerciseError::Reached { at, bus, read });
        }
        tolerate(self.transfer(Opcode::Write, block, 1, bus))?;
        fill(checked, 1, |_| 0);
        self.transfer(Opcode::Read, block, blocks, into)?;
        // What a refused read gives is the PHB's matter; memory's content it is
        // not.
        let mut run = 0;
        let mut byte = [0];
        for at in 0..PAGE {
            checked.read(PAGE + at, &mut byte);
            run = if byte[0] == CANARY { run + 1 } else { 0 };
            if run == 4 {
                return Err(ExerciseError::Leaked { at, bus });
            }
        }
        Ok(())
    }
}

/// Bus addresses of the two pages.
fn pages<D: DmaMemory>(data: &D) -> Result<(BusAddr, BusAddr), ExerciseError> {
    let short = ExerciseError::Memory(data.size());
    if data.size() < DATA_SIZE {
        return Err(short);
    }
    let first = data.bus();
    Ok((first, first.checked_add(PAGE as u64).ok_or(short)?))
}

/// A command that was refused its data may fail; anything else is in the way.
fn tolerate(outcome: Result<(), NvmeError>) -> Result<(), NvmeError> {
    match outcome {
        Err(NvmeError::Failed { .. }) => Ok(()),
        other => other,
    }
}
