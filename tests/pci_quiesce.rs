//! Bus mastering off below a PHB that is left alone, whatever is there.

use pinion::pci::quiesce::{Quiesced, quiesce};
use pinion::pci::registers as reg;
use pinion::pci::{
    Bdfn, ConfigAccess, ConfigError, FunctionId, Generation, PhbId, ScanPolicy, scan,
};
use pinion::sim::pci::boards::{Board, edu, nvme};
use pinion::sim::pci::{DeviceModel, Lie, NodeId, SimPci};

const MASTER: u16 = 1 << 2;
const ON: u16 = 0x0146;

/// What an earlier system leaves: bus numbers, and all of them at work.
fn at_work(mut board: Board) -> Board {
    let _ = scan(&mut board.pci, &board.phb, &ScanPolicy::default());
    for node in all(&board) {
        board.pci.model_mut(node).put16(reg::COMMAND, ON);
    }
    board
}

fn all(board: &Board) -> Vec<NodeId> {
    board.pci.all()
}

fn masters(board: &Board) -> usize {
    let on = |node: &NodeId| board.pci.model(*node).get16(reg::COMMAND) & MASTER != 0;
    all(board).iter().filter(|node| on(node)).count()
}

fn quiet(board: &mut Board) -> Quiesced {
    let (id, size) = (board.phb.id(), board.phb.config_size());
    quiesce(&mut board.pci, id, 0, size)
}

#[test]
fn nothing_masters_the_bus_any_more() {
    for generation in [Generation::Phb3, Generation::Phb4, Generation::Phb5] {
        for board in [
            Board::one_device(generation, 0).0,
            Board::switch(generation, 0, [nvme(), edu()]).0,
            Board::multi_function(generation, 3, None).0,
            Board::conventional(generation).0,
        ] {
            let mut board = at_work(board);
            let count = all(&board).len();
            assert_eq!(masters(&board), count);
            let done = quiet(&mut board);
            let expected = Quiesced {
                seen: count as u32,
                masters: count as u32,
                failed: 0,
            };
            assert_eq!(done, expected);
            assert_eq!(masters(&board), 0);
            // Decoding is none of its business.
            let node = all(&board)[0];
            let command = board.pci.model(node).get16(reg::COMMAND);
            assert_eq!(command, ON & !MASTER);
            assert_eq!(quiet(&mut board).masters, 0, "and is not done twice");
        }
    }
}

/// Where the card's SR-IOV capability has its control register.
fn control(board: &mut Board) -> u16 {
    let topology = scan(&mut board.pci, &board.phb, &ScanPolicy::default());
    let found = topology.iter().find_map(|(_, it)| it.capabilities.sriov);
    found.expect("the card has it").offset + reg::sriov::CONTROL
}

#[test]
fn virtual_functions_are_turned_off_though_their_card_masters_nothing() {
    let on = reg::sriov::VF_ENABLE | reg::sriov::VF_MEMORY;
    for stuck in [false, true] {
        let (mut board, card) = Board::sriov(Generation::Phb4);
        let at = control(&mut board);
        let model = board.pci.model_mut(card);
        model.put16(at, on | reg::sriov::ARI_HIERARCHY);
        model.put16(reg::COMMAND, 0);
        if stuck {
            let model = model.clone().lie(Lie::Stuck(at));
            *board.pci.model_mut(card) = model;
        }
        let done = quiet(&mut board);
        assert_eq!((done.masters, done.failed), (1, u32::from(stuck)));
        let now = board.pci.model(card).get16(at);
        let expected = if stuck { on } else { 0 };
        assert_eq!(now, expected | reg::sriov::ARI_HIERARCHY);
    }
}

#[test]
fn what_stays_on_is_counted_and_the_others_are_quieted() {
    let stuck = nvme().lie(Lie::Stuck(reg::COMMAND));
    let mut board = at_work(Board::switch(Generation::Phb4, 0, [stuck, nvme()]).0);
    let done = quiet(&mut board);
    assert_eq!(done.failed, 1);
    assert_eq!(masters(&board), 1);
}

