//! Where a partition finds the registers of its functions.

use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::Liobn;
use pinion::fdt::Tree;
use pinion::papr::bridge::{Bridge, Function, Space};
use pinion::papr::ddw::Described;
use pinion::papr::messages::Limits;
use pinion::papr::tree::{Spec, build};
use pinion::tce::PageShift;

const HOST: u64 = 0x6_0000_0000_0000;

fn space(bar: u8, bus: u64, host: u64) -> Space {
    Space {
        bar,
        wide: true,
        prefetchable: true,
        bus: BusAddr::new(bus),
        host: HostAddr::new(host),
        bytes: 0x4000,
    }
}

/// Bus address, address for the processor, bytes, of each entry.
fn ranges(spaces: Vec<Space>) -> Vec<(u64, u64, u64)> {
    let function = Function {
        config: 0x01_0000,
        vendor: 0x1b36,
        device: 0x0010,
        revision: 2,
        class: 0x01_0802,
        spaces,
        messages: Limits::default(),
        line: None,
    };
    let bridges = [Bridge {
        buid: 1,
        window: Described {
            liobn: Liobn(0x8000_0000),
            base: BusAddr::new(0),
            bytes: 1 << 30,
            page: PageShift::K4,
            levels: 2,
        },
        functions: vec![function],
    }];
    let board = std::fs::read("tests/data/trees/powernv9.dtb").unwrap();
    let cpus = Tree::check(&board).unwrap().find("/cpus").unwrap();
    let mut cpus = cpus.children();
    let cpu = cpus.find(|node| node.text("device_type") == Some("cpu"));
    let spec = Spec {
        name: "a",
        number: 1,
        bytes: 1 << 28,
        vcpus: 1,
        bootargs: "",
        initrd: None,
        rtas: 0xfff_0000,
        seed: [5; 32],
        exploits: false,
        bridges: &bridges,
    };
    let written = build(&spec, &cpu.unwrap()).unwrap();
    let node = Tree::check(&written).unwrap().find("/pci@1").unwrap();
    let cells = node.property("ranges").unwrap().bytes().as_chunks::<4>().0;
    let cells: Vec<u32> = cells.iter().map(|cell| u32::from_be_bytes(*cell)).collect();
    let entries = cells.as_chunks::<7>().0.iter();
    let long = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let numbers = entries.map(|it| (long(it[1], it[2]), long(it[3], it[4]), long(it[5], it[6])));
    numbers.collect()
}

#[test]
fn registers_at_one_offset_are_one_range() {
    let at = |bar, bus| space(bar, bus, HOST + bus);
    assert_eq!(
        ranges(vec![
            at(2, 0x1_0010_0000),
            at(0, 0x1_0000_0000),
            at(4, 0x1_0008_0000)
        ]),
        [(0x1_0000_0000, HOST + 0x1_0000_0000, 0x10_4000)]
    );
}

/// A range of both would lead a kernel to somebody else's registers.
#[test]
fn registers_at_two_offsets_are_two_ranges() {
    let moved = 0x1000_0000;
    assert_eq!(
        ranges(vec![
            space(0, 0x1_0000_0000, HOST + 0x1_0000_0000),
            space(2, 0x1_0010_0000, HOST + moved + 0x1_0010_0000),
            space(4, 0x1_0020_0000, HOST + 0x1_0020_0000),
        ]),
        [
            (0x1_0000_0000, HOST + 0x1_0000_0000, 0x4000),
            (0x1_0010_0000, HOST + moved + 0x1_0010_0000, 0x4000),
            (0x1_0020_0000, HOST + 0x1_0020_0000, 0x4000),
        ]
    );
}
