//! Loops over a leaf and counts of missing tables, against plain ones, over
//! memory that knows where each table ends.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use pinion::addr::{BusAddr, HostAddr};
use pinion::seam::TableMemory;
use pinion::sim::Rng;
use pinion::tce::chain::Tables;
use pinion::tce::leaf::NewEntries;
use pinion::tce::{
    Access, PageShift, PageSizes, Slot, Stamp, TableShape, Tce, Tree, WindowRange, leaf,
};

/// Tables of any size, which no access passes.
#[derive(Default)]
struct Strict {
    tables: RefCell<BTreeMap<u64, Vec<u64>>>,
    loads: Cell<usize>,
}

impl Strict {
    fn table(&self, entries: usize) -> HostAddr {
        let mut tables = self.tables.borrow_mut();
        let at = (tables.len() as u64 + 1) << 20;
        tables.insert(at, vec![0; entries]);
        HostAddr::new(at)
    }

    fn all(&self, table: HostAddr) -> Vec<u64> {
        self.tables.borrow()[&table.get()].clone()
    }

    fn set(&self, table: HostAddr, entries: &[u64]) {
        self.tables
            .borrow_mut()
            .insert(table.get(), entries.to_vec());
    }
}

impl TableMemory for Strict {
    fn load(&self, table: HostAddr, index: usize) -> u64 {
        self.loads.set(self.loads.get() + 1);
        self.tables.borrow()[&table.get()][index]
    }
    fn store(&self, table: HostAddr, index: usize, value: u64) {
        self.tables.borrow_mut().get_mut(&table.get()).unwrap()[index] = value;
    }
    fn barrier(&self) {}
}

const ENTRIES: usize = 27;

fn live(page: u64, access: Access) -> u64 {
    Tce::new(HostAddr::new(page << 12), access).unwrap().bits()
}

/// A tombstone of `live`, made by the loop that makes one.
fn tombstone(live: u64, stamp: Stamp) -> u64 {
    let memory = Strict::default();
    let table = memory.table(1);
    memory.set(table, &[live]);
    leaf::bury(&memory, table, 0, 1, stamp);
    memory.load(table, 0)
}

/// Calls `test` with a leaf of some content, and each part of it.
fn each_part(mut test: impl FnMut(&Strict, HostAddr, &[u64], usize, usize)) {
    let mut rng = Rng::new(7);
    let stamps = [3, 9].map(|number| Stamp::new(number).unwrap());
    for round in 0..16 {
        let memory = Strict::default();
        let table = memory.table(ENTRIES);
        for start in 0..ENTRIES {
            for count in 1..=ENTRIES - start {
                // From almost empty to almost full.
                let before: Vec<u64> = (0..ENTRIES as u64)
                    .map(|page| {
                        if rng.below(12) > round {
                            return 0;
                        }
                        // In the last rounds most have the same rights.
                        let kinds = if round < 12 {
                            2
                        } else {
                            1 + u64::from(rng.below(20) == 0)
                        };
                        let access = [Access::Read, Access::ReadWrite]
                            [(rng.below(kinds) as usize + round as usize) % 2];
                        let bits = live(page + 0x100, access);
                        let odd = if round < 12 { 4 } else { 40 };
                        match rng.below(odd) {
                            0 => tombstone(bits, stamps[0]),
                            1 => tombstone(bits, stamps[1]),
                            _ => bits,
                        }
                    })
                    .collect();
                memory.set(table, &before);
                test(&memory, table, &before, start, count);
                // What is outside of the part stays.
                let after = memory.all(table);
                assert_eq!(after[..start], before[..start]);
                assert_eq!(after[start + count..], before[start + count..]);
            }
        }
    }
}

const RIGHTS: u64 = 3;

#[test]
fn the_first_entry_in_use_is_found() {
    each_part(|memory, table, before, start, count| {
        let expected = (start..start + count).find(|&index| before[index] != 0);
        assert_eq!(leaf::first_used(memory, table, start, count), expected);
    });
}

