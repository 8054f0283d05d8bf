//! Enumeration against the models: boards, liars and noise.
use pinion::pci::bar::{BarFault, BarKind};
use pinion::pci::capability::{ListFault, PortType};
use pinion::pci::sriov::VfFault;
use pinion::pci::validate::validate;
use pinion::pci::*;
use pinion::sim::pci::boards::{Board, edu, igb, nvme};
use pinion::sim::pci::noise::{Mode, Noise};
use pinion::sim::pci::{DeviceModel, Lie};
use proptest::prelude::*;

const ALL: [Generation; 3] = [Generation::Phb3, Generation::Phb4, Generation::Phb5];

fn look(board: &mut Board) -> Topology {
    scan(&mut board.pci, &board.phb, &ScanPolicy::default())
}

fn names(topology: &Topology) -> Vec<String> {
    topology
        .functions
        .iter()
        .map(|it| it.id.bdfn.to_string())
        .collect()
}

#[test]
fn a_board_without_devices_has_its_root_port() {
    for generation in ALL {
        let (mut board, _) = Board::empty(generation, 0);
        let found = look(&mut board);
        assert_eq!(names(&found), ["00:00.0"]);
        assert_eq!(found.functions[0].port(), Some(PortType::RootPort));
        assert_eq!(found.problems, []);
        assert_eq!((found.buses[1].number, found.buses[1].last), (1, 1));
    }
}

#[test]
fn a_drive_shows_its_bars_and_capabilities() {
    let (mut board, _) = Board::one_device(Generation::Phb4, 3);
    let found = look(&mut board);
    let drive = &found.functions[1];
    assert_eq!(drive.id.to_string(), "0003:01:00.0");
    assert_eq!(drive.class.name(), "NVMe");
    assert_eq!(drive.pin, 1);
    let bar = drive.bars[0].expect("BAR 0");
    assert_eq!(
        (bar.kind, bar.size),
        (
            BarKind::Memory64 {
                prefetchable: false
            },
            16 << 10
        )
    );
    assert_eq!(drive.capabilities.msix.map(|it| it.vectors), Some(65));
    assert!(drive.capabilities.express.is_some_and(|it| it.flr));
    assert!(drive.capabilities.aer.is_some());
    assert_eq!(found.problems, []);
}

#[test]
fn power8_has_no_extended_capabilities() {
    let (mut board, _) = Board::one_device(Generation::Phb3, 0);
    let found = look(&mut board);
    assert_eq!(found.problems, []);
    assert_eq!(found.functions[1].capabilities.aer, None);
    assert_eq!(found.functions[1].capabilities.acs, None);
}

#[test]
fn switches_and_bridges_are_numbered_depth_first() {
    let (mut board, root) = Board::empty(Generation::Phb5, 0);
    let ports = board.pci.add_switch(root, 2, 0);
    let inner = board.pci.add_switch(ports[0], 2, 0);
    board.pci.add(Some(inner[1]), 0, 0, nvme());
    board.pci.add(Some(ports[1]), 0, 0, edu());
    let policy = ScanPolicy {
        bus_numbers: BusNumbers::Assign,
        ..Default::default()
    };
    let found = scan(&mut board.pci, &board.phb, &policy);
    assert_eq!(found.problems, []);
    assert_eq!(
        names(&found),
        [
            "00:00.0", "01:00.0", "02:00.0", "02:01.0", "03:00.0", "04:00.0", "04:01.0", "06:00.0",
            "07:00.0"
        ]
    );
    assert_eq!((found.buses[1].number, found.buses[1].last), (1, 7));
    let root = found.find(Bdfn::ROOT).expect("root port");
    assert_eq!(found.below(root).count(), 8);
    let inner = found.find(Bdfn::from_rid(0x0300)).expect("inner switch");
    assert_eq!(found.below(inner).count(), 3);
}

#[test]
fn numbers_that_firmware_left_are_kept() {
    let (mut board, drive) = Board::one_device(Generation::Phb4, 0);
    let root = FunctionId::new(board.phb.id(), Bdfn::ROOT);
    board
        .pci
        .write32(root, 0x18, 0x00_20_10_00)
        .expect("bus numbers");
    let found = look(&mut board);
    assert_eq!(names(&found), ["00:00.0", "10:00.0"]);
    assert_eq!(found.buses[1].last, 0x20);
    // Numbers that contradict themselves are not.
    board
        .pci
        .write32(root, 0x18, 0x00_10_20_00)
        .expect("bus numbers");
    assert_eq!(names(&look(&mut board)), ["00:00.0", "01:00.0"]);
    assert_eq!(board.pci.bdfn(drive).to_string(), "01:00.0");
}

