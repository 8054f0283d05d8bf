//! POWER8's interrupt presentation controller (ICP): one per thread, a 4 KiB
//! page of registers. Offsets and use: skiboot core/interrupts.c; PAPR, "PowerPC
//! External Interrupt Option".
//!
//! Priorities: 0 is the most favored, 0xff none. An ICP presents what is more
//! favored than its CPPR, and taking it sets CPPR to its priority, so that only
//! what is more favored still comes. Its end is a store to XIRR of the source
//! and the CPPR to go back to.

use super::Bus;
use super::source::Source;
use crate::addr::HostAddr;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// XIRR: a load of 4 bytes takes an interrupt, a store ends one. Its first byte
/// is CPPR, which can be stored alone. (A load from offset 0 only looks.)
pub const XIRR: u64 = 0x4;
/// MFRR: a store of a byte raises an interrupt of this priority between
/// processors; 0xff takes it back.
pub const MFRR: u64 = 0xc;

/// The source number that stands for MFRR.
pub const IPI: u32 = 2;

/// Priority of what threads send each other.
pub const IPI_PRIORITY: u8 = 4;
/// Priority of all devices.
pub const DEVICE_PRIORITY: u8 = 5;
/// MFRR without a request, and the priority of what is masked.
pub const NO_PRIORITY: u8 = 0xff;

/// CPPR of a thread that takes everything.
pub const ACCEPT_ALL: u8 = 0xff;
/// CPPR of a thread that takes nothing but IPIs.
pub const ACCEPT_IPI: u8 = DEVICE_PRIORITY;
/// CPPR of a thread that takes nothing: as firmware leaves and wants it.
pub const ACCEPT_NONE: u8 = 0;

const _: () = assert!(presents(IPI_PRIORITY, ACCEPT_IPI));
const _: () = assert!(!presents(DEVICE_PRIORITY, ACCEPT_IPI));
const _: () = assert!(presents(DEVICE_PRIORITY, ACCEPT_ALL));

/// Whether a request of this priority is presented to a thread with this CPPR.
pub const fn presents(priority: u8, cppr: u8) -> bool {
    priority < cppr
}

/// What a load of XIRR says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing was pending.
    Nothing,
    /// Another thread, or this one, wants attention.
    Ipi,
    /// A source fired.
    Source(Source),
}

/// XIRR as loaded: CPPR before, and the source (24 bits, 0 for none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xirr(u32);

impl Xirr {
    /// From the register.
    pub const fn from_register(value: u32) -> Self {
        Self(value)
    }

    /// What ends `source` and makes CPPR `cppr`.
    pub const fn ending(source: u32, cppr: u8) -> u32 {
        (cppr as u32) << 24 | source & 0xff_ffff
    }

    /// CPPR before the load.
    pub const fn cppr(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// What was taken.
    pub const fn taken(self) -> Taken {
        match self.0 & 0xff_ffff {
            0 => Taken::Nothing,
            IPI => Taken::Ipi,
            number => match Source::new(number) {
                Some(source) => Taken::Source(source),
                None => Taken::Nothing,
            },
        }
    }
}

/// A thread's ICP.
pub struct Port {
    /// Interrupt server number of its thread: the PIR.
    pub server: u32,
    page: HostAddr,
    /// CPPR of the thread outside of interrupts.
    base: AtomicU8,
    /// IPIs that were taken.
    ipis: AtomicU64,
}

impl Port {
    /// The ICP of thread `server`, whose registers start at `page`.
    pub const fn new(server: u32, page: HostAddr) -> Self {
        Self {
            server,
            page,
            base: AtomicU8::new(ACCEPT_NONE),
            ipis: AtomicU64::new(0),
        }
    }

    fn register(&self, offset: u64) -> HostAddr {
        // The page is from the tree and a page long; it cannot wrap.
        HostAddr::new(self.page.get().wrapping_add(offset))
    }

    /// Makes the ICP take what `cppr` lets through, whatever was left in it:
    /// what an earlier system had taken and never ended is ended. For the thread
    /// itself.
    pub fn open(&self, bus: &impl Bus, cppr: u8) {
        self.base.store(ACCEPT_NONE, Ordering::Relaxed);
        // A load takes at most one, and CPPR falls with each: a handful is all.
        for _ in 0..8 {
            match self.take(bus) {
                Taken::Nothing => break,
                Taken::Ipi => self.withdraw(bus),
                Taken::Source(source) => self.end(bus, source.get()),
            }
        }
        self.base.store(cppr, Ordering::Relaxed);
        self.withdraw(bus);
    }

    /// Puts the ICP back as firmware has it: no request, nothing let through
    /// (skiboot core/interrupts.c, reset_cpu_icp). For the thread itself.
    pub fn close(&self, bus: &impl Bus) {
        self.base.store(ACCEPT_NONE, Ordering::Relaxed);
        self.withdraw(bus);
    }

    /// Takes the most favored pending interrupt.
    pub fn take(&self, bus: &impl Bus) -> Taken {
        let xirr = Xirr::from_register(bus.load32(self.register(XIRR)));
        // What the interrupt announces is looked at after it was taken.
        bus.barrier();
        xirr.taken()
    }

    /// Ends `source`; lets through again what the thread lets through outside of
    /// interrupts. For the thread itself.
    pub fn end(&self, bus: &impl Bus, source: u32) {
        let base = self.base.load(Ordering::Relaxed);
        bus.barrier();
        bus.store32(self.register(XIRR), Xirr::ending(source, base));
    }

    /// Lets through again what the thread lets through outside of interrupts,
    /// without ending what was taken: that source stays silent.
    pub fn hold(&self, bus: &impl Bus) {
        bus.barrier();
        bus.store8(self.register(XIRR), self.base.load(Ordering::Relaxed));
    }

    /// Withdraws the request of MFRR and ends the IPI. What was asked for
    /// before the withdrawal is visible to loads behind this.
    pub fn withdraw(&self, bus: &impl Bus) {
        bus.store8(self.register(MFRR), NO_PRIORITY);
        self.end(bus, IPI);
        // A sender stores its work and then MFRR: if the store above overtook
        // the sender's, the work must be seen by whoever looks next.
        bus.barrier();
    }

    /// Sends an IPI to this ICP's thread. For any thread. Stores before this
    /// are visible to the thread once it has taken the IPI.
    pub fn send_ipi(&self, bus: &impl Bus) {
        bus.barrier();
        bus.store8(self.register(MFRR), IPI_PRIORITY);
    }

    /// Counts an IPI that was taken.
    pub fn count_ipi(&self) {
        self.ipis.fetch_add(1, Ordering::Relaxed);
    }

    /// IPIs so far.
    pub fn ipis(&self) -> u64 {
        self.ipis.load(Ordering::Relaxed)
    }
}