#[test]
fn a_fill_stores_a_run() {
    each_part(|memory, table, _, start, count| {
        leaf::fill(memory, table, start, count, 0x7001, 0x1000);
        let expected: Vec<u64> = (0..count as u64).map(|i| 0x7001 + i * 0x1000).collect();
        assert_eq!(memory.all(table)[start..start + count], expected);
    });
}

#[test]
fn what_is_live_is_buried_and_what_is_not_is_counted() {
    let mine = Stamp::new(17).unwrap();
    each_part(|memory, table, before, start, count| {
        let part = &before[start..start + count];
        let found = leaf::bury(memory, table, start, count, mine);
        let expected: Vec<u64> = part
            .iter()
            .map(|&bits| {
                if bits & RIGHTS != 0 {
                    tombstone(bits, mine)
                } else {
                    bits
                }
            })
            .collect();
        assert_eq!(memory.all(table)[start..start + count], expected);
        let live = part.iter().filter(|&&bits| bits & RIGHTS != 0).count();
        let used = part.iter().filter(|&&bits| bits != 0).count();
        assert_eq!(
            (found.live, found.foreign),
            (live as u64, (used - live) as u64)
        );
    });
}

#[test]
fn entries_are_emptied_until_one_is_not_mine() {
    each_part(|memory, table, before, start, count| {
        for low in [1, 3, before[start] & 0xfff] {
            memory.set(table, before);
            let mut asked = Vec::new();
            let mine = |bits: u64| bits & 0xfff == low;
            let emptied = leaf::empty_while(memory, table, start, count, |bits| {
                asked.push(bits);
                mine(bits)
            });
            let part = &before[start..start + count];
            let expected = part.iter().take_while(|&&bits| mine(bits)).count();
            assert_eq!(emptied, expected);
            // Once each, as the page is marked then, and the first of another kind.
            assert_eq!(asked, part[..count.min(expected + 1)]);
            let after = memory.all(table);
            assert!(after[start..start + emptied].iter().all(|&bits| bits == 0));
            assert_eq!(after[start + emptied..], before[start + emptied..]);
        }
    });
}

struct News;

impl NewEntries for News {
    fn one(&self, number: usize) -> u64 {
        live(0x900 + number as u64, Access::Read)
    }
}

#[test]
fn entries_are_replaced_until_one_is_not_mine() {
    each_part(|memory, table, before, start, count| {
        for low in [1, 3, before[start] & 0xfff] {
            memory.set(table, before);
            let mut asked = Vec::new();
            let mine = |bits: u64| bits & 0xfff == low;
            let replaced = leaf::replace_while(memory, table, start, count, &News, |bits| {
                asked.push(bits);
                mine(bits)
            });
            let part = &before[start..start + count];
            let expected = part.iter().take_while(|&&bits| mine(bits)).count();
            assert_eq!(replaced, expected);
            assert_eq!(asked, part[..count.min(expected + 1)]);
            let after = memory.all(table);
            let (gone, rest) = after[start..].split_at(replaced);
            assert!(
                gone.iter()
                    .copied()
                    .eq((0..replaced).map(|number| News.one(number)))
            );
            assert_eq!(rest, &before[start + replaced..]);
        }
    });
}

#[test]
fn a_list_is_copied_and_all_bits_are_found() {
    each_part(|memory, table, before, start, count| {
        let any = before[start..start + count].iter().fold(0, |a, b| a | b);
        assert_eq!(leaf::any_bits(memory, table, start, count), any);
        let list: Vec<Tce> = (0..count as u64)
            .map(|number| Tce::new(HostAddr::new(number << 12), Access::Read).unwrap())
            .collect();
        leaf::copy(memory, table, start, &list);
        let bits: Vec<u64> = list.iter().map(|entry| entry.bits()).collect();
        assert_eq!(memory.all(table)[start..start + count], bits);
    });
}

