//! Trees that are well-formed and absurd: huge, countless, overlapping.

use super::build::Builder;
use super::heap;
use super::read::{self, Outcome, TREE_AT, own};
use pinion::fdt::{MAX_SIZE, Tree};
use pinion::machine::{MAX_RANGES, MAX_THREADS, Machine, MachineError, MemoryMap, Warning};
use pinion::memory::frames::{FrameAllocator, FrameError, MAX_BYTES, MAX_ZONES};
use pinion::memory::ranges::{Range, RangeError};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Most bytes of the image's heap, which has 4 MiB, for any tree.
const HEAP: usize = 1 << 20;

fn tree(inside: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut tree = Builder::new();
    inside(&mut tree);
    tree.finish()
}

fn error(blob: &[u8]) -> MachineError {
    match read::read(blob) {
        Outcome::NoMemory(error) => error,
        other => panic!("{other:?}"),
    }
}

fn map(blob: &[u8]) -> MemoryMap {
    MemoryMap::read(&Tree::check(blob).unwrap(), TREE_AT, &own()).unwrap()
}

#[test]
fn memory_beyond_all_addresses_is_refused() {
    let sized = |start, size| error(&tree(|tree| tree.memory(start, size)));
    let overflow = sized(1, u64::MAX);
    assert!(matches!(
        overflow,
        MachineError::Range {
            error: RangeError::Overflow { .. },
            ..
        }
    ));
    for (start, size) in [(0, 1 << 63), (0, u64::MAX), (1 << 60, GIB), (0, 1 << 56)] {
        let beyond = Range::new(start, size).unwrap();
        assert_eq!(sized(start, size), MachineError::Beyond(beyond));
    }
    assert_eq!(
        sized(0, MAX_BYTES + 0x1000),
        MachineError::TooMuch(MAX_BYTES + 0x1000)
    );
    assert_eq!(
        sized(0, (1 << 56) - 1),
        MachineError::TooMuch((1 << 56) - 1)
    );
}

#[test]
fn the_largest_machine_can_be_planned() {
    // 16 chips with 4 TiB each, as far apart as POWER10 puts them.
    let blob = tree(|tree| {
        for chip in 0..16 {
            tree.node(&format!("memory@{chip}"), |tree| {
                tree.numbers("reg", &[chip * 16 * TIB, 4 * TIB]);
                tree.cells("ibm,chip-id", &[chip as u32]);
            });
        }
        for chip in 0..16 {
            tree.reserve(chip * 16 * TIB + 4 * TIB - (64 << 20), 16 << 20);
        }
        tree.reserve(0x3000_0000, 0x400_0000);
    });
    assert!(matches!(read::read(&blob), Outcome::Good));
    let map = map(&blob);
    assert_eq!(map.memory.total(), MAX_BYTES);
    let plan = map.plan().unwrap();
    assert_eq!(plan.left_out, 0);
    // Two bits a page and a little: 4 GiB, and no more.
    assert!(
        (4 * GIB..5 * GIB).contains(&plan.records.size()),
        "{}",
        plan.records
    );
    assert_eq!(plan.zones.iter().filter(|(_, chip)| *chip == 15).count(), 2);
}

#[test]
fn one_range_of_64_tib_is_one_zone() {
    let range = Range::new(0, MAX_BYTES).unwrap();
    let needed = FrameAllocator::storage_for(&range);
    assert!((1 << 29..1 << 30).contains(&needed), "{needed} words");
    let mut few = [0; 8];
    let mut frames = FrameAllocator::new(&mut few);
    let refused = frames.add_zone(range, 0);
    assert_eq!(refused, Err(FrameError::Storage { needed, given: 8 }));
    let beyond = Range::new(0, MAX_BYTES + 0x1000).unwrap();
    assert_eq!(
        frames.add_zone(beyond, 0),
        Err(FrameError::TooMuch(MAX_BYTES + 0x1000))
    );
    let all = Range::new(0, u64::MAX).unwrap();
    assert!(matches!(
        frames.add_zone(all, 0),
        Err(FrameError::TooMuch(_))
    ));
}

#[test]
fn a_zone_far_above_is_like_any_other() {
    let range = Range::new((1 << 55) + 0x1000, GIB).unwrap();
    let mut words = vec![0; FrameAllocator::storage_for(&range)];
    let mut frames = FrameAllocator::new(&mut words);
    frames.add_zone(range, 3).unwrap();
    assert_eq!(frames.add_zone(range, 3), Err(FrameError::Overlap(range)));
    let block = frames.allocate(29, Some(3)).unwrap();
    assert!(block.start().is_aligned(29));
    frames.free(block).unwrap();
    assert_eq!(frames.free_bytes(), GIB);
}

#[test]
fn overlapping_memory_counts_once() {
    let blob = tree(|tree| {
        tree.memory(0, GIB);
        tree.memory(GIB / 2, GIB);
        tree.memory(0, GIB / 4);
        tree.memory(GIB / 4, 2);
    });
    assert!(matches!(read::read(&blob), Outcome::Good));
    assert_eq!(map(&blob).memory.total(), GIB + GIB / 2);
}

