//! The controller: reset, queues, identify, read and write.

use super::command::{Command, Completion, Opcode};
use super::error::NvmeError;
use super::queue::{DEPTH, PAGE, QueuePair};
use super::signal::Signal;
use crate::addr::BusAddr;
use crate::drivers::{DmaMemory, RegisterAccess};

const CAPABILITIES: u64 = 0x00;
const CONFIGURATION: u64 = 0x14;
const STATUS: u64 = 0x1c;
const ADMIN_QUEUES: u64 = 0x24;
const ADMIN_SUBMISSION: u64 = 0x28;
const ADMIN_COMPLETION: u64 = 0x30;

/// The admin queue's own, whatever the stride.
const ADMIN_DOORBELL: u64 = 0x1000;

const ENABLE: u32 = 1;
/// Entry sizes 16 and 64 bytes, 4 KB pages, the NVM command set.
const CONFIGURED: u32 = 4 << 20 | 6 << 16;
const SHUT_DOWN: u32 = 1 << 14;

const READY: u32 = 1;
const FATAL: u32 = 2;
const SHUT_DOWN_MASK: u32 = 3 << 2;
const SHUT_DOWN_DONE: u32 = 2 << 2;

const POLL_MS: u32 = 5;
/// Patience with one command.
const COMMAND_MS: u32 = 5000;
/// And with a fetch that is to be refused.
const REFUSAL_MS: u32 = 500;

/// Most commands that are under way at once: a full queue would look empty.
pub const IN_FLIGHT: u16 = DEPTH - 1;

/// Bytes of DMA memory that a controller needs: four queues and a page.
pub const MEMORY_SIZE: usize = 5 * PAGE;

/// What the namespace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PCI vendor id, as the controller itself says.
    pub vendor: u16,
    /// Serial number, padded with spaces.
    pub serial: [u8; 20],
    /// Model, padded with spaces.
    pub model: [u8; 40],
    /// Blocks of namespace 1.
    pub blocks: u64,
    /// Bytes of a block: 512 or 4096.
    pub block_size: u32,
}

/// A controller that is enabled, with its namespace 1.
pub struct Controller<R, M> {
    registers: R,
    memory: M,
    admin: QueuePair,
    io: QueuePair,
    identity: Identity,
    signal: Signal,
    /// Commands of the IO queue that were begun and have not ended.
    in_flight: u16,
}

impl<R: RegisterAccess, M: DmaMemory> Controller<R, M> {
    /// Resets and enables the controller, makes its IO queue and reads what it
    /// is. How it says that a command is done is set up already: its interrupt is
    /// what [`RegisterAccess::wait_for_interrupt`] waits for.
    ///
    /// `memory` holds at least [`MEMORY_SIZE`] bytes, mapped for both ways.
    pub fn new(mut registers: R, mut memory: M, signal: Signal) -> Result<Self, NvmeError> {
        if memory.size() < MEMORY_SIZE {
            return Err(NvmeError::Memory {
                needed: MEMORY_SIZE,
                size: memory.size(),
            });
        }
        let capabilities = registers.read64(CAPABILITIES);
        check(capabilities)?;
        let stride = 4u64 << ((capabilities >> 32) & 0xf);
        // In units of 500 ms; 0 is taken as one.
        let patience = 500 * (((capabilities >> 24) & 0xff) as u32).max(1);
        registers.write32(CONFIGURATION, 0);
        wait(&mut registers, "reset", patience, |status| {
            status & READY == 0
        })?;
        signal.prepare(&mut registers);
        let admin = QueuePair::new(0, &mut memory, 0, stride)?;
        let io = QueuePair::new(1, &mut memory, 2 * PAGE, stride)?;
        enable(&mut registers, addresses(&admin, &memory)?, patience)?;
        let identity = Identity {
            vendor: 0,
            serial: [0; 20],
            model: [0; 40],
            blocks: 0,
            block_size: 0,
        };
        let mut it = Self {
            registers,
            memory,
            admin,
            io,
            identity,
            signal,
            in_flight: 0,
        };
        it.identify()?;
        it.create_io_queue()?;
        Ok(it)
    }

    /// What it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Reads or writes blocks of namespace 1 at `bus`, which is mapped by the
    /// caller, as is what lies up to the end of the second 4 KB page. `Ok` says
    /// what the device said: one that was refused data may still say success.
    pub fn transfer(
        &mut self,
        opcode: Opcode,
        block: u64,
        blocks: u32,
        bus: BusAddr,
    ) -> Result<(), NvmeError> {
        let command = self.command(opcode, block, blocks, bus)?;
        self.run_io(&command)
    }

    /// As [`Controller::transfer`], without waiting for the end: at most
    /// [`IN_FLIGHT`] of these, and nothing else until [`Controller::ended`] has
    /// told of all.
    pub fn begin(
        &mut self,
        opcode: Opcode,
        block: u64,
        blocks: u32,
        bus: BusAddr,
    ) -> Result<(), NvmeError> {
        let command = self.command(opcode, block, blocks, bus)?;
        if self.in_flight >= IN_FLIGHT {
            return Err(NvmeError::Full);
        }
        self.in_flight += 1;
        let (registers, memory) = (&mut self.registers, &mut self.memory);
        self.io.submit(memory, registers, &command);
        Ok(())
    }

