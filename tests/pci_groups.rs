//! Groups and plans: the boards that matter, and properties over random trees.
use pinion::pci::acs::AcsBits;
use pinion::pci::validate::validate;
use pinion::pci::*;
use pinion::sim::pci::boards::{ACS_FULL, Board, edu, igb, nvme};
use pinion::sim::pci::{DeviceModel, random};
use proptest::prelude::*;

const ALL: [Generation; 3] = [Generation::Phb3, Generation::Phb4, Generation::Phb5];

struct Taken {
    board: Board,
    topology: Topology,
    groups: Groups,
    plan: Plan,
}

/// Scans, groups, plans, and insists on a valid plan.
fn take(mut board: Board, virtuals: u16) -> Taken {
    let policy = ScanPolicy {
        virtuals: &|_| virtuals,
        bus_numbers: BusNumbers::Assign,
        ..Default::default()
    };
    let topology = scan(&mut board.pci, &board.phb, &policy);
    let groups = group(&topology, &board.phb);
    let plan = plan(&topology, &board.phb, &groups);
    assert_eq!(validate(&topology, &board.phb, &groups, &plan), Ok(()));
    Taken {
        board,
        topology,
        groups,
        plan,
    }
}

impl Taken {
    /// Assignable groups, as names of their members.
    fn endpoints(&self) -> Vec<Vec<String>> {
        let all = self
            .groups
            .iter()
            .filter(|(_, it)| it.kind == GroupKind::Endpoint);
        all.map(|(_, it)| {
            let functions = it.functions.iter().map(|at| self.topology[*at].id.bdfn);
            let virtuals = it
                .virtuals
                .iter()
                .map(|at| self.topology.virtuals[at.get()].bdfn);
            functions.chain(virtuals).map(|it| it.to_string()).collect()
        })
        .collect()
    }

    fn group_of(&self, name: &str) -> (GroupIndex, &Group, &GroupPlan) {
        let bdfn = name.parse::<FunctionId>().expect("a name").bdfn;
        let at = match self.topology.find(bdfn) {
            Some(at) => self.groups.of(at),
            None => {
                let all = self.groups.iter();
                let has = |it: &Group| {
                    it.virtuals
                        .iter()
                        .any(|at| self.topology.virtuals[at.get()].bdfn == bdfn)
                };
                all.filter(|(_, it)| has(it))
                    .map(|(at, _)| at)
                    .next()
                    .expect("a function")
            }
        };
        (at, self.groups.get(at), self.plan.group(at))
    }
}

#[test]
fn no_device_means_no_assignable_group() {
    for generation in ALL {
        let taken = take(Board::empty(generation, 0).0, 0);
        assert!(taken.endpoints().is_empty());
        assert_eq!(taken.plan.problems, []);
        assert_eq!(taken.plan.bridges[0].memory, None);
    }
}

#[test]
fn one_device_on_each_phb() {
    for generation in ALL {
        for number in 0..6 {
            let taken = take(Board::one_device(generation, number).0, 0);
            assert_eq!(taken.endpoints(), [["01:00.0"]]);
            let (_, _, plan) = taken.group_of("0000:01:00.0");
            assert_eq!((plan.m32.len(), plan.parents.len()), (1, 1));
            assert!(plan.pe.is_some() && plan.companions.is_empty());
            assert_eq!(plan.rids, [RidMatch::Function(Bdfn::from_rid(0x100))]);
            let bar = taken.plan.bars[0];
            assert_eq!(bar.space, Space::M32);
            let window = taken.board.phb.m32();
            assert_eq!(
                bar.host.get() - window.host.get(),
                bar.address.get() - window.bus.get()
            );
        }
    }
}

#[test]
fn eight_drives_behind_a_switch_with_acs_are_apart() {
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    for port in board.pci.add_switch(root, 8, ACS_FULL) {
        board.pci.add(Some(port), 0, 0, nvme());
    }
    let taken = take(board, 0);
    assert_eq!(taken.endpoints().len(), 8);
    assert!(taken.groups.iter().all(|(_, it)| it.reasons.is_empty()));
}

#[test]
fn a_switch_without_acs_is_one_group_and_says_why() {
    for generation in ALL {
        let taken = take(Board::switch(generation, 0, [nvme(), edu()]).0, 0);
        assert_eq!(taken.endpoints(), [["03:00.0", "04:00.0"]]);
        let (_, group, plan) = taken.group_of("0000:03:00.0");
        assert_eq!(group.reasons.len(), 1);
        assert_eq!(
            group.reasons[0].to_string(),
            "port 02:00.0 lacks all of ACS"
        );
        // Root port, upstream port and both downstream ports freeze it.
        assert_eq!(plan.parents.len(), 4);
        // One group shares segments freely.
        assert_eq!(plan.m32.len(), 1);
    }
}

