//! Unused tables, chained through their own first entry: no array, however
//! many they are.

use crate::addr::HostAddr;
use crate::seam::TableMemory;

/// A stack of tables of one size that are in no tree. Entry 0 of each holds the
/// address of the next; as it has no rights, a PHB that still finds the table
/// sees an invalid entry.
#[derive(Debug, Default)]
pub struct Chain {
    // Address 0 ends it: no table is there, a TVE could not name it.
    head: HostAddr,
    length: u64,
}

impl Chain {
    /// How many tables it holds.
    #[inline]
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Whether it holds none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds `table`, all of whose entries are 0.
    pub fn push<M: TableMemory>(&mut self, memory: &M, table: HostAddr) {
        memory.store(table, 0, self.head.get());
        self.head = table;
        self.length += 1;
    }

    /// Removes a table; all of its entries are 0 again.
    pub fn pop<M: TableMemory>(&mut self, memory: &M) -> Option<HostAddr> {
        self.length = self.length.checked_sub(1)?;
        let table = self.head;
        self.head = HostAddr::new(memory.load(table, 0));
        memory.store(table, 0, 0);
        Some(table)
    }
}

/// Tables below a root, by size: leaves, and nodes, which are twice as large
/// for their counts.
#[derive(Debug, Default)]
pub struct Tables {
    /// Tables of the last level.
    pub leaves: Chain,
    /// Tables of the levels between root and leaves.
    pub nodes: Chain,
}

impl Tables {
    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.leaves.is_empty() && self.nodes.is_empty()
    }

    /// Moves all of `other` here.
    pub fn append<M: TableMemory>(&mut self, memory: &M, other: &mut Self) {
        while let Some(table) = other.leaves.pop(memory) {
            self.leaves.push(memory, table);
        }
        while let Some(table) = other.nodes.pop(memory) {
            self.nodes.push(memory, table);
        }
    }
}
