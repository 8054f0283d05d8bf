//! `/ibm,opal` (skiboot core/opal.c, add_opal_node).

use crate::fdt::{Node, Tree};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What `/ibm,opal` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareInfo {
    /// What r2 has to be in a call.
    pub base: u64,
    /// The address to call.
    pub entry: u64,
    /// `firmware/version`.
    pub version: String,
    /// Longest time between two calls, in milliseconds.
    pub heartbeat_ms: u64,
    /// Terminals of `consoles/serial@N`, lowest first.
    pub terminals: Vec<u32>,
    /// Interrupts that firmware wants to be told of.
    pub interrupts: Vec<FirmwareInterrupt>,
}

/// One of firmware's own interrupts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareInterrupt {
    /// Its source's number.
    pub source: u32,
    /// Whether it is a level (cell 1 of `interrupts` is 1).
    pub is_level: bool,
    /// Its name in `interrupt-names`; empty if it has none.
    pub name: String,
}

/// Heartbeat where the tree names none: skiboot's own is 2 s.
const DEFAULT_HEARTBEAT_MS: u64 = 1000;

impl FirmwareInfo {
    pub(super) fn read(tree: &Tree<'_>) -> Option<Self> {
        let node = tree.find("/ibm,opal")?;
        let base = node.number("opal-base-address")?;
        let entry = node.number("opal-entry-address")?;
        let version = node
            .child("firmware")
            .and_then(|child| child.text("version"));
        let mut terminals: Vec<u32> = node
            .child("consoles")
            .into_iter()
            .flat_map(|consoles| consoles.children())
            .filter(|child| child.base_name() == "serial")
            .filter_map(|child| child.u32("reg"))
            .collect();
        terminals.sort_unstable();
        Some(Self {
            base,
            entry,
            version: version.unwrap_or("unknown").to_string(),
            heartbeat_ms: node
                .number("ibm,heartbeat-ms")
                .filter(|&ms| ms > 0)
                .unwrap_or(DEFAULT_HEARTBEAT_MS),
            terminals,
            interrupts: read_interrupts(&node),
        })
    }
}

/// `interrupts` has the number and the kind, with names beside it; older
/// firmware has `opal-interrupts` with numbers alone (skiboot core/interrupts.c,
/// add_opal_interrupts). What an unknown one is, is not known either: taken for
/// a level, which its end serves in any case.
fn read_interrupts(node: &Node<'_>) -> Vec<FirmwareInterrupt> {
    let names = node
        .property("interrupt-names")
        .or_else(|| node.property("opal-interrupts-names"));
    let mut names = names.into_iter().flat_map(|list| list.texts());
    let mut with_name = |source, is_level| FirmwareInterrupt {
        source,
        is_level,
        name: names.next().unwrap_or_default().to_string(),
    };
    if let Some(list) = node.property("interrupts") {
        let cells: Vec<u32> = list.cells().collect();
        return cells
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                &[source, kind] => Some(with_name(source, kind == 1)),
                _ => None,
            })
            .collect();
    }
    let list = node.property("opal-interrupts");
    list.into_iter()
        .flat_map(|list| list.cells())
        .map(|source| with_name(source, true))
        .collect()
}