#[test]
fn power8_sees_no_acs_so_a_switch_is_one_group() {
    let taken = take(
        Board::switch(Generation::Phb3, ACS_FULL, [nvme(), nvme()]).0,
        0,
    );
    assert_eq!(taken.endpoints().len(), 1);
    let taken = take(
        Board::switch(Generation::Phb4, ACS_FULL, [nvme(), nvme()]).0,
        0,
    );
    assert_eq!(taken.endpoints().len(), 2);
}

#[test]
fn each_service_of_a_port_is_needed() {
    for bit in [1, 4, 8, 16] {
        let taken = take(
            Board::switch(Generation::Phb4, ACS_FULL & !bit, [nvme(), nvme()]).0,
            0,
        );
        assert_eq!(taken.endpoints().len(), 1, "without {bit:#x}");
        let (_, group, _) = taken.group_of("0000:03:00.0");
        let lacks = AcsBits::from_bits_truncate(bit);
        assert!(matches!(group.reasons[0], Reason::Port { lacks: it, .. } if it == lacks));
    }
}

#[test]
fn functions_of_a_device_need_acs_to_be_apart() {
    let (board, _) = Board::multi_function(Generation::Phb4, 4, None);
    let taken = take(board, 0);
    assert_eq!(
        taken.endpoints(),
        [["01:00.0", "01:00.1", "01:00.2", "01:00.3"]]
    );
    assert!(matches!(
        taken.group_of("0000:01:00.2").1.reasons[..],
        [Reason::Device { .. }]
    ));
    let (board, _) = Board::multi_function(Generation::Phb4, 4, Some(0xc));
    assert_eq!(take(board, 0).endpoints().len(), 4);
    // A capability without the bits says that there is no path between them.
    let (board, _) = Board::multi_function(Generation::Phb4, 4, Some(0));
    assert_eq!(take(board, 0).endpoints().len(), 4);
}

#[test]
fn conventional_devices_share_the_bridges_rid() {
    for generation in ALL {
        let taken = take(Board::conventional(generation).0, 0);
        let (_, group, plan) = taken.group_of("0000:02:01.0");
        assert_eq!(group.functions.len(), 3);
        assert!(matches!(group.reasons[..], [Reason::SharedRid { .. }]));
        assert_eq!(
            plan.rids,
            [RidMatch::Bus(2), RidMatch::Function(Bdfn::from_rid(0x100))]
        );
        assert!(
            plan.rids[0].contains(Bdfn::from_rid(0x200)),
            "secondary bus:00.0"
        );
        assert_eq!(plan.rids[0].arguments(), (0x200, 7, 0, 0));
        assert_eq!(plan.rids[1].arguments(), (0x100, 7, 1, 1));
    }
}

#[test]
fn virtual_functions_have_groups_and_segments_of_their_own() {
    for generation in [Generation::Phb4, Generation::Phb5] {
        let taken = take(Board::sriov(generation).0, 4);
        assert_eq!(taken.plan.problems, []);
        assert_eq!(
            taken.endpoints(),
            [
                ["01:00.0"],
                ["01:10.0"],
                ["01:10.2"],
                ["01:10.4"],
                ["01:10.6"]
            ]
        );
        let pes: Vec<u16> = (0..4)
            .map(|n| {
                taken
                    .group_of(&format!("0000:01:10.{}", 2 * n))
                    .2
                    .pe
                    .expect("a PE")
                    .get()
            })
            .collect();
        assert!(pes.windows(2).all(|it| it[1] == it[0] + 1));
        // The split window and one M64 BAR for each of the two VF BARs.
        assert_eq!(taken.plan.m64.len(), 3);
        let (_, _, physical) = taken.group_of("0000:01:00.0");
        let (_, _, first) = taken.group_of("0000:01:10.0");
        assert!(
            first.parents.contains(&physical.pe.expect("a PE")),
            "an error of the card freezes them"
        );
        let (at, _, _) = taken.group_of("0000:01:10.2");
        let member = taken.groups.get(at).virtuals[0];
        let bars: Vec<_> = taken
            .plan
            .bars_of_virtual(&taken.topology, member)
            .collect();
        assert_eq!(
            bars.iter().map(|it| (it.0, it.3)).collect::<Vec<_>>(),
            [(0, 16 << 10), (3, 16 << 10)]
        );
    }
}

