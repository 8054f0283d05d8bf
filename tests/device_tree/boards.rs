//! The trees that skiboot hands over on QEMU's machines, dumped there, and
//! exactly what they must yield.

use super::read::{self, TREE_AT, own};
use pinion::fdt::Tree;
use pinion::machine::{
    ConsoleChoice, Core, FirmwareEntry, Machine, MemoryMap, Phb, Uart, UartPath, Warning,
};

const POWER8: &[u8] = include_bytes!("../data/trees/powernv8.dtb");
const POWER9: &[u8] = include_bytes!("../data/trees/powernv9.dtb");
const POWER10: &[u8] = include_bytes!("../data/trees/powernv10.dtb");
const POWER8_TWO: &[u8] = include_bytes!("../data/trees/powernv8-two-sockets.dtb");
const POWER9_TWO: &[u8] = include_bytes!("../data/trees/powernv9-two-sockets.dtb");
const POWER10_TWO: &[u8] = include_bytes!("../data/trees/powernv10-two-sockets.dtb");

/// All of them, those with one socket first.
pub fn all() -> [&'static [u8]; 6] {
    [POWER8, POWER9, POWER10, POWER8_TWO, POWER9_TWO, POWER10_TWO]
}

fn machine(blob: &[u8], running: u64) -> Machine {
    Machine::read(&Tree::check(blob).unwrap(), running)
}

#[test]
fn each_phb_lists_its_root_port() {
    for blob in all() {
        let tree = Tree::check(blob).unwrap();
        let machine = Machine::read(&tree, 0);
        assert!(!machine.phbs.is_empty());
        for phb in &machine.phbs {
            let listed = pinion::machine::listed_functions(&tree, phb.id);
            assert_eq!(
                listed.first().map(|it| (it.rid, it.vendor)),
                Some((0, 0x1014))
            );
        }
        assert!(pinion::machine::listed_functions(&tree, 0xffff).is_empty());
    }
}

fn core(threads: &[u64], chip: u32) -> Core {
    Core {
        threads: threads.to_vec(),
        chip,
    }
}

fn phbs(machine: &Machine) -> Vec<(u64, u64, u32, u32)> {
    assert!(machine.phbs.iter().all(|phb| phb.buses == (0, 255)));
    let facts = |phb: &Phb| (phb.id, phb.registers, phb.endpoints, phb.chip);
    machine.phbs.iter().map(facts).collect()
}

fn memory(blob: &[u8]) -> MemoryMap {
    MemoryMap::read(&Tree::check(blob).unwrap(), TREE_AT, &own()).unwrap()
}

fn pieces<'a>(ranges: impl Iterator<Item = &'a pinion::memory::ranges::Range>) -> Vec<(u64, u64)> {
    ranges
        .map(|range| (range.start().get(), range.end().get()))
        .collect()
}

#[test]
fn all_of_them_can_be_started_with() {
    for blob in all() {
        let outcome = read::read(blob);
        assert!(matches!(outcome, read::Outcome::Good), "{outcome:?}");
    }
}

#[test]
fn what_they_have_in_common() {
    for (blob, running) in all().into_iter().zip([8, 0, 0, 8, 0, 0]) {
        let machine = machine(blob, running);
        assert_eq!(machine.model, "IBM PowerNV (emulated by qemu)");
        assert!(machine.is_emulated);
        assert_eq!(machine.timebase_hz, 512_000_000);
        assert_eq!(machine.warnings, []);
        assert_eq!(machine.bootargs.console, ConsoleChoice::Automatic);
        let firmware = machine.firmware.unwrap();
        assert_eq!(
            firmware.entry,
            FirmwareEntry {
                base: 0x3000_0000,
                address: 0x3000_3770
            }
        );
        assert_eq!(firmware.terminals, [0]);
        assert!(firmware.version.starts_with("v7."), "{}", firmware.version);
        assert!(!firmware.interrupts.is_empty());
    }
}

#[test]
fn power8() {
    let machine = machine(POWER8, 8);
    assert_eq!(
        machine.compatible,
        ["qemu,powernv8", "qemu,powernv", "ibm,powernv"]
    );
    assert_eq!(machine.cpus.cores, [core(&[8], 0)]);
    assert!(
        machine
            .phbs
            .iter()
            .all(|phb| phb.kind == "ibm,power8-pciex")
    );
    assert_eq!(
        phbs(&machine),
        [
            (0, 0x3_fffe_4000_0000, 256, 0),
            (1, 0x3_fffe_4010_0000, 256, 0),
            (2, 0x3_fffe_4020_0000, 256, 0),
        ]
    );
    let port = Uart {
        port: 0x3f8,
        path: UartPath::Lpc { chip: 0 },
        clock_hz: 1_843_200,
        baud: 115_200,
        is_reserved: true,
    };
    assert_eq!(machine.uarts, [port]);
    assert_eq!(machine.firmware.unwrap().heartbeat_ms, 200);
}

