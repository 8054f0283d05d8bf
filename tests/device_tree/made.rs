//! What the boards' trees lack: initrds in both forms, reservations of all
//! kinds, bootargs, ports that firmware leaves alone, bridges that are bad.

use super::build::Builder;
use super::read::own;
use pinion::fdt::{FdtError, Tree};
use pinion::machine::{
    BootArgs, ConsoleChoice, CrashAction, Machine, MachineError, MemoryMap, UartPath, Warning,
};
use pinion::memory::ranges::{Range, RangeError};

const GIB: u64 = 1 << 30;
const TREE_AT: u64 = 0x1000_0000;

fn map(blob: &[u8]) -> Result<MemoryMap, MachineError> {
    MemoryMap::read(&Tree::check(blob).unwrap(), TREE_AT, &own())
}

pub fn machine(blob: &[u8]) -> Machine {
    Machine::read(&Tree::check(blob).unwrap(), 0)
}

/// A tree with a GiB of memory and what `more` puts beside it.
pub fn with(more: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut tree = Builder::new();
    tree.memory(0, GIB);
    more(&mut tree);
    tree.finish()
}

fn initrd(more: impl FnOnce(&mut Builder)) -> (Option<Range>, Option<(u64, u64)>) {
    let map = map(&with(more)).unwrap();
    (map.initrd, map.bad_initrd)
}

fn chosen_initrd(tree: &mut Builder, start: u64, end: u64) {
    tree.node("chosen", |tree| {
        tree.numbers("linux,initrd-start", &[start]);
        tree.numbers("linux,initrd-end", &[end]);
    });
}

#[test]
fn an_initrd_has_one_cell_or_two() {
    let wanted = Some(Range::new(0x2800_0000, 0x12345).unwrap());
    let two = initrd(|tree| chosen_initrd(tree, 0x2800_0000, 0x2801_2345));
    assert_eq!(two, (wanted, None));
    let one = initrd(|tree| {
        tree.node("chosen", |tree| {
            tree.cells("linux,initrd-start", &[0x2800_0000]);
            tree.cells("linux,initrd-end", &[0x2801_2345]);
        });
    });
    assert_eq!(one, (wanted, None));
    let reserved = initrd(|tree| {
        chosen_initrd(tree, 0x2800_0000, 0x2801_2345);
        tree.reserve(0x2800_0000, 0x2_0000);
    });
    assert_eq!(reserved, (wanted, None), "loaders reserve it");
}

#[test]
fn an_initrd_that_cannot_be_is_none() {
    let none = |start, end| initrd(|tree| chosen_initrd(tree, start, end));
    for (start, end) in [
        (GIB - 1, GIB + 1),
        (4 * GIB, 5 * GIB),
        (u64::MAX, 0),
        (0x2900_0000, 0x2800_0000),
        (0, u64::MAX),
        // In the image, in low memory, in the tree itself.
        (0x2007_0000, 0x2010_0000),
        (0x8000, 0x2_0000),
        (TREE_AT - 1, TREE_AT + 1),
    ] {
        assert_eq!(none(start, end), (None, Some((start, end))));
    }
    assert_eq!(none(0x2800_0000, 0x2800_0000), (None, None), "an empty one");
    let half = initrd(|tree| {
        tree.node("chosen", |tree| {
            tree.numbers("linux,initrd-start", &[0x2800_0000])
        });
    });
    assert_eq!(half, (None, None));
    let firmware = initrd(|tree| {
        chosen_initrd(tree, 0x3010_0000, 0x3020_0000);
        tree.node("ibm,opal", |tree| {
            tree.numbers("opal-base-address", &[0x3000_0000]);
            tree.numbers("opal-runtime-size", &[0x100_0000]);
        });
    });
    assert_eq!(firmware, (None, Some((0x3010_0000, 0x3020_0000))));
}

