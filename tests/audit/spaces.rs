//! The audit of partitions' trees: in order, and with one thing wrong at a time.

use super::model::{FIRST, MEMORY, Map, ONE, REGION, SECOND, TABLES, TWO};
use pinion::addr::{GuestAddr, HostAddr};
use pinion::audit::Holder;
use pinion::audit::spaces::{Run, SpaceFault, SpaceTotals, audit};
use pinion::memory::radix::{Kind, RadixTree, partition_entry};
use pinion::memory::ranges::Range;
use pinion::seam::{TableFrames, TableMemory};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// The partition table; frames of trees follow.
const TABLE: u64 = TABLES;
/// Registers beyond memory: two pages of the first partition's, one of the
/// second's.
const REGISTERS: u64 = 0x600_0000_0000;

struct Machine {
    words: RefCell<BTreeMap<u64, u64>>,
    next: Cell<u64>,
    runs: Vec<Run>,
}

impl TableMemory for Machine {
    fn load(&self, table: HostAddr, index: usize) -> u64 {
        self.get(table.get() + 8 * index as u64)
    }
    fn store(&self, table: HostAddr, index: usize, value: u64) {
        self.put(table.get() + 8 * index as u64, value);
    }
    fn barrier(&self) {}
}

impl TableFrames for Machine {
    fn allocate(&self, shift: u32) -> Option<HostAddr> {
        let start = self.next.get().next_multiple_of(1 << shift);
        self.next.set(start + (1 << shift));
        Some(HostAddr::new(start))
    }
    fn free(&self, _: HostAddr, _: u32) {}
}

impl Machine {
    /// Two partitions of 16 MiB that run by LPIDs 1 and 7, with registers.
    fn new() -> (Self, [RadixTree; 2]) {
        let mut it = Self {
            words: RefCell::default(),
            next: Cell::new(TABLE + 0x1_0000),
            runs: Vec::new(),
        };
        let trees = [
            (1, ONE, FIRST, REGISTERS, 2),
            (7, TWO, SECOND, REGISTERS + 0x2000, 1),
        ]
        .map(|(lpid, owner, memory, registers, pages)| {
            let mut tree = RadixTree::new(&it).unwrap();
            let all = (GuestAddr::new(0), HostAddr::new(memory), REGION);
            tree.map(&it, all, Kind::Memory).unwrap();
            let bytes = pages * 0x1000;
            let at = (GuestAddr::new(registers), HostAddr::new(registers), bytes);
            tree.map(&it, at, Kind::Device).unwrap();
            let [first, second] = partition_entry(tree.root());
            it.put(TABLE + 16 * u64::from(lpid), first);
            it.put(TABLE + 16 * u64::from(lpid) + 8, second);
            it.runs.push(Run {
                lpid,
                owner,
                registers: vec![Range::new(registers, bytes).unwrap()],
            });
            tree
        });
        (it, trees)
    }

    fn get(&self, at: u64) -> u64 {
        self.words.borrow().get(&at).copied().unwrap_or(0)
    }

    fn put(&self, at: u64, value: u64) {
        self.words.borrow_mut().insert(at, value);
    }

    /// Where the entry for `guest` of a level lies.
    fn entry(&self, tree: &RadixTree, guest: u64, level: usize) -> u64 {
        let mut table = tree.root().get();
        for (above, (shift, bits)) in [(39, 13), (30, 9), (21, 9), (12, 9)].iter().enumerate() {
            let at = table + 8 * (guest >> shift & ((1 << bits) - 1));
            if above == level {
                return at;
            }
            table = self.get(at) & 0x01ff_ffff_ffff_f000;
        }
        unreachable!()
    }

    fn audit(&self) -> (Vec<SpaceFault>, SpaceTotals) {
        let mut faults = Vec::new();
        let word = |at: HostAddr| (at.get() < MEMORY).then(|| self.get(at.get()));
        let table = HostAddr::new(TABLE);
        let totals = audit(table, &self.runs, word, &Map, |fault| faults.push(fault));
        assert_eq!(totals.faults, faults.len() as u64);
        (faults, totals)
    }

    /// The one fault that there is.
    fn fault(&self) -> SpaceFault {
        let (faults, _) = self.audit();
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0]
    }
}

#[test]
fn trees_in_order_have_no_faults_and_all_pages_are_seen() {
    let (it, _) = Machine::new();
    let (faults, totals) = it.audit();
    assert_eq!(faults, []);
    let expected = SpaceTotals {
        trees: 2,
        // A root, two for memory, three for registers.
        tables: 12,
        memory: 2 * REGION,
        registers: 0x3000,
        faults: 0,
    };
    assert_eq!(totals, expected);
    // With a process table of its own.
    it.put(TABLE + 16 + 8, 1 << 63 | 0x3000 | 4);
    assert_eq!(it.audit(), (vec![], expected));
}

#[test]
fn an_entry_of_the_partition_table_follows_what_runs() {
    let (mut it, trees) = Machine::new();
    let value = partition_entry(trees[1].root());
    let run = it.runs.pop().unwrap();
    let (lpid, runs) = (7, false);
    assert_eq!(it.fault(), SpaceFault::Entry { lpid, value, runs });
    // Half of one is left.
    it.put(TABLE + 16 * 7, 0);
    let value = [0, value[1]];
    assert_eq!(it.fault(), SpaceFault::Entry { lpid, value, runs });
    it.runs.push(run);
    let runs = true;
    assert_eq!(it.fault(), SpaceFault::Entry { lpid, value, runs });
    // No translation of the partition's own, or in another shape.
    let right = partition_entry(trees[1].root());
    for value in [
        [right[0], 0],
        [right[0] ^ 1, right[1]],
        [right[0] & !(1 << 63), right[1]],
    ] {
        it.put(TABLE + 16 * 7, value[0]);
        it.put(TABLE + 16 * 7 + 8, value[1]);
        assert_eq!(it.fault(), SpaceFault::Entry { lpid, value, runs });
    }
    // The last one that is looked at.
    let (it, _) = Machine::new();
    it.put(TABLE + 16 * 4095, 1);
    assert!(matches!(it.fault(), SpaceFault::Entry { lpid: 4095, .. }));
}

