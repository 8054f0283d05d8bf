//! A PHB that is taken, used, frozen and reset, over a tree of functions and a
//! firmware that keeps the PHB's tables. It is as unforgiving as silicon: an
//! access to what is not there freezes the PE of its RID, and configuration
//! space of a frozen PE reads as all ones and takes no write.

use pinion::addr::HostAddr;
use pinion::opal::gate::Gate;
use pinion::opal::{Opal, OpalError, RawOpal, Token, Waiter};
use pinion::pci::registers as reg;
use pinion::pci::steps::Step;
use pinion::pci::{
    Bdfn, ConfigAccess, FunctionId, Generation, GroupIndex, NotAssignable, PhbInfo, ScanPolicy,
};
use pinion::phb::{KillPath, Phb, PhbHardware, PhbSetup, StepError, Taken};
use pinion::seam::{DmaTable, PhbError, TveSelect};
use pinion::sim::pci::boards::{Board, nvme};
use pinion::sim::pci::{NodeId, SimPci};
use std::cell::RefCell;
use std::collections::BTreeMap;

const MMIO: u8 = 1;
const DMA: u8 = 2;
const CARD: u16 = 0x100;
const MASTER: u16 = 1 << 2;

struct State {
    pci: SimPci,
    rtt: Vec<u16>,
    tves: Vec<u64>,
    vectors: Vec<u16>,
    frozen: Vec<u8>,
    /// Command registers of virtual functions.
    commands: BTreeMap<u16, u16>,
    /// Freezes, right behind the next answer of how it is frozen.
    will_freeze: Option<usize>,
    /// RIDs that were reset, in order.
    resets: Vec<u16>,
    /// RIDs that were enabled to master the bus, and the order of it all.
    masters: Vec<u16>,
    selected: u64,
    clock: u64,
}

struct Silicon(RefCell<State>);

impl Silicon {
    fn new(board: &Board) -> Self {
        let pes = usize::from(board.phb.pes());
        Self(RefCell::new(State {
            pci: board.pci.clone(),
            rtt: vec![board.phb.reserved().get(); 1 << 16],
            tves: vec![0; 2 * pes],
            vectors: vec![0; board.phb.vectors().into()],
            frozen: vec![0; pes],
            commands: BTreeMap::new(),
            will_freeze: None,
            resets: Vec::new(),
            masters: Vec::new(),
            selected: 0,
            clock: 0,
        }))
    }

    fn with<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        what(&mut self.0.borrow_mut())
    }

    fn command(&self, rid: u16) -> u16 {
        self.with(|it| it.function(rid, reg::COMMAND, 2, None) as u16)
    }
}

impl State {
    /// An access past the freeze.
    fn function(&mut self, rid: u16, offset: u16, size: u8, write: Option<u32>) -> u32 {
        let name = |rid| FunctionId::new(self.pci.phb(), Bdfn::from_rid(rid));
        let (own, card) = (name(rid), name(CARD));
        let is_there = self.pci.read32(own, reg::REVISION_CLASS) != Ok(u32::MAX);
        let is_virtual = is_there && self.pci.read32(own, reg::VENDOR) == Ok(u32::MAX);
        if is_virtual && offset == reg::COMMAND {
            let command = self.commands.entry(rid).or_default();
            *command = write.map_or(*command, |value| value as u16);
            return (*command).into();
        }
        // A virtual function has its capabilities where the card has them.
        let function = if is_virtual && offset >= 0x40 {
            card
        } else {
            own
        };
        let _ = match (write, size) {
            (None, _) => Ok(()),
            (Some(value), 1) => self.pci.write8(function, offset, value as u8),
            (Some(value), 2) => {
                let express = self.pci.read8(function, offset.wrapping_sub(8));
                let is_control = express == Ok(reg::capability::EXPRESS);
                if is_control && value & 1 << 15 != 0 {
                    self.resets.push(rid);
                    self.commands.insert(rid, 0);
                    self.pci.reset(own.bdfn);
                    Ok(())
                } else {
                    self.pci.write16(function, offset, value as u16)
                }
            }
            (Some(value), _) => self.pci.write32(function, offset, value),
        };
        match size {
            1 => self.pci.read8(function, offset).map_or(0xff, u32::from),
            2 => self.pci.read16(function, offset).map_or(0xffff, u32::from),
            _ => self.pci.read32(function, offset).unwrap_or(u32::MAX),
        }
    }

