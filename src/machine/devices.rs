//! Host bridges and serial ports.

use super::Warning;
use super::limits::{Warnings, shown};
use super::phb_interrupts::{self, Parent, PhbInterrupts};
use crate::fdt::{Cells, Node, Tree};
use alloc::string::String;
use alloc::vec::Vec;
use arrayvec::ArrayVec;

/// A PCI host bridge, as far as it is needed to name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phb {
    /// `ibm,opal-phbid`: how firmware's calls name it.
    pub id: u64,
    /// The first `compatible` that says which kind it is.
    pub kind: &'static str,
    /// Real address of its registers.
    pub registers: u64,
    /// `ibm,chip-id`.
    pub chip: u32,
    /// Bus numbers: first and last.
    pub buses: (u8, u8),
    /// Partitionable endpoints (`ibm,opal-num-pes`).
    pub endpoints: u32,
    /// The PE of what belongs to no other (`ibm,opal-reserved-pe`).
    pub reserved: Option<u32>,
    /// Its interrupt sources.
    pub interrupts: PhbInterrupts,
}

/// How a serial port's registers are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UartPath {
    /// Loads and stores at this real address (POWER9 and later).
    Mmio(u64),
    /// LPC IO cycles by firmware, on this chip (POWER8).
    Lpc {
        /// `ibm,chip-id`.
        chip: u32,
    },
}

/// A 16550 on the LPC bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uart {
    /// IO port of its first register.
    pub port: u16,
    /// How it is reached.
    pub path: UartPath,
    /// Input clock in hertz.
    pub clock_hz: u32,
    /// Bits per second that firmware has set, or will.
    pub baud: u32,
    /// Whether firmware keeps it for itself (`status` "reserved").
    pub is_reserved: bool,
}

/// Most PHBs that are taken. Sixteen chips of six have 96.
pub const MAX_PHBS: usize = 192;

/// Most 16550 ports that are taken.
pub const MAX_UARTS: usize = 8;

/// Real addresses have at most 56 bits.
const REAL_BITS: u32 = 56;

/// Clocks that a 16550 is believed to have, in hertz, and the usual one.
const CLOCKS: core::ops::RangeInclusive<u32> = 16 * 50..=1_000_000_000;
const DEFAULT_CLOCK: u32 = 1_843_200;

/// The usual speed in bits per second.
const DEFAULT_BAUD: u32 = 115_200;

const KINDS: [&str; 3] = ["ibm,power8-pciex", "ibm,power9-pciex", "ibm,power10-pciex"];

pub(super) fn read_phbs(tree: &Tree<'_>, warnings: &mut Warnings) -> Vec<Phb> {
    let root = tree.root();
    let cells = root.cells();
    let mut phbs: Vec<Phb> = Vec::new();
    let mut parent = Parent::default();
    for node in root.children().filter(|node| node.base_name() == "pciex") {
        let phb = read_phb(cells, &node).and_then(|phb| {
            if phbs.len() == MAX_PHBS {
                return Err("there are more than 192 bridges");
            }
            if phbs.iter().any(|other| other.id == phb.id) {
                return Err("its ibm,opal-phbid was there before");
            }
            Ok(phb)
        });
        match phb {
            Ok(mut phb) => {
                let (interrupts, complaint) = phb_interrupts::read(tree, &node, &mut parent);
                phb.interrupts = interrupts;
                if let Some(reason) = complaint {
                    let node = shown(node.name());
                    warnings.push(Warning::PhbInterrupts { node, reason });
                }
                phbs.push(phb);
            }
            Err(reason) => warnings.push(Warning::Phb {
                node: shown(node.name()),
                reason,
            }),
        }
    }
    phbs
}

