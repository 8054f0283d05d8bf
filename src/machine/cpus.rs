//! Cores and threads.

use super::Warning;
use crate::fdt::{Node, Tree};
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

/// A core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// PIRs of its threads, in the tree's order.
    pub threads: Vec<u64>,
    /// `ibm,chip-id`.
    pub chip: u32,
}

/// All cores that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// In the tree's order. The thread that runs is in one of them.
    pub cores: Vec<Core>,
}

impl Cpus {
    pub(super) fn read(tree: &Tree<'_>, running: u64, warnings: &mut Vec<Warning>) -> Self {
        let mut cores = Vec::new();
        let nodes = tree
            .find("/cpus")
            .into_iter()
            .flat_map(|cpus| cpus.children());
        for node in nodes.filter(is_cpu) {
            let servers = node.property("ibm,ppc-interrupt-server#s");
            let threads: Vec<u64> = match (servers, node.number("reg")) {
                (Some(list), _) => list.cells().map(u64::from).collect(),
                (None, Some(reg)) => vec![reg],
                (None, None) => Vec::new(),
            };
            if threads.is_empty() {
                warnings.push(Warning::Core(node.name().to_string()));
                continue;
            }
            cores.push(Core {
                threads,
                chip: node.u32("ibm,chip-id").unwrap_or(0),
            });
        }
        let mut cpus = Self { cores };
        if !cpus.threads().any(|pir| pir == running) {
            warnings.push(Warning::BootThread(running));
            cpus.cores = vec![Core {
                threads: vec![running],
                chip: 0,
            }];
        }
        cpus
    }

    /// PIRs of all threads.
    pub fn threads(&self) -> impl Iterator<Item = u64> + '_ {
        self.cores
            .iter()
            .flat_map(|core| core.threads.iter().copied())
    }
}

fn is_cpu(node: &Node<'_>) -> bool {
    node.text("device_type") == Some("cpu") && node.is_usable()
}

/// `timebase-frequency` of the first processor that has a sensible one.
pub(super) fn timebase(tree: &Tree<'_>) -> Option<u64> {
    let nodes = tree.find("/cpus")?.children();
    nodes
        .filter_map(|node| node.number("timebase-frequency"))
        .find(|&hertz| hertz >= 1_000_000)
}