#[test]
fn power9() {
    let machine = machine(POWER9, 0);
    assert_eq!(machine.compatible, ["qemu,powernv9", "ibm,powernv"]);
    assert_eq!(machine.cpus.cores, [core(&[0], 0)]);
    assert!(
        machine
            .phbs
            .iter()
            .all(|phb| phb.kind == "ibm,power9-pciex")
    );
    assert_eq!(
        phbs(&machine),
        [
            (0, 0x6_00c3_c000_0000, 512, 0),
            (1, 0x6_00c3_c010_0000, 256, 0),
            (2, 0x6_00c3_c020_0000, 256, 0),
            (3, 0x6_00c3_c030_0000, 512, 0),
            (4, 0x6_00c3_c040_0000, 256, 0),
            (5, 0x6_00c3_c050_0000, 256, 0),
        ]
    );
    assert_eq!(machine.uarts, [mmio_port()]);
    assert_eq!(machine.firmware.unwrap().heartbeat_ms, 2000);
}

fn mmio_port() -> Uart {
    Uart {
        port: 0x3f8,
        path: UartPath::Mmio(0x6_0300_d001_03f8),
        clock_hz: 1_843_200,
        baud: 115_200,
        is_reserved: true,
    }
}

#[test]
fn power10() {
    let machine = machine(POWER10, 0);
    assert_eq!(machine.compatible, ["qemu,powernv10", "ibm,powernv"]);
    assert_eq!(machine.cpus.cores, [core(&[0], 0)]);
    assert!(
        machine
            .phbs
            .iter()
            .all(|phb| phb.kind == "ibm,power10-pciex")
    );
    let ids: Vec<_> = phbs(&machine)
        .iter()
        .map(|&(id, _, pes, _)| (id, pes))
        .collect();
    assert_eq!(
        ids,
        [(0, 512), (1, 256), (2, 256), (3, 512), (4, 256), (5, 256)]
    );
    assert_eq!(machine.uarts, [mmio_port()]);
    assert_eq!(machine.firmware.unwrap().heartbeat_ms, 2000);
}

#[test]
fn two_sockets() {
    let power8 = machine(POWER8_TWO, 0x88);
    assert_eq!(
        power8.cpus.cores,
        [core(&[8, 9], 0), core(&[0x88, 0x89], 1)]
    );
    let ids = |machine: &Machine| {
        phbs(machine)
            .iter()
            .map(|&(id, .., chip)| (id, chip))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ids(&power8),
        [(0, 0), (1, 0), (2, 0), (4, 1), (5, 1), (6, 1)]
    );
    for (blob, first) in [(POWER9_TWO, 6), (POWER10_TWO, 0x12)] {
        let machine = machine(blob, 0x101);
        assert_eq!(
            machine.cpus.cores,
            [core(&[0, 1], 0), core(&[0x100, 0x101], 1)]
        );
        let wanted: Vec<(u64, u32)> = (0..6)
            .map(|id| (id, 0))
            .chain((first..first + 6).map(|id| (id, 1)))
            .collect();
        assert_eq!(ids(&machine), wanted);
    }
}

#[test]
fn a_thread_that_the_tree_does_not_have_runs_alone() {
    let machine = machine(POWER9_TWO, 0x55);
    assert_eq!(machine.cpus.cores, [core(&[0x55], 0)]);
    assert_eq!(machine.warnings, [Warning::BootThread(0x55)]);
}

#[test]
fn memory_of_one_socket() {
    // Firmware's code, heap, data, stacks and allocations touch; so do its
    // two areas for each chip's own engines not.
    let cases = [
        (POWER8, 0x31f8_0000, 0x7f_fd80_0000_u64),
        (POWER9, 0x32c0_2000, 0x203f_fd80_0000),
        (POWER10, 0x3338_2000, 0x300f_fd80_0000),
    ];
    for (blob, firmware_end, homer) in cases {
        let map = memory(blob);
        assert_eq!(pieces(map.memory.iter()), [(0, 0x4000_0000)]);
        assert_eq!(
            pieces(map.taken.iter()),
            [
                (0, 0x1_0000),
                (0x2000_0000, 0x2008_0000),
                (0x3000_0000, firmware_end),
                (homer, homer + 0x40_0000),
                (homer + 0x200_0000, homer + 0x280_0000),
            ]
        );
        assert_eq!(
            pieces(map.free().unwrap().iter()),
            [
                (0x1_0000, 0x2000_0000),
                (0x2008_0000, 0x3000_0000),
                (firmware_end, 0x4000_0000)
            ]
        );
        assert_eq!((map.initrd, map.bad_initrd), (None, None));
        let plan = map.plan().unwrap();
        assert_eq!((plan.zones.len(), plan.left_out), (3, 0));
        assert_eq!(plan.records.start().get(), 0x1_0000);
    }
}

