//! `/ibm,opal` (skiboot core/opal.c, add_opal_node).

use crate::fdt::Tree;
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
    /// Sources of `opal-interrupts`.
    pub interrupts: Vec<u32>,
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
        let interrupts = node.property("opal-interrupts");
        Some(Self {
            base,
            entry,
            version: version.unwrap_or("unknown").to_string(),
            heartbeat_ms: node
                .number("ibm,heartbeat-ms")
                .filter(|&ms| ms > 0)
                .unwrap_or(DEFAULT_HEARTBEAT_MS),
            terminals,
            interrupts: interrupts
                .map(|list| list.cells().collect())
                .unwrap_or_default(),
        })
    }
}
