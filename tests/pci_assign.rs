//! Which groups may be given away, and beside which others.
use pinion::pci::steps::Step;
use pinion::pci::topology::ResetMethod;
use pinion::pci::*;
use pinion::sim::pci::DeviceModel;
use pinion::sim::pci::boards::{ACS_FULL, Board, igb, nvme};
use pinion::sim::pci::planned::Planned;
use std::ops::Deref;

struct Machine(Planned);

impl Deref for Machine {
    type Target = Planned;

    fn deref(&self) -> &Planned {
        &self.0
    }
}

impl Machine {
    fn new(board: Board, virtuals: u16) -> Self {
        Self(Planned::new(board, virtuals))
    }

    fn asks(&self, group: GroupIndex, held: &[GroupIndex]) -> Result<(), NotAssignable> {
        self.setup()
            .assignable(group, |other| held.contains(&other))
    }

    /// The group of the function with this RID.
    fn group(&self, rid: u16) -> GroupIndex {
        let at = self
            .topology
            .find(Bdfn::from_rid(rid))
            .expect("it is there");
        self.groups.of(at)
    }
}

fn name(rid: u16) -> FunctionId {
    FunctionId::new(PhbId::new(0), Bdfn::from_rid(rid))
}

#[test]
fn a_physical_function_and_its_virtual_ones_have_one_owner() {
    let machine = Machine::new(Board::sriov(Generation::Phb4).0, 3);
    let physical = machine.group(0x100);
    let virtuals: Vec<GroupIndex> = machine.groups.of_virtuals().collect();
    assert_eq!(virtuals.len(), 3);
    for group in virtuals.iter().chain([&physical]) {
        assert_eq!(machine.asks(*group, &[]), Ok(()));
    }
    let stops: Vec<_> = machine.setup().stopped_by(physical).collect();
    let rids = machine
        .topology
        .virtuals
        .iter()
        .map(|it| name(it.bdfn.rid()));
    assert_eq!(
        stops,
        rids.zip(virtuals.iter().copied()).collect::<Vec<_>>()
    );
    for (at, group) in virtuals.iter().enumerate() {
        // Two virtual functions may have two owners.
        for other in virtuals.iter().filter(|other| *other != group) {
            assert_eq!(machine.asks(*group, &[*other]), Ok(()));
        }
        let physical_held = NotAssignable::PhysicalHeld {
            physical: name(0x100),
        };
        assert_eq!(machine.asks(*group, &[physical]), Err(physical_held));
        let function = name(machine.topology.virtuals[at].bdfn.rid());
        let virtual_held = NotAssignable::VirtualHeld { function };
        assert_eq!(machine.asks(physical, &[*group]), Err(virtual_held));
        assert!(virtual_held.to_string().contains(&function.to_string()));
        assert_eq!(machine.setup().stopped_by(*group).count(), 0);
    }
}

#[test]
fn a_card_without_virtual_functions_stops_nobody() {
    let machine = Machine::new(Board::sriov(Generation::Phb4).0, 0);
    let group = machine.group(0x100);
    assert_eq!(machine.setup().stopped_by(group).count(), 0);
    assert_eq!(machine.asks(group, &[group]), Ok(()));
}

#[test]
fn two_cards_do_not_concern_each_other() {
    let (board, _) = Board::switch(Generation::Phb4, ACS_FULL, [igb(), igb()]);
    let machine = Machine::new(board, 2);
    let cards: Vec<u16> = machine
        .topology
        .iter()
        .filter(|(_, it)| !it.is_bridge())
        .map(|(_, it)| it.id.bdfn.rid())
        .collect();
    let [first, second] = [machine.group(cards[0]), machine.group(cards[1])];
    let theirs: Vec<GroupIndex> = machine
        .setup()
        .stopped_by(second)
        .map(|(_, group)| group)
        .collect();
    assert_eq!(theirs.len(), 2);
    assert_eq!(machine.asks(first, &theirs), Ok(()));
    assert_eq!(machine.asks(theirs[0], &[first]), Ok(()));
    assert!(machine.asks(second, &theirs[1..]).is_err());
}

#[test]
fn bridges_and_what_found_no_pe_are_nobody_s() {
    let machine = Machine::new(Board::one_device(Generation::Phb4, 0).0, 0);
    assert_eq!(
        machine.asks(machine.group(0), &[]),
        Err(NotAssignable::NoEndpoint)
    );
    assert_eq!(machine.asks(machine.group(0x100), &[]), Ok(()));
    // A drive whose registers are larger than all of M32 and M64.
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    let model = DeviceModel::new(0x1b36, 0x10, 0x01_0802).bar64(0, 1 << 60, true);
    board.pci.add(Some(root), 0, 0, model.express(0));
    let machine = Machine::new(board, 0);
    assert_eq!(
        machine.asks(machine.group(0x100), &[]),
        Err(NotAssignable::NoPe)
    );
}

#[test]
fn what_only_a_shared_bus_resets_is_nobody_s() {
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    // Port type 9 is an integrated endpoint: the model gives it no FLR.
    let model = DeviceModel::new(0x1234, 1, 0xff_0000)
        .multi_function()
        .bar32(0, 1 << 20, false)
        .express(9)
        .acs(0);
    board.pci.add(Some(root), 0, 0, model);
    board
        .pci
        .add(Some(root), 0, 1, nvme().multi_function().acs(0));
    let machine = Machine::new(board, 0);
    let stuck = NotAssignable::CannotReset(name(0x100));
    assert_eq!(machine.asks(machine.group(0x100), &[]), Err(stuck));
    assert_eq!(machine.asks(machine.group(0x101), &[]), Ok(()));
    let stop = machine.setup().stop(machine.group(0x100));
    assert!(!stop.iter().any(|it| matches!(it, Step::Reset { .. })));
}

#[test]
fn a_power_state_resets_nothing_right_below_a_root_port() {
    let drive = || {
        DeviceModel::new(0x1b36, 0x10, 0x01_0802)
            .bar32(0, 1 << 20, false)
            .express(9)
            .power()
    };
    let methods = |machine: &Machine, rid: u16| -> Vec<ResetMethod> {
        let steps = machine.setup().stop(machine.group(rid)).into_iter();
        let method = |it| match it {
            Step::Reset { method, .. } => Some(method),
            _ => None,
        };
        steps.filter_map(method).collect()
    };
    // Alone on the bus: the bus is surer.
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    board.pci.add(Some(root), 0, 0, drive());
    let machine = Machine::new(board, 0);
    assert_eq!(methods(&machine, 0x100), [ResetMethod::Bus]);
    assert_eq!(machine.asks(machine.group(0x100), &[]), Ok(()));
    // Two on it: firmware would drop the write.
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    for function in 0..2 {
        let model = drive().multi_function().acs(0);
        board.pci.add(Some(root), 0, function, model);
    }
    let machine = Machine::new(board, 0);
    assert_eq!(methods(&machine, 0x100), []);
    let stuck = NotAssignable::CannotReset(name(0x100));
    assert_eq!(machine.asks(machine.group(0x100), &[]), Err(stuck));
    // Two below a switch.
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    let ports = board.pci.add_switch(root, 1, ACS_FULL);
    for function in 0..2 {
        let model = drive().multi_function().acs(0);
        board.pci.add(Some(ports[0]), 0, function, model);
    }
    let machine = Machine::new(board, 0);
    let found = methods(&machine, 0x300);
    assert!(
        matches!(found[..], [ResetMethod::Power { .. }]),
        "{found:?}"
    );
    assert_eq!(machine.asks(machine.group(0x300), &[]), Ok(()));
}