#[test]
fn kept_and_new_numbers_do_not_collide() {
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    let ports = board.pci.add_switch(root, 3, 0);
    for port in &ports {
        board.pci.add(Some(*port), 0, 0, nvme());
    }
    look(&mut board);
    // Lose the middle one's numbers, as a bridge that was reset does.
    board.pci.model_mut(ports[1]).put32(0x18, 0);
    let found = look(&mut board);
    let mut buses: Vec<u8> = found.buses.iter().map(|it| it.number).collect();
    buses.sort();
    let count = buses.len();
    buses.dedup();
    assert_eq!(buses.len(), count);
    // Firmware numbered tightly: there is no room, and the function is named.
    assert!(
        found
            .problems
            .iter()
            .all(|it| matches!(it.fault, Fault::NoBusNumber { .. }))
    );
    assert_eq!(found.problems.len(), 1);
    let policy = ScanPolicy {
        bus_numbers: BusNumbers::Assign,
        ..Default::default()
    };
    assert_eq!(scan(&mut board.pci, &board.phb, &policy).problems, []);
}

#[test]
fn virtual_functions_get_rids_and_bars() {
    for generation in [Generation::Phb4, Generation::Phb5] {
        let (mut board, _) = Board::sriov(generation);
        let policy = ScanPolicy {
            virtuals: &|_| 4,
            ..Default::default()
        };
        let found = scan(&mut board.pci, &board.phb, &policy);
        assert_eq!(found.problems, []);
        let rids: Vec<String> = found
            .virtuals
            .iter()
            .map(|it| it.bdfn.to_string())
            .collect();
        assert_eq!(rids, ["01:10.0", "01:10.2", "01:10.4", "01:10.6"]);
        let set = found.functions[1].virtuals.expect("virtual functions");
        assert!(set.ari);
        assert_eq!(set.bars[0].map(|it| it.size), Some(16 << 10));
        assert!(set.bars[3].is_some() && set.bars[1].is_none());
    }
}

#[test]
fn virtual_functions_that_were_left_on_are_turned_off() {
    let (mut board, at) = Board::sriov(Generation::Phb4);
    let capability = look(&mut board).functions[1].capabilities.sriov;
    let control = capability.expect("SR-IOV").offset + 8;
    board.pci.model_mut(at).put16(control, 0x19);
    let found = look(&mut board);
    assert_eq!((found.problems, found.virtuals.len()), (vec![], 0));
    assert_eq!(board.pci.model(at).get16(control), 0x10);
}

#[test]
fn virtual_functions_that_cannot_be_are_named() {
    type Expected = fn(&VfFault) -> bool;
    let cases: [(DeviceModel, u16, Expected); 4] = [
        (igb(), 9, |it| {
            matches!(
                it,
                VfFault::TooMany {
                    wanted: 9,
                    total: 8
                }
            )
        }),
        (edu().sriov(8, 0, 1, &[]), 2, |it| {
            matches!(it, VfFault::Rids { offset: 0, .. })
        }),
        (edu().sriov(8, 8, 0, &[]), 2, |it| {
            matches!(it, VfFault::Rids { stride: 0, .. })
        }),
        (edu().sriov(8, 0xff00, 0x100, &[]), 2, |it| {
            matches!(it, VfFault::Rids { .. })
        }),
    ];
    for (model, wanted, expected) in cases {
        let (mut board, root) = Board::empty(Generation::Phb4, 0);
        board.pci.add(Some(root), 0, 0, model);
        let policy = ScanPolicy {
            virtuals: &|_| wanted,
            ..Default::default()
        };
        let found = scan(&mut board.pci, &board.phb, &policy);
        assert_eq!(found.virtuals, []);
        assert!(found.functions[1].usable, "the physical function stays");
        match &found.problems[..] {
            [
                Problem {
                    fault: Fault::Virtual(fault),
                    ..
                },
            ] => assert!(expected(fault), "{fault}"),
            other => panic!("{other:?}"),
        }
    }
}

/// What one lying device is reported for, next to an honest one.
fn verdict(model: DeviceModel) -> Fault {
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    let ports = board.pci.add_switch(root, 2, 0);
    board.pci.add(Some(ports[0]), 0, 0, model);
    board.pci.add(Some(ports[1]), 0, 0, nvme());
    let found = look(&mut board);
    let honest = found.functions.last().expect("the drive");
    assert_eq!((honest.class.name(), honest.usable), ("NVMe", true));
    let problem = *found.problems.first().expect("a problem");
    assert_eq!(problem.function.bdfn.to_string(), "03:00.0");
    if let Some(at) = found.find(problem.function.bdfn) {
        assert!(!found[at].usable);
    }
    problem.fault
}

