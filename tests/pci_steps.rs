//! The order of set-up, executed on a PHB that refuses any other.
use pinion::pci::function::Command;
use pinion::pci::steps::{Setup, Step};
use pinion::pci::*;
use pinion::sim::pci::boards::{ACS_FULL, Board, igb, nvme};
use pinion::sim::pci::phb::{OrderFault, SimPhb};
use pinion::sim::pci::planned::Planned;
use pinion::sim::pci::{DeviceModel, random};
use proptest::prelude::*;
use std::ops::{Deref, DerefMut};

struct Machine {
    planned: Planned,
    phb: SimPhb,
}

impl Deref for Machine {
    type Target = Planned;

    fn deref(&self) -> &Planned {
        &self.planned
    }
}

impl DerefMut for Machine {
    fn deref_mut(&mut self) -> &mut Planned {
        &mut self.planned
    }
}

impl Machine {
    fn new(board: Board, virtuals: u16) -> Self {
        let planned = Planned::new(board, virtuals);
        let phb = SimPhb::new(&planned.board.phb);
        Self { planned, phb }
    }

    fn list(&self, make: impl FnOnce(Setup<'_>) -> Vec<Step>) -> Vec<Step> {
        make(self.setup())
    }

    fn run(&mut self, steps: &[Step]) -> Result<(), (Step, OrderFault)> {
        self.phb.run(&mut self.planned.board.pci, steps)
    }

    fn endpoints(&self) -> Vec<GroupIndex> {
        let all = self
            .groups
            .iter()
            .filter(|(_, it)| it.kind == GroupKind::Endpoint);
        all.map(|(at, _)| at)
            .filter(|at| self.plan.group(*at).pe.is_some())
            .collect()
    }

    /// All of a PHB's set-up, up to bus mastering.
    fn all_up(&mut self) -> Result<(), (Step, OrderFault)> {
        let prepare = self.list(|it| it.prepare());
        self.run(&prepare)?;
        for at in self.endpoints() {
            let steps = self.list(|it| it.bring_up(at));
            self.run(&steps)?;
        }
        let functions: Vec<FunctionIndex> = self.topology.iter().map(|(at, _)| at).collect();
        for at in functions {
            let steps = self.list(|it| it.enable_virtuals(at));
            self.run(&steps)?;
        }
        for at in self.endpoints() {
            let steps = self.list(|it| it.start(at));
            self.run(&steps)?;
        }
        Ok(())
    }
}

#[test]
fn a_drive_comes_up_and_goes_down_again() {
    let mut machine = Machine::new(Board::one_device(Generation::Phb4, 0).0, 0);
    machine.all_up().expect("set-up");
    let drive = FunctionId::new(PhbId::new(0), Bdfn::from_rid(0x100));
    assert_eq!(machine.phb.masters().collect::<Vec<_>>(), [drive]);
    let root = machine
        .phb
        .pe_of(FunctionId::new(PhbId::new(0), Bdfn::ROOT));
    let pe = machine.phb.pe_of(drive);
    assert!(
        machine.phb.freezes(root, pe)
            && machine.phb.freezes(pe, pe)
            && !machine.phb.freezes(pe, root)
    );

    let group = machine.endpoints()[0];
    let stop = machine.list(|it| it.stop(group));
    let release = machine.list(|it| it.release(group));
    machine.run(&stop).expect("stop");
    machine.run(&release).expect("release");
    assert_eq!(machine.phb.pe_of(drive), machine.board.phb.reserved());
    assert!(!machine.phb.freezes(root, pe));
    // And up again for the next owner.
    for steps in [
        machine.list(|it| it.bring_up(group)),
        machine.list(|it| it.start(group)),
    ] {
        machine.run(&steps).expect("again");
    }
    assert_eq!(machine.phb.pe_of(drive), pe);
}

#[test]
fn virtual_functions_start_in_pes_of_their_own() {
    let mut machine = Machine::new(Board::sriov(Generation::Phb5).0, 4);
    machine.all_up().expect("set-up");
    let mut pes: Vec<_> = machine
        .phb
        .masters()
        .map(|it| machine.phb.pe_of(it))
        .collect();
    assert_eq!(pes.len(), 5);
    pes.sort();
    pes.dedup();
    assert_eq!(pes.len(), 5);
    let virtual_drive = FunctionId::new(PhbId::new(0), Bdfn::from_rid(0x0180));
    let device = machine.board.pci.read16(virtual_drive, 0x08);
    assert_eq!(
        device,
        Ok(0),
        "it answers: absent functions read as all ones"
    );
}

/// The position of the first step that `wanted` picks.
fn find(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> usize {
    steps.iter().position(wanted).expect("such a step")
}

#[test]
fn a_wrong_order_is_refused() {
    let fresh = || {
        let mut machine = Machine::new(Board::one_device(Generation::Phb4, 0).0, 0);
        let group = machine.endpoints()[0];
        let prepare = machine.list(|it| it.prepare());
        machine.run(&prepare).expect("prepare");
        let (up, start) = (
            machine.list(|it| it.bring_up(group)),
            machine.list(|it| it.start(group)),
        );
        (machine, up, start)
    };
    let master = |step: &Step| matches!(step, Step::Command { command, .. } if command.contains(Command::BUS_MASTER));

    let (mut machine, up, mut start) = fresh();
    machine.run(&up).expect("up");
    let at = find(&start, master);
    start.swap(0, at);
    assert!(
        matches!(machine.run(&start), Err((_, OrderFault::NotLive(_)))),
        "before the window"
    );

    let (mut machine, up, mut start) = fresh();
    machine.run(&up).expect("up");
    start.retain(|step| !matches!(step, Step::KillTces { .. }));
    assert!(
        matches!(machine.run(&start), Err((_, OrderFault::NotLive(_)))),
        "without a kill"
    );

    let mut machine = Machine::new(Board::one_device(Generation::Phb4, 0).0, 0);
    let mut prepare = machine.list(|it| it.prepare());
    prepare.retain(|step| !matches!(step, Step::MapVectors { .. }));
    machine.run(&prepare).expect("prepare");
    let group = machine.endpoints()[0];
    assert_eq!(machine.plan.group(group).pe, Some(PeNumber::new(0)));
    let up = machine.list(|it| it.bring_up(group));
    machine.run(&up).expect("up");
    let start = machine.list(|it| it.start(group));
    assert!(
        matches!(machine.run(&start), Err((_, OrderFault::Vectors(_)))),
        "with all messages, as a reset leaves PE 0"
    );

    for forgotten in 0..3 {
        let (mut machine, mut up, start) = fresh();
        up.retain(|step| match forgotten {
            0 => !matches!(step, Step::MapRids { .. }),
            1 => !matches!(step, Step::ClearFreeze { .. }),
            _ => !matches!(step, Step::Peltv { .. }),
        });
        // Without its RID the function decodes in the reserved PE's name.
        let outcome = machine.run(&up).and_then(|()| machine.run(&start));
        assert!(
            matches!(
                outcome,
                Err((_, OrderFault::NotUp(_) | OrderFault::Segment(_)))
            ),
            "{outcome:?}"
        );
    }

    let (mut machine, mut up, _) = fresh();
    up.retain(|step| !matches!(step, Step::MapM32 { .. }));
    assert!(
        matches!(machine.run(&up), Err((_, OrderFault::Segment(_)))),
        "foreign segment"
    );

    let (mut machine, up, start) = fresh();
    machine.run(&up).expect("up");
    machine.run(&start).expect("start");
    let group = machine.endpoints()[0];
    let mut stop = machine.list(|it| it.stop(group));
    let at = find(&stop, |step| matches!(step, Step::CloseDma { .. }));
    let close = stop.remove(at);
    stop.insert(0, close);
    assert!(
        matches!(machine.run(&stop), Err((_, OrderFault::StillMaster(_)))),
        "window before master"
    );
    let release = machine.list(|it| it.release(group));
    let rids = find(&release, |step| matches!(step, Step::MapRids { .. }));
    assert!(matches!(
        machine.run(&release[rids..]),
        Err((_, OrderFault::StillMaster(_)))
    ));

    let mut machine = Machine::new(Board::one_device(Generation::Phb4, 0).0, 0);
    let prepare = machine.list(|it| it.prepare());
    assert!(matches!(
        machine.run(&prepare[1..]),
        Err((_, OrderFault::NotReset))
    ));
}

/// Whose errors should freeze whose PE, said without the steps: its own group's,
/// those of each bridge above it that has a PE, and of a virtual function its
/// physical one's.
fn should_freeze(machine: &Machine, parent: GroupIndex, child: GroupIndex) -> bool {
    let (groups, topology) = (&machine.groups, &machine.topology);
    let group = groups.get(child);
    let virtuals = group.virtuals.iter();
    let physical: Vec<_> = virtuals
        .map(|at| topology.virtuals[at.get()].physical)
        .collect();
    let above = |at| topology.ancestors(at).any(|it| groups.of(it) == parent);
    parent == child
        || physical.iter().any(|at| groups.of(*at) == parent)
        || group.functions.iter().chain(&physical).any(|at| above(*at))
}

#[test]
fn an_error_freezes_its_own_pe_and_what_is_below_a_bridge() {
    let boards = [
        (Board::one_device(Generation::Phb4, 0).0, 0),
        (
            Board::switch(Generation::Phb5, ACS_FULL, [nvme(), nvme()]).0,
            0,
        ),
        (Board::switch(Generation::Phb3, 0, [nvme(), nvme()]).0, 0),
        (Board::conventional(Generation::Phb4).0, 0),
        (Board::sriov(Generation::Phb4).0, 3),
    ];
    for (board, virtuals) in boards {
        let mut machine = Machine::new(board, virtuals);
        machine.all_up().expect("all is up");
        let all: Vec<(GroupIndex, PeNumber)> = machine
            .groups
            .iter()
            .filter_map(|(at, _)| Some((at, machine.plan.group(at).pe?)))
            .collect();
        assert!(all.len() >= 2);
        for (parent, from) in &all {
            for (child, to) in &all {
                assert_eq!(
                    machine.phb.freezes(*from, *to),
                    should_freeze(&machine, *parent, *child),
                    "an error of PE {from} and PE {to}"
                );
            }
            // Nobody's functions are nobody's business.
            let reserved = machine.board.phb.reserved();
            assert!(!machine.phb.freezes(*from, reserved));
            // A companion is frozen with its group, and its group with it.
            for companion in &machine.plan.group(*parent).companions {
                assert!(machine.phb.freezes(*from, *companion));
                assert!(machine.phb.freezes(*companion, *from));
            }
        }
        // What is given back is out of all of them.
        for (at, pe) in &all {
            if machine.groups.get(*at).kind != GroupKind::Endpoint {
                continue;
            }
            let stop = machine.list(|it| it.stop(*at));
            machine.run(&stop).expect("stopped");
            let release = machine.list(|it| it.release(*at));
            machine.run(&release).expect("released");
            assert!(
                all.iter()
                    .all(|(_, other)| !machine.phb.freezes(*other, *pe))
            );
        }
    }
}

#[test]
fn a_bar_that_lies_only_when_placed_stops_its_group() {
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    let ports = board.pci.add_switch(root, 2, ACS_FULL);
    let liar = board.pci.add(Some(ports[0]), 0, 0, nvme());
    board.pci.add(Some(ports[1]), 0, 0, igb());
    let mut machine = Machine::new(board, 0);
    machine.board.pci.model_mut(liar).allow32(0x10, 0);
    let outcome = machine.all_up();
    assert!(
        matches!(outcome, Err((_, OrderFault::ReadBack(it))) if it.bdfn.bus() == 3),
        "{outcome:?}"
    );
    assert_eq!(machine.phb.masters().count(), 0);
}

#[test]
fn a_function_without_reset_of_its_own_is_named() {
    // Two functions kept apart by ACS, neither with FLR: a bus reset hits both.
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    for function in 0..2 {
        let model = DeviceModel::new(0x1234, 1, 0xff_0000)
            .multi_function()
            .bar32(0, 1 << 20, false);
        // Port type 9 is an integrated endpoint: the model gives it no FLR.
        board
            .pci
            .add(Some(root), 0, function, model.express(9).acs(0));
    }
    let machine = Machine::new(board, 0);
    let setup = machine.setup();
    assert_eq!(machine.endpoints().len(), 2);
    for at in machine.endpoints() {
        assert!(setup.cannot_reset(at).is_some());
        assert!(
            !setup
                .stop(at)
                .iter()
                .any(|step| matches!(step, Step::Reset { .. }))
        );
    }
    // Conventional devices are one group: one reset of their bus does.
    let (board, _) = Board::conventional(Generation::Phb4);
    let machine = Machine::new(board, 0);
    let setup = machine.setup();
    let at = machine.endpoints()[0];
    assert_eq!(setup.cannot_reset(at), None);
    let resets = setup
        .stop(at)
        .into_iter()
        .filter(|step| matches!(step, Step::Reset { .. }));
    assert_eq!(resets.count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn any_tree_comes_up_and_goes_down(
        generation in prop::sample::select(vec![Generation::Phb3, Generation::Phb4, Generation::Phb5]),
        script in prop::collection::vec(any::<u8>(), 0..60),
        virtuals in 0..4u16,
    ) {
        let mut machine = Machine::new(random::grow(generation, &script), virtuals);
        prop_assert_eq!(machine.all_up(), Ok(()));
        let reserved = machine.board.phb.reserved();
        for master in machine.phb.masters().collect::<Vec<_>>() {
            prop_assert_ne!(machine.phb.pe_of(master), reserved);
        }
        for at in machine.endpoints() {
            let steps = machine.list(|it| it.stop(at));
            prop_assert_eq!(machine.run(&steps), Ok(()));
            let steps = machine.list(|it| it.release(at));
            prop_assert_eq!(machine.run(&steps), Ok(()));
        }
        prop_assert_eq!(machine.phb.masters().count(), 0);
    }
}
