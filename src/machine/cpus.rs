//! Cores and threads.

use super::Warning;
use super::limits::{Warnings, shown};
use crate::fdt::{Node, Tree};
use alloc::vec;
use alloc::vec::Vec;

/// Most threads of a core (POWER8).
pub const MAX_THREADS_PER_CORE: usize = 8;

/// Most threads of a machine. The largest have 1920 (POWER10, 240 cores).
pub const MAX_THREADS: usize = 4096;

/// PIRs have 20 bits at most.
const PIR_BITS: u32 = 20;

/// Timebase frequencies that are believed, in hertz. All POWER machines have
/// 512 MHz.
const TIMEBASES: core::ops::RangeInclusive<u64> = 1_000_000..=4_000_000_000;

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
    /// In the tree's order. The thread that runs is in one of them; no thread
    /// is there twice.
    pub cores: Vec<Core>,
}

impl Cpus {
    pub(super) fn read(tree: &Tree<'_>, running: u64, warnings: &mut Warnings) -> Self {
        let mut cores: Vec<Core> = Vec::new();
        // Sorted, so that a tree with thousands takes no time.
        let mut seen: Vec<u64> = Vec::new();
        let nodes = tree
            .find("/cpus")
            .into_iter()
            .flat_map(|cpus| cpus.children());
        for node in nodes.filter(is_cpu) {
            match read_core(&node, &mut seen) {
                Ok(core) => cores.push(core),
                Err(reason) => warnings.push(Warning::Core {
                    node: shown(node.name()),
                    reason,
                }),
            }
        }
        if seen.binary_search(&running).is_err() {
            warnings.push(Warning::BootThread(running));
            cores = vec![Core {
                threads: vec![running],
                chip: 0,
            }];
        }
        Self { cores }
    }

    /// PIRs of all threads.
    pub fn threads(&self) -> impl Iterator<Item = u64> + '_ {
        self.cores
            .iter()
            .flat_map(|core| core.threads.iter().copied())
    }
}

fn read_core(node: &Node<'_>, seen: &mut Vec<u64>) -> Result<Core, &'static str> {
    let servers = node.property("ibm,ppc-interrupt-server#s");
    let threads: Vec<u64> = match (servers, node.number("reg")) {
        (Some(list), _) => list
            .cells()
            .take(MAX_THREADS_PER_CORE + 1)
            .map(u64::from)
            .collect(),
        (None, Some(reg)) => vec![reg],
        (None, None) => Vec::new(),
    };
    if threads.is_empty() {
        return Err("it names no thread: no ibm,ppc-interrupt-server#s and no reg");
    }
    if threads.len() > MAX_THREADS_PER_CORE {
        return Err("it has more than 8 threads");
    }
    if seen.len() + threads.len() > MAX_THREADS {
        return Err("the machine has more than 4096 threads");
    }
    for (index, &pir) in threads.iter().enumerate() {
        if pir >> PIR_BITS != 0 {
            return Err("it has a thread number beyond 20 bits");
        }
        let twice = threads.iter().take(index).any(|&other| other == pir);
        if twice || seen.binary_search(&pir).is_ok() {
            return Err("it has a thread that was there before");
        }
    }
    for &pir in &threads {
        if let Err(place) = seen.binary_search(&pir) {
            seen.insert(place, pir);
        }
    }
    Ok(Core {
        threads,
        chip: node.u32("ibm,chip-id").unwrap_or(0),
    })
}

fn is_cpu(node: &Node<'_>) -> bool {
    node.text("device_type") == Some("cpu") && node.is_usable()
}

/// `timebase-frequency` of the first processor that has a sensible one.
pub(super) fn timebase(tree: &Tree<'_>) -> Option<u64> {
    let nodes = tree.find("/cpus")?.children();
    nodes
        .filter_map(|node| node.number("timebase-frequency"))
        .find(|hertz| TIMEBASES.contains(hertz))
}
