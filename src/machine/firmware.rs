//! `/ibm,opal` (skiboot core/opal.c, add_opal_node).

use super::Warning;
use super::limits::{Warnings, shown, shown_or_unknown};
use crate::fdt::{Node, Tree};
use alloc::string::String;
use alloc::vec::Vec;

/// Where firmware is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareEntry {
    /// What r2 has to be in a call.
    pub base: u64,
    /// The address to call.
    pub address: u64,
}

/// What `/ibm,opal` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareInfo {
    /// Where it is entered.
    pub entry: FirmwareEntry,
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

/// Longest heartbeat that is believed, in milliseconds.
const MAX_HEARTBEAT_MS: u64 = 60_000;

/// Most terminals that are remembered; skiboot has 1 to 16.
const MAX_TERMINALS: usize = 16;

/// Most interrupt sources that are remembered. Each chip has some 16.
const MAX_INTERRUPTS: usize = 1024;

/// Real addresses have at most 56 bits.
const REAL_BITS: u32 = 56;

/// Firmware's code is smaller than this, in bytes.
const MAX_CODE: u64 = 64 << 20;

impl FirmwareEntry {
    /// What a tree or a loader says, if it can be true at all: a base that is a
    /// real address, and an instruction's address not far behind it.
    pub fn plausible(base: u64, address: u64) -> Option<Self> {
        let distance = address.checked_sub(base)?;
        let good =
            base != 0 && base >> REAL_BITS == 0 && address.is_multiple_of(4) && distance < MAX_CODE;
        good.then_some(Self { base, address })
    }

    /// What `/ibm,opal` says. Needs no heap.
    pub fn read(tree: &Tree<'_>) -> Option<Self> {
        Self::of_node(&tree.find("/ibm,opal")?)
    }

    fn of_node(node: &Node<'_>) -> Option<Self> {
        let base = node.number("opal-base-address")?;
        Self::plausible(base, node.number("opal-entry-address")?)
    }
}

impl FirmwareInfo {
    pub(super) fn read(tree: &Tree<'_>, warnings: &mut Warnings) -> Option<Self> {
        let node = tree.find("/ibm,opal")?;
        let entry = FirmwareEntry::of_node(&node)?;
        let version = node
            .child("firmware")
            .and_then(|child| child.text("version"));
        let mut terminals: Vec<u32> = node
            .child("consoles")
            .into_iter()
            .flat_map(|consoles| consoles.children())
            .filter(|child| child.base_name() == "serial")
            .filter_map(|child| child.u32("reg"))
            .take(MAX_TERMINALS)
            .collect();
        terminals.sort_unstable();
        let interrupts = match read_interrupts(&node) {
            list if list.len() <= MAX_INTERRUPTS => list,
            _ => {
                warnings.push(Warning::Interrupts);
                Vec::new()
            }
        };
        Some(Self {
            entry,
            version: shown_or_unknown(version),
            heartbeat_ms: node
                .number("ibm,heartbeat-ms")
                .filter(|ms| (1..=MAX_HEARTBEAT_MS).contains(ms))
                .unwrap_or(DEFAULT_HEARTBEAT_MS),
            terminals,
            interrupts,
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
        name: shown(names.next().unwrap_or_default()),
    };
    if let Some(list) = node.property("interrupts") {
        let cells: Vec<u32> = list.cells().take(2 * MAX_INTERRUPTS + 2).collect();
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
        .take(MAX_INTERRUPTS + 1)
        .map(|source| with_name(source, true))
        .collect()
}
