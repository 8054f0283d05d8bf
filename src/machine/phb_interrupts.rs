//! What a PHB's node says of interrupts (skiboot hw/phb3.c, hw/phb4.c,
//! `*_add_properties`; core/pci.c, pci_std_swizzle_irq_map).

use crate::fdt::{Node, Tree};

/// Sources of a PHB that devices below it can use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhbInterrupts {
    /// First source of messages and how many there are
    /// (`ibm,opal-msi-ranges`). Firmware's calls count from the first.
    pub messages: Option<(u32, u32)>,
    /// The end of a message needs a call of firmware (`ibm,msi-eoi-method`;
    /// PHB3).
    pub end_by_firmware: bool,
    /// Sources of the four lines, as far as the tree names them. They are level.
    pub lines: [Option<u32>; 4],
}

/// Sources have at most 31 bits: an event queue keeps the last for itself.
const SOURCE_BITS: u32 = 31;

/// As many messages as a PHB can have: those of POWER9 and later have 4096
/// sources.
const MAX_MESSAGES: u32 = 4096;

/// The controller that a map named last, by phandle, and its
/// `#interrupt-cells`: finding it goes through the whole tree, and all maps name
/// the same one.
#[derive(Default)]
pub(super) struct Parent(Option<(u32, u32)>);

/// Reads a PHB's node; the second value is what is wrong with it.
pub(super) fn read(
    tree: &Tree<'_>,
    phb: &Node<'_>,
    parent: &mut Parent,
) -> (PhbInterrupts, Option<&'static str>) {
    let mut found = PhbInterrupts {
        end_by_firmware: phb.property("ibm,msi-eoi-method").is_some(),
        ..PhbInterrupts::default()
    };
    let mut complaint = None;
    if let Some(ranges) = phb.property("ibm,opal-msi-ranges") {
        let mut cells = ranges.cells();
        // Firmware writes one range, and whoever calls it knows no second.
        match (cells.next(), cells.next()) {
            (Some(first), Some(count))
                if (1..=MAX_MESSAGES).contains(&count)
                    && first
                        .checked_add(count)
                        .is_some_and(|end| end >> SOURCE_BITS == 0) =>
            {
                found.messages = Some((first, count));
            }
            _ => complaint = Some("its ibm,opal-msi-ranges is absurd; it has no messages"),
        }
    }
    // On the PHB itself where firmware has it there, else on its root port,
    // which is device 0: neither rotates the pins.
    let owner = core::iter::once(*phb)
        .chain(phb.children())
        .find(|node| node.property("interrupt-map").is_some());
    if let Some(owner) = owner {
        match read_map(tree, &owner, parent) {
            Some(lines) => found.lines = lines,
            None => complaint = Some("its interrupt-map cannot be read; it has no lines"),
        }
    }
    (found, complaint)
}

/// The sources of pins A to D of device 0.
///
/// An entry is the child's address (3 cells), its pin, the parent's phandle and
/// what the parent's `#interrupt-cells` says. Parents have no address cells
/// (skiboot's assumption too).
fn read_map(tree: &Tree<'_>, owner: &Node<'_>, parent: &mut Parent) -> Option<[Option<u32>; 4]> {
    let mut lines = [None; 4];
    let mut cells = owner.property("interrupt-map")?.cells();
    while let Some(high) = cells.next() {
        let (_, _) = (cells.next()?, cells.next()?);
        let (pin, phandle) = (cells.next()?, cells.next()?);
        let width = match parent.0 {
            Some((known, width)) if known == phandle => width,
            _ => {
                let width = interrupt_cells(tree, phandle)?;
                parent.0 = Some((phandle, width));
                width
            }
        };
        let source = cells.next()?;
        for _ in 1..width {
            cells.next()?;
        }
        let device = (high >> 11) & 0x1f;
        if device != 0 {
            continue;
        }
        let line = lines.get_mut((pin as usize).checked_sub(1)?)?;
        if source >> SOURCE_BITS != 0 || line.is_some() {
            return None;
        }
        *line = Some(source);
    }
    Some(lines)
}

fn interrupt_cells(tree: &Tree<'_>, phandle: u32) -> Option<u32> {
    let root = tree.root();
    let (_, controller) = root.descendants().find(|(_, node)| {
        let own = node.u32("phandle").or_else(|| node.u32("linux,phandle"));
        own == Some(phandle)
    })?;
    let width = controller.u32("#interrupt-cells")?;
    (1..=4).contains(&width).then_some(width)
}