#[test]
fn reservations_of_all_kinds_are_kept() {
    let blob = with(|tree| {
        tree.reserve(0x3000_0000, 0x10_0000);
        tree.node("reserved-memory", |tree| {
            tree.cells("#address-cells", &[1]);
            tree.cells("#size-cells", &[1]);
            tree.node("two@1", |tree| {
                tree.cells("reg", &[0x2100_0000, 0x1000, 0x2200_0000, 0x1000]);
            });
            tree.node("asks-for-some", |tree| tree.numbers("size", &[0x1000]));
        });
        tree.node("ibm,opal", |tree| {
            tree.numbers("opal-base-address", &[0x3800_0000]);
            tree.numbers("opal-runtime-size", &[0x80_0000]);
        });
        chosen_initrd(tree, 0x2800_0000, 0x2900_0000);
    });
    let taken: Vec<(u64, u64)> = map(&blob)
        .unwrap()
        .taken
        .iter()
        .map(|range| (range.start().get(), range.size()))
        .collect();
    assert_eq!(
        taken,
        [
            (0, 0x1_0000),
            (TREE_AT, blob.len() as u64),
            (0x2000_0000, 0x8_0000),
            (0x2100_0000, 0x1000),
            (0x2200_0000, 0x1000),
            (0x2800_0000, 0x100_0000),
            (0x3000_0000, 0x10_0000),
            (0x3800_0000, 0x80_0000),
        ]
    );
    let mut tree = Builder::new();
    tree.numbers(
        "reserved-ranges",
        &[0x2a00_0000, 0x1000, 0x2b00_0000, 0x2000],
    );
    tree.memory(0, GIB);
    let map = map(&tree.finish()).unwrap();
    for (start, size) in [(0x2a00_0000, 0x1000), (0x2b00_0000, 0x2000)] {
        assert!(map.taken.contains(&Range::new(start, size).unwrap()));
    }
}

#[test]
fn a_reservation_that_cannot_be_read_stops_the_start() {
    let node = |cells: &[u32]| {
        let cells = cells.to_vec();
        map(&with(move |tree| {
            tree.node("reserved-memory", |tree| {
                tree.cells("#address-cells", &[2]);
                tree.cells("#size-cells", &[2]);
                tree.node("one", |tree| tree.cells("reg", &cells));
            });
        }))
        .map(|_| ())
    };
    let reg = MachineError::Reg {
        node: "reserved-memory",
    };
    assert_eq!(node(&[1, 2, 3]), Err(reg));
    let overflow = node(&[!0, !0, 0, 1]).unwrap_err();
    assert!(matches!(
        overflow,
        MachineError::Range {
            error: RangeError::Overflow { .. },
            ..
        }
    ));
    assert_eq!(node(&[0, 0x2100_0000, 0, 0x1000]), Ok(()));
}

#[test]
fn without_memory_there_is_no_start() {
    let none = Builder::new().finish();
    assert_eq!(map(&none).unwrap_err(), MachineError::NoMemory);
    let mut empty = Builder::new();
    empty.memory(0, 0);
    assert_eq!(map(&empty.finish()).unwrap_err(), MachineError::NoMemory);
    let mut bad = Builder::new();
    bad.node("memory@0", |tree| tree.cells("reg", &[0, 0, 1]));
    let reg = MachineError::Reg { node: "memory" };
    assert_eq!(map(&bad.finish()).unwrap_err(), reg);
    let mut disabled = Builder::new();
    disabled.node("memory@0", |tree| {
        tree.numbers("reg", &[0, GIB]);
        tree.text("status", "disabled");
    });
    assert_eq!(map(&disabled.finish()).unwrap_err(), MachineError::NoMemory);
    let covered = with(|tree| tree.reserve(0, GIB));
    let nothing = map(&covered).unwrap().plan().unwrap_err();
    assert_eq!(nothing, MachineError::NothingFree(GIB));
}

