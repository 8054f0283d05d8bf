//! The same calls as a vCPU makes them: in registers, and in RTAS' arguments.

use std::cell::RefCell;

use pinion::addr::GuestAddr;
use pinion::papr::config::View;
use pinion::papr::ddw::WindowCalls;
use pinion::papr::icp::Icp;
use pinion::papr::messages::{Messages, Sender};
use pinion::papr::tce::{List, TceCalls};
use pinion::papr::{Breakpoint, Host, Next, Quick, Tables, call, quick};
use pinion::pci::ConfigAccess;
use pinion::sim::{Machine, PhbKind};

use super::config::Drive;
use super::ddw::{BUID, CONFIG, Guest, HIGH, LIOBNS};
use super::messages::{Told, messages};

/// A partition with 64 KiB that a processor sees.
struct Model {
    guest: Guest,
    drive: Drive,
    has_windows: bool,
    messages: Option<Messages>,
    sender: Told,
    memory: RefCell<Vec<u8>>,
}

impl Tables for Model {
    type Platform = Machine;

    fn tces(&self) -> Option<TceCalls<'_, Machine>> {
        self.has_windows.then(|| self.guest.tces())
    }
    fn words(&self, from: GuestAddr, count: usize, to: &mut List<'_>) -> bool {
        let mut bytes = vec![0; 8 * count];
        let is_memory = self.read(from, &mut bytes);
        let words = bytes.as_chunks::<8>().0;
        to.fill(count, |number| u64::from_be_bytes(words[number]));
        is_memory
    }
}

impl Host for Model {
    fn with_windows(&mut self, act: &mut dyn FnMut(&WindowCalls<'_, Machine>)) -> Option<()> {
        self.has_windows.then(|| act(&self.guest.calls()))
    }
    fn with_function(
        &mut self,
        config: u32,
        buid: u64,
        act: &mut dyn FnMut(&View, &mut dyn ConfigAccess),
    ) -> Option<()> {
        let known = self.has_windows && (config, buid) == (CONFIG[0], BUID);
        known.then(|| act(&self.drive.view, &mut self.drive.pci))
    }
    fn with_messages(
        &mut self,
        config: u32,
        buid: u64,
        act: &mut dyn FnMut(&Messages, &mut dyn Sender),
    ) -> Option<()> {
        let known = (config, buid) == (CONFIG[0], BUID);
        let messages = self.messages.as_ref().filter(|_| known)?;
        act(messages, &mut self.sender);
        Some(())
    }
    fn read(&self, from: GuestAddr, to: &mut [u8]) -> bool {
        let memory = self.memory.borrow();
        let start = from.get() as usize;
        let Some(bytes) = start
            .checked_add(to.len())
            .and_then(|end| memory.get(start..end))
        else {
            return false;
        };
        to.copy_from_slice(bytes);
        true
    }
    fn write(&mut self, to: GuestAddr, bytes: &[u8]) -> bool {
        let start = to.get() as usize;
        self.memory.borrow_mut()[start..start + bytes.len()].copy_from_slice(bytes);
        true
    }
    fn put_terminal(&mut self, _: &[u8]) -> bool {
        unreachable!()
    }
    fn get_terminal(&mut self, _: &mut [u8]) -> usize {
        unreachable!()
    }
    fn set_process_table(&mut self, _: u64) {
        unreachable!()
    }
    fn set_little_endian(&mut self, _: bool) {
        unreachable!()
    }
    fn set_relocation(&mut self, _: bool) -> bool {
        unreachable!()
    }
    fn set_breakpoint(&mut self, _: Breakpoint) -> bool {
        unreachable!()
    }
    fn characteristics(&self) -> [u64; 2] {
        unreachable!()
    }
    fn random(&mut self) -> Option<u64> {
        unreachable!()
    }
    fn vcpus(&self) -> u64 {
        1
    }
    fn this(&self) -> u64 {
        0
    }
    fn prod(&mut self, _: u64) {
        unreachable!()
    }
    fn shares_threads(&self) -> bool {
        unreachable!()
    }
    fn set_area(&mut self, _: u64, _: Option<GuestAddr>) {
        unreachable!()
    }
    fn dispatches(&self, _: u64) -> u32 {
        unreachable!()
    }
    fn favour(&mut self, _: u64) {
        unreachable!()
    }
    fn with_icp(&mut self, _: u64, _: &mut dyn FnMut(&mut Icp)) -> Option<()> {
        unreachable!()
    }
    fn is_stopped(&self, _: u64) -> Option<bool> {
        unreachable!()
    }
    fn start(&mut self, _: u64, _: GuestAddr, _: u64) -> bool {
        unreachable!()
    }
    fn time(&mut self) -> Option<(u64, u32)> {
        unreachable!()
    }
    fn last_words(&mut self, _: &str) {
        unreachable!()
    }
}

impl Model {
    fn new(has_windows: bool) -> Self {
        Self {
            guest: Guest::new(PhbKind::Phb4, 8 << 20),
            drive: Drive::new(),
            has_windows,
            messages: None,
            sender: Told::default(),
            memory: RefCell::new(vec![0; 0x1_0000]),
        }
    }

