//! Host bridges and serial ports.

use super::Warning;
use crate::fdt::{Node, Tree};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

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

const KINDS: [&str; 3] = ["ibm,power8-pciex", "ibm,power9-pciex", "ibm,power10-pciex"];

pub(super) fn read_phbs(tree: &Tree<'_>, warnings: &mut Vec<Warning>) -> Vec<Phb> {
    let root = tree.root();
    let mut phbs = Vec::new();
    for node in root.children().filter(|node| node.base_name() == "pciex") {
        match read_phb(&root, &node) {
            Ok(phb) => phbs.push(phb),
            Err(reason) => warnings.push(Warning::Phb {
                node: node.name().to_string(),
                reason,
            }),
        }
    }
    phbs
}

fn read_phb(root: &Node<'_>, node: &Node<'_>) -> Result<Phb, &'static str> {
    let kind = KINDS
        .into_iter()
        .find(|kind| node.is_compatible(kind))
        .ok_or("it is compatible with no known kind")?;
    if !node.is_usable() {
        return Err("firmware says that it cannot be used");
    }
    let registers = node
        .reg(root)
        .and_then(|mut regs| regs.next())
        .ok_or("it has no reg")?;
    let buses = node
        .property("bus-range")
        .map(|range| range.cells().collect::<Vec<u32>>());
    let buses = match buses.as_deref() {
        Some(&[first, last]) => match (u8::try_from(first), u8::try_from(last)) {
            (Ok(first), Ok(last)) if first <= last => (first, last),
            _ => return Err("its bus-range is absurd"),
        },
        _ => (0, 255),
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
    })
}

/// 16550 ports: below the LPC node, which on POWER8 is an ISA bridge in the
/// chip's XSCOM space, and on POWER9 and later a bus of the root
/// (skiboot hw/lpc.c, hw/lpc-uart.c).
pub(super) fn read_uarts(tree: &Tree<'_>) -> Vec<Uart> {
    let mut uarts = Vec::new();
    for top in tree.root().children() {
        match top.base_name() {
            "lpcm-opb" => {
                let window = io_window(&top);
                for lpc in top.children().filter(|node| node.base_name() == "lpc") {
                    let path =
                        |port: u16| window.map(|start| UartPath::Mmio(start + u64::from(port)));
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

fn add_uarts(bus: &Node<'_>, path: impl Fn(u16) -> Option<UartPath>, uarts: &mut Vec<Uart>) {
    for node in bus.children().filter(|node| node.base_name() == "serial") {
        // ISA: space (1 = IO), address, size.
        let reg = node
            .property("reg")
            .map(|reg| reg.cells().collect::<Vec<u32>>());
        let Some(&[1, port, _]) = reg.as_deref() else {
            continue;
        };
        let Ok(port) = u16::try_from(port) else {
            continue;
        };
        let Some(path) = path(port) else { continue };
        uarts.push(Uart {
            port,
            path,
            clock_hz: node.u32("clock-frequency").unwrap_or(1_843_200),
            baud: node.u32("current-speed").unwrap_or(115_200),
            is_reserved: node.text("status") == Some("reserved"),
        });
    }
}

/// Real address of port 0 of the LPC bus's IO space: the bus's own `ranges`
/// (space, address; bus address; size) through its parent's (bus address; real
/// address in two cells; size).
fn io_window(opb: &Node<'_>) -> Option<u64> {
    let lpc = opb.children().find(|node| node.base_name() == "lpc")?;
    let inner: Vec<u32> = lpc.property("ranges")?.cells().collect();
    let io = inner
        .chunks_exact(4)
        .find(|entry| entry.first() == Some(&1))?;
    let &[_, 0, bus, _] = io else { return None };
    let outer: Vec<u32> = opb.property("ranges")?.cells().collect();
    outer.chunks_exact(4).find_map(|entry| {
        let &[start, high, low, size] = entry else {
            return None;
        };
        let offset = bus.checked_sub(start)?;
        (offset < size).then(|| (u64::from(high) << 32 | u64::from(low)) + u64::from(offset))
    })
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