#[test]
fn cell_counts_that_make_no_sense_are_not_guessed_at() {
    for cells in [&[0][..], &[3], &[0xffff_ffff], &[2, 2], &[]] {
        let mut tree = Builder::default();
        tree.begin("");
        tree.cells("#address-cells", cells);
        tree.cells("#size-cells", &[2]);
        tree.memory(0, GIB);
        let reg = MachineError::Reg { node: "memory" };
        assert_eq!(map(&tree.finish()).unwrap_err(), reg, "{cells:?}");
    }
}

fn bootargs(text: &str) -> Machine {
    machine(&with(|tree| {
        tree.node("chosen", |tree| tree.text("bootargs", text))
    }))
}

#[test]
fn bootargs_are_read_and_unknown_words_told() {
    let machine = bootargs("console=hvc1 crash=reboot nonsense quiet=\x1b[2J");
    assert_eq!(machine.bootargs.console, ConsoleChoice::Opal(1));
    assert_eq!(machine.bootargs.crash, Some(CrashAction::Reboot));
    let told: Vec<String> = machine.warnings.iter().map(ToString::to_string).collect();
    assert!(
        told.iter()
            .any(|text| text.contains("\"nonsense\" is not understood"))
    );
    assert!(
        told.iter()
            .any(|text| text.contains("\"quiet=?[2J\" is not understood"))
    );
    let none = self::machine(&with(|_| ()));
    assert_eq!(none.bootargs, BootArgs::default());
}

#[test]
fn bootargs_without_end_are_cut_at_a_word() {
    let machine = bootargs(&format!("log=debug {}", "threads=3 ".repeat(1000)));
    assert_eq!(machine.bootargs.log_level, Some(3));
    assert_eq!(machine.bootargs.threads, Some(3));
    assert!(machine.warnings.contains(&Warning::LongBootArgs(4096)));
    let one_word = bootargs(&"x".repeat(10_000));
    assert_eq!(one_word.bootargs, BootArgs::default());
    assert!(one_word.warnings.contains(&Warning::LongBootArgs(4096)));
}

#[test]
fn ports_are_found_by_their_bus() {
    let blob = with(|tree| {
        tree.node("lpcm-opb@6030000000000", |tree| {
            tree.cells(
                "ranges",
                &[
                    0,
                    0x60300,
                    0,
                    0x8000_0000,
                    0x8000_0000,
                    0x60300,
                    0x8000_0000,
                    0x8000_0000,
                ],
            );
            tree.node("lpc@0", |tree| {
                tree.cells(
                    "ranges",
                    &[0, 0, 0xe000_0000, 0x1000_0000, 1, 0, 0xd001_0000, 0x1_0000],
                );
                for (name, port) in [("serial@i3f8", 0x3f8), ("isa-serial@i2f8", 0x2f8)] {
                    tree.node(name, |tree| {
                        tree.cells("reg", &[1, port, 8]);
                        tree.cells("clock-frequency", &[0]);
                        tree.cells("current-speed", &[0xffff_ffff]);
                    });
                }
                // Memory space, a port beyond 16 bits, too many cells, none.
                for (index, cells) in [&[0, 0x3f8, 8][..], &[1, 0x1_03f8, 8], &[1, 2, 3, 4], &[]]
                    .iter()
                    .enumerate()
                {
                    tree.node(&format!("serial@{index}"), |tree| tree.cells("reg", cells));
                }
            });
        });
    });
    let ports: Vec<_> = machine(&blob)
        .uarts
        .iter()
        .map(|uart| (uart.path, uart.clock_hz, uart.baud, uart.is_reserved))
        .collect();
    assert_eq!(
        ports,
        [
            (
                UartPath::Mmio(0x6_0300_d001_03f8),
                1_843_200,
                115_200,
                false
            ),
            (
                UartPath::Mmio(0x6_0300_d001_02f8),
                1_843_200,
                115_200,
                false
            ),
        ]
    );
}