#[test]
fn liars_are_named_and_the_rest_goes_on() {
    let bar = |offset: u16, flags: u32, mask: u32| match verdict(edu().raw_bar(offset, flags, mask))
    {
        Fault::Bar { fault, .. } => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        bar(0x14, 0, 0xff7f_0000),
        BarFault::NotPowerOfTwo { mask: 0xff7f_0000 }
    );
    assert_eq!(bar(0x14, 8, 0), BarFault::NothingWritable { raw: 8 });
    assert_eq!(
        bar(0x14, 0, 0x0010_0000),
        BarFault::NotPowerOfTwo { mask: 0x0010_0000 }
    );
    assert_eq!(bar(0x14, 2, 0xfff0_0000), BarFault::ReservedType { raw: 2 });
    assert_eq!(bar(0x24, 4, 0xfff0_0000), BarFault::NoUpperHalf);
    assert_eq!(
        bar(0x14, 0x0010_0000, 0xffe0_0000),
        BarFault::Stuck { stuck: 0x0010_0000 }
    );
    assert!(matches!(
        verdict(edu().lie(Lie::ChangingBar(0x10))),
        Fault::Bar {
            fault: BarFault::Changed { .. } | BarFault::TypeChanged { .. },
            ..
        }
    ));
    assert!(matches!(
        verdict(edu().looping()),
        Fault::List(ListFault::Loop { .. })
    ));
    assert!(matches!(
        verdict(edu().aer().looping()),
        Fault::List(ListFault::Loop { .. })
    ));
    for reads in [1, 3, 5, 12, 25] {
        assert_eq!(
            verdict(edu().lie(Lie::GoneAfter(reads))),
            Fault::Gone,
            "after {reads} reads"
        );
    }
    assert!(matches!(
        verdict(edu().lie(Lie::Retries(1000))),
        Fault::StillInitialising { milliseconds: 1200 }
    ));
    assert_eq!(verdict(edu().pin(9)), Fault::InterruptPin(9));
    let mut cardbus = edu();
    cardbus.put32(0x0c, 2 << 16);
    assert_eq!(verdict(cardbus), Fault::Header(2));
    let mut pointer = edu();
    pointer.put32(0x34, 0x10);
    assert_eq!(
        verdict(pointer),
        Fault::List(ListFault::Pointer { offset: 0x10 })
    );
    let mut busy = edu();
    busy.put16(4, 6);
    assert!(matches!(
        verdict(busy.lie(Lie::Stuck(4))),
        Fault::CommandStuck { read: 6, .. }
    ));
    assert!(matches!(
        verdict(edu().msix(2048, 3)),
        Fault::Bar {
            fault: BarFault::MsixOutside { bar: 3, .. },
            ..
        }
    ));
}

#[test]
fn a_slow_device_is_waited_for() {
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    board.pci.add(Some(root), 0, 0, nvme().lie(Lie::Retries(7)));
    let found = look(&mut board);
    assert_eq!((found.functions.len(), board.pci.paused), (2, 140));
}

#[test]
fn a_bridge_that_keeps_its_numbers_is_not_descended() {
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    let stuck = DeviceModel::bridge(0x104c, 0x8232)
        .express(5)
        .lie(Lie::Stuck(0x18));
    let switch = board.pci.add(Some(root), 0, 0, stuck);
    board.pci.add(
        Some(switch),
        0,
        0,
        DeviceModel::bridge(0x104c, 0x8233).express(6),
    );
    let found = look(&mut board);
    assert_eq!(names(&found), ["00:00.0", "01:00.0"]);
    assert!(matches!(
        found.problems[0].fault,
        Fault::BusNumbersStuck { read: 0, .. }
    ));
}

#[test]
fn a_scan_leaves_nothing_decoding_or_mastering() {
    let (mut board, drive) = Board::one_device(Generation::Phb4, 0);
    let before = board.pci.model(drive).get32(0x10);
    board.pci.model_mut(drive).put16(4, 0x0007);
    look(&mut board);
    assert_eq!(board.pci.model(drive).get16(4), 0x0400);
    assert_eq!(board.pci.model(drive).get32(0x10), before);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn noise_ends_without_panic(seed: u64, keep: bool, mode in 0..5usize) {
        let mode = [Mode::Changing, Mode::Constant, Mode::Bridges, Mode::Failing, Mode::Absent][mode];
        let (board, _) = Board::empty(Generation::Phb4, 0);
        let mut noise = Noise::new(seed, mode);
        let bus_numbers = if keep { BusNumbers::Keep } else { BusNumbers::Assign };
        let policy = ScanPolicy { bus_numbers, virtuals: &|_| 3, limit: 512 };
        let found = scan(&mut noise, &board.phb, &policy);
        prop_assert!(found.functions.len() <= 512);
        let groups = group(&found, &board.phb);
        let plan = plan(&found, &board.phb, &groups);
        prop_assert_eq!(validate(&found, &board.phb, &groups, &plan), Ok(()));
        prop_assert!(noise.accesses < 4_000_000, "{} accesses", noise.accesses);
    }
}

#[test]
fn an_endless_forest_of_bridges_ends_at_the_limit() {
    let (board, _) = Board::empty(Generation::Phb4, 0);
    let mut noise = Noise::new(1, Mode::Bridges);
    let policy = ScanPolicy {
        limit: 2000,
        ..Default::default()
    };
    let found = scan(&mut noise, &board.phb, &policy);
    assert_eq!(found.functions.len(), 2000);
    assert!(found.buses.len() > 2);
    let groups = group(&found, &board.phb);
    let plan = plan(&found, &board.phb, &groups);
    assert_eq!(validate(&found, &board.phb, &groups, &plan), Ok(()));
    let named = found
        .problems
        .iter()
        .filter(|it| matches!(it.fault, Fault::TooManyFunctions { .. }));
    assert_eq!(named.count(), 1);
}
