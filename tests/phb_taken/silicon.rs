//! The PHB: functions, tables and firmware in one, with no mercy.

use pinion::addr::HostAddr;
use pinion::opal::gate::Gate;
use pinion::opal::{Opal, OpalError, RawOpal, Token, Waiter};
use pinion::pci::registers as reg;
use pinion::pci::{Bdfn, ConfigAccess, FunctionId, GroupIndex, PhbInfo, ScanPolicy};
use pinion::phb::{KillPath, Phb, PhbHardware, PhbSetup, Taken};
use pinion::seam::{DmaTable, TveSelect};
use pinion::sim::pci::boards::Board;
use pinion::sim::pci::{NodeId, SimPci};
use std::cell::RefCell;
use std::collections::BTreeMap;

pub const MMIO: u8 = 1;
pub const DMA: u8 = 2;
pub const CARD: u16 = 0x100;
pub const MASTER: u16 = 1 << 2;

pub struct State {
    pub pci: SimPci,
    pub rtt: Vec<u16>,
    pub tves: Vec<u64>,
    pub vectors: Vec<u16>,
    pub frozen: Vec<u8>,
    /// Command registers of virtual functions.
    pub commands: BTreeMap<u16, u16>,
    /// Freezes, right behind the next answer of how it is frozen.
    pub will_freeze: Option<usize>,
    /// RIDs that were reset, in order.
    pub resets: Vec<u16>,
    /// RIDs that firmware set up after a reset, and what it answers then.
    pub set_up: Vec<u16>,
    pub set_up_status: i64,
    /// The answer to the call under way.
    pub status: i64,
    /// RIDs that were enabled to master the bus, and the order of it all.
    pub masters: Vec<u16>,
    pub selected: u64,
    pub clock: u64,
}

pub struct Silicon(RefCell<State>);

impl Silicon {
    pub fn new(board: &Board) -> Self {
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
            set_up: Vec::new(),
            set_up_status: 0,
            status: 0,
            masters: Vec::new(),
            selected: 0,
            clock: 0,
        }))
    }

    pub fn with<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        what(&mut self.0.borrow_mut())
    }

    pub fn command(&self, rid: u16) -> u16 {
        self.with(|it| it.function(rid, reg::COMMAND, 2, None) as u16)
    }
}

impl State {
    /// An access past the freeze.
    pub fn function(&mut self, rid: u16, offset: u16, size: u8, write: Option<u32>) -> u32 {
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

    /// Where a function has its PCI Express capability.
    pub fn express(&mut self, rid: u16) -> Option<u16> {
        let mut all = (0x40..0x100).step_by(4);
        all.find(|at| {
            let id = self.function(rid, *at, 1, None);
            id == u32::from(reg::capability::EXPRESS)
        })
    }

    pub fn config(&mut self, rid: u16, offset: u16, size: u8, write: Option<u32>) -> u32 {
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
            Token::PciReinit => {
                assert_eq!(first, 1000, "the only scope that there is");
                it.set_up.push(second as u16);
                it.status = it.set_up_status;
                // A payload of its own choice, where the model has that register.
                if let Some(express) = it.express(second as u16) {
                    let control = express + reg::express::DEVICE_CONTROL;
                    it.function(second as u16, control, 2, Some(0x202f));
                }
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
        Ok(self.with(|it| core::mem::take(&mut it.status)))
    }
}

pub struct Still;

impl Waiter for Still {
    fn wait_ms(&self, _: u64) {}
}

pub type Host<'o> = Taken<'o, &'o Silicon, &'o Silicon, Still>;

/// Takes the PHB of `board`.
pub fn take(board: &Board, virtuals: u16, what: impl FnOnce(&Silicon, &Host<'_>)) {
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
pub fn open(host: &Host<'_>, group: GroupIndex) -> u16 {
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

pub fn group(host: &Host<'_>, rid: u16) -> GroupIndex {
    let at = host
        .topology
        .find(Bdfn::from_rid(rid))
        .expect("it is there");
    host.groups.of(at)
}

pub fn name(host: &Host<'_>, rid: u16) -> FunctionId {
    FunctionId::new(host.topology.phb, Bdfn::from_rid(rid))
}

pub fn remove(silicon: &Silicon, node: NodeId) {
    silicon.with(|it| it.pci.remove(node));
}
