//! What a partition sees of Pinion: hypervisor calls, RTAS, its terminal, its
//! interrupts, its device tree (LoPAR 2.9). Pure: the machine is behind
//! [`Host`], and everything runs on a PC.
#![forbid(unsafe_code)]

pub mod archive;
pub mod bridge;
pub mod code;
pub mod config;
pub mod ddw;
mod dispatch;
pub mod elf;
pub mod group;
pub mod icp;
pub mod layout;
pub mod liobn;
pub mod messages;
mod mode;
pub mod rtas;
mod shared;
pub mod tce;
pub mod terminal;
pub mod tree;
pub mod turns;
mod writer;
pub mod xive;

pub use dispatch::{Quick, Token, call, quick};
pub use mode::Breakpoint;
pub use shared::DISPATCHES;

use crate::addr::GuestAddr;
use crate::pci::ConfigAccess;
use crate::seam::Platform;
use config::View;
use ddw::WindowCalls;
use messages::{Messages, Sender};
use tce::{List, TceCalls};

/// What a partition's TCE calls work on. Fit for the fast path: it takes no lock
/// but the engine's, and waits for nothing but a kill, its own or one of another call
/// that is under way while the window's number is given away or taken back.
pub trait Tables {
    /// What is below its DMA engine.
    type Platform: Platform;

    /// Its windows; `None`: it has none.
    fn tces(&self) -> Option<TceCalls<'_, Self::Platform>>;

    /// Reads `count` words of the partition's memory, each once, big-endian;
    /// `false` if not all of it is memory. `from` is a multiple of 8.
    fn words(&self, from: GuestAddr, count: usize, to: &mut List<'_>) -> bool;
}

/// What a partition's vCPU asks of the machine. Addresses are the partition's
/// and unchecked: the host refuses what is not the partition's memory.
pub trait Host: Tables {
    /// What its calls for windows work on, for one call.
    fn with_windows(&mut self, act: &mut dyn FnMut(&WindowCalls<'_, Self::Platform>))
    -> Option<()>;

    /// A function of the partition's, as the partition names it, and the way to its
    /// configuration space, for one access; `None` if it has none of that name.
    fn with_function(
        &mut self,
        config: u32,
        buid: u64,
        act: &mut dyn FnMut(&View, &mut dyn ConfigAccess),
    ) -> Option<()>;

    /// The messages of a function of the partition's, as the partition names it, and
    /// the function, for one call; `None` if it has none of that name, or one
    /// without messages.
    fn with_messages(
        &mut self,
        _config: u32,
        _buid: u64,
        _act: &mut dyn FnMut(&Messages, &mut dyn Sender),
    ) -> Option<()> {
        None
    }

    /// Copies memory of the partition; `false` if not all of it is memory.
    fn read(&self, from: GuestAddr, to: &mut [u8]) -> bool;

    /// Writes memory of the partition; `false`, and nothing is written, if not
    /// all of it is memory.
    fn write(&mut self, to: GuestAddr, bytes: &[u8]) -> bool;

    /// Bytes for the partition's terminal; `false` if it takes none now.
    fn put_terminal(&mut self, bytes: &[u8]) -> bool;

    /// What was typed at it, up to the buffer's size.
    fn get_terminal(&mut self, to: &mut [u8]) -> usize;

    /// Second doubleword of the partition's entry in the partition table.
    fn set_process_table(&mut self, entry: u64);

    /// How interrupts come to all vCPUs of the partition: little-endian.
    fn set_little_endian(&mut self, on: bool);

    /// How interrupts come: with translation on; `false` if this processor must
    /// not (see `docs/decisions.md`).
    fn set_relocation(&mut self, on: bool) -> bool;

    /// Sets a breakpoint of the vCPU that calls; `false` if this processor has none
    /// that a partition may have.
    fn set_breakpoint(&mut self, breakpoint: Breakpoint) -> bool;

    /// What H_GET_CPU_CHARACTERISTICS answers: characteristics and behaviour.
    fn characteristics(&self) -> [u64; 2];

    /// A random number from the processor, if it has one now.
    fn random(&mut self) -> Option<u64>;

    /// vCPUs of the partition, started or not.
    fn vcpus(&self) -> u64;

    /// The vCPU that calls.
    fn this(&self) -> u64;

    /// Wakes a vCPU from H_CEDE, or lets its next one return at once.
    fn prod(&mut self, vcpu: u64);

    /// Whether a vCPU may lose its thread to another one, of this partition or of
    /// others.
    fn shares_threads(&self) -> bool;

    /// Where a vCPU's virtual processor area is from now on.
    fn set_area(&mut self, vcpu: u64, at: Option<GuestAddr>);

    /// How often a vCPU got its turn and lost it: odd while it does not have it. The
    /// vCPU is there.
    fn dispatches(&self, vcpu: u64) -> u32;

    /// Lets a vCPU, which is there, have what the one that calls does not use of its
    /// time.
    fn favour(&mut self, vcpu: u64);

    /// The interrupt presentation of a vCPU, for a short operation; it is woken
    /// if an interrupt is pending behind it. `None`: no such vCPU, or the
    /// partition has a XIVE instead.
    fn with_icp(&mut self, vcpu: u64, act: &mut dyn FnMut(&mut icp::Icp)) -> Option<()>;

    /// The partition's XIVE and the controller, for one call; `None`: it has the
    /// interrupt presentation controllers above instead.
    fn with_xive(
        &mut self,
        _: &mut dyn FnMut(&mut xive::Xive, &mut dyn xive::Machine),
    ) -> Option<()> {
        None
    }

    /// Whether a vCPU is stopped; `None`: no such vCPU.
    fn is_stopped(&self, vcpu: u64) -> Option<bool>;

    /// Starts a stopped vCPU at an address, with a value in r3; `false` if it is
    /// not stopped.
    fn start(&mut self, vcpu: u64, at: GuestAddr, r3: u64) -> bool;

    /// Seconds since 1970 and nanoseconds, if the machine knows the time.
    fn time(&mut self) -> Option<(u64, u32)>;

    /// What the partition says about its end, in its own words; empty if it says
    /// nothing.
    fn last_words(&mut self, text: &str);
}

/// What becomes of the vCPU behind a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    Resume,
    /// It waits for an interrupt or a prod.
    Cede,
    /// It waits as well, but lets no interrupt in that it did not before.
    Doze,
    /// It gives its time to others.
    Yield,
    /// It stops until it is started again.
    Stop,
    /// The partition ends.
    PowerOff,
    /// The partition starts again.
    Reboot,
    /// The partition has given up.
    Failed,
}

#[cfg(test)]
use crate::sim::Flat;

#[cfg(test)]
mod tests;