    /// Takes what has ended of what was begun: how many are still under way.
    pub fn ended(&mut self) -> u16 {
        while self.in_flight > 0 && self.io.poll(&self.memory, &mut self.registers).is_some() {
            self.in_flight -= 1;
        }
        self.in_flight
    }

    fn command(
        &self,
        opcode: Opcode,
        block: u64,
        blocks: u32,
        bus: BusAddr,
    ) -> Result<Command, NvmeError> {
        let range = NvmeError::Range { block, blocks, bus };
        let end = block.checked_add(blocks.into()).ok_or(range)?;
        if blocks == 0 || end > self.identity.blocks || !bus.is_aligned(2) {
            return Err(range);
        }
        if !matches!(opcode, Opcode::Read | Opcode::Write) {
            return Err(range);
        }
        let bytes = u64::from(blocks) * u64::from(self.identity.block_size);
        let last = bus.checked_add(bytes - 1).ok_or(range)?;
        let (first_page, last_page) = (bus.get() >> 12, last.get() >> 12);
        let second = match last_page - first_page {
            0 => BusAddr::new(0),
            1 => BusAddr::new(last_page << 12),
            _ => return Err(range),
        };
        Ok(Command::transfer(opcode, 1, block, blocks, [bus, second]))
    }

    /// Makes what was written durable.
    pub fn flush(&mut self) -> Result<(), NvmeError> {
        self.run_io(&Command::transfer(
            Opcode::Flush,
            1,
            0,
            1,
            [BusAddr::new(0); 2],
        ))
    }

    /// Shuts the controller down and disables it: it no longer touches its
    /// queues, and the memory may be unmapped. Gives both seams back, with the
    /// error if it did not obey; then only stopping its PE helps.
    pub fn shut_down(mut self) -> (R, M, Result<(), NvmeError>) {
        let outcome = self.stop();
        (self.registers, self.memory, outcome)
    }

    fn stop(&mut self) -> Result<(), NvmeError> {
        self.registers
            .write32(CONFIGURATION, CONFIGURED | ENABLE | SHUT_DOWN);
        let done = |status: u32| status & SHUT_DOWN_MASK == SHUT_DOWN_DONE;
        let shut_down = wait(&mut self.registers, "shutdown", COMMAND_MS, done);
        // Disabled in any case: that is what ends its accesses.
        self.registers.write32(CONFIGURATION, 0);
        let reset = wait(&mut self.registers, "reset", COMMAND_MS, |status| {
            status & READY == 0
        });
        shut_down.and(reset)
    }

    fn identify(&mut self) -> Result<(), NvmeError> {
        let page = 4 * PAGE;
        let bus = self
            .memory
            .bus()
            .checked_add(page as u64)
            .ok_or(self.too_small())?;
        self.run_admin(&Command::identify(0, bus))?;
        let mut vendor = [0; 2];
        self.memory.read(page, &mut vendor);
        self.identity.vendor = u16::from_le_bytes(vendor);
        self.memory.read(page + 4, &mut self.identity.serial);
        self.memory.read(page + 24, &mut self.identity.model);
        self.run_admin(&Command::identify(1, bus))?;
        let mut size = [0; 8];
        self.memory.read(page, &mut size);
        let mut format = [0; 1];
        self.memory.read(page + 26, &mut format);
        let mut descriptor = [0; 4];
        self.memory.read(
            page + 128 + 4 * usize::from(format[0] & 0xf),
            &mut descriptor,
        );
        let (metadata, shift) = (
            u16::from_le_bytes([descriptor[0], descriptor[1]]),
            descriptor[2],
        );
        if !matches!(shift, 9 | 12) || metadata != 0 {
            return Err(NvmeError::Format { shift, metadata });
        }
        self.identity.blocks = u64::from_le_bytes(size);
        self.identity.block_size = 1 << shift;
        Ok(())
    }

    fn create_io_queue(&mut self) -> Result<(), NvmeError> {
        let [submission, completion] = addresses(&self.io, &self.memory)?;
        self.run_admin(&Command::create_completion_queue(
            1,
            DEPTH,
            completion,
            self.signal.vector(),
        ))?;
        self.run_admin(&Command::create_submission_queue(1, DEPTH, submission))
    }

    fn too_small(&self) -> NvmeError {
        NvmeError::Memory {
            needed: MEMORY_SIZE,
            size: self.memory.size(),
        }
    }

    fn run_admin(&mut self, command: &Command) -> Result<(), NvmeError> {
        let (registers, memory) = (&mut self.registers, &mut self.memory);
        run(&mut self.admin, memory, registers, self.signal, command)
    }

    fn run_io(&mut self, command: &Command) -> Result<(), NvmeError> {
        let (registers, memory) = (&mut self.registers, &mut self.memory);
        run(&mut self.io, memory, registers, self.signal, command)
    }
}

