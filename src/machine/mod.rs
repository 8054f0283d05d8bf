//! What the device tree says about the machine: the only thing that Pinion
//! believes about a board. Pure: it reads a checked tree.
//!
//! Reading is in two steps. [`MemoryMap::read`] needs no heap and says where
//! one can be made; [`Machine::read`] uses it. What is wrong in the tree is an
//! error only if nothing sensible can be done without it; the rest becomes a
//! [`Warning`].
#![forbid(unsafe_code)]

mod bootargs;
mod cpus;
mod devices;
mod firmware;
mod interrupts;
mod memory;

pub use bootargs::{BootArgs, ConsoleChoice, CrashAction, Unknown};
pub use cpus::{Core, Cpus};
pub use devices::{Phb, Uart, UartPath};
pub use firmware::{FirmwareInfo, FirmwareInterrupt};
pub use interrupts::{IcpPage, InterruptController};
pub use memory::{MAX_RANGES, MemoryMap};

use crate::fdt::Tree;
use crate::processor::DEFAULT_TIMEBASE_HZ;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
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
    /// A processor node without a usable thread list.
    #[error("device tree: {0}: no ibm,ppc-interrupt-server#s and no reg; the core is left out")]
    Core(String),
    /// No processor node describes the thread that runs.
    #[error("device tree: no processor node has thread {0:#x}, which runs this; it is used alone")]
    BootThread(u64),
    /// The initrd lies outside of memory, or its end is before its start.
    #[error("device tree: initrd {start:#x}..{end:#x} does not lie in memory; it is not used")]
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
    /// A word in bootargs that means nothing.
    #[error("bootargs: {0}")]
    BootArg(Unknown),
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
    /// 16550 ports.
    pub uarts: Vec<Uart>,
    /// The interrupt controller; `None` if the tree has no usable one.
    pub interrupts: Option<InterruptController>,
    /// Firmware; `None` without `/ibm,opal`.
    pub firmware: Option<FirmwareInfo>,
    /// What the loader asks for.
    pub bootargs: BootArgs,
    /// What is wrong, but not fatal.
    pub warnings: Vec<Warning>,
}

impl Machine {
    /// Reads the machine; `running` is the PIR of the thread that does it.
    pub fn read(tree: &Tree<'_>, running: u64) -> Self {
        let root = tree.root();
        let mut warnings = Vec::new();
        let compatible: Vec<String> = root
            .property("compatible")
            .map(|list| list.texts().map(ToString::to_string).collect())
            .unwrap_or_default();
        let cpus = Cpus::read(tree, running, &mut warnings);
        let (bootargs, unknown) = BootArgs::parse(
            tree.find("/chosen")
                .and_then(|chosen| chosen.text("bootargs"))
                .unwrap_or(""),
        );
        warnings.extend(unknown.into_iter().map(Warning::BootArg));
        let timebase_hz = cpus::timebase(tree).unwrap_or_else(|| {
            warnings.push(Warning::Timebase);
            DEFAULT_TIMEBASE_HZ
        });
        Self {
            model: root.text("model").unwrap_or("unknown").to_string(),
            is_emulated: compatible.iter().any(|name| name.starts_with("qemu,")),
            compatible,
            timebase_hz,
            cpus,
            phbs: devices::read_phbs(tree, &mut warnings),
            uarts: devices::read_uarts(tree),
            interrupts: interrupts::read(tree),
            firmware: FirmwareInfo::read(tree),
            bootargs,
            warnings,
        }
    }
}
