//! PCI host bridges, and whatever else masters the bus (skiboot hw/phb3.c,
//! hw/phb4.c, `*_add_properties`; core/pci.c).

use super::Warning;
use super::devices::{REAL_BITS, few};
use super::limits::{Warnings, shown};
use super::phb_interrupts::{self, Parent, PhbInterrupts};
use crate::addr::{BusAddr, HostAddr};
use crate::fdt::{Cells, Node, Tree};
use alloc::string::String;
use alloc::vec::Vec;

/// A PCI host bridge, as the tree describes it. What is absent or makes no
/// sense in it keeps it from being taken, not from being named.
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
    /// 32-bit memory: the entry of `ranges` for it.
    pub m32: Option<PhbWindow>,
    /// 64-bit memory (`ibm,opal-m64-window`).
    pub m64: Option<PhbWindow>,
    /// First and last of the M64 BARs that may be used
    /// (`ibm,opal-available-m64-ranges`; 0 to 15 without it).
    pub m64_bars: (u16, u16),
    /// Base-2 logarithms of the IO page sizes (`ibm,supported-tce-sizes`);
    /// what the generation is sure to have without it.
    pub tce_shifts: Vec<u32>,
    /// Tables in memory.
    pub tables: PhbTables,
    /// `ibm,opal-tce-kill`: real address of the register that invalidates TCEs
    /// (PHB3).
    pub tce_kill: Option<HostAddr>,
    /// Its interrupt sources.
    pub interrupts: PhbInterrupts,
    /// Bytes that an error record takes (`ibm,phb-diag-data-size`).
    pub diag_bytes: u32,
}

/// A range of a PHB's memory space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhbWindow {
    /// First byte on the bus.
    pub bus: BusAddr,
    /// The same for the processor.
    pub host: HostAddr,
    /// Bytes.
    pub size: u64,
}

/// A table of a PHB that lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhbTable {
    /// First byte.
    pub start: HostAddr,
    /// Bytes.
    pub size: u64,
}

/// The tables of a PHB that lie in memory, as firmware made them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhbTables {
    /// RIDs to PEs: 65536 numbers of two bytes (`ibm,opal-rtt-table`).
    pub rtt: Option<PhbTable>,
    /// Which PE's error freezes which: a bit each (`ibm,opal-peltv-table`).
    pub peltv: Option<PhbTable>,
    /// States of PEs: 16 bytes each (`ibm,opal-pest-table`).
    pub pest: Option<PhbTable>,
}

/// Something that reaches memory past all PHBs that can be taken: it is named,
/// and given to nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmaMaster {
    /// The node's name.
    pub node: String,
    /// What it is, in words.
    pub what: &'static str,
}

/// Most PHBs that are taken. Sixteen chips of six have 96.
pub const MAX_PHBS: usize = 192;

/// Most other masters that are named.
const MAX_MASTERS: usize = 64;

/// Other masters by `compatible` (skiboot hw/npu*.c, hw/pau.c, hw/nx.c,
/// hw/vas.c).
const MASTERS: [(&str, &str); 7] = [
    ("ibm,power8-npu-pciex", "NVLink"),
    ("ibm,power9-npu-pciex", "NVLink"),
    ("ibm,power9-npu-opencapi-pciex", "OpenCAPI"),
    ("ibm,power10-pau-opencapi-pciex", "OpenCAPI"),
    ("ibm,power10-pau", "OpenCAPI unit"),
    ("ibm,power-nx", "NX accelerators"),
    ("ibm,vas", "virtual accelerator switchboard"),
];

/// Other masters, at the root and in the chips' XSCOM space.
pub(super) fn read_masters(tree: &Tree<'_>) -> Vec<DmaMaster> {
    let root = tree.root();
    let chips = root
        .children()
        .filter(|node| node.base_name() == "xscom")
        .flat_map(|chip| chip.children());
    root.children()
        .chain(chips)
        .filter_map(|node| {
            Some(DmaMaster {
                what: master(&node)?,
                node: shown(node.name()),
            })
        })
        .take(MAX_MASTERS)
        .collect()
}

