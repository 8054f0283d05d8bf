//! QEMU's log of executed instructions, cut into operations.

use std::collections::BTreeMap;

/// Instructions of one operation: how often each address was executed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Executed {
    /// By address.
    pub counts: BTreeMap<u64, u64>,
    /// All of them.
    pub total: u64,
}

impl Executed {
    fn add(&mut self, address: u64) {
        *self.counts.entry(address).or_default() += 1;
        self.total += 1;
    }
}

/// A line of `-d exec,nochain` with one instruction a block: its address, and
/// whether the hypervisor executed it.
///
/// `Trace 0: HOST [cs_base/ADDRESS/FLAGS/CFLAGS] `
pub fn parse(line: &str) -> Option<(u64, bool)> {
    /// MSR[HV] among the flags that QEMU keeps with a block (target/ppc/cpu.h).
    const HV: u64 = 1 << 28;
    let (_, rest) = line.strip_prefix("Trace ")?.split_once('[')?;
    let mut fields = rest.split('/');
    let address = u64::from_str_radix(fields.nth(1)?, 16).ok()?;
    let flags = u64::from_str_radix(fields.next()?, 16).ok()?;
    Some((address, flags & HV != 0))
}

/// What is between two calls of the counter: `entry` is its first instruction.
/// The image counts in pairs of calls: before an operation and behind it.
pub struct Counted {
    entry: u64,
    inside: Option<Executed>,
    /// The operations, in order.
    pub operations: Vec<Executed>,
}

impl Counted {
    /// Cuts at `entry`.
    pub fn new(entry: u64) -> Self {
        Self {
            entry,
            inside: None,
            operations: Vec::new(),
        }
    }

    /// The next instruction.
    pub fn take(&mut self, address: u64) {
        if address == self.entry {
            match self.inside.take() {
                Some(done) => self.operations.push(done),
                None => self.inside = Some(Executed::default()),
            }
        } else if let Some(operation) = &mut self.inside {
            operation.add(address);
        }
    }
}

/// What is between a partition's hypervisor call and its next instruction.
#[derive(Default)]
pub struct Calls {
    inside: Option<Executed>,
    was_low: bool,
    /// The calls, in order.
    pub operations: Vec<Executed>,
}

impl Calls {
    /// Vector of a hypervisor call.
    const VECTOR: u64 = 0xc00;
    /// Behind the last vector.
    const VECTORS_END: u64 = 0x2000;

    /// The next instruction, of the image or of a vector.
    pub fn take(&mut self, address: u64, hypervisor: bool) {
        let low = address < Self::VECTORS_END;
        if !hypervisor {
            self.end();
        } else if low && !self.was_low {
            self.end();
            self.inside = (address == Self::VECTOR).then(Executed::default);
        }
        self.was_low = low && hypervisor;
        if hypervisor && let Some(operation) = &mut self.inside {
            operation.add(address);
        }
    }

    fn end(&mut self) {
        self.operations.extend(self.inside.take());
    }
}

/// The one in the middle, by instructions.
pub fn median(mut operations: Vec<Executed>) -> Option<Executed> {
    operations.sort_by_key(|operation| operation.total);
    let middle = operations.len() / 2;
    (!operations.is_empty()).then(|| operations.swap_remove(middle))
}

/// The most frequent one, by instructions.
pub fn usual(operations: Vec<Executed>) -> Option<Executed> {
    let mut often: BTreeMap<u64, usize> = BTreeMap::new();
    for operation in &operations {
        *often.entry(operation.total).or_default() += 1;
    }
    let (&total, _) = often.iter().max_by_key(|(_, count)| **count)?;
    operations.into_iter().find(|it| it.total == total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_an_address_and_who_executed_it() {
        let line = "Trace 0: 0x7fe0608174c0 [00000000/000000002001b65c/fc100006/ff002201] ";
        assert_eq!(parse(line), Some((0x2001_b65c, true)));
        let line = "Trace 0: 0x7fe0608174c0 [00000000/0000000000000c00/ec100006/ff002201] f";
        assert_eq!(parse(line), Some((0xc00, false)));
        assert_eq!(parse("phb4[0:0]: PHB MBAR 31 out of parent bounds"), None);
        assert_eq!(parse("Trace 0: 0x7f [0/zz/0/0]"), None);
    }

    #[test]
    fn operations_lie_between_pairs_of_counts() {
        let mut counted = Counted::new(100);
        for address in [1, 100, 2, 2, 3, 100, 4, 100, 5, 100, 6, 100, 7] {
            counted.take(address);
        }
        let totals: Vec<u64> = counted.operations.iter().map(|it| it.total).collect();
        assert_eq!(totals, [3, 1]);
        assert_eq!(counted.operations[0].counts, [(2, 2), (3, 1)].into());
        assert_eq!(median(counted.operations).map(|it| it.total), Some(3));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn a_call_begins_at_its_vector_and_ends_in_the_partition() {
        let mut calls = Calls::default();
        let image = 0x2001_0000;
        // Two calls, an exit for another reason, and a call again.
        for (address, hypervisor) in [
            (0xc00, true),
            (0xc04, true),
            (image, true),
            (0xc08, false),
            (0xc00, true),
            (image, true),
            (image, true),
            (0x980, true),
            (image, true),
            (0xc00, true),
            (0xc04, true),
            (image, true),
            (0x500, true),
        ] {
            calls.take(address, hypervisor);
        }
        let totals: Vec<u64> = calls.operations.iter().map(|it| it.total).collect();
        assert_eq!(totals, [3, 3, 3]);
        assert_eq!(usual(calls.operations).map(|it| it.total), Some(3));
    }
}