#[test]
fn a_run_is_buried_up_to_its_end() {
    let stamp = Stamp::new(17).unwrap();
    for access in [Access::Read, Access::ReadWrite] {
        for start in 0..ENTRIES {
            for count in 1..=ENTRIES - start {
                for run in 1..=count {
                    let memory = Strict::default();
                    let table = memory.table(ENTRIES);
                    let before: Vec<u64> = (0..ENTRIES)
                        .map(|index| {
                            let page = (0x100 + index - start.min(index)) as u64;
                            if index < start + run {
                                live(page, access)
                            } else {
                                live(page + 1, access)
                            }
                        })
                        .collect();
                    memory.set(table, &before);
                    let first = live(0x100, access);
                    let buried = leaf::bury_run(&memory, table, start, count, first, 0x1000, stamp);
                    assert_eq!(buried, run);
                    if run == count {
                        assert_eq!(memory.loads.get(), count, "read once each");
                    }
                    let expected: Vec<u64> = (0..ENTRIES)
                        .map(|index| {
                            if (start..start + run).contains(&index) {
                                tombstone(before[index], stamp)
                            } else {
                                before[index]
                            }
                        })
                        .collect();
                    assert_eq!(memory.all(table), expected);
                }
            }
        }
    }
}

/// With as many tables as are said to be missing, all leaves are made, and none
/// is left over.
#[test]
fn what_is_missing_is_counted_exactly() {
    const LEAF: u64 = 512;
    const NODE: u64 = 512 * LEAF;
    let mut rng = Rng::new(11);
    for round in 0..400u64 {
        let levels = 2 + (round % 3) as u32;
        let shape = TableShape::new(PageShift::K4, levels, 12).unwrap();
        let slots = if levels == 2 { NODE } else { 3 * NODE };
        let window = WindowRange::new(BusAddr::new(0), slots, shape).unwrap();
        let memory = Strict::default();
        let tree = Tree::new(memory.table(1024), shape);
        let spare = |leaves: u64, nodes: u64| {
            let mut spare = Tables::default();
            for _ in 0..leaves {
                spare.leaves.push(&memory, memory.table(512));
            }
            for _ in 0..nodes {
                spare.nodes.push(&memory, memory.table(1024));
            }
            spare
        };
        // Some leaves exist.
        let near = if levels == 2 { 100 * LEAF } else { NODE };
        for _ in 0..rng.below(5) {
            let slot = Slot::new(near - 3 * LEAF + rng.below(6) * LEAF);
            let mut plenty = spare(1, 4);
            tree.ensure(&memory, slot, &mut plenty).unwrap();
        }
        // Begins and ends at and beside borders.
        let first = near - rng.below(4) * LEAF - [0, 1, 7][rng.below(3) as usize];
        let pages = (1 + rng.below(5) * LEAF - rng.below(2)).max(1)
            + if levels > 2 && rng.one_in(8) { NODE } else { 0 };
        let range = window
            .slots(BusAddr::new(first << 12), pages, 1 << 30)
            .unwrap();
        let every = 1 + rng.below(2);
        let wanted = |page: u64| (page / LEAF).is_multiple_of(every);
        let mut asked = Vec::new();
        let missing = {
            let asked = RefCell::new(&mut asked);
            tree.missing_where(&memory, range, |from, count| {
                asked.borrow_mut().push((from, count));
                wanted(first + from)
            })
        };
        if every == 1 {
            assert_eq!(missing, tree.missing(&memory, range));
        }
        // It was asked about each leaf's part once, in order.
        let mut next = 0;
        for &(from, count) in &asked {
            assert_eq!(from, next);
            assert_eq!((first + from) / LEAF, (first + from + count - 1) / LEAF);
            next += count;
        }
        assert_eq!(next, pages);
        let mut exact = spare(missing.leaves, missing.nodes);
        for &(from, _) in &asked {
            if wanted(first + from) {
                let slot = Slot::new(first + from);
                assert!(
                    tree.ensure(&memory, slot, &mut exact).is_some(),
                    "{missing:?}"
                );
            }
        }
        assert!(exact.is_empty(), "{missing:?}");
    }
}

