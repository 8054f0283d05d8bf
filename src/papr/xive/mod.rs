//! A partition's XIVE in exploitation mode (LoPAR 2.9, the H_INT_* calls): its
//! sources, the queues of its vCPUs, and which source goes to which queue.
//!
//! Calls are for set-up only. Once a source is routed, the partition triggers and
//! ends it in the source's own pages (ESB), and takes it in the thread's page
//! (TIMA), all of which are in its address space: no call, and no exit. So what
//! is checked here is all that stands between a partition and the controller,
//! which stores to a queue's page whatever else is there.
//!
//! Always true, whatever a partition asks for:
//!
//! 1. A queue's page is the partition's memory as a whole, and contiguous.
//! 2. A source goes to a queue of the partition that has a page, or nowhere.
//! 3. Nothing but the partition's own sources is routed, loaded or stored to.

mod calls;
mod state;
#[cfg(test)]
use crate::sim::Rng;
#[cfg(test)]
mod tests;

pub use calls::call;
pub use state::{Full, Xive};

use crate::addr::{GuestAddr, HostAddr};

/// Number of a source as its partition knows it (LISN).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lisn(u32);

/// LISNs below are kept for IPIs, which the partition's kernel hands out itself
/// (`ibm,xive-lisn-ranges`); those from here on are devices'.
pub const FIRST_DEVICE: u32 = 64;

/// How many LISNs there are: for sixty functions with 32 messages and a line.
pub const LISNS: u32 = 2048;

/// Queues of a vCPU: priorities 0 to 6. The last one is the hypervisor's, where
/// firmware gathers escalations (skiboot hw/xive.c, XIVE_ESCALATION_PRIO).
pub const PRIORITIES: u8 = 7;

/// Base-2 logarithms of the sizes of queues, in bytes: a partition's memory is
/// made of pieces of 64K, so that larger ones need not be contiguous.
pub const QUEUE_SHIFTS: [u32; 2] = [12, 16];

/// Where a partition sees its sources' pages: in a range that both POWER9's and
/// POWER10's maps keep for the controller (skiboot hw/phys-map.c), so that no
/// bridge's window is there.
const PAGES: u64 = 0x0006_0100_0000_0000;

/// Where a partition sees the thread's user page, and behind it its own one.
pub const THREAD_PAGES: GuestAddr = GuestAddr::new(0x0006_0302_0318_0000);

/// Base-2 logarithm of the bytes of any such page.
pub const PAGE_SHIFT: u32 = 16;

impl Lisn {
    /// The source of this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Where the partition triggers it.
    pub const fn trigger_page(self) -> GuestAddr {
        GuestAddr::new(PAGES + ((self.0 as u64) << (PAGE_SHIFT + 1)))
    }

    /// Where the partition manages it.
    pub const fn management_page(self) -> GuestAddr {
        GuestAddr::new(self.trigger_page().get() + (1 << PAGE_SHIFT))
    }
}

/// A source as firmware has it. Its pages are of 2^[`PAGE_SHIFT`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// What firmware knows it by.
    pub number: u32,
    /// Page that ends it and tells its state.
    pub management: HostAddr,
    /// Page that only triggers it, if it has one.
    pub trigger: Option<HostAddr>,
    /// Level, not message.
    pub is_level: bool,
    /// It is ended by a store.
    pub ends_by_store: bool,
}

/// What a partition has a source for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its kernel hands it out: below [`FIRST_DEVICE`].
    Ipi,
    /// A device, whose node tells its number.
    Device,
}

/// Where a source goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The vCPU, below the partition's count.
    pub vcpu: u32,
    /// The priority, below [`PRIORITIES`].
    pub priority: u8,
}

/// A queue's page in the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostQueue {
    /// Naturally aligned.
    pub page: HostAddr,
    /// Base-2 logarithm of its bytes, one of [`QUEUE_SHIFTS`].
    pub shift: u32,
}

/// Firmware did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The controller, and the partition's memory.
pub trait Machine {
    /// Where this much of the partition's memory is, if it is that and
    /// contiguous.
    fn memory(&self, at: GuestAddr, bytes: u64) -> Option<HostAddr>;

    /// Routes a source, which shows in its queue as `number`; to nowhere, what it
    /// sends is lost.
    ///
    /// # Errors
    /// Firmware's; nothing has changed.
    fn route(
        &mut self,
        source: &Source,
        target: Option<Target>,
        number: u32,
    ) -> Result<(), Refused>;

    /// Gives a queue its page, from the start of it on, or takes it away: then
    /// nothing is stored to the page any more when this returns.
    ///
    /// # Errors
    /// Firmware's; nothing has changed.
    fn set_queue(&mut self, target: Target, queue: Option<HostQueue>) -> Result<(), Refused>;

    /// Waits until what the source has sent is in its queue.
    ///
    /// # Errors
    /// Firmware's.
    fn sync(&mut self, source: &Source) -> Result<(), Refused>;

    /// Loads 8 bytes of a source's management page; the offset is a multiple of
    /// 8 inside of it.
    fn load(&mut self, source: &Source, offset: u64) -> u64;

    /// Stores 8 bytes there.
    fn store(&mut self, source: &Source, offset: u64, value: u64);
}