#[test]
fn memory_of_two_sockets_is_split_by_chip() {
    for blob in [POWER8_TWO, POWER9_TWO, POWER10_TWO] {
        let map = memory(blob);
        assert_eq!(pieces(map.memory.iter()), [(0, 0x8000_0000)]);
        let plan = map.plan().unwrap();
        for (zone, chip) in &plan.zones {
            assert_eq!(u64::from(*chip), zone.start().get() >> 30, "{zone}");
            assert_eq!((zone.end().get() - 1) >> 30, u64::from(*chip), "{zone}");
        }
        assert!(plan.zones.iter().any(|&(_, chip)| chip == 1));
    }
}

#[test]
fn each_bridge_names_its_interrupt_sources() {
    let sources = |blob: &[u8], running| {
        let facts = |phb: &Phb| {
            let told = &phb.interrupts;
            let [Some(a), Some(b), Some(c), Some(d)] = told.lines else {
                panic!("{told:x?}");
            };
            assert_eq!([b, c, d], [a + 1, a + 2, a + 3]);
            (told.messages.unwrap(), a, told.end_by_firmware)
        };
        let machine = machine(blob, running);
        machine.phbs.iter().map(facts).collect::<Vec<_>>()
    };
    let power8 = sources(POWER8, 8);
    assert_eq!(power8[0], ((0x800, 0x7f8), 0xff8, true));
    assert_eq!(power8[1], ((0x1000, 0x7f8), 0x17f8, true));
    let power9 = sources(POWER9, 0);
    assert_eq!(power9[0], ((0xfe000, 0xff8), 0xfeff8, false));
    assert_eq!(power9[1], ((0xfd800, 0x7f8), 0xfdff8, false));
    assert_eq!(sources(POWER10, 0)[0], power9[0]);
    for (blob, running) in all().into_iter().zip([8, 0, 0, 8, 0, 0]) {
        let mut firsts: Vec<u32> = sources(blob, running).iter().map(|it| it.1).collect();
        let all = firsts.len();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), all);
    }
}

#[test]
fn windows_tables_and_page_sizes_of_bridges() {
    let bridge = |blob, running| machine(blob, running).phbs[0].clone();
    let (eight, nine, ten) = (bridge(POWER8, 8), bridge(POWER9, 0), bridge(POWER10, 0));
    for phb in [&eight, &nine, &ten] {
        let m32 = phb.m32.unwrap();
        assert_eq!((m32.bus.get(), m32.size), (0x8000_0000, 0x7fff_0000));
        let m64 = phb.m64.unwrap();
        assert_eq!(m64.bus.get(), m64.host.get());
        assert_eq!(phb.tables.rtt.unwrap().size, 0x2_0000);
        assert!(phb.tables.peltv.is_some() && phb.tables.pest.is_some());
    }
    assert_eq!(eight.m32.unwrap().host.get(), 0x3_ff80_0000_0000);
    assert_eq!(nine.m64.unwrap().size, 0x40_0000_0000);
    assert_eq!(eight.tce_kill.unwrap().get(), 0x3_fffe_4000_0210);
    assert_eq!((nine.tce_kill, ten.tce_kill), (None, None));
    assert_eq!(eight.tce_shifts, [12, 16, 24, 28]);
    assert_eq!(nine.tce_shifts, [12, 16, 21, 30]);
    assert_eq!((eight.m64_bars, nine.m64_bars), ((0, 15), (1, 31)));
    assert_eq!((eight.diag_bytes, nine.diag_bytes), (0x1128, 0x2180));
}

#[test]
fn what_masters_the_bus_beside_bridges_is_named() {
    let named = |blob, running| {
        let masters = machine(blob, running).masters;
        masters.iter().map(|it| it.what).collect::<Vec<_>>()
    };
    assert_eq!(named(POWER9, 0), [""; 0]);
    assert_eq!(named(POWER10, 0), ["OpenCAPI unit"; 6]);
}