#[test]
fn virtual_functions_that_cannot_be_split_are_one_group() {
    let cases: [(DeviceModel, Inseparable); 2] = [
        (
            edu().ari(0).sriov(8, 1, 1, &[(0, 64 << 10, false)]),
            Inseparable::NotPrefetchable,
        ),
        (
            edu().ari(0).sriov(8, 1, 1, &[(0, 4 << 30, true)]),
            Inseparable::Size,
        ),
    ];
    for (model, expected) in cases {
        let (mut board, root) = Board::empty(Generation::Phb4, 0);
        board.pci.add(Some(root), 0, 0, model);
        let taken = take(board, 3);
        let (_, group, _) = taken.group_of("0000:01:00.1");
        assert_eq!(group.virtuals.len(), 3);
        assert!(
            matches!(group.reasons[..], [Reason::VirtualBars { bar: 0, why, .. }] if why == expected)
        );
        assert_eq!(taken.endpoints().len(), 2);
    }
}

#[test]
fn large_prefetchable_registers_take_several_pes_segments() {
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    // 512 MB segments here.
    let segment = board.phb.m64().expect("M64").segment;
    board
        .pci
        .add(Some(root), 0, 0, edu().bar64(2, 4 * segment, true));
    let taken = take(board, 0);
    let (_, _, plan) = taken.group_of("0000:01:00.0");
    assert_eq!(
        (plan.pe, plan.companions.len()),
        (Some(PeNumber::new(0)), 3)
    );
}

#[test]
fn prefetchable_registers_behind_a_32_bit_bridge_stay_in_m32() {
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    let bridge = DeviceModel::bridge(0x104c, 0x8232)
        .express(5)
        .with_32_bit_prefetch();
    let upstream = board.pci.add(Some(root), 0, 0, bridge);
    let down = board.pci.add(
        Some(upstream),
        0,
        0,
        DeviceModel::bridge(0x104c, 0x8233).express(6),
    );
    board
        .pci
        .add(Some(down), 0, 0, edu().bar64(2, 1 << 20, true));
    let taken = take(board, 0);
    assert!(taken.plan.bars.iter().all(|it| it.space == Space::M32));
    assert!(taken.plan.bridges.iter().all(|it| it.prefetch.is_none()));
}

#[test]
fn what_does_not_fit_is_named_and_the_rest_is_placed() {
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    let ports = board.pci.add_switch(root, 3, ACS_FULL);
    board.pci.add(
        Some(ports[0]),
        0,
        0,
        edu().bar32(1, 1 << 30, false).bar32(2, 1 << 30, false),
    );
    board
        .pci
        .add(Some(ports[1]), 0, 0, edu().bar32(1, 1 << 29, false));
    board.pci.add(Some(ports[2]), 0, 0, nvme());
    let taken = take(board, 0);
    assert_eq!(taken.plan.problems.len(), 1);
    let problem = taken.plan.problems[0];
    assert_eq!(problem.function.to_string(), "0000:03:00.0");
    assert!(
        matches!(problem.fault, Fault::NoRoom { space: "M32", .. }),
        "{problem}"
    );
    assert_eq!(taken.plan.bars.len(), 3);
}

#[test]
fn more_groups_than_segments_or_pes_are_named() {
    // 256 PEs, 255 segments: 31 ports of 31 x 8 functions would be too many.
    let (mut board, root) = Board::empty(Generation::Phb4, 1);
    let ports = board.pci.add_switch(root, 32, ACS_FULL);
    for port in &ports {
        for function in 0..8 {
            board
                .pci
                .add(Some(*port), 0, function, edu().multi_function().acs(0xc));
        }
    }
    let taken = take(board, 0);
    let placed = taken.plan.bars.len();
    assert_eq!(placed + taken.plan.problems.len(), 256);
    assert!(placed > 200, "{placed} placed");
    assert!(
        taken
            .plan
            .problems
            .iter()
            .all(|it| matches!(it.fault, Fault::NoRoom { .. } | Fault::NoPe { .. }))
    );
}

#[test]
fn more_functions_than_pes_without_registers_are_named() {
    let (mut board, root) = Board::empty(Generation::Phb4, 1);
    let ports = board.pci.add_switch(root, 32, ACS_FULL);
    for port in &ports {
        for function in 0..8 {
            let bare = DeviceModel::new(0x1234, 1, 0xff_0000)
                .multi_function()
                .express(0)
                .acs(0xc);
            board.pci.add(Some(*port), 0, function, bare);
        }
    }
    let taken = take(board, 0);
    assert_eq!(
        taken.plan.problems.len(),
        1,
        "255 PEs for 256 functions; bridges do without"
    );
    assert!(matches!(
        taken.plan.problems[0].fault,
        Fault::NoPe { pes: 256 }
    ));
}

