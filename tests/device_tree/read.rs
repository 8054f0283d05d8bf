//! Puts a blob through everything that reads device trees, and checks what
//! must hold whatever is in it. Also used by the fuzz target.

use pinion::fdt::{FdtError, Node, Tree};
use pinion::machine::{
    FirmwareEntry, MAX_PHBS, MAX_THREADS, MAX_THREADS_PER_CORE, MAX_UARTS, Machine, MachineError,
    MemoryMap, Plan, UartPath,
};
use pinion::memory::frames::{FrameAllocator, MAX_BYTES, MAX_SHIFT, MIN_SHIFT};
use pinion::memory::ranges::Range;

/// Where the tree is said to lie; in memory on all boards.
pub const TREE_AT: u64 = 0x3080_0000;

/// The thread that is said to run.
pub const RUNNING: u64 = 0x8;

/// Where the image is said to lie, and low memory.
pub fn own() -> [Range; 2] {
    [
        Range::new(0x2000_0000, 0x8_0000).unwrap(),
        Range::new(0, 0x1_0000).unwrap(),
    ]
}

/// What became of a blob.
#[derive(Debug)]
pub enum Outcome {
    /// The tree was refused.
    Refused(FdtError),
    /// The tree was taken, but there is no memory to work with.
    NoMemory(MachineError),
    /// A machine could start with it.
    Good,
}

/// Reads everything there is in `blob`.
pub fn read(blob: &[u8]) -> Outcome {
    let tree = match Tree::check(blob) {
        Ok(tree) => tree,
        Err(error) => {
            said(&error.to_string());
            // A last look for a console must be harmless too.
            let _ = Tree::salvage(blob, ["opal-base-address", "opal-entry-address"]);
            return Outcome::Refused(error);
        }
    };
    assert!(tree.size() <= blob.len());
    walk(&tree, blob.len());
    machine(&tree);
    match memory(&tree) {
        Ok(()) => Outcome::Good,
        Err(error) => {
            said(&error.to_string());
            Outcome::NoMemory(error)
        }
    }
}

/// A message is one line that a terminal can show.
fn said(text: &str) {
    assert!(!text.is_empty() && text.len() < 500, "{text}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// All iterators, to their ends, which must come.
fn walk(tree: &Tree<'_>, size: usize) {
    let mut steps = 0;
    let mut count = |what: usize| {
        steps += what;
        assert!(steps <= 4 * size, "more steps than the tree can hold");
    };
    let root = tree.root();
    let all = core::iter::once((0, root)).chain(root.descendants());
    for (depth, node) in all {
        assert!(depth < pinion::fdt::MAX_DEPTH);
        assert!(node.name().len() <= 255 && node.base_name().len() <= node.name().len());
        let _ = (node.unit(), node.cells(), node.is_usable());
        for property in node.properties() {
            let bytes = property.bytes();
            assert!(property.name().len() <= 255);
            assert_eq!(property.cells().count(), bytes.len() / 4);
            assert_eq!(property.numbers().count(), bytes.len() / 8);
            assert_eq!(property.number().is_some(), matches!(bytes.len(), 4 | 8));
            assert!(property.texts().map(str::len).sum::<usize>() <= 3 * bytes.len());
            count(1 + bytes.len() / 4);
        }
        count(1);
    }
    let below = |node: &Node<'_>| node.children().count();
    let children: usize = root.descendants().map(|(_, node)| below(&node)).sum();
    assert_eq!(children + below(&root), root.descendants().count());
    for (start, size) in tree.reservations() {
        assert_ne!((start, size), (0, 0));
        count(4);
    }
}

fn machine(tree: &Tree<'_>) {
    let machine = Machine::read(tree, RUNNING);
    let pirs: Vec<u64> = machine.cpus.threads().collect();
    assert!(pirs.contains(&RUNNING) && pirs.len() <= MAX_THREADS);
    let mut distinct = pirs.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), pirs.len(), "a thread is there twice");
    for core in &machine.cpus.cores {
        assert!((1..=MAX_THREADS_PER_CORE).contains(&core.threads.len()));
    }
    assert!(machine.phbs.len() <= MAX_PHBS && machine.uarts.len() <= MAX_UARTS);
    for phb in &machine.phbs {
        assert!(phb.buses.0 <= phb.buses.1 && phb.registers >> 56 == 0);
        said(&phb.name());
    }
    for uart in &machine.uarts {
        assert!(uart.baud >= 1 && uart.baud <= uart.clock_hz / 16);
        if let UartPath::Mmio(address) = uart.path {
            assert!(address >> 56 == 0);
        }
    }
    assert!((1_000_000..=4_000_000_000).contains(&machine.timebase_hz));
    assert_eq!(
        machine.firmware.as_ref().map(|firmware| firmware.entry),
        FirmwareEntry::read(tree)
    );
    said(&machine.model);
    assert!(machine.warnings.len() <= 33);
    for warning in &machine.warnings {
        said(&warning.to_string());
    }
    let again = Machine::read(tree, RUNNING);
    assert_eq!(again.cpus, machine.cpus);
    assert_eq!(again.phbs, machine.phbs);
    assert_eq!(again.uarts, machine.uarts);
    assert_eq!(again.firmware, machine.firmware);
    assert_eq!(again.bootargs, machine.bootargs);
    assert_eq!(again.warnings, machine.warnings);
}