/// Lets a controller that is off use these admin queues.
fn enable<R: RegisterAccess>(
    registers: &mut R,
    [submission, completion]: [BusAddr; 2],
    patience: u32,
) -> Result<(), NvmeError> {
    let size = u32::from(DEPTH - 1);
    registers.write32(ADMIN_QUEUES, size << 16 | size);
    registers.write64(ADMIN_SUBMISSION, submission.get());
    registers.write64(ADMIN_COMPLETION, completion.get());
    registers.write32(CONFIGURATION, CONFIGURED | ENABLE);
    wait(registers, "ready", patience, |status| {
        status & (READY | FATAL) != 0
    })
}

/// Makes a controller that was reset fetch a command by way of `queues`, as one
/// would that does not know that its owner has gone, and turns it off again.
/// Whether it was refused: it reports that as fatal.
///
/// # Errors
/// What the controller says, or that it did not even try.
pub fn is_refused<R: RegisterAccess>(
    registers: &mut R,
    queues: [BusAddr; 2],
) -> Result<bool, NvmeError> {
    enable(registers, queues, COMMAND_MS)?;
    registers.write32(ADMIN_DOORBELL, 1);
    let mut is_fatal = false;
    for _ in 0..REFUSAL_MS / POLL_MS {
        is_fatal = registers.read32(STATUS) & FATAL != 0;
        if is_fatal {
            break;
        }
        registers.pause(POLL_MS);
    }
    registers.write32(CONFIGURATION, 0);
    wait(registers, "reset", COMMAND_MS, |status| status & READY == 0)?;
    Ok(is_fatal)
}

fn check(capabilities: u64) -> Result<(), NvmeError> {
    let lacks = |what| Err(NvmeError::Unable { what, capabilities });
    if capabilities == u64::MAX {
        return Err(NvmeError::Gone);
    }
    if (capabilities & 0xffff) + 1 < DEPTH.into() {
        return lacks("queues of that depth");
    }
    if capabilities >> 37 & 1 == 0 {
        return lacks("NVM command set");
    }
    if capabilities >> 48 & 0xf != 0 {
        return lacks("4 KB pages");
    }
    Ok(())
}

fn addresses<M: DmaMemory>(queue: &QueuePair, memory: &M) -> Result<[BusAddr; 2], NvmeError> {
    queue.bus(memory).ok_or(NvmeError::Memory {
        needed: MEMORY_SIZE,
        size: memory.size(),
    })
}

/// Waits for the status; a fatal one is an error unless a reset clears it.
fn wait<R: RegisterAccess>(
    registers: &mut R,
    what: &'static str,
    milliseconds: u32,
    done: impl Fn(u32) -> bool,
) -> Result<(), NvmeError> {
    let mut status = 0;
    for _ in 0..=milliseconds / POLL_MS {
        status = registers.read32(STATUS);
        if status == u32::MAX {
            return Err(NvmeError::Gone);
        }
        if done(status) {
            let fatal = status & FATAL != 0 && what != "reset";
            return if fatal {
                Err(NvmeError::Fatal { status })
            } else {
                Ok(())
            };
        }
        registers.pause(POLL_MS);
    }
    Err(NvmeError::Timeout {
        what,
        milliseconds,
        status,
    })
}

/// One command from submission to completion.
fn run<R: RegisterAccess, M: DmaMemory>(
    queue: &mut QueuePair,
    memory: &mut M,
    registers: &mut R,
    signal: Signal,
    command: &Command,
) -> Result<(), NvmeError> {
    let expected = queue.submit(memory, registers, command);
    let silence = |done| NvmeError::NoInterrupt {
        milliseconds: COMMAND_MS,
        done,
    };
    for _ in 0..COMMAND_MS / POLL_MS {
        signal.allow(registers);
        let told = signal == Signal::Polled || registers.wait_for_interrupt(COMMAND_MS);
        if let Some(completion) = queue.poll(memory, registers) {
            judge(command.opcode, &completion, expected)?;
            return if told { Ok(()) } else { Err(silence(true)) };
        }
        let status = registers.read32(STATUS);
        if status == u32::MAX {
            return Err(NvmeError::Gone);
        }
        if status & FATAL != 0 {
            return Err(NvmeError::Fatal { status });
        }
        if !told {
            return Err(silence(false));
        }
        if signal == Signal::Polled {
            registers.pause(POLL_MS);
        }
    }
    let status = registers.read32(STATUS);
    Err(NvmeError::Timeout {
        what: "completion",
        milliseconds: COMMAND_MS,
        status,
    })
}

fn judge(opcode: Opcode, completion: &Completion, expected: u16) -> Result<(), NvmeError> {
    if completion.id != expected {
        return Err(NvmeError::Stray {
            got: completion.id,
            queue: completion.queue,
            expected,
        });
    }
    if completion.status != 0 {
        let (kind, code) = (completion.kind(), completion.code());
        return Err(NvmeError::Failed { opcode, kind, code });
    }
    Ok(())
}