#[test]
fn a_port_whose_address_overflows_is_left_out() {
    let blob = with(|tree| {
        tree.node("lpcm-opb@0", |tree| {
            tree.cells("ranges", &[0, !0, !0, !0]);
            tree.node("lpc@0", |tree| {
                tree.cells("ranges", &[1, 0, 0, 0x1_0000]);
                tree.node("serial@i3f8", |tree| tree.cells("reg", &[1, 0x3f8, 8]));
            });
        });
    });
    assert_eq!(machine(&blob).uarts, []);
}

#[test]
fn bad_bridges_are_told_and_left_alone() {
    type Change = fn(&mut Builder);
    let bridge = |name: &str, id: u64, change: Change| {
        let name = name.to_owned();
        move |tree: &mut Builder| {
            tree.node(&name, |tree| {
                tree.text("compatible", "ibm,power9-pciex");
                tree.numbers("reg", &[0x6_00c3_c000_0000, 0x1000]);
                tree.numbers("ibm,opal-phbid", &[id]);
                tree.cells("ibm,opal-num-pes", &[256]);
                change(tree);
            });
        }
    };
    let blob = with(|tree| {
        bridge("pciex@1", 1, |_| ())(tree);
        bridge("pciex@2", 2, |tree| tree.cells("bus-range", &[5, 4]))(tree);
        bridge("pciex@3", 3, |tree| tree.cells("bus-range", &[0, 256]))(tree);
        bridge("pciex@4", 4, |tree| tree.cells("bus-range", &[0]))(tree);
        bridge("pciex@5", 5, |tree| tree.text("status", "disabled"))(tree);
        bridge("pciex@6", 1, |_| ())(tree);
        bridge("pciex@7", 7, |tree| tree.cells("bus-range", &[0x10, 0x1f]))(tree);
        tree.node("pciex@8", |tree| tree.text("compatible", "acme,pciex"));
        tree.node("pciex@a", |tree| {
            tree.text("compatible", "ibm,power9-npu-pciex")
        });
        tree.node("pciex@9", |tree| {
            tree.text("compatible", "ibm,power8-pciex")
        });
    });
    let machine = machine(&blob);
    let taken: Vec<_> = machine.phbs.iter().map(|phb| (phb.id, phb.buses)).collect();
    assert_eq!(taken, [(1, (0, 255)), (7, (0x10, 0x1f))]);
    let masters = machine.masters.iter().map(|it| (it.node.as_str(), it.what));
    assert_eq!(masters.collect::<Vec<_>>(), [("pciex@a", "NVLink")]);
    let told = machine
        .warnings
        .iter()
        .filter(|warning| matches!(warning, Warning::Phb { .. }))
        .count();
    assert_eq!(told, 7);
}