#[test]
fn a_page_of_somebody_elses_is_named() {
    let (it, [tree, _]) = Machine::new();
    let guest = 0x20_0000;
    let place = it.entry(&tree, guest, 2);
    let right = it.get(place);
    for (start, at, holder) in [
        (SECOND, SECOND, Holder::Owner(TWO)),
        (TABLES, TABLES, Holder::Nobody),
        (MEMORY, MEMORY, Holder::NoMemory),
    ] {
        let entry = right & !0x01ff_ffff_ffff_f000 | start;
        it.put(place, entry);
        let expected = SpaceFault::Page {
            lpid: 1,
            guest: GuestAddr::new(guest),
            entry,
            at: HostAddr::new(at),
            holder,
        };
        assert_eq!(it.fault(), expected);
    }
    // Its first page as one of 1 GiB: what is behind its own memory is not.
    let place = it.entry(&tree, 0, 1);
    it.put(place, right & !0x01ff_ffff_ffff_f000 | FIRST);
    let SpaceFault::Page { at, holder, .. } = it.fault() else {
        panic!("{:?}", it.fault());
    };
    assert_eq!((at.get(), holder), (SECOND, Holder::Owner(TWO)));
}

#[test]
fn registers_of_another_are_named_and_memory_is_no_register() {
    let (it, [tree, _]) = Machine::new();
    let guest = REGISTERS + 0x1000;
    let place = it.entry(&tree, guest, 3);
    let right = it.get(place);
    for (start, holder) in [
        (REGISTERS + 0x2000, Holder::NoMemory),
        (REGISTERS - 0x1000, Holder::NoMemory),
        (FIRST, Holder::Owner(ONE)),
    ] {
        let entry = right & !0x01ff_ffff_ffff_f000 | start;
        it.put(place, entry);
        let expected = SpaceFault::Page {
            lpid: 1,
            guest: GuestAddr::new(guest),
            entry,
            at: HostAddr::new(start),
            holder,
        };
        assert_eq!(it.fault(), expected);
    }
    // 2 MiB where two pages are its own.
    let place = it.entry(&tree, REGISTERS, 2);
    it.put(place, right & !0x01ff_ffff_ffff_f000 | REGISTERS);
    let SpaceFault::Page { at, .. } = it.fault() else {
        panic!("{:?}", it.fault());
    };
    assert_eq!(at.get(), REGISTERS + 0x2000);
}

#[test]
fn entries_of_another_shape_are_refused() {
    let (it, [tree, _]) = Machine::new();
    let leaf = it.entry(&tree, 0x20_0000, 2);
    let directory = it.entry(&tree, 0, 1);
    let root = it.entry(&tree, 0, 0);
    let last = it.entry(&tree, REGISTERS, 3);
    for (place, change) in [
        (leaf, 1 << 12),
        // Rights, attributes, reserved bits.
        (leaf, 4),
        (leaf, 8),
        (leaf, 0x10),
        (leaf, 0x100),
        (leaf, 1 << 60),
        (directory, 1),
        (directory, 0x100),
        // A leaf in the root, a table below the last level.
        (root, 1 << 62),
        (last, 1 << 62),
    ] {
        let right = it.get(place);
        it.put(place, right ^ change);
        let entry = right ^ change;
        let fault = it.fault();
        assert!(
            matches!(fault, SpaceFault::Malformed { lpid: 1, entry: found, .. } if found == entry),
            "{change:#x}: {fault:?}"
        );
        it.put(place, right);
    }
    assert_eq!(it.audit().0, []);
}

#[test]
fn tables_lie_in_memory_of_nobodys_and_are_reached_once() {
    let (it, [one, two]) = Machine::new();
    let place = it.entry(&one, 0, 1);
    let right = it.get(place);
    let table = |to: u64| right & !0x01ff_ffff_ffff_f000 | to;
    it.put(place, table(FIRST));
    let (lpid, guest, level) = (1, GuestAddr::new(0), 2);
    let (at, holder) = (HostAddr::new(FIRST), Holder::Owner(ONE));
    let expected = SpaceFault::TableHolder {
        lpid,
        guest,
        level,
        at,
        holder,
    };
    assert_eq!(it.fault(), expected);
    // The other's table: found where the second tree comes to it.
    it.put(
        place,
        table(it.get(it.entry(&two, 0, 1)) & 0x01ff_ffff_ffff_f000),
    );
    let (faults, _) = it.audit();
    assert!(
        faults.iter().any(|it| matches!(
            it,
            SpaceFault::TableTwice {
                lpid: 7,
                level: 2,
                ..
            }
        )),
        "{faults:?}"
    );
    // A loop into its own root, which is larger than a table.
    for offset in [0, 0xf000] {
        it.put(place, table(one.root().get() + offset));
        let at = HostAddr::new(one.root().get() + offset);
        let expected = SpaceFault::TableTwice {
            lpid,
            guest,
            level,
            at,
        };
        assert_eq!(it.fault(), expected);
    }
}