    /// A call with these registers from r3 on: status and r4.
    fn call(&mut self, registers: &[u64]) -> (i64, u64) {
        let mut gpr = [0; 32];
        gpr[3..3 + registers.len()].copy_from_slice(registers);
        assert_eq!(call(&mut gpr, self), Next::Resume);
        (gpr[3] as i64, gpr[4])
    }

    fn store(&mut self, at: usize, words: impl IntoIterator<Item = u32>) {
        for (place, word) in (at..).step_by(4).zip(words) {
            let bytes = GuestAddr::new(place as u64);
            self.write(bytes, &word.to_be_bytes());
        }
    }

    fn rtas(&mut self, token: u32, arguments: &[u32], answers: usize) -> Vec<u32> {
        let head = [token, arguments.len() as u32, answers as u32];
        self.store(0x100, head.into_iter().chain(arguments.iter().copied()));
        self.store(0x10c + 4 * arguments.len(), vec![0xdead; answers + 1]);
        assert_eq!(self.call(&[0xf000, 0x100]).0, 0);
        let memory = self.memory.borrow();
        let words = memory[0x10c + 4 * arguments.len()..].as_chunks::<4>().0;
        let mut words: Vec<u32> = words[..=answers]
            .iter()
            .map(|word| u32::from_be_bytes(*word))
            .collect();
        assert_eq!(words.pop(), Some(0xdead), "behind the answers");
        words
    }
}

const PUT: u64 = 0x20;
const GET: u64 = 0x1c;
const STUFF: u64 = 0x138;
const INDIRECT: u64 = 0x13c;
const WRONG: u32 = -3i32 as u32;

#[test]
fn registers_are_where_linux_puts_them() {
    let mut model = Model::new(true);
    let liobn = LIOBNS[0].into();
    assert_eq!(model.call(&[PUT, liobn, 0x3000, 0x7001]).0, 0);
    assert_eq!(model.call(&[GET, liobn, 0x3000]), (0, 0x7001));
    assert_eq!(model.call(&[STUFF, liobn, 0x3000, 0x9003, 2]).0, 0);
    assert_eq!(model.call(&[GET, liobn, 0x4000]), (0, 0x9003));
    model.store(0x2000, [0, 0xa001, 0, 0xb003]);
    assert_eq!(model.call(&[INDIRECT, liobn, 0x4000, 0x2000, 2]).0, 0);
    assert_eq!(model.call(&[GET, liobn, 0x4000]), (0, 0xa001));
    assert_eq!(model.call(&[GET, liobn, 0x5000]), (0, 0xb003));
    // A failure leaves r4 alone; a list that is no memory is refused.
    assert_eq!(model.call(&[GET, 5, 0x5000]), (-4, 5));
    assert_eq!(model.call(&[INDIRECT, liobn, 0x4000, 0x1_0000, 1]).0, -4);
    model.guest.check(3);
}

/// The fast path answers the same, and leaves the rest to the other.
#[test]
fn tce_calls_are_quick() {
    let mut model = Model::new(true);
    let liobn = LIOBNS[0].into();
    let quickly = |model: &Model, registers: &[u64]| {
        let mut gpr = [0; 32];
        gpr[3..3 + registers.len()].copy_from_slice(registers);
        let before = gpr;
        let answer = quick(&mut gpr, model);
        let done = answer != Quick::MORE;
        assert!(done || gpr == before, "registers of {registers:?}");
        done.then_some((answer.0, gpr[4]))
    };
    assert_eq!(
        quickly(&model, &[PUT, liobn, 0x3000, 0x7001]),
        Some((0, liobn))
    );
    assert_eq!(quickly(&model, &[GET, liobn, 0x3000]), Some((0, 0x7001)));
    model.store(0x2000, [0, 0xa001, 0, 0xb003]);
    let list = [INDIRECT, liobn, 0x4000, 0x2000, 2];
    assert_eq!(quickly(&model, &list), Some((0, liobn)));
    assert_eq!(model.call(&[GET, liobn, 0x5000]), (0, 0xb003));
    let stuff = |count| [STUFF, liobn, 0x3000, 0, count];
    assert_eq!(quickly(&model, &stuff(512)), Some((0, liobn)));
    assert_eq!(quickly(&model, &stuff(513)), None);
    assert_eq!(quickly(&model, &[PUT, 5, 0, 0]), Some((-4, 5)));
    // Without rights it unmaps, once or twice, whatever else is in the entry.
    for _ in 0..2 {
        assert_eq!(
            quickly(&model, &[PUT, liobn, 0x5000, 0x7004]),
            Some((0, liobn))
        );
        assert_eq!(quickly(&model, &[GET, liobn, 0x5000]), Some((0, 0)));
    }
    // What is unusual: a page that is mapped already, what is no page.
    for (tce, answer) in [(0x9003, 0), (0x9003, 0), (0x9803, -4), (u64::MAX, -4)] {
        let put = [PUT, liobn, 0x5000, tce];
        assert_eq!(quickly(&model, &put), Some((answer, liobn)), "{tce:#x}");
        assert_eq!(quickly(&model, &[GET, liobn, 0x5000]), Some((0, 0x9003)));
    }
    assert_eq!(quickly(&model, &[PUT, liobn, 0x5000, 0]), Some((0, liobn)));
    assert_eq!(quickly(&model, &[0x7ffc]), Some((-2, 0)));
    for slow in [0x58, 0xe0, 0xf000] {
        assert_eq!(quickly(&model, &[slow]), None);
    }
    model.guest.check(0);
}

#[test]
fn windows_are_asked_for_made_and_removed_by_rtas() {
    let mut model = Model::new(true);
    let group = [CONFIG[0], (BUID >> 32) as u32, BUID as u32];
    let short = model.rtas(10, &group, 5);
    let entries = model.guest.query().entries as u32;
    assert_eq!(short, [0, 1, entries, 0x103, 0]);
    assert_eq!(model.rtas(10, &group, 6), [0, 1, 0, entries, 0x103, 0]);
    let create = [group.as_slice(), &[21, 25]].concat();
    let base = (HIGH >> 32) as u32;
    assert_eq!(model.rtas(11, &create, 4), [0, LIOBNS[1], base, 0]);
    assert_eq!(model.call(&[PUT, LIOBNS[1].into(), HIGH, 3]).0, 0);
    assert_eq!(model.rtas(11, &create, 4)[0], WRONG);
    assert_eq!(model.rtas(12, &[LIOBNS[1]], 1), [0]);
    assert_eq!(model.rtas(12, &[LIOBNS[1]], 1), [WRONG]);
    assert_eq!(model.rtas(13, &group, 1), [0]);
    model.guest.check(0);
}

#[test]
fn arguments_that_are_missing_are_refused() {
    let mut model = Model::new(true);
    let create = [CONFIG[0], (BUID >> 32) as u32, BUID as u32, 16, 25];
    for given in 0..5 {
        let answers = model.rtas(11, &create[..given], 4);
        assert_eq!(answers, [WRONG, 0xdead, 0xdead, 0xdead]);
        if given < 3 {
            assert_eq!(model.rtas(10, &create[..given], 6)[0], WRONG);
            assert_eq!(model.rtas(13, &create[..given], 1), [WRONG]);
        }
    }
    for answers in [0, 1, 4, 7] {
        let told = model.rtas(10, &create[..3], answers);
        assert!(told.first().is_none_or(|status| *status == WRONG));
    }
    assert_eq!(model.rtas(12, &[], 1), [WRONG]);
    // Nowhere to tell the LIOBN: it is made, and can be reset.
    assert_eq!(model.rtas(11, &create, 1), [0]);
    assert_eq!(model.rtas(13, &create[..3], 1), [0]);
    model.guest.check(0);
}

#[test]
fn a_partition_without_windows_gets_a_parameter() {
    let mut model = Model::new(false);
    let liobn = LIOBNS[0].into();
    for token in [PUT, GET, STUFF, INDIRECT] {
        assert_eq!(model.call(&[token, liobn, 0x3000, 0x7001, 1]).0, -4);
    }
    let group = [CONFIG[0], (BUID >> 32) as u32, BUID as u32];
    assert_eq!(model.rtas(10, &group, 5)[0], WRONG);
    assert_eq!(model.rtas(12, &[LIOBNS[0]], 1), [WRONG]);
}

/// `ibm,read-pci-config` and `ibm,write-pci-config`: offsets from 0x100 on have
/// their upper four bits at the top of the address.
#[test]
fn configuration_space_is_read_and_written_by_rtas() {
    let mut model = Model::new(true);
    let (high, low) = ((BUID >> 32) as u32, BUID as u32);
    let at = |offset: u32| CONFIG[0] | offset;
    assert_eq!(model.rtas(14, &[at(0), high, low, 4], 2), [0, 0x0010_1b36]);
    assert_eq!(model.rtas(14, &[at(2), high, low, 2], 2), [0, 0x0010]);
    assert_eq!(model.rtas(15, &[at(4), high, low, 2, 6], 1), [0]);
    assert_eq!(model.rtas(14, &[at(4), high, low, 1], 2), [0, 6]);
    let extended = at(0) | 1 << 28;
    assert_eq!(model.rtas(14, &[extended, high, low, 4], 2), [0, 0]);
    // Another size, another place, another function, another host bridge.
    for wrong in [
        [at(0), high, low, 3],
        [at(1), high, low, 2],
        [at(2), high, low, 4],
        [at(0), high, low, 0],
        [at(0), high, low, 0x8000_0004],
        [CONFIG[1], high, low, 4],
        [at(0), high, low + 1, 4],
        [at(0), high + 1, low, 4],
    ] {
        assert_eq!(model.rtas(14, &wrong, 2), [WRONG, 0xdead]);
        let write = [wrong.as_slice(), &[0]].concat();
        assert_eq!(model.rtas(15, &write, 1), [WRONG]);
    }
    for given in 0..4 {
        let arguments = [at(0), high, low, 4, 0];
        assert_eq!(model.rtas(14, &arguments[..given], 2)[0], WRONG);
        assert_eq!(model.rtas(15, &arguments[..given + 1], 1), [WRONG]);
    }
    model.drive.pci.remove(model.drive.node);
    assert_eq!(model.rtas(14, &[at(8), high, low, 4], 2), [0, u32::MAX]);
}

/// `ibm,change-msi` and `ibm,query-interrupt-source-number`, as Linux calls them.
#[test]
fn messages_are_asked_for_by_rtas() {
    let mut model = Model::new(true);
    let (high, low) = ((BUID >> 32) as u32, BUID as u32);
    let change = |function, count| [CONFIG[0], high, low, function, count, 1];
    let query = |index| [CONFIG[0], high, low, index];
    assert_eq!(
        model.rtas(16, &change(4, 3), 4),
        [WRONG, 0xdead, 0xdead, 0xdead]
    );
    model.messages = Some(messages());
    assert_eq!(model.rtas(16, &change(4, 3), 4), [0, 3, 2, 2]);
    // The old form has three answers; an offset says nothing.
    assert_eq!(model.rtas(16, &change(1, 2), 3), [0, 2, 2]);
    let mut with_offset = change(0, 0);
    with_offset[0] |= 0xf000_00ff;
    assert_eq!(model.rtas(16, &with_offset, 4), [0, 2, 2, 1]);
    assert_eq!(model.rtas(17, &query(1), 3), [0, 65, 1]);
    assert_eq!(model.rtas(17, &query(2), 3), [WRONG, 0xdead, 0xdead]);
    let sent = model.sender.sent.len();
    for wrong in [
        [CONFIG[1], high, low, 4, 1, 1],
        [CONFIG[0], high + 1, low, 4, 1, 1],
        [CONFIG[0], high, low + 1, 4, 1, 1],
        [u32::MAX; 6],
    ] {
        assert_eq!(model.rtas(16, &wrong, 4)[0], WRONG);
        assert_eq!(model.rtas(17, &wrong[..4], 3)[0], WRONG);
    }
    for given in 0..5 {
        assert_eq!(model.rtas(16, &change(4, 1)[..given], 4)[0], WRONG);
        assert_eq!(model.rtas(17, &query(0)[..given.min(3)], 3)[0], WRONG);
    }
    assert_eq!(model.sender.sent.len(), sent, "nothing was told");
    // Nowhere to tell the answers, and no number in the sequence.
    assert_eq!(model.rtas(16, &change(4, 1)[..5], 0), []);
    assert_eq!(model.rtas(17, &query(0), 1), [0]);
}
