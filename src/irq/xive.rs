//! The thread's side of a XIVE: the hypervisor's page of the thread management
//! area (TIMA). The page is at the same address for all threads; the hardware
//! knows which thread it answers. Offsets: skiboot include/xive-regs.h.

use super::Bus;
use super::queue::Queue;
use crate::addr::HostAddr;
use core::sync::atomic::{AtomicU64, Ordering};

/// Byte: CPPR of the physical thread (ring 3).
pub const HV_CPPR: u64 = 0x31;
/// Eight bytes: registers of the partition's context (ring 1): NSR, CPPR, IPB,
/// LSMFB, ACK, INC, AGE, PIPR.
const OS_REGISTERS: u64 = 0x10;
/// Four bytes: which virtual processor the context is of; a store dispatches it.
const OS_WORD: u64 = 0x18;
/// The word is valid.
const VALID: u32 = 1 << 31;
/// POWER10: the controller saves and loads the registers itself (skiboot
/// hw/xive2.c, TM10_QW1W2_HO).
const SAVES: u32 = 1 << 30;
/// Load of four bytes: takes the partition's context off the thread.
const PULL_OS: u64 = 0x818;
/// Load of two bytes: acknowledges a hypervisor's interrupt; NSR and CPPR.
pub const ACK_HV: u64 = 0x830;

/// CPPR that lets everything through.
pub const ACCEPT_ALL: u8 = 0xff;
/// CPPR that lets nothing through: as firmware leaves and wants it.
pub const ACCEPT_NONE: u8 = 0;

/// What an acknowledge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Nothing is pending.
    Nothing,
    /// The physical thread's queue of this priority has entries.
    Queue {
        /// 0 (most favored) to 7.
        priority: u8,
    },
    /// A pool's or a direct level's interrupt, which Pinion uses none of.
    Foreign(u16),
}

impl Ack {
    /// From the register: NSR in the upper byte, with the kind in its upper two
    /// bits (0 none, 1 pool, 2 physical, 3 level), CPPR in the lower.
    pub const fn from_register(value: u16) -> Self {
        match (value >> 14, value as u8) {
            (0, _) | (2, 0xff) => Self::Nothing,
            (2, priority) => Self::Queue { priority },
            _ => Self::Foreign(value),
        }
    }
}

/// A virtual processor's interrupt context while it is not dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    word: u32,
    registers: u64,
}

impl Context {
    /// Of a new virtual processor, which takes nothing until it says what, with
    /// firmware's word for it.
    pub const fn new(word: u32) -> Self {
        Self {
            word: word | VALID,
            // ACK as hardware has it at rest.
            registers: 0xff00_0000,
        }
    }

    /// Whether an interrupt was pending that it would take: more favored than
    /// what it is busy with.
    pub const fn is_pending(&self) -> bool {
        let [_, cppr, .., pipr] = self.registers.to_be_bytes();
        pipr < cppr
    }
}

/// The thread management area.
pub struct Tima {
    page: HostAddr,
    /// Acknowledges of what Pinion does not use.
    foreign: AtomicU64,
}

impl Tima {
    /// The area whose hypervisor's page is at `page` (`reg`, second entry).
    pub const fn new(page: HostAddr) -> Self {
        Self {
            page,
            foreign: AtomicU64::new(0),
        }
    }

    fn register(&self, offset: u64) -> HostAddr {
        HostAddr::new(self.page.get().wrapping_add(offset))
    }

    /// Lets through what is more favored than `cppr`, for the running thread.
    pub fn accept(&self, bus: &impl Bus, cppr: u8) {
        bus.barrier();
        bus.store8(self.register(HV_CPPR), cppr);
    }

    /// Takes what is pending for the running thread. Afterwards only what is
    /// more favored comes, until [`Tima::accept`].
    pub fn acknowledge(&self, bus: &impl Bus) -> Ack {
        let ack = Ack::from_register(bus.load16(self.register(ACK_HV)));
        // The queue is looked at after the acknowledge: what comes later then
        // raises a new interrupt.
        bus.barrier();
        if matches!(ack, Ack::Foreign(_)) {
            self.foreign.fetch_add(1, Ordering::Relaxed);
        }
        ack
    }

    /// Dispatches a virtual processor on the running thread, which has none: what
    /// comes for it reaches the thread's partition.
    pub fn push(&self, bus: &impl Bus, context: &Context) {
        bus.barrier();
        if context.word & SAVES == 0 {
            bus.store64(self.register(OS_REGISTERS), context.registers);
        }
        bus.store32(self.register(OS_WORD), context.word);
    }

    /// Takes the dispatched virtual processor off the running thread: what comes
    /// for it from now on escalates.
    pub fn pull(&self, bus: &impl Bus, context: &mut Context) {
        bus.load32(self.register(PULL_OS));
        bus.barrier();
        let registers = bus.load64(self.register(OS_REGISTERS));
        // LSMFB is 0 and ACK at rest for the next time.
        context.registers = registers & !0x0000_00ff_ff00_0000 | 0xff00_0000;
    }

    /// Acknowledges of what Pinion does not use.
    pub fn foreign(&self) -> u64 {
        self.foreign.load(Ordering::Relaxed)
    }
}

/// A thread that devices' interrupts can be routed to.
pub struct Target {
    /// Its interrupt server number: the PIR.
    pub server: u32,
    /// Its queue, of the one priority that Pinion uses.
    pub queue: Queue,
}
