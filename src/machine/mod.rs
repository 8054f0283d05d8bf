//! What the device tree says about the machine: the only thing that Pinion
//! believes about a board. Pure: it reads a checked tree.
//!
//! Reading is in three steps. [`MemoryMap::read`] needs no heap and says where
//! one can be made; [`Outline::read`] uses it for what the banner shows, and
//! [`Machine::complete`] for the rest. What is wrong in the tree is an
//! error only if nothing sensible can be done without it; the rest becomes a
//! [`Warning`].
#![forbid(unsafe_code)]

mod bootargs;
mod cpus;
mod devices;
mod firmware;
mod interrupts;
mod limits;
mod listed;
mod memory;
mod phb_interrupts;
mod phbs;
mod plan;
mod speculation;

pub use bootargs::{BootArgs, ConsoleChoice, CrashAction, Unknown};
pub use cpus::{Core, Cpus, MAX_THREADS, MAX_THREADS_PER_CORE};
pub use devices::{MAX_UARTS, Uart, UartPath, uarts};
pub use firmware::{FirmwareEntry, FirmwareInfo, FirmwareInterrupt};
pub use interrupts::{Exploitation, IcpPage, InterruptController};
pub use listed::{ListedFunction, MAX_LISTED, listed_functions};
pub use memory::{MAX_RANGES, MemoryMap};
pub use phb_interrupts::PhbInterrupts;
pub use phbs::{DmaMaster, MAX_PHBS, Phb, PhbTable, PhbTables, PhbWindow};
pub use plan::Plan;
pub use speculation::{BranchFlush, CacheFlush, Mitigations, Speculation};

use crate::fdt::Tree;
use crate::processor::DEFAULT_TIMEBASE_HZ;
use alloc::string::String;
use alloc::vec::Vec;
use limits::{Warnings, shown, shown_or_unknown};
use thiserror::Error;

/// Something in the tree that Pinion cannot do without.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MachineError {
    /// No memory node, or none with a size.
    #[error("device tree: no memory node gives any memory")]
    NoMemory,
    /// All memory is reserved.
    #[error("device tree: all {0:#x} bytes of memory are reserved")]
    NothingFree(u64),
    /// A node has a `reg` that cannot be read.
    #[error("device tree: {node}: reg is missing or does not fit its parent's cell counts")]
    Reg {
        /// The kind of node.
        node: &'static str,
    },
    /// More memory than the frame allocator manages, in bytes.
    #[error("device tree: {0:#x} bytes of memory are more than any POWER machine has")]
    TooMuch(u64),
    /// Memory at addresses that no processor has.
    #[error("device tree: memory {0} lies beyond 2^56, where no real address is")]
    Beyond(crate::memory::ranges::Range),
    /// No free range holds the frame allocator's records, in bytes.
    #[error("device tree: no free range of memory holds {0:#x} bytes of records")]
    NoRoom(u64),
    /// Firmware's memory is not described.
    #[error("device tree: /ibm,opal: opal-runtime-size is missing or does not hold the entry")]
    FirmwareSize,
    /// A range that overflows, or one too many.
    #[error("device tree: {node}: {error}")]
    Range {
        /// The kind of node.
        node: &'static str,
        /// What is wrong with it.
        error: crate::memory::ranges::RangeError,
    },
}