#[test]
fn pins_shared_between_groups_are_granted_to_none() {
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    let ports = board.pci.add_switch(root, 5, ACS_FULL);
    for port in &ports {
        board.pci.add(Some(*port), 0, 0, nvme());
    }
    let taken = take(board, 0);
    let granted: Vec<Option<u8>> = taken
        .topology
        .iter()
        .filter(|(_, it)| it.class.name() == "NVMe")
        .map(|(at, _)| taken.plan.lines.grant(&taken.topology, &taken.groups, at))
        .collect();
    // Ports 0 and 4 rotate to the same line.
    assert_eq!(granted, [None, Some(1), Some(2), Some(3), None]);
    assert_eq!(taken.plan.lines.users(0).len(), 2);
}

#[test]
fn two_sockets_are_planned_apart() {
    for generation in ALL {
        let boards = [0, 6, 7].map(|number| take(Board::one_device(generation, number).0, 0));
        let mut hosts: Vec<u64> = boards.iter().map(|it| it.plan.bars[0].host.get()).collect();
        hosts.dedup();
        assert_eq!(hosts.len(), 3);
    }
}

fn generation() -> impl Strategy<Value = Generation> {
    prop::sample::select(ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// `take` validates each plan: no overlap, alignment, windows, segments, RIDs.
    #[test]
    fn random_trees(generation in generation(), script in prop::collection::vec(any::<u8>(), 0..80), virtuals in 0..5u16) {
        let taken = take(random::grow(generation, &script), virtuals);
        let (topology, groups) = (&taken.topology, &taken.groups);

        // Every function in exactly one group.
        let mut members = vec![0; topology.functions.len()];
        for (at, group) in groups.iter() {
            for function in &group.functions {
                members[function.get()] += 1;
                prop_assert_eq!(groups.of(*function), at);
            }
            prop_assert_eq!(group.reasons.is_empty(), group.functions.len() + group.virtuals.len() == 1);
        }
        prop_assert!(members.iter().all(|count| *count == 1));

        // Virtual functions are no further apart than their physical ones.
        for (at, virtual_function) in topology.virtuals.iter().enumerate() {
            let physical = groups.of(virtual_function.physical);
            let with_others = groups.get(physical).functions.len() > 1;
            let mine = groups.iter().find(|(_, it)| it.virtuals.iter().any(|it| it.get() == at));
            prop_assert!(!with_others || mine.map(|it| it.0) == Some(physical));
        }

        // Groups are closed under reachability as the model's registers define it.
        let pci = &taken.board.pci;
        for from in pci.nodes_below() {
            let Some(a) = topology.find(pci.bdfn(from)) else { continue };
            for to in pci.reach(from) {
                let Some(b) = topology.find(pci.bdfn(to)) else { continue };
                prop_assert_eq!(groups.of(a), groups.of(b), "{} reaches {}", topology[a].id, topology[b].id);
            }
        }
    }

    /// A validator that accepts everything would prove nothing.
    #[test]
    fn damaged_plans_are_refused(script in prop::collection::vec(any::<u8>(), 20..80), pick: prop::sample::Index, how in 0..6u8) {
        let mut taken = take(random::grow(Generation::Phb4, &script), 2);
        prop_assume!(!taken.plan.bars.is_empty());
        let at = pick.index(taken.plan.bars.len());
        let bar = taken.plan.bars[at];
        let moved = |by: u64| pinion::addr::BusAddr::new(bar.address.get().wrapping_add(by));
        match how {
            0 => taken.plan.bars[at].address = moved(bar.bar.size / 2),
            1 => taken.plan.bars[at].address = moved(1 << 40),
            2 => { taken.plan.bars.remove(at); }
            3 => { taken.plan.bars.push(bar); }
            4 => { taken.plan.bridges.remove(0); }
            _ => {
                let (host, by) = (bar.host.get(), 64 << 20);
                taken.plan.bars[at].address = moved(by);
                taken.plan.bars[at].host = pinion::addr::HostAddr::new(host + by);
            }
        }
        prop_assert!(validate(&taken.topology, &taken.board.phb, &taken.groups, &taken.plan).is_err());
    }
}

#[test]
fn igb_without_virtual_functions_is_one_function() {
    let (mut board, root) = Board::empty(Generation::Phb5, 0);
    board.pci.add(Some(root), 0, 0, igb());
    assert_eq!(take(board, 0).endpoints(), [["01:00.0"]]);
}