#[test]
fn chips_are_right_whatever_their_order() {
    let blob = tree(|tree| {
        for chip in [3, 1, 2, 0] {
            tree.node(&format!("memory@{chip}"), |tree| {
                tree.numbers("reg", &[chip * GIB, GIB]);
                tree.cells("ibm,chip-id", &[chip as u32]);
            });
        }
    });
    let plan = map(&blob).plan().unwrap();
    for (zone, chip) in &plan.zones {
        assert_eq!(zone.start().get() / GIB, u64::from(*chip), "{zone}");
        assert_eq!((zone.end().get() - 1) / GIB, u64::from(*chip), "{zone}");
    }
    assert_eq!(plan.zones.last().map(|(_, chip)| *chip), Some(3));
}

#[test]
fn a_reservation_of_everything_is_told() {
    for reserved in [GIB, u64::MAX] {
        let blob = tree(|tree| {
            tree.memory(0, GIB);
            tree.reserve(0, reserved);
        });
        assert_eq!(error(&blob), MachineError::NothingFree(GIB));
    }
}

#[test]
fn reservations_may_cover_the_image() {
    let blob = tree(|tree| {
        tree.memory(0, GIB);
        tree.reserve(0x1fff_0000, 0x100_0000);
    });
    assert!(matches!(read::read(&blob), Outcome::Good));
}

#[test]
fn memory_too_small_for_anything_is_told() {
    let blob = tree(|tree| tree.memory(0x4000_0000, 0x1000));
    assert_eq!(error(&blob), MachineError::NoRoom(0x1000));
    let crumbs = tree(|tree| tree.memory(0x5000_0800, 0x1000));
    assert!(matches!(error(&crumbs), MachineError::NoRoom(_)));
}

#[test]
fn more_ranges_than_are_kept_are_told() {
    let count = MAX_RANGES as u64 + 1;
    let memory = tree(|tree| {
        for index in 0..count {
            tree.memory(index * 2 * GIB, GIB);
        }
    });
    let too_many = |node| MachineError::Range {
        node,
        error: RangeError::TooMany(MAX_RANGES),
    };
    assert_eq!(error(&memory), too_many("memory"));
    let reserved = tree(|tree| {
        tree.memory(0, GIB);
        for index in 0..count {
            tree.reserve(0x2100_0000 + index * 0x2000, 0x1000);
        }
    });
    assert_eq!(error(&reserved), too_many("memory reservation"));
}

#[test]
fn of_too_many_zones_the_smallest_are_left_out() {
    let blob = tree(|tree| {
        tree.memory(0, GIB);
        // 99 pieces of 4 KiB between two large ones.
        for index in 0..100 {
            tree.reserve(0x3000_0000 + index * 0x2000, 0x1000);
        }
    });
    assert!(matches!(read::read(&blob), Outcome::Good));
    let plan = map(&blob).plan().unwrap();
    assert_eq!(plan.zones.len(), MAX_ZONES);
    assert!(plan.left_out > 0 && plan.left_out < 99 * 0x1000);
    let largest = plan.zones.iter().map(|(zone, _)| zone.size()).max();
    assert!(largest > Some(0x1000_0000));
}

/// A processor node.
fn cpu(tree: &mut Builder, name: &str, threads: &[u32]) {
    tree.node(name, |tree| {
        tree.text("device_type", "cpu");
        tree.cells("ibm,ppc-interrupt-server#s", threads);
        tree.cells("timebase-frequency", &[512_000_000]);
    });
}

fn machine(blob: &[u8], running: u64) -> Machine {
    let tree = Tree::check(blob).unwrap();
    let (machine, heap) = heap::peak(|| Machine::read(&tree, running));
    assert!(heap <= HEAP, "{heap} bytes of the heap");
    machine
}

#[test]
fn thousands_of_processors_are_cut_at_the_limit() {
    let blob = tree(|tree| {
        tree.memory(0, GIB);
        tree.node("cpus", |tree| {
            for core in 0..20_000 {
                let first = core * 8;
                let threads: Vec<u32> = (first..first + 8).collect();
                cpu(tree, &format!("PowerPC,POWER8@{first:x}"), &threads);
            }
        });
    });
    let machine = machine(&blob, 8);
    assert_eq!(machine.cpus.threads().count(), MAX_THREADS);
    assert_eq!(machine.warnings.len(), 33);
    assert!(matches!(machine.warnings.last(), Some(Warning::More(more)) if *more > 19_000));
}

