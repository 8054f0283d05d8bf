//! PCI functions that firmware found and put into the tree.

use crate::fdt::{Node, Tree};
use alloc::vec::Vec;

/// Most functions of one PHB that are taken.
pub const MAX_LISTED: usize = 1024;

/// Buses below each other that are followed.
const MAX_DEPTH: usize = 16;

/// A function as the tree has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedFunction {
    /// Bus, device and function, as a routing id.
    pub rid: u16,
    /// `vendor-id`.
    pub vendor: u32,
    /// `device-id`.
    pub device: u32,
}

/// What the tree lists below the PHB that firmware calls `phb`. Nodes that do
/// not say which function they are for are passed over.
pub fn listed_functions(tree: &Tree<'_>, phb: u64) -> Vec<ListedFunction> {
    let mut found = Vec::new();
    let root = tree.root();
    let is_it =
        |node: &Node<'_>| node.base_name() == "pciex" && node.number("ibm,opal-phbid") == Some(phb);
    if let Some(node) = root.children().find(is_it) {
        below(&node, MAX_DEPTH, &mut found);
    }
    found
}

fn below(node: &Node<'_>, depth: usize, found: &mut Vec<ListedFunction>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    for child in node.children() {
        let reg = child.property("reg").and_then(|reg| reg.cells().next());
        let ids = child.u32("vendor-id").zip(child.u32("device-id"));
        if let Some((reg, (vendor, device))) = reg.zip(ids)
            && found.len() < MAX_LISTED
        {
            // phys.hi of the IEEE 1275 PCI binding: bus, device, function.
            let rid = (reg >> 8) as u16;
            found.push(ListedFunction {
                rid,
                vendor,
                device,
            });
        }
        below(&child, depth, found);
    }
}
