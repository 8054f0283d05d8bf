//! Layout of submission and completion entries: little-endian, 64 and 16 bytes.

use crate::addr::BusAddr;

/// Bytes of a submission entry.
pub const SUBMISSION: usize = 64;
/// Bytes of a completion entry.
pub const COMPLETION: usize = 16;

/// What a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// Admin: make a submission queue.
    CreateSubmissionQueue,
    /// Admin: make a completion queue.
    CreateCompletionQueue,
    /// Admin: describe the controller or a namespace.
    Identify,
    /// IO: what was written becomes durable.
    Flush,
    /// IO: memory to blocks.
    Write,
    /// IO: blocks to memory.
    Read,
}

impl Opcode {
    /// The code in the entry.
    pub const fn code(self) -> u8 {
        match self {
            Self::Flush => 0x00,
            Self::CreateSubmissionQueue | Self::Write => 0x01,
            Self::Read => 0x02,
            Self::CreateCompletionQueue => 0x05,
            Self::Identify => 0x06,
        }
    }
}

/// A command without its identifier, which the queue gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// What.
    pub opcode: Opcode,
    /// Namespace; 0 for none.
    pub namespace: u32,
    /// First and second page of the data.
    pub data: [BusAddr; 2],
    /// Command dwords 10 to 12.
    pub arguments: [u32; 3],
}

impl Command {
    fn new(opcode: Opcode, namespace: u32, first: BusAddr, arguments: [u32; 3]) -> Self {
        Self {
            opcode,
            namespace,
            data: [first, BusAddr::new(0)],
            arguments,
        }
    }

    /// Describes the controller (`namespace` 0) or a namespace, into one page.
    pub fn identify(namespace: u32, page: BusAddr) -> Self {
        let what = u32::from(namespace == 0);
        Self::new(Opcode::Identify, namespace, page, [what, 0, 0])
    }

    /// Makes completion queue `id` of `entries` at `page`; interrupts by
    /// `vector` if there is one.
    pub fn create_completion_queue(
        id: u16,
        entries: u16,
        page: BusAddr,
        vector: Option<u16>,
    ) -> Self {
        let size = u32::from(entries - 1) << 16 | u32::from(id);
        let how = vector.map_or(1, |vector| u32::from(vector) << 16 | 0b11);
        Self::new(Opcode::CreateCompletionQueue, 0, page, [size, how, 0])
    }

    /// Makes submission queue `id` of `entries` at `page`, which completes into
    /// the completion queue of the same number.
    pub fn create_submission_queue(id: u16, entries: u16, page: BusAddr) -> Self {
        let size = u32::from(entries - 1) << 16 | u32::from(id);
        Self::new(
            Opcode::CreateSubmissionQueue,
            0,
            page,
            [size, u32::from(id) << 16 | 1, 0],
        )
    }

    /// Reads or writes `blocks` (1 to 65536) from `block` on.
    pub fn transfer(
        opcode: Opcode,
        namespace: u32,
        block: u64,
        blocks: u32,
        data: [BusAddr; 2],
    ) -> Self {
        let arguments = [
            block as u32,
            (block >> 32) as u32,
            blocks.wrapping_sub(1) & 0xffff,
        ];
        Self {
            opcode,
            namespace,
            data,
            arguments,
        }
    }

    /// The entry with its identifier.
    pub fn encode(&self, id: u16) -> [u8; SUBMISSION] {
        let mut entry = [0; SUBMISSION];
        let mut put = |at: usize, bytes: &[u8]| entry[at..at + bytes.len()].copy_from_slice(bytes);
        put(
            0,
            &(u32::from(id) << 16 | u32::from(self.opcode.code())).to_le_bytes(),
        );
        put(4, &self.namespace.to_le_bytes());
        put(24, &self.data[0].get().to_le_bytes());
        put(32, &self.data[1].get().to_le_bytes());
        for (place, argument) in self.arguments.iter().enumerate() {
            put(40 + 4 * place, &argument.to_le_bytes());
        }
        entry
    }
}

/// A completion entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Command specific.
    pub result: u32,
    /// How far the device has read the submission queue.
    pub head: u16,
    /// The submission queue.
    pub queue: u16,
    /// The command's identifier.
    pub id: u16,
    /// Inverts with each round of the queue.
    pub phase: bool,
    /// Status code type and status code: 0 is success.
    pub status: u16,
}

impl Completion {
    /// From the bytes of an entry.
    pub fn decode(entry: &[u8; COMPLETION]) -> Self {
        let half = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        let status = half(14);
        Self {
            result: u32::from(half(0)) | u32::from(half(2)) << 16,
            head: half(8),
            queue: half(10),
            id: half(12),
            phase: status & 1 != 0,
            status: (status >> 1) & 0x7ff,
        }
    }

    /// Status code type: 0 generic, 1 command specific, 2 media.
    pub const fn kind(&self) -> u8 {
        (self.status >> 8) as u8 & 7
    }

    /// Status code.
    pub const fn code(&self) -> u8 {
        self.status as u8
    }
}
