//! A submission queue with its completion queue, one page each.

use super::command::{COMPLETION, Command, Completion, SUBMISSION};
use super::error::NvmeError;
use crate::addr::BusAddr;
use crate::drivers::{DmaMemory, RegisterAccess};

/// Entries of each queue: one command at a time needs two.
pub const DEPTH: u16 = 16;
/// Bytes of each queue's page.
pub const PAGE: usize = 4096;

/// The pair's state. Both queues are wholly the driver's: what the device
/// writes is checked before it is used as an index.
#[derive(Debug)]
pub struct QueuePair {
    /// Its number: 0 is the admin queue.
    id: u16,
    /// Offsets of the two pages in the memory.
    submission: usize,
    completion: usize,
    tail: u16,
    head: u16,
    phase: bool,
    next_id: u16,
    /// Bytes between doorbells.
    stride: u64,
}

impl QueuePair {
    /// Queue `id` in the two pages from `offset` on, which are zeroed: a stale
    /// phase bit would look like a completion.
    pub fn new<M: DmaMemory>(
        id: u16,
        memory: &mut M,
        offset: usize,
        stride: u64,
    ) -> Result<Self, NvmeError> {
        for page in [offset, offset + PAGE] {
            if !memory.write(page, &[0; PAGE]) {
                return Err(NvmeError::Memory {
                    needed: offset + 2 * PAGE,
                    size: memory.size(),
                });
            }
        }
        Ok(Self {
            id,
            submission: offset,
            completion: offset + PAGE,
            tail: 0,
            head: 0,
            phase: true,
            next_id: 0,
            stride,
        })
    }

    /// Bus addresses of submission and completion queue.
    pub fn bus<M: DmaMemory>(&self, memory: &M) -> Option<[BusAddr; 2]> {
        let at = |offset: usize| memory.bus().checked_add(offset as u64);
        Some([at(self.submission)?, at(self.completion)?])
    }

    /// Puts a command into the queue and rings; its identifier.
    pub fn submit<M: DmaMemory, R: RegisterAccess>(
        &mut self,
        memory: &mut M,
        registers: &mut R,
        command: &Command,
    ) -> u16 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let place = self.submission + usize::from(self.tail) * SUBMISSION;
        // Inside: the pages were written when the queue was made.
        memory.write(place, &command.encode(id));
        self.tail = (self.tail + 1) % DEPTH;
        registers.write32(self.doorbell(false), self.tail.into());
        id
    }

    /// The next completion, if the device has written one.
    pub fn poll<M: DmaMemory, R: RegisterAccess>(
        &mut self,
        memory: &M,
        registers: &mut R,
    ) -> Option<Completion> {
        let place = self.completion + usize::from(self.head) * COMPLETION;
        let mut entry = [0; COMPLETION];
        // The phase first, the rest after: it is the last that the device writes.
        memory.read(place + 14, &mut entry[14..]);
        if (entry[14] & 1 != 0) != self.phase {
            return None;
        }
        memory.read(place, &mut entry[..14]);
        self.head += 1;
        if self.head == DEPTH {
            self.head = 0;
            self.phase = !self.phase;
        }
        registers.write32(self.doorbell(true), self.head.into());
        Some(Completion::decode(&entry))
    }

    fn doorbell(&self, completion: bool) -> u64 {
        0x1000 + (2 * u64::from(self.id) + u64::from(completion)) * self.stride
    }
}
