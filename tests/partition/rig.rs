//! A machine with real frames, whose contents are followed, over the model of
//! PHBs.

use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{Engine, WindowConfig};
use pinion::memory::frames::{Block, FrameAllocator};
use pinion::memory::ledger::{Ledger, OwnerId};
use pinion::memory::ranges::Range;
use pinion::partition::domain::{Domain, Grant};
use pinion::partition::memory::Blocks;
use pinion::seam::PeId;
use pinion::sim::{Machine, PhbKind, PhbModel};
use pinion::tce::{PageShift, PageSizes, TableShape};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

pub const MIB: u64 = 1 << 20;

/// Bytes of what is followed.
const UNIT: u64 = 1 << 16;

/// Frames of two chips, and which 64K of them are not zero.
pub struct Frames {
    allocator: RefCell<FrameAllocator<'static>>,
    dirty: RefCell<BTreeSet<u64>>,
    pub pauses: Cell<u64>,
}

impl Frames {
    /// `zones` are start, bytes and chip.
    pub fn new(zones: &[(u64, u64, u32)]) -> Self {
        let range = |&(start, bytes, _): &(u64, u64, u32)| Range::new(start, bytes).unwrap();
        let words: usize = zones
            .iter()
            .map(|zone| FrameAllocator::storage_for(&range(zone)))
            .sum();
        let mut allocator = FrameAllocator::new(vec![0; words].leak());
        for zone in zones {
            allocator.add_zone(range(zone), zone.2).unwrap();
        }
        Self {
            allocator: RefCell::new(allocator),
            dirty: RefCell::default(),
            pauses: Cell::new(0),
        }
    }

    /// Somebody writes there.
    pub fn soil(&self, start: HostAddr, bytes: u64) {
        let units = (0..bytes / UNIT).map(|unit| start.get() / UNIT + unit);
        self.dirty.borrow_mut().extend(units);
    }

    pub fn is_zero(&self, start: HostAddr, bytes: u64) -> bool {
        let first = start.get() / UNIT;
        let last = first + bytes / UNIT;
        self.dirty.borrow().range(first..last).next().is_none()
    }

    /// Free bytes, and the largest free block.
    pub fn free_bytes(&self) -> (u64, Option<u32>) {
        let allocator = self.allocator.borrow();
        (allocator.free_bytes(), allocator.largest_free())
    }
}

impl Blocks for Frames {
    fn allocate(&self, shift: u32, chip: Option<u32>) -> Option<HostAddr> {
        let block = self.allocator.borrow_mut().allocate_on(shift, chip).ok()?;
        // What was there before: anything.
        let bytes = block.size();
        let start = block.leak();
        self.soil(start, bytes);
        Some(start)
    }

    fn free(&self, start: HostAddr, shift: u32) {
        // A block that was never used may hold anything.
        let block = Block::unleak(start, shift);
        self.allocator.borrow_mut().free(block).unwrap();
    }

    fn zero(&self, start: HostAddr, bytes: u64) {
        assert!(bytes <= pinion::partition::memory::CHUNK && bytes.is_multiple_of(UNIT));
        let units = (0..bytes / UNIT).map(|unit| start.get() / UNIT + unit);
        let mut dirty = self.dirty.borrow_mut();
        for unit in units {
            dirty.remove(&unit);
        }
    }

    fn pause(&self) {
        self.pauses.set(self.pauses.get() + 1);
    }
}

pub struct Rig {
    pub engine: Engine<Machine>,
    pub ledger: Ledger<Machine>,
    pub frames: Frames,
}

pub fn pe(number: u16) -> PeId {
    PeId { phb: 0, pe: number }
}

impl Rig {
    pub fn new(kind: PhbKind, seed: u64) -> Self {
        let machine = Machine::new(vec![PhbModel::new(kind, 16)], 64 << 20, seed);
        machine.post_writes(3);
        Self {
            engine: Engine::new(machine, &[16]),
            ledger: Ledger::new(),
            frames: Frames::new(&[(64 * MIB, 192 * MIB, 0), (1 << 40, 256 * MIB, 8)]),
        }
    }

    pub fn machine(&self) -> &Machine {
        self.engine.platform()
    }

    pub fn grant(owner: u32, memory: u64) -> Grant {
        Grant {
            owner: OwnerId(owner),
            memory,
            chip: None,
            dma_limit: 4 * MIB,
        }
    }

    /// A partition; the model knows whose its memory is.
    pub fn domain(&self, owner: u32, memory: u64) -> Domain<Machine> {
        let grant = Self::grant(owner, memory);
        let domain = Domain::new(&self.frames, &self.ledger, &grant).unwrap();
        self.tell(&domain, Some(grant.owner));
        domain
    }

    /// Tells the model who owns the memory of a partition from now on.
    pub fn tell(&self, domain: &Domain<Machine>, owner: Option<OwnerId>) {
        for piece in domain.memory().map().pieces() {
            self.machine().set_owner(piece.host, piece.bytes, owner);
        }
    }

    pub fn config() -> WindowConfig {
        WindowConfig {
            base: BusAddr::new(0),
            pages: 1 << 10,
            shape: TableShape::new(PageShift::K4, 1, 13).unwrap(),
            sizes: PageSizes::NONE.with(PageShift::K4),
            limit: 512,
        }
    }

    /// Gives PE `number`, with the function of this number, to a partition.
    pub fn give(&self, domain: &Domain<Machine>, number: u16) {
        let owner = domain.memory().owner();
        self.machine().add_function(pe(number), number, owner);
        domain
            .give(&self.engine, pe(number), &Self::config())
            .unwrap();
    }

    /// Lets it do DMA.
    pub fn open(&self, domain: &Domain<Machine>, number: u16) {
        domain.open(&self.engine, pe(number)).unwrap();
        self.machine().bus_master_on(pe(number));
    }
}