fn master(node: &Node<'_>) -> Option<&'static str> {
    let known = MASTERS.iter().find(|(name, _)| node.is_compatible(name));
    known.map(|(_, what)| *what)
}

const KINDS: [&str; 3] = ["ibm,power8-pciex", "ibm,power9-pciex", "ibm,power10-pciex"];

/// Bridges that [`read_phbs`] will find, as far as their kind and state say.
pub(super) fn count(tree: &Tree<'_>) -> usize {
    let is_bridge = |node: &Node<'_>| {
        node.base_name() == "pciex"
            && KINDS.into_iter().any(|kind| node.is_compatible(kind))
            && node.is_usable()
    };
    tree.root().children().filter(is_bridge).count()
}

pub(super) fn read_phbs(tree: &Tree<'_>, warnings: &mut Warnings) -> Vec<Phb> {
    let root = tree.root();
    let cells = root.cells();
    let mut phbs: Vec<Phb> = Vec::new();
    let mut parent = Parent::default();
    for node in root
        .children()
        .filter(|node| node.base_name() == "pciex" && master(node).is_none())
    {
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
        m32: node.property("ranges").and_then(|ranges| {
            sevens(ranges.cells()).find_map(|entry| match entry {
                // 32-bit memory (IEEE 1275 PCI binding, phys.hi).
                [space, a, b, c, d, e, f] if space >> 24 & 3 == 2 => Some(PhbWindow {
                    bus: BusAddr::new(pair(a, b)),
                    host: HostAddr::new(pair(c, d)),
                    size: pair(e, f),
                }),
                _ => None,
            })
        }),
        m64: match *numbers(node, "ibm,opal-m64-window").as_slice() {
            [a, b, c, d, e, f] => Some(PhbWindow {
                bus: BusAddr::new(pair(a, b)),
                host: HostAddr::new(pair(c, d)),
                size: pair(e, f),
            }),
            _ => None,
        },
        m64_bars: match numbers(node, "ibm,opal-available-m64-ranges").as_slice() {
            &[first, last] if last < 64 => (first as u16, last as u16),
            _ => (0, 15),
        },
        tce_shifts: tce_shifts(node, kind),
        tables: PhbTables {
            rtt: table(node, "ibm,opal-rtt-table"),
            peltv: table(node, "ibm,opal-peltv-table"),
            pest: table(node, "ibm,opal-pest-table"),
        },
        tce_kill: node
            .number("ibm,opal-tce-kill")
            .filter(|at| at >> REAL_BITS == 0)
            .map(HostAddr::new),
        interrupts: PhbInterrupts::default(),
        diag_bytes: node.u32("ibm,phb-diag-data-size").unwrap_or(0),
    })
}

fn numbers(node: &Node<'_>, name: &str) -> Vec<u32> {
    let property = node.property(name);
    property.map_or(Vec::new(), |list| list.cells().take(8).collect())
}

fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Cells seven by seven; an odd rest is left out.
fn sevens(mut cells: impl Iterator<Item = u32>) -> impl Iterator<Item = [u32; 7]> {
    core::iter::from_fn(move || {
        let mut entry = [0; 7];
        for cell in &mut entry {
            *cell = cells.next()?;
        }
        Some(entry)
    })
}

/// Absent, all four of PHB3's, or the two that each PHB4 has.
fn tce_shifts(node: &Node<'_>, kind: &str) -> Vec<u32> {
    let mut given = numbers(node, "ibm,supported-tce-sizes");
    given.retain(|shift| (12..=34).contains(shift));
    match (given.is_empty(), kind) {
        (false, _) => given,
        (true, "ibm,power8-pciex") => alloc::vec![12, 16, 24, 28],
        (true, _) => alloc::vec![12, 16],
    }
}

fn table(node: &Node<'_>, name: &str) -> Option<PhbTable> {
    match *numbers(node, name).as_slice() {
        [high, low, size] if size > 0 && pair(high, low) != 0 => Some(PhbTable {
            start: HostAddr::new(pair(high, low)),
            size: size.into(),
        }),
        _ => None,
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