#[test]
fn a_liar_that_a_scan_leaves_alone_is_quieted() {
    let liars: [DeviceModel; 2] = [edu().looping(), edu().raw_bar(0x14, 0, 0xff7f_0000)];
    let mut board = at_work(Board::switch(Generation::Phb4, 0, liars).0);
    assert_eq!(quiet(&mut board).failed, 0);
    assert_eq!(masters(&board), 0);
}

/// Records which functions lose bus mastering, and refuses some accesses.
struct Watched {
    pci: SimPci,
    off: Vec<u16>,
    refused: Option<u16>,
}

impl Watched {
    fn check(&self, function: FunctionId, offset: u16) -> Result<(), ConfigError> {
        let status = -6;
        match self.refused == Some(function.bdfn.rid()) && offset >= reg::COMMAND {
            true => Err(ConfigError::Refused {
                function,
                offset,
                status,
            }),
            false => Ok(()),
        }
    }
}

impl ConfigAccess for Watched {
    fn read8(&mut self, function: FunctionId, offset: u16) -> Result<u8, ConfigError> {
        self.pci.read8(function, offset)
    }
    fn read16(&mut self, function: FunctionId, offset: u16) -> Result<u16, ConfigError> {
        self.check(function, offset)?;
        self.pci.read16(function, offset)
    }
    fn read32(&mut self, function: FunctionId, offset: u16) -> Result<u32, ConfigError> {
        self.pci.read32(function, offset)
    }
    fn write8(&mut self, function: FunctionId, offset: u16, value: u8) -> Result<(), ConfigError> {
        self.pci.write8(function, offset, value)
    }
    fn write16(
        &mut self,
        function: FunctionId,
        offset: u16,
        value: u16,
    ) -> Result<(), ConfigError> {
        if offset == reg::COMMAND && value & MASTER == 0 {
            self.off.push(function.bdfn.rid());
        }
        self.pci.write16(function, offset, value)
    }
    fn write32(
        &mut self,
        function: FunctionId,
        offset: u16,
        value: u32,
    ) -> Result<(), ConfigError> {
        self.pci.write32(function, offset, value)
    }
    fn pause(&mut self, _: u32) {}
}

fn watch(board: Board, refused: Option<u16>) -> (Quiesced, Vec<u16>) {
    let mut watched = Watched {
        pci: board.pci,
        off: Vec::new(),
        refused,
    };
    let done = quiesce(&mut watched, PhbId::new(0), 0, 4096);
    (done, watched.off)
}

#[test]
fn bridges_come_behind_what_is_below_them() {
    let board = at_work(Board::switch(Generation::Phb4, 0, [nvme(), nvme()]).0);
    let (_, off) = watch(board, None);
    assert_eq!(off, [0x300, 0x200, 0x400, 0x208, 0x100, 0]);
}

#[test]
fn a_function_that_refuses_accesses_counts_as_one_that_goes_on() {
    let board = at_work(Board::switch(Generation::Phb4, 0, [nvme(), nvme()]).0);
    let (done, off) = watch(board, Some(0x300));
    assert_eq!(off, [0x200, 0x400, 0x208, 0x100, 0]);
    assert!(done.failed > 0, "{done:?}");
}

#[test]
fn bus_numbers_that_go_round_in_circles_come_to_an_end() {
    for buses in [0x00ff_0000, 0x00ff_0001, 0x0000_0100, 0x00ff_0101] {
        let mut board = at_work(Board::one_device(Generation::Phb4, 0).0);
        let root = board.pci.all()[0];
        board.pci.model_mut(root).put32(reg::BUS_NUMBERS, buses);
        let done = quiet(&mut board);
        assert!(done.seen <= 2, "{buses:#x}: {done:?}");
        let root = FunctionId::new(board.phb.id(), Bdfn::ROOT);
        let command = board.pci.read16(root, reg::COMMAND).unwrap();
        assert_eq!(command & MASTER, 0);
    }
}