fn overlap(a: &Range, b: &Range) -> bool {
    a.start() < b.end() && b.start() < a.end()
}

fn memory(tree: &Tree<'_>) -> Result<(), MachineError> {
    let map = MemoryMap::read(tree, TREE_AT, &own())?;
    assert!(map.memory.total() <= MAX_BYTES && map.memory.total() > 0);
    let again = MemoryMap::read(tree, TREE_AT, &own())?;
    assert_eq!((&again.memory, &again.taken), (&map.memory, &map.taken));
    assert_eq!(
        (again.initrd, again.bad_initrd),
        (map.initrd, map.bad_initrd)
    );
    for range in &own() {
        assert!(map.taken.contains(range));
    }
    for (start, size) in tree.reservations() {
        let range = Range::new(start, size).unwrap();
        assert!(range.is_empty() || map.taken.contains(&range));
    }
    if let Some(initrd) = &map.initrd {
        assert!(map.memory.contains(initrd) && map.taken.contains(initrd));
        assert!(!own().iter().any(|own| overlap(own, initrd)));
        assert_eq!(map.bad_initrd, None);
    }
    let free = map.free()?;
    for range in free.iter() {
        assert!(map.memory.contains(range) && !map.taken.touches(range));
    }
    let mut taken_memory = map.memory.clone();
    for range in free.iter() {
        taken_memory.remove(*range).unwrap();
    }
    assert_eq!(free.total() + taken_memory.total(), map.memory.total());
    assert!(taken_memory.iter().all(|range| map.taken.contains(range)));
    let plan = map.plan()?;
    planned(&map, &plan);
    Ok(())
}

fn planned(map: &MemoryMap, plan: &Plan) {
    let free = map.free().unwrap();
    assert!(free.contains(&plan.records) && plan.records.start().is_aligned(MIN_SHIFT));
    let zones = &plan.zones;
    for (index, (zone, chip)) in zones.iter().enumerate() {
        assert!(!zone.is_empty() && free.contains(zone) && !overlap(zone, &plan.records));
        assert!(
            zones
                .iter()
                .take(index)
                .all(|(other, _)| !overlap(zone, other))
        );
        let on_chip = |(node, other): (&Range, u32)| other == *chip && overlap(node, zone);
        assert!(*chip == 0 || map.chips().any(on_chip));
    }
    let used: u64 = zones.iter().map(|(zone, _)| zone.size()).sum();
    let all = used + plan.records.size() + plan.left_out;
    // Less than two pages are lost at each end of a range and of a chip.
    let cuts = (free.iter().count() + 2 * map.chips().count()) as u64;
    assert!(all <= free.total() && free.total() - all <= cuts * 2 * 4096);
    if plan.records.size() <= 1 << 20 {
        frames(plan, used);
    }
}

/// An allocator as the image makes it.
fn frames(plan: &Plan, total: u64) {
    let mut words = vec![0; (plan.records.size() / 8) as usize];
    let mut frames = FrameAllocator::new(&mut words);
    for (zone, chip) in &plan.zones {
        frames.add_zone(*zone, *chip).unwrap();
    }
    assert_eq!((frames.free_bytes(), frames.total_bytes()), (total, total));
    let largest = frames.largest_free().unwrap();
    assert!((MIN_SHIFT..=MAX_SHIFT).contains(&largest));
    for shift in [MIN_SHIFT, largest] {
        let Ok(block) = frames.allocate(shift, None) else {
            continue;
        };
        let range = Range::new(block.start().get(), block.size()).unwrap();
        assert!(plan.zones.iter().any(|(zone, _)| zone.contains(&range)));
        frames.free(block).unwrap();
    }
    assert_eq!(frames.free_bytes(), total);
}