    fn config(&mut self, rid: u16, offset: u16, size: u8, write: Option<u32>) -> u32 {
        let pe = usize::from(self.rtt[usize::from(rid)]);
        let ones = u32::MAX >> (32 - 8 * u32::from(size));
        if self.frozen[pe] & MMIO != 0 {
            return ones;
        }
        if self.function(rid, reg::REVISION_CLASS, 4, None) == u32::MAX {
            self.frozen[pe] = MMIO | DMA;
            return ones;
        }
        if offset == reg::COMMAND && write.is_some_and(|value| value as u16 & MASTER != 0) {
            self.masters.push(rid);
        }
        self.function(rid, offset, size, write)
    }

    fn set_pe(&mut self, arguments: &[u64; 8]) {
        let [_, pe, rid, bus, device, function, ..] = *arguments;
        let mut mask = if device == 1 { 0xf8 } else { 0 } | if function == 1 { 7 } else { 0 };
        if bus != 0 {
            mask |= 0xffff_u64 << (15 - bus) & 0xff00;
        }
        for (at, entry) in (0u64..).zip(&mut self.rtt) {
            if (at ^ rid) & mask == 0 {
                *entry = pe as u16;
            }
        }
    }
}

impl PhbHardware for &Silicon {
    fn load(&self, offset: u64) -> u64 {
        self.with(|it| {
            it.clock += 1;
            match offset {
                // A sync that is complete at once.
                0x200 => 1 << 62,
                0x228 => it
                    .tves
                    .get(it.selected as usize & 0x3ff)
                    .copied()
                    .unwrap_or(0),
                _ => 0,
            }
        })
    }

    fn store(&self, offset: u64, value: u64) {
        if offset == 0x220 {
            assert_eq!(value >> 48, 9, "only TVEs are pretended");
            self.with(|it| it.selected = value);
        }
    }

    fn barrier(&self) {}

    fn memory16(&self, at: HostAddr) -> u16 {
        self.with(|it| it.rtt[at.get() as usize / 2])
    }

    fn memory64(&self, _: HostAddr) -> u64 {
        0
    }

    fn microseconds(&self) -> u64 {
        self.with(|it| it.clock)
    }

    fn wait_ms(&self, milliseconds: u64) {
        self.with(|it| it.clock += 1000 * milliseconds);
    }

    fn thread(&self) -> u64 {
        7
    }
}

// SAFETY: writes only answers, through the pointers that the calls have.
unsafe impl RawOpal for &Silicon {
    // # Safety: as the trait says.
    unsafe fn call(&self, token: Token, arguments: [u64; 8]) -> Result<i64, OpalError> {
        let [_, first, second, third, ..] = arguments;
        self.with(|it| match token {
            Token::PciConfigRead8 => {
                let value = it.config(first as u16, second as u16, 1, None) as u8;
                // SAFETY: the call passes a pointer to a byte.
                unsafe { (third as *mut u8).write(value) };
            }
            Token::PciConfigRead16 => {
                let value = it.config(first as u16, second as u16, 2, None) as u16;
                // SAFETY: the call passes a pointer to two bytes.
                unsafe { (third as *mut u16).write(value.to_be()) };
            }
            Token::PciConfigRead32 => {
                let value = it.config(first as u16, second as u16, 4, None);
                // SAFETY: the call passes a pointer to four bytes.
                unsafe { (third as *mut u32).write(value.to_be()) };
            }
            Token::PciConfigWrite8 => {
                it.config(first as u16, second as u16, 1, Some(third as u32));
            }
            Token::PciConfigWrite16 => {
                it.config(first as u16, second as u16, 2, Some(third as u32));
            }
            Token::PciConfigWrite32 => {
                it.config(first as u16, second as u16, 4, Some(third as u32));
            }
            Token::PciReset => {
                assert_eq!(first, 6, "no slot is reset here");
                it.rtt.fill(it.frozen.len() as u16 - 1);
                it.tves.fill(0);
                it.vectors.fill(0);
                it.frozen.fill(0);
            }
            Token::PciSetPe => it.set_pe(&arguments),
            Token::PciSetXivePe => it.vectors[second as usize] = first as u16,
            Token::PciMapPeDmaWindow => {
                let [_, _, index, levels, root, bytes, page, _] = arguments;
                let value = if bytes == 0 {
                    0
                } else {
                    (root >> 12) << 16
                        | (levels - 1) << 13
                        | u64::from(bytes.ilog2() - 11) << 8
                        | u64::from(page.ilog2() - 11)
                };
                it.tves[index as usize] = value;
            }
            Token::PciEehFreezeStatus => {
                let state = it.frozen[first as usize];
                // SAFETY: the call passes a pointer to a byte.
                unsafe { (second as *mut u8).write(state) };
                if let Some(pe) = it.will_freeze.take() {
                    it.frozen[pe] = MMIO | DMA;
                }
            }
            Token::PciEehFreezeClear => it.frozen[first as usize] &= !(second as u8),
            Token::PciEehFreezeSet => it.frozen[first as usize] |= second as u8,
            _ => {}
        });
        Ok(0)
    }
}

