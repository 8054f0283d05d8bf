//! An audit of a machine that goes on working meanwhile.
//!
//! Nothing stands still for it: a PHB is taken for a few entries at a time, and
//! windows come and go in between. What looks like a fault then is one if a
//! second audit finds it too.

use super::{Fact, Fault, Listener, Totals};
use crate::pci::PhbId;
use alloc::vec::Vec;

/// Entries of a table inside a PHB that are read with its lock held and firmware
/// kept out: 128 accesses to registers, some 100 us. What else needs the PHB or
/// the console waits no longer than that.
pub const PIECE: usize = 64;

/// Faults that are kept to be shown; all are counted.
pub const KEPT: usize = 32;

/// Reads a table from entry 0 on, at most [`PIECE`] entries at a time: `read`
/// gets the number of the first one, and where they go.
pub fn in_pieces(into: &mut [u64], mut read: impl FnMut(u16, &mut [u64])) {
    let firsts = (0..=u16::MAX).step_by(PIECE);
    for (first, part) in firsts.zip(into.chunks_mut(PIECE)) {
        read(first, part);
    }
}

/// What was heard of an audit of all PHBs.
#[derive(Debug, Default)]
pub struct Heard {
    /// The first [`KEPT`] faults.
    pub faults: Vec<(PhbId, Fault)>,
    /// The first so many valid entries.
    pub facts: Vec<(PhbId, Fact)>,
    /// What was seen of each PHB.
    pub totals: Vec<(PhbId, Totals)>,
    /// Faults that were not kept.
    pub lost: u64,
    most_facts: usize,
}

impl Heard {
    /// Nothing yet; keeps at most so many valid entries.
    pub fn new(most_facts: usize) -> Self {
        Self {
            most_facts,
            ..Self::default()
        }
    }

    /// All faults, kept or not.
    pub fn faults(&self) -> u64 {
        self.totals.iter().map(|(_, totals)| totals.faults).sum()
    }

    /// Keeps the faults that `first` has too; one of a PHB that says nothing
    /// stays in any case.
    fn settle(&mut self, first: &Self) {
        // More than can be compared is no passing thing.
        if first.lost != 0 || self.lost != 0 {
            return;
        }
        self.faults
            .retain(|it| matches!(it.1, Fault::Fenced) || first.faults.contains(it));
        for (phb, totals) in &mut self.totals {
            let faults = self.faults.iter().filter(|(at, _)| at == phb);
            totals.faults = faults.count() as u64;
        }
    }
}

impl Listener for Heard {
    fn fault(&mut self, phb: PhbId, fault: Fault) {
        if self.faults.len() < KEPT {
            self.faults.push((phb, fault));
        } else {
            self.lost += 1;
        }
    }

    fn fact(&mut self, phb: PhbId, fact: Fact) {
        if self.facts.len() < self.most_facts {
            self.facts.push((phb, fact));
        }
    }
}

/// Audits by `look`, and if that finds faults, once more.
pub fn settled(mut look: impl FnMut() -> Heard) -> Heard {
    let first = look();
    if first.faults.is_empty() {
        return first;
    }
    let mut heard = look();
    heard.settle(&first);
    heard
}
