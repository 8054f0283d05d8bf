//! Serial ports.

use crate::fdt::{Node, Tree};
use arrayvec::ArrayVec;

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

/// Most 16550 ports that are taken.
pub const MAX_UARTS: usize = 8;

/// Real addresses have at most 56 bits.
pub(super) const REAL_BITS: u32 = 56;

/// Clocks that a 16550 is believed to have, in hertz, and the usual one.
const CLOCKS: core::ops::RangeInclusive<u32> = 16 * 50..=1_000_000_000;
const DEFAULT_CLOCK: u32 = 1_843_200;

/// The usual speed in bits per second.
const DEFAULT_BAUD: u32 = 115_200;

/// The first few numbers, enough to see that there are too many.
pub(super) fn few(numbers: impl Iterator<Item = u32>) -> ArrayVec<u32, 4> {
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