/// A step for each leaf, and one for each hole however large it is: wherever it is
/// begun.
#[test]
fn a_tree_is_taken_apart_by_leaves_and_holes() {
    const LEAF: u64 = 512;
    const NODE: u64 = 512 * LEAF;
    let shape = TableShape::new(PageShift::K4, 3, 12).unwrap();
    let memory = Strict::default();
    let tree = Tree::new(memory.table(1024), shape);
    let mut spare = Tables::default();
    let made = [0, LEAF, 3 * LEAF, 2 * NODE + 5 * LEAF];
    for slot in made {
        spare.leaves.push(&memory, memory.table(512));
        spare.nodes.push(&memory, memory.table(1024));
        tree.ensure(&memory, Slot::new(slot), &mut spare).unwrap();
    }
    let mut retired = Tables::default();
    let mut step = |from: u64| {
        let next = tree.dismantle(&memory, Slot::new(from), 1, &mut retired);
        let gone = (retired.leaves.len(), retired.nodes.len());
        (next.map(Slot::get), gone)
    };
    // Holes, begun somewhere in them.
    assert_eq!(step(2 * LEAF + 188), (Some(3 * LEAF), (0, 0)));
    assert_eq!(step(NODE + 7 * LEAF + 1), (Some(2 * NODE), (0, 0)));
    assert_eq!(step(0), (Some(LEAF), (1, 0)));
    assert_eq!(step(LEAF), (Some(2 * LEAF), (2, 0)));
    assert_eq!(step(3 * LEAF), (Some(4 * LEAF), (3, 0)));
    // The last entry of a node: it goes, too.
    assert_eq!(step(NODE - LEAF), (Some(NODE), (3, 1)));
    let mut at = 2 * NODE;
    let mut steps = 0;
    while let (Some(next), _) = step(at) {
        at = next;
        steps += 1;
    }
    // 512 entries of the node, and 509 of the root: the last one ends it.
    assert_eq!(steps, 512 + 508);
    assert_eq!((retired.leaves.len(), retired.nodes.len()), (4, 2));
    assert_eq!(memory.all(tree.root()), vec![0; 1024]);
}

#[test]
fn a_chain_knows_how_long_it_is() {
    let memory = Strict::default();
    let mut tables = Tables::default();
    assert!(tables.is_empty() && tables.leaves.is_empty());
    let made: Vec<HostAddr> = (0..3).map(|_| memory.table(4)).collect();
    for &table in &made {
        tables.leaves.push(&memory, table);
    }
    let node = memory.table(8);
    tables.nodes.push(&memory, node);
    assert!(!tables.is_empty() && tables.leaves.len() == 3);
    assert_eq!(tables.leaves.pop(&memory), Some(made[2]));
    assert_eq!(tables.leaves.len(), 2);
    let mut all = Tables::default();
    all.append(&memory, &mut tables);
    assert!(tables.is_empty());
    assert_eq!((all.leaves.len(), all.nodes.len()), (2, 1));
    while let Some(table) = all.leaves.pop(&memory) {
        assert_eq!(memory.all(table), [0; 4]);
    }
    assert!(all.leaves.is_empty() && !all.is_empty());
    assert_eq!(all.nodes.pop(&memory), Some(node));
    assert!(all.is_empty());
    assert_eq!(all.nodes.pop(&memory), None);
}

#[test]
fn a_page_size_may_be_named_twice() {
    let twice = PageSizes::NONE.with(PageShift::K4).with(PageShift::K4);
    assert!(twice.contains(PageShift::K4) && !twice.contains(PageShift::K64));
}