fn read_phb(cells: Option<Cells>, node: &Node<'_>) -> Result<Phb, &'static str> {
    let kind = KINDS
        .into_iter()
        .find(|kind| node.is_compatible(kind))
        .ok_or("it is compatible with no known kind")?;
    if !node.is_usable() {
        return Err("firmware says that it cannot be used");
    }
    let registers = cells
        .and_then(|cells| node.reg_with(cells)?.next())
        .filter(|reg| reg.start >> REAL_BITS == 0)
        .ok_or("it has no reg, or one that cannot be")?;
    let buses = node.property("bus-range").map(|range| few(range.cells()));
    let buses = match buses.as_ref().map(|list| list.as_slice()) {
        Some(&[first, last]) => match (u8::try_from(first), u8::try_from(last)) {
            (Ok(first), Ok(last)) if first <= last => (first, last),
            _ => return Err("its bus-range is absurd"),
        },
        Some(_) => return Err("its bus-range has not two numbers"),
        None => (0, 255),
    };
    Ok(Phb {
        id: node
            .number("ibm,opal-phbid")
            .ok_or("it has no ibm,opal-phbid")?,
        kind,
        registers: registers.start,
        chip: node.u32("ibm,chip-id").unwrap_or(0),
        buses,
        endpoints: node
            .u32("ibm,opal-num-pes")
            .ok_or("it has no ibm,opal-num-pes")?,
        reserved: node.u32("ibm,opal-reserved-pe"),
        interrupts: PhbInterrupts::default(),
    })
}

/// The first few numbers, enough to see that there are too many.
fn few(numbers: impl Iterator<Item = u32>) -> ArrayVec<u32, 4> {
    numbers.take(4).collect()
}

/// 16550 ports: below the LPC node, which on POWER8 is an ISA bridge in the
/// chip's XSCOM space, and on POWER9 and later a bus of the root
/// (skiboot hw/lpc.c, hw/lpc-uart.c). Needs no heap: it also serves a machine
/// that cannot have one.
pub fn uarts(tree: &Tree<'_>) -> ArrayVec<Uart, MAX_UARTS> {
    let mut uarts = ArrayVec::new();
    for top in tree.root().children() {
        match top.base_name() {
            "lpcm-opb" => {
                let window = io_window(&top);
                for lpc in top.children().filter(|node| node.base_name() == "lpc") {
                    let path = |port: u16| {
                        let address = window?.checked_add(u64::from(port))?;
                        (address >> REAL_BITS == 0).then_some(UartPath::Mmio(address))
                    };
                    add_uarts(&lpc, path, &mut uarts);
                }
            }
            "xscom" => {
                let chip = top.u32("ibm,chip-id").unwrap_or(0);
                for bus in top.children().filter(|node| node.base_name() == "isa") {
                    add_uarts(&bus, |_| Some(UartPath::Lpc { chip }), &mut uarts);
                }
            }
            _ => {}
        }
    }
    uarts
}

fn add_uarts(
    bus: &Node<'_>,
    path: impl Fn(u16) -> Option<UartPath>,
    uarts: &mut ArrayVec<Uart, MAX_UARTS>,
) {
    for node in bus.children().filter(is_uart) {
        // ISA: space (1 = IO), address, size.
        let reg = node.property("reg").map(|reg| few(reg.cells()));
        let Some(&[1, port, _]) = reg.as_ref().map(|list| list.as_slice()) else {
            continue;
        };
        let Ok(port) = u16::try_from(port) else {
            continue;
        };
        let Some(path) = path(port) else { continue };
        let clock_hz = node.u32("clock-frequency");
        let clock_hz = clock_hz
            .filter(|hertz| CLOCKS.contains(hertz))
            .unwrap_or(DEFAULT_CLOCK);
        let baud = node.u32("current-speed");
        let baud = baud
            .filter(|baud| (1..=clock_hz / 16).contains(baud))
            .unwrap_or(DEFAULT_BAUD.min(clock_hz / 16));
        // Ports beyond the limit are not missed.
        let _ = uarts.try_push(Uart {
            port,
            path,
            clock_hz,
            baud,
            is_reserved: node.text("status") == Some("reserved"),
        });
    }
}

/// skiboot calls them `serial@i3f8`, QEMU `isa-serial@i3f8`.
fn is_uart(node: &Node<'_>) -> bool {
    matches!(node.base_name(), "serial" | "isa-serial")
}

/// Real address of port 0 of the LPC bus's IO space: the bus's own `ranges`
/// (space, address; bus address; size) through its parent's (bus address; real
/// address in two cells; size).
fn io_window(opb: &Node<'_>) -> Option<u64> {
    let lpc = opb.children().find(|node| node.base_name() == "lpc")?;
    let inner = lpc.property("ranges")?;
    let io = fours(inner.cells()).find(|&[space, ..]| space == 1)?;
    let [_, 0, bus, _] = io else { return None };
    let outer = opb.property("ranges")?;
    fours(outer.cells()).find_map(|[start, high, low, size]| {
        let offset = bus.checked_sub(start)?;
        let real = u64::from(high) << 32 | u64::from(low);
        if offset < size {
            real.checked_add(u64::from(offset))
        } else {
            None
        }
    })
}

/// Cells four by four; an odd rest is left out.
fn fours(mut cells: impl Iterator<Item = u32>) -> impl Iterator<Item = [u32; 4]> {
    core::iter::from_fn(move || Some([cells.next()?, cells.next()?, cells.next()?, cells.next()?]))
}

impl core::fmt::Display for UartPath {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Mmio(address) => write!(f, "MMIO at {address:#x}"),
            Self::Lpc { chip } => write!(f, "LPC of chip {chip} by firmware"),
        }
    }
}

impl Phb {
    /// A short name: `PHB4 #3`.
    pub fn name(&self) -> String {
        let kind = match self.kind {
            "ibm,power8-pciex" => "PHB3",
            "ibm,power9-pciex" => "PHB4",
            _ => "PHB5",
        };
        alloc::format!("{kind} #{:#x}", self.id)
    }
}