/// Something that is wrong, but not fatal: said on the console.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Warning {
    /// A processor node whose threads cannot be used.
    #[error("device tree: {node}: {reason}; the core is left out")]
    Core {
        /// The node's name.
        node: String,
        /// Why.
        reason: &'static str,
    },
    /// No processor node describes the thread that runs.
    #[error("device tree: no processor node has thread {0:#x}, which runs this; it is used alone")]
    BootThread(u64),
    /// The initrd lies outside of memory or in what is Pinion's or firmware's,
    /// or its end is before its start.
    #[error("device tree: initrd {start:#x}..{end:#x} does not lie in free memory; it is not used")]
    Initrd {
        /// Its first byte.
        start: u64,
        /// The byte behind it.
        end: u64,
    },
    /// A PHB node that cannot be used.
    #[error("device tree: {node}: {reason}; the bridge is left alone")]
    Phb {
        /// The node's name.
        node: String,
        /// Why.
        reason: &'static str,
    },
    /// A PHB whose interrupt sources cannot be read.
    #[error("device tree: {node}: {reason}")]
    PhbInterrupts {
        /// The node's name.
        node: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A word in bootargs that means nothing.
    #[error("bootargs: {0}")]
    BootArg(Unknown),
    /// More of firmware's interrupt sources than any machine has.
    #[error("device tree: opal-interrupts is absurdly long; it is left out")]
    Interrupts,
    /// More words in bootargs than are read.
    #[error("bootargs: longer than {0} bytes; the rest is left out")]
    LongBootArgs(usize),
    /// Warnings that are not shown.
    #[error("device tree: {0} more warnings are left out")]
    More(usize),
    /// No usable timebase frequency.
    #[error("device tree: no timebase-frequency; 512 MHz is taken")]
    Timebase,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// `model` of the root.
    pub model: String,
    /// `compatible` of the root.
    pub compatible: Vec<String>,
    /// Whether the machine is QEMU's.
    pub is_emulated: bool,
    /// Timebase ticks per second.
    pub timebase_hz: u64,
    /// Processor cores and their threads.
    pub cpus: Cpus,
    /// PCI host bridges.
    pub phbs: Vec<Phb>,
    /// What reaches memory past all PHBs that can be taken.
    pub masters: Vec<DmaMaster>,
    /// 16550 ports.
    pub uarts: Vec<Uart>,
    /// The interrupt controller; `None` if the tree has no usable one.
    pub interrupts: Option<InterruptController>,
    /// Firmware; `None` without `/ibm,opal`.
    pub firmware: Option<FirmwareInfo>,
    /// What firmware says about speculation.
    pub speculation: Speculation,
    /// What the loader asks for.
    pub bootargs: BootArgs,
    /// What is wrong, but not fatal.
    pub warnings: Vec<Warning>,
}

/// What the banner and the console need of a machine. It is read first: what
/// hangs below the bridges makes most of a tree, and whoever sits at the console
/// does not wait for that.
pub struct Outline {
    /// `model` of the root.
    pub model: String,
    /// Timebase ticks per second.
    pub timebase_hz: u64,
    /// Processor cores and their threads.
    pub cpus: Cpus,
    /// Bridges that the tree has of a known kind, not marked as failed.
    pub bridges: usize,
    /// 16550 ports.
    pub uarts: Vec<Uart>,
    /// Firmware; `None` without `/ibm,opal`.
    pub firmware: Option<FirmwareInfo>,
    /// What the loader asks for.
    pub bootargs: BootArgs,
    warnings: Warnings,
}

impl Outline {
    /// Reads it; `running` is the PIR of the thread that does it.
    pub fn read(tree: &Tree<'_>, running: u64) -> Self {
        let mut warnings = Warnings::default();
        let cpus = Cpus::read(tree, running, &mut warnings);
        let bootargs = bootargs::read(tree, &mut warnings);
        let timebase_hz = cpus::timebase(tree).unwrap_or_else(|| {
            warnings.push(Warning::Timebase);
            DEFAULT_TIMEBASE_HZ
        });
        Self {
            model: shown_or_unknown(tree.root().text("model")),
            timebase_hz,
            cpus,
            bridges: phbs::count(tree),
            uarts: uarts(tree).into_iter().collect(),
            firmware: FirmwareInfo::read(tree, &mut warnings),
            bootargs,
            warnings,
        }
    }
}

/// Most `compatible` texts of the root that are kept.
const MAX_COMPATIBLE: usize = 16;

impl Machine {
    /// Reads the machine; `running` is the PIR of the thread that does it.
    pub fn read(tree: &Tree<'_>, running: u64) -> Self {
        Self::complete(Outline::read(tree, running), tree)
    }

    /// Reads what is missing in the outline of the same tree.
    pub fn complete(outline: Outline, tree: &Tree<'_>) -> Self {
        let mut warnings = outline.warnings;
        let compatible: Vec<String> = tree
            .root()
            .property("compatible")
            .map(|list| list.texts().take(MAX_COMPATIBLE).map(shown).collect())
            .unwrap_or_default();
        let is_emulated = compatible.iter().any(|name| name.starts_with("qemu,"));
        Self {
            model: outline.model,
            is_emulated,
            compatible,
            timebase_hz: outline.timebase_hz,
            cpus: outline.cpus,
            phbs: phbs::read_phbs(tree, &mut warnings),
            masters: phbs::read_masters(tree),
            uarts: outline.uarts,
            interrupts: interrupts::read(tree),
            firmware: outline.firmware,
            speculation: Speculation::read(tree, is_emulated),
            bootargs: outline.bootargs,
            warnings: warnings.into_list(),
        }
    }
}