#[test]
fn bad_interrupt_sources_are_told_and_left_out() {
    type Change = fn(&mut Builder);
    let read = |change: Change| {
        let blob = with(|tree| {
            tree.node("interrupt-controller@0", |tree| {
                tree.cells("phandle", &[7]);
                tree.cells("#interrupt-cells", &[2]);
            });
            tree.node("pciex@1", |tree| {
                tree.text("compatible", "ibm,power9-pciex");
                tree.numbers("reg", &[0x6_00c3_c000_0000, 0x1000]);
                tree.numbers("ibm,opal-phbid", &[1]);
                tree.cells("ibm,opal-num-pes", &[256]);
                change(tree);
            });
        });
        let machine = machine(&blob);
        let told = machine
            .warnings
            .iter()
            .any(|warning| matches!(warning, Warning::PhbInterrupts { .. }));
        (machine.phbs[0].interrupts.clone(), told)
    };
    let (none, told) = read(|_| ());
    assert_eq!(
        (none, told),
        (pinion::machine::PhbInterrupts::default(), false)
    );

    // The second device's entries are not looked at.
    let (good, told) = read(|tree| {
        tree.cells("ibm,opal-msi-ranges", &[0x100, 8]);
        tree.node("pci@0", |tree| {
            let entry = |device: u32, pin, source| [device << 11, 0, 0, pin, 7, source, 1];
            let map = [entry(0, 1, 5), entry(0, 3, 6), entry(1, 1, 9)].concat();
            tree.cells("interrupt-map", &map);
        });
    });
    assert!(!told);
    assert_eq!(good.messages, Some((0x100, 8)));
    assert_eq!(good.lines, [Some(5), None, Some(6), None]);

    let absurd: [Change; 5] = [
        |tree| tree.cells("ibm,opal-msi-ranges", &[0x100]),
        |tree| tree.cells("ibm,opal-msi-ranges", &[0x100, 0]),
        |tree| tree.cells("ibm,opal-msi-ranges", &[0x100, 4097]),
        |tree| tree.cells("ibm,opal-msi-ranges", &[0x7fff_ffff, 2]),
        |tree| tree.cells("ibm,opal-msi-ranges", &[0xffff_ffff, 8]),
    ];
    for change in absurd {
        let (found, told) = read(change);
        assert_eq!((found.messages, told), (None, true));
    }
    let maps: [Change; 6] = [
        // Cut off, no such parent, pins 0 and 5, a line twice, a number of 32 bits.
        |tree| tree.cells("interrupt-map", &[0, 0, 0, 1, 7, 5]),
        |tree| tree.cells("interrupt-map", &[0, 0, 0, 1, 8, 5, 1]),
        |tree| tree.cells("interrupt-map", &[0, 0, 0, 0, 7, 5, 1]),
        |tree| tree.cells("interrupt-map", &[0, 0, 0, 5, 7, 5, 1]),
        |tree| tree.cells("interrupt-map", &[0, 0, 0, 1, 7, 5, 1, 0, 0, 0, 1, 7, 5, 1]),
        |tree| tree.cells("interrupt-map", &[0, 0, 0, 1, 7, 0x8000_0000, 1]),
    ];
    for change in maps {
        let (found, told) = read(change);
        assert_eq!((found.lines, told), ([None; 4], true));
    }
}

#[test]
fn firmware_that_cannot_be_is_none() {
    let read = |base: u64, entry: u64| {
        let blob = with(|tree| {
            tree.node("ibm,opal", |tree| {
                tree.numbers("opal-base-address", &[base]);
                tree.numbers("opal-entry-address", &[entry]);
            });
        });
        machine(&blob).firmware.is_some()
    };
    assert!(read(0x3000_0000, 0x3000_3770));
    assert!(!read(0, 0x3770));
    assert!(!read(0x3000_0000, 0x2fff_fffc));
    assert!(!read(0x3000_0000, 0x3000_3771));
    assert!(!read(0x3000_0000, 0x4000_0000));
    assert!(!read(1 << 60, (1 << 60) + 0x100));
}

/// The blob with a word of its header changed.
fn poked(index: usize, value: u32) -> Result<(), FdtError> {
    let mut blob = with(|_| ());
    blob[index * 4..index * 4 + 4].copy_from_slice(&value.to_be_bytes());
    Tree::check(&blob).map(|_| ())
}

#[test]
fn a_bad_header_is_told_with_its_value() {
    assert_eq!(poked(0, 0xfeed), Err(FdtError::Magic(0xfeed)));
    assert!(matches!(
        poked(1, 39),
        Err(FdtError::Size { claimed: 39, .. })
    ));
    assert!(matches!(poked(1, 0xffff_ffff), Err(FdtError::Size { .. })));
    for index in [2, 3, 4, 8, 9] {
        let error = poked(index, 0xffff_fff0);
        assert!(
            matches!(error, Err(FdtError::Block { .. })),
            "{index}: {error:?}"
        );
    }
    assert_eq!(poked(5, 15), Err(FdtError::Version(15, 16)));
    assert_eq!(poked(6, 18), Err(FdtError::Version(17, 18)));
    assert_eq!(poked(5, 16), Ok(()), "version 16 has no structure size");
    assert_eq!(Tree::check(&[]).map(|_| ()), Err(FdtError::NoHeader(0)));
}