#[test]
fn absurd_processors_are_left_out() {
    let blob = tree(|tree| {
        tree.memory(0, GIB);
        tree.node("cpus", |tree| {
            cpu(tree, "good@8", &[8, 9, 10, 11]);
            cpu(tree, "again@8", &[12, 8]);
            cpu(tree, "twice@10", &[16, 16]);
            cpu(tree, "far@ffffffff", &[0xffff_ffff]);
            cpu(tree, "wide@18", &(24..33).collect::<Vec<u32>>());
            cpu(tree, "none@20", &[]);
            cpu(tree, "good@28", &[12]);
        });
    });
    let machine = machine(&blob, 8);
    assert_eq!(
        machine.cpus.threads().collect::<Vec<_>>(),
        [8, 9, 10, 11, 12]
    );
    let told = |name: &str| {
        let name = name.to_owned();
        let is = move |warning: &&Warning| matches!(warning, Warning::Core { node, .. } if *node == name);
        machine.warnings.iter().filter(is).count()
    };
    for name in ["again@8", "twice@10", "far@ffffffff", "wide@18", "none@20"] {
        assert_eq!(told(name), 1, "{name}");
    }
}

#[test]
fn a_timebase_that_cannot_be_is_not_believed() {
    for value in [0, 1, u64::MAX, 1 << 40] {
        let blob = tree(|tree| {
            tree.node("cpus", |tree| {
                tree.node("cpu@0", |tree| {
                    tree.text("device_type", "cpu");
                    tree.cells("reg", &[0]);
                    tree.numbers("timebase-frequency", &[value]);
                });
            });
        });
        let machine = machine(&blob, 0);
        assert_eq!(machine.timebase_hz, 512_000_000);
        assert!(machine.warnings.contains(&Warning::Timebase));
    }
}

/// Bytes of a large tree: far beyond any real one.
const LARGE: usize = MAX_SIZE / 4;

/// A large tree, made of `inside` again and again.
fn full_of(inside: impl Fn(&mut Builder, u32)) -> Vec<u8> {
    let one = tree(|tree| inside(tree, 0)).len() - tree(|_| ()).len();
    let count = ((LARGE - 4096) / (one + 16)) as u32;
    tree(|tree| {
        tree.memory(0, GIB);
        (0..count).for_each(|index| inside(tree, index));
    })
}

/// Large trees of one kind of thing each: they are read within a time
/// that does not grow with the square of it, and within the heap.
#[test]
fn large_trees_take_neither_time_nor_the_heap() {
    type Inside = fn(&mut Builder, u32);
    let long = "n".repeat(255);
    let names = tree(|tree| {
        tree.memory(0, GIB);
        for _ in 0..50_000 {
            tree.cells(&long, &[1]);
        }
    });
    let kinds: [Inside; 8] = [
        |tree, _| tree.cells("x", &[]),
        |tree, _| tree.node("x", |_| ()),
        |tree, index| tree.memory(u64::from(index) % 64 * 0x10_0000, 0x10_0000),
        |tree, _| tree.node("pciex@0", |_| ()),
        |tree, _| tree.node("cpus", |tree| cpu(tree, "a", &[1])),
        |tree, _| tree.node("chosen", |tree| tree.text("bootargs", "no")),
        |tree, _| tree.node("xscom@0", |tree| tree.node("isa@0", |_| ())),
        |tree, _| tree.node("reserved-memory", |tree| tree.node("x", |_| ())),
    ];
    let start = std::time::Instant::now();
    for blob in kinds.iter().map(full_of).chain([names]) {
        assert!(blob.len() <= LARGE);
        let checked = Tree::check(&blob).unwrap();
        let _ = machine(&blob, 0);
        let map = MemoryMap::read(&checked, TREE_AT, &own()).unwrap();
        map.plan().unwrap();
    }
    let took = start.elapsed();
    assert!(took.as_secs() < 60, "{took:?}");
}

#[test]
fn large_properties_take_neither_time_nor_the_heap() {
    let zeros = vec![0; 1 << 20];
    let ones = vec![1; 1 << 20];
    let letters = vec![b'a'; 1 << 20];
    let names = [
        "compatible",
        "model",
        "reg",
        "status",
        "device_type",
        "ibm,ppc-interrupt-server#s",
        "ranges",
        "bus-range",
        "bootargs",
        "opal-interrupts",
        "linux,initrd-start",
        "version",
    ];
    let paths: &[&[&str]] = &[
        &[],
        &["cpus", "cpu@0"],
        &["pciex@0"],
        &["lpcm-opb@0"],
        &["lpcm-opb@0", "lpc@0", "serial@0"],
        &["chosen"],
        &["ibm,opal"],
        &["ibm,opal", "firmware"],
    ];
    let start = std::time::Instant::now();
    for path in paths {
        for name in names {
            for value in [&zeros, &ones, &letters] {
                let blob = tree(|tree| {
                    tree.memory(0, GIB);
                    path.iter().for_each(|part| tree.begin(part));
                    // For the nodes that are looked at only with these.
                    tree.numbers("opal-base-address", &[0x3000_0000]);
                    tree.numbers("opal-entry-address", &[0x3000_0100]);
                    tree.bytes(name, value);
                    path.iter().for_each(|_| tree.end());
                });
                let _ = machine(&blob, 0);
                let tree = Tree::check(&blob).unwrap();
                let _ = MemoryMap::read(&tree, TREE_AT, &own()).unwrap();
            }
        }
    }
    let took = start.elapsed();
    assert!(took.as_secs() < 60, "{took:?}");
}