struct Still;

impl Waiter for Still {
    fn wait_ms(&self, _: u64) {}
}

type Host<'o> = Taken<'o, &'o Silicon, &'o Silicon, Still>;

/// Takes the PHB of `board`.
fn take(board: &Board, virtuals: u16, what: impl FnOnce(&Silicon, &Host<'_>)) {
    let silicon = Silicon::new(board);
    let (opal, gate) = (Opal::new(&silicon, Still), Gate::new());
    let info: &PhbInfo = &board.phb;
    let setup = PhbSetup {
        id: info.id().get().into(),
        generation: info.generation(),
        pes: info.pes(),
        reserved: info.reserved().get(),
        kill: KillPath::Register,
        page_shifts: 1 << 12 | 1 << 16,
        rtt: Some(HostAddr::new(0)),
        pest: None,
    };
    let phb = Phb::new(setup, &silicon, &opal, &gate);
    let policy = ScanPolicy {
        virtuals: &|_| virtuals,
        ..Default::default()
    };
    let host = Taken::take(phb, info.clone(), &policy).expect("it is taken");
    what(&silicon, &host);
}

/// What the engine's attach does.
fn open(host: &Host<'_>, group: GroupIndex) -> u16 {
    let pe = host.plan.group(group).pe.expect("it has one").get();
    let table = DmaTable {
        root: HostAddr::new(0x10_0000),
        levels: 1,
        level_shift: 16,
        page_shift: 12,
    };
    host.phb.set_tve(pe, TveSelect::Low, Some(&table)).unwrap();
    pe
}

fn group(host: &Host<'_>, rid: u16) -> GroupIndex {
    let at = host
        .topology
        .find(Bdfn::from_rid(rid))
        .expect("it is there");
    host.groups.of(at)
}

fn name(host: &Host<'_>, rid: u16) -> FunctionId {
    FunctionId::new(host.topology.phb, Bdfn::from_rid(rid))
}

#[test]
fn a_phb_is_taken_with_nothing_at_pe_0() {
    for generation in [Generation::Phb3, Generation::Phb4, Generation::Phb5] {
        let (board, _) = Board::one_device(generation, 0);
        take(&board, 0, |silicon, host| {
            assert_eq!(host.broken, []);
            let drive = group(host, CARD);
            let pe = host.plan.group(drive).pe.unwrap();
            assert_eq!(pe.get(), 0, "the first that is handed out");
            let reserved = host.info.reserved().get();
            silicon.with(|it| {
                assert!(it.vectors.iter().all(|pe| *pe == reserved));
                assert_eq!(it.rtt[usize::from(CARD)], pe.get());
                assert_eq!(it.rtt[usize::from(CARD) + 1], reserved);
                assert!(it.frozen.iter().all(|state| *state == 0), "probes ended");
                assert!(!it.masters.contains(&CARD));
                assert_eq!(it.resets, []);
            });
            assert!(host.is_up(drive));
            assert_eq!(host.assignable(drive, |_| true), Ok(()));
        });
    }
}

#[test]
fn a_function_that_mastered_the_bus_before_is_stopped_and_reset() {
    let (mut board, drive) = Board::one_device(Generation::Phb4, 0);
    board.pci.model_mut(drive).put16(reg::COMMAND, 0x146);
    take(&board, 0, |silicon, host| {
        assert_eq!(silicon.command(CARD) & MASTER, 0);
        let at = group(host, CARD);
        open(host, at);
        host.start(at).unwrap();
        silicon.with(|it| {
            assert_eq!(it.resets, [CARD], "before its first use");
            assert_eq!(it.masters.iter().filter(|it| **it == CARD).count(), 1);
        });
        assert_ne!(silicon.command(CARD) & MASTER, 0);
        let memory = silicon.command(CARD) & 2;
        assert_ne!(memory, 0, "its registers are back");
    });
}

#[test]
fn what_a_detach_has_reset_is_not_reset_again() {
    let (board, _) = Board::one_device(Generation::Phb4, 0);
    take(&board, 0, |silicon, host| {
        let at = group(host, CARD);
        let pe = open(host, at);
        host.start(at).unwrap();
        // The owner goes on after a detach without reset.
        host.start(at).unwrap();
        assert_eq!(silicon.with(|it| it.resets.len()), 1);
        host.bus_master_off(pe).unwrap();
        assert_eq!(silicon.command(CARD) & MASTER, 0);
        host.reset_functions(pe).unwrap();
        assert_eq!(silicon.with(|it| it.resets.len()), 2);
        host.start(at).unwrap();
        assert_eq!(silicon.with(|it| it.resets.len()), 2);
    });
}

#[test]
fn a_frozen_pe_is_not_started_and_its_reset_thaws_no_dma() {
    let (board, _) = Board::one_device(Generation::Phb4, 0);
    take(&board, 0, |silicon, host| {
        let at = group(host, CARD);
        let pe = open(host, at);
        host.freeze(pe).unwrap();
        let refused = host.start(at).unwrap_err();
        assert!(matches!(refused, (Step::OpenDma { .. }, StepError::Frozen(it)) if it.get() == pe));
        assert_eq!(silicon.command(CARD) & MASTER, 0);
        host.clear_freeze(pe).unwrap();
        host.start(at).unwrap();
        // The engine gave up on a kill: stopped and reset all the same.
        host.freeze(pe).unwrap();
        host.bus_master_off(pe).unwrap();
        assert_eq!(silicon.command(CARD) & MASTER, 0);
        host.freeze(pe).unwrap();
        host.reset_functions(pe).unwrap();
        let state = silicon.with(|it| it.frozen[usize::from(pe)]);
        assert_eq!(state, DMA, "only the engine knows when it may go on");
        assert_ne!(silicon.command(CARD) & 2, 0, "its registers are back");
    });
}

#[test]
fn virtual_functions_go_on_when_their_owner_starts_the_card() {
    let (board, _) = Board::sriov(Generation::Phb4);
    take(&board, 2, |silicon, host| {
        assert_eq!(host.broken, []);
        let (card, first) = (group(host, CARD), host.groups.of_virtuals().next().unwrap());
        let rid = host.topology.virtuals[0].bdfn.rid();
        open(host, first);
        host.start(first).unwrap();
        assert_eq!(silicon.with(|it| it.resets.clone()), [rid]);
        open(host, card);
        host.start(card).unwrap();
        silicon.with(|it| {
            assert_eq!(it.resets, [rid, CARD]);
            let started: Vec<u16> = it.masters.iter().copied().filter(|it| *it != 0).collect();
            assert_eq!(
                started,
                [rid, rid, CARD],
                "again behind the reset of the card"
            );
        });
        assert_eq!(host.quiet_virtuals(), 0);
        assert_eq!(silicon.command(rid) & MASTER, 0);
    });
}

fn remove(silicon: &Silicon, node: NodeId) {
    silicon.with(|it| it.pci.remove(node));
}

#[test]
fn a_function_that_is_taken_out_is_detached_though_its_pe_freezes() {
    let (board, drive) = Board::one_device(Generation::Phb4, 0);
    // The link's end froze the PE first, or the first access does.
    for by_link in [true, false] {
        take(&board, 0, |silicon, host| {
            let at = group(host, CARD);
            let pe = open(host, at);
            host.start(at).unwrap();
            assert_eq!(host.find_gone(pe), []);
            remove(silicon, drive);
            if by_link {
                silicon.with(|it| it.frozen[usize::from(pe)] = MMIO | DMA);
                assert_eq!(host.find_gone(pe), [], "a frozen PE tells nothing");
            }
            let before = silicon.with(|it| it.clock);
            host.bus_master_off(pe).unwrap();
            assert!(
                silicon.with(|it| it.clock) >= before + 100_000,
                "time to drain"
            );
            assert_ne!(silicon.with(|it| it.frozen[usize::from(pe)]) & DMA, 0);
            host.push_writes(pe).unwrap();
            host.reset_functions(pe).unwrap();
            let gone = name(host, CARD);
            assert_eq!(host.find_gone(pe), [gone]);
            // What is in its place is nobody's until the next scan.
            host.clear_freeze(pe).unwrap();
            assert_eq!(
                host.assignable(at, |_| false),
                Err(NotAssignable::Gone(gone))
            );
            let refused = host.start(at).unwrap_err().1;
            assert_eq!(refused, StepError::Absent(gone));
        });
    }
}

#[test]
fn a_pe_that_freezes_during_the_look_has_lost_nothing() {
    let (board, _) = Board::one_device(Generation::Phb4, 0);
    take(&board, 0, |silicon, host| {
        let pe = open(host, group(host, CARD));
        silicon.with(|it| it.will_freeze = Some(pe.into()));
        assert_eq!(host.find_gone(pe), []);
        assert!(!host.is_deserted(pe));
        let state = silicon.with(|it| it.frozen[usize::from(pe)]);
        assert_eq!(state, DMA, "its error is still to be told");
        assert_eq!(host.find_gone(pe), [], "and can be recovered from");
    });
}

#[test]
fn a_look_behind_a_freeze_thaws_no_dma() {
    let (board, drive) = Board::one_device(Generation::Phb4, 0);
    take(&board, 0, |silicon, host| {
        let pe = open(host, group(host, CARD));
        host.freeze(pe).unwrap();
        assert_eq!(host.find_gone_behind_freeze(pe), []);
        remove(silicon, drive);
        host.freeze(pe).unwrap();
        assert_eq!(host.find_gone(pe), []);
        assert_eq!(host.find_gone_behind_freeze(pe), [name(host, CARD)]);
        assert!(host.is_deserted(pe));
        assert_ne!(silicon.with(|it| it.frozen[usize::from(pe)]) & DMA, 0);
    });
}

#[test]
fn of_a_group_that_lost_one_of_two_the_other_is_there() {
    let (board, nodes) = Board::switch(Generation::Phb3, 0, [nvme(), nvme()]);
    take(&board, 0, |silicon, host| {
        let (first, second) = (0x300, 0x400);
        let at = group(host, first);
        assert_eq!(at, group(host, second));
        let pe = open(host, at);
        remove(silicon, nodes[0]);
        assert_eq!(host.find_gone(pe), [name(host, first)]);
        assert!(!host.is_deserted(pe));
        remove(silicon, nodes[1]);
        host.find_gone_behind_freeze(pe);
        assert!(host.is_deserted(pe));
    });
}

#[test]
fn a_function_below_a_bridge_that_does_not_answer_is_not_gone() {
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    let drive = board.pci.add(Some(root), 0, 0, nvme());
    take(&board, 0, |silicon, host| {
        let at = group(host, CARD);
        let pe = open(host, at);
        host.start(at).unwrap();
        remove(silicon, drive);
        remove(silicon, root);
        assert!(matches!(
            host.bus_master_off(pe),
            Err(PhbError::ReadBack(_))
        ));
        assert_eq!(host.find_gone(pe), []);
        assert!(host.push_writes(pe).is_err());
    });
}

#[test]
fn a_function_below_a_frozen_bridge_is_not_gone() {
    let (board, drive) = Board::one_device(Generation::Phb4, 0);
    take(&board, 0, |silicon, host| {
        let pe = open(host, group(host, CARD));
        let bridge = host.plan.group(group(host, 0)).pe.unwrap().get();
        remove(silicon, drive);
        silicon.with(|it| it.frozen[usize::from(bridge)] = MMIO | DMA);
        let outcome = host.bus_master_off(pe);
        assert!(matches!(outcome, Err(PhbError::ReadBack(_))));
        assert_eq!(host.find_gone(pe), []);
        let state = silicon.with(|it| it.frozen[usize::from(bridge)]);
        assert_eq!(state, MMIO | DMA, "not its business");
    });
}