#[test]
fn tokens_that_make_no_tree_are_refused() {
    use super::build::assemble;
    let check = |words: &[u32], strings: &[u8]| {
        let structure: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        Tree::check(&assemble(&[], &structure, strings)).map(|_| ())
    };
    assert_eq!(check(&[1, 0, 2, 9], b"a\0"), Ok(()));
    assert_eq!(check(&[4, 4, 1, 0, 4, 2, 4, 9], b"a\0"), Ok(()), "padding");
    let order: &[&[u32]] = &[
        &[9],
        &[2, 9],
        &[1, 0, 9],
        &[1, 0, 2, 2, 9],
        &[1, 0, 2, 1, 0, 2, 9],
        &[3, 0, 0, 1, 0, 2, 9],
    ];
    for words in order {
        assert!(
            matches!(check(words, b"a\0"), Err(FdtError::Order(_))),
            "{words:?}"
        );
    }
    assert!(matches!(
        check(&[1, 0, 7], b"a\0"),
        Err(FdtError::Token { value: 7, .. })
    ));
    assert!(matches!(
        check(&[1, 0, 2], b"a\0"),
        Err(FdtError::Truncated(_))
    ));
    assert!(matches!(
        check(&[1, 0, 3, 99, 0, 2, 9], b"a\0"),
        Err(FdtError::Truncated(_))
    ));
    assert!(matches!(
        check(&[1, 0, 3, 0, 5, 2, 9], b"a\0"),
        Err(FdtError::Name { name: 5, .. })
    ));
    let endless = vec![b'a'; 300];
    assert!(matches!(
        check(&[1, 0, 3, 0, 0, 2, 9], &endless),
        Err(FdtError::Name { .. })
    ));
    let mut long = vec![1];
    long.extend([0x6161_6161; 80]);
    long.extend([0, 2, 9]);
    assert!(matches!(check(&long, b"a\0"), Err(FdtError::LongName(_))));
    let mut deep: Vec<u32> = [1, 0].repeat(60);
    deep.extend([2].repeat(60));
    deep.push(9);
    assert!(matches!(check(&deep, b"a\0"), Err(FdtError::Depth(_))));
}

#[test]
fn a_list_of_reservations_must_end() {
    let mut blob = with(|tree| tree.reserve(0x1000, 0x1000));
    let end = 40 + 16;
    assert!(blob[end..end + 16].iter().all(|&byte| byte == 0));
    // From here on nothing may look like the end of the list.
    for byte in &mut blob[end..end + 16] {
        *byte = 0xff;
    }
    assert_eq!(Tree::check(&blob).map(|_| ()), Err(FdtError::Reserve(40)));
}

#[test]
fn memory_of_a_gpu_is_not_the_machines() {
    let blob = with(|tree| {
        tree.node("memory@100000000000", |tree| {
            tree.text("device_type", "memory");
            tree.text("compatible", "ibm,coherent-device-memory");
            tree.numbers("reg", &[0x1000_0000_0000, GIB]);
            tree.numbers("linux,usable-memory", &[0x1000_0000_0000, 0]);
        });
    });
    assert_eq!(map(&blob).unwrap().memory.total(), GIB);
}

#[test]
fn firmware_without_a_size_that_holds_it_is_refused() {
    let with_size = |sizes: &'static [u64]| {
        let blob = with(|tree| {
            tree.node("ibm,opal", |tree| {
                tree.numbers("opal-base-address", &[0x3000_0000]);
                tree.numbers("opal-entry-address", &[0x3000_5000]);
                for size in sizes {
                    tree.numbers("opal-runtime-size", &[*size]);
                }
            });
        });
        map(&blob).map(drop)
    };
    assert_eq!(with_size(&[]), Err(MachineError::FirmwareSize));
    assert_eq!(with_size(&[0x5000]), Err(MachineError::FirmwareSize));
    assert_eq!(with_size(&[0x5004]), Ok(()));
}
