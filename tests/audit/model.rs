//! A PHB's tables as firmware keeps them, for the audit to read: written by
//! the same steps that a driver carries out, by code of its own.

use std::cell::Cell;
use std::collections::BTreeMap;

use pinion::addr::{BusAddr, HostAddr};
use pinion::audit::{
    Auditor, Expected, Fact, Fault, Holder, Holders, IodaTable, IodaTables, Listener, Stretch,
    TableBases, Totals, layout,
};
use pinion::memory::ledger::OwnerId;
use pinion::pci::steps::Step;
use pinion::pci::{Bdfn, Generation, PeNumber, PhbDescription, PhbId, PhbInfo, RidMatch, Window};
use pinion::seam::DmaTable;
use pinion::tce::tve::Tve;

pub const RTT: u64 = 0x1_0000_0000;
pub const PELTV: u64 = 0x1_0010_0000;
pub const IVT: u64 = 0x1_0020_0000;
/// Table frames are from here on.
pub const TABLES: u64 = 0x2000_0000;
/// Partition 1 has 16 MB here, partition 2 as much behind it.
pub const FIRST: u64 = 0x4000_0000;
pub const SECOND: u64 = 0x4100_0000;
pub const REGION: u64 = 0x100_0000;
/// Memory ends here.
pub const MEMORY: u64 = 0x2_0000_0000;
pub const M64: u64 = 0x40_0000_0000;
pub const VECTORS: u16 = 0x7f8;

pub const ONE: OwnerId = OwnerId(1);
pub const TWO: OwnerId = OwnerId(2);

/// Who has which memory of the model.
pub struct Map;

impl Holders for Map {
    fn holder(&self, at: HostAddr) -> Stretch {
        let (holder, last) = match at.get() {
            0..FIRST => (Holder::Nobody, FIRST - 1),
            FIRST..SECOND => (Holder::Owner(ONE), SECOND - 1),
            SECOND..0x4200_0000 => (Holder::Owner(TWO), SECOND + REGION - 1),
            0x4200_0000..MEMORY => (Holder::Nobody, MEMORY - 1),
            _ => (Holder::NoMemory, u64::MAX),
        };
        Stretch {
            holder,
            last: HostAddr::new(last),
        }
    }
}

/// One PHB and the machine's memory.
pub struct Model {
    pub generation: Generation,
    pub pes: u16,
    pub memory: BTreeMap<u64, u64>,
    pub registers: BTreeMap<u64, u64>,
    pub mist: Vec<u64>,
    pub tvt: Vec<u64>,
    pub bars: Vec<u64>,
    pub segments: Vec<u64>,
    pub expected: Expected,
    pub reads: Cell<u64>,
}

pub fn pe(number: u16) -> PeNumber {
    PeNumber::new(number)
}

pub fn rid(bus: u8, device: u8, function: u8) -> Bdfn {
    Bdfn::new(bus, device, function).unwrap()
}

fn info(generation: Generation, pes: u16) -> PhbInfo {
    PhbInfo::new(&PhbDescription {
        id: PhbId::new(3),
        generation,
        buses: 0..=255,
        pes: pes.into(),
        reserved: u32::from(pes) - 1,
        m32: Window {
            bus: BusAddr::new(0x8000_0000),
            host: HostAddr::new(0x6_0000_0000),
            size: 0x7fff_0000,
        },
        m64: Some(Window {
            bus: BusAddr::new(M64),
            host: HostAddr::new(M64),
            size: 64 << 30,
        }),
        m64_bars: if generation == Generation::Phb3 {
            0..=15
        } else {
            1..=15
        },
        vectors: VECTORS.into(),
        config_size: 4096,
    })
    .unwrap()
}

impl Model {
    /// A PHB after firmware's reset.
    pub fn new(generation: Generation, pes: u16) -> Self {
        let is_phb3 = generation == Generation::Phb3;
        let bases = TableBases {
            rtt: Some(HostAddr::new(RTT)),
            peltv: Some(HostAddr::new(PELTV)),
        };
        let mut it = Self {
            generation,
            pes,
            memory: BTreeMap::new(),
            registers: BTreeMap::new(),
            mist: vec![0; 0x400],
            tvt: vec![0; usize::from(pes) * 2],
            bars: vec![0; 64],
            segments: vec![0; usize::from(pes)],
            expected: Expected::new(&info(generation, pes), bases),
            reads: Cell::new(0),
        };
        let on = 1 << 63;
        it.registers.insert(layout::RTT_BAR, on | RTT);
        it.registers.insert(layout::PELTV_BAR, on | PELTV);
        it.registers.insert(layout::M32_START, 0x8000_0000);
        if is_phb3 {
            it.registers.insert(layout::IVT_BAR, on | IVT | 0x800);
            it.registers.insert(layout::M32_BASE, 0x6_0000_0000);
            it.registers.insert(layout::M32_MASK, !0x7fff_ffff);
        } else {
            it.registers.insert(layout::CONTROL, 0);
            it.bars[0] = 3 << 62 | 1 << 60 | 0x6_0000_0000;
            it.bars[1] = on | 0x00ff_ffff_8000_0000;
            for bar in 1..16u64 {
                let mode = if bar > 12 {
                    1 << 60 | (bar - 12) << 58
                } else {
                    0
                };
                it.bars[bar as usize * 2] = mode;
            }
        }
        it.reset();
        it
    }

    fn reset(&mut self) {
        (0..VECTORS).for_each(|vector| self.set_vector(vector, 0, 0xff));
        for word in 0..0x4000 {
            let reserved = u64::from(self.pes - 1);
            self.memory
                .insert(RTT + word * 8, reserved * 0x0001_0001_0001_0001);
        }
        for word in 0..u64::from(self.pes) * u64::from(self.pes) / 64 {
            self.memory.insert(PELTV + word * 8, 0);
        }
        self.tvt.fill(0);
        for (segment, entry) in (0..).zip(&mut self.segments) {
            let same: u64 = segment;
            *entry = if self.generation == Generation::Phb3 {
                0
            } else {
                same << 32 | same << 16 | same
            };
        }
    }

    /// Carries a step out, and tells the expectation.
    pub fn step(&mut self, step: Step) {
        self.expected.apply(&step);
        let is_phb3 = self.generation == Generation::Phb3;
        match step {
            Step::ResetIoda => self.reset(),
            Step::MapRids { pe, rids } => {
                for value in 0..=u16::MAX {
                    if rids.contains(Bdfn::from_rid(value)) {
                        self.set_rid(value, pe.get());
                    }
                }
            }
            Step::Peltv { parent, child, on } => self.set_link(parent.get(), child.get(), on),
            Step::MapVectors { count, pe } => {
                (0..count).for_each(|vector| self.set_vector(vector, pe.get(), 0xff));
            }
            Step::MapM32 { segment, pe } => self.set_segment(segment, pe.get()),
            Step::SetM64 { number, base, size } => {
                let at = usize::from(number);
                if is_phb3 {
                    let mask = 0x4000_0000 - (size >> 20);
                    self.bars[at] = (base.get() >> 20) << 32 | mask;
                } else {
                    self.bars[at * 2] |= base.get();
                    self.bars[at * 2 + 1] = (1 << 56) - size;
                }
            }
            Step::SplitM64 { number } => {
                let at = usize::from(number);
                if is_phb3 {
                    self.bars[at] |= 1 << 63;
                } else {
                    self.bars[at * 2] |= 1 << 63;
                    self.bars[at * 2 + 1] |= 1 << 63;
                }
            }
            other => panic!("the model has no {other:?}"),
        }
    }

    pub fn set_rid(&mut self, rid: u16, pe: u16) {
        let shift = 48 - 16 * (rid & 3);
        let word = self
            .memory
            .get_mut(&(RTT + u64::from(rid & !3) * 2))
            .unwrap();
        *word = *word & !(0xffff << shift) | u64::from(pe) << shift;
    }

    pub fn set_link(&mut self, parent: u16, child: u16, on: bool) {
        // By bytes, as firmware does it.
        let byte = u64::from(parent) * u64::from(self.pes) / 8 + u64::from(child) / 8;
        let bit = 7 - u64::from(child) % 8 + 8 * (7 - byte % 8);
        let word = self.memory.get_mut(&(PELTV + byte / 8 * 8)).unwrap();
        *word = *word & !(1 << bit) | u64::from(on) << bit;
    }

    pub fn set_segment(&mut self, segment: u16, pe: u16) {
        let entry = &mut self.segments[usize::from(segment)];
        // PHB3 has bits 8:15 only.
        *entry = *entry & 0xffff_ffff_ffff | u64::from(pe) << 48;
    }

    /// Writes a vector's PE as firmware does, and unmasks it on PHB3.
    pub fn set_msi(&mut self, vector: u16, pe: u16) {
        self.set_vector(vector, pe, 5);
    }

    fn set_vector(&mut self, vector: u16, pe: u16, priority: u64) {
        if self.generation == Generation::Phb3 {
            let word = priority << 32 | u64::from(pe);
            self.memory.insert(IVT + 128 * u64::from(vector), word);
        } else {
            let entry = &mut self.mist[usize::from(vector / 4)];
            let shift = 16 * (3 - (vector & 3));
            *entry = *entry & !(0xfff << shift) | u64::from(pe) << shift;
        }
    }

    pub fn set_tve(&mut self, pe: u16, tve: u16, value: u64) {
        self.tvt[usize::from(pe * 2 + tve)] = value;
    }

    /// Zeroes a table of `1 << shift` bytes.
    pub fn table(&mut self, at: u64, shift: u32) {
        for word in 0..1u64 << (shift - 3) {
            self.memory.insert(at + word * 8, 0);
        }
    }

    pub fn entry(&mut self, table: u64, index: u64, value: u64) {
        self.memory.insert(table + index * 8, value);
    }

    /// Audits it; faults, facts and totals.
    pub fn audit(&self) -> (Vec<Fault>, Vec<Fact>, Totals) {
        let mut heard = Heard::default();
        let totals = Auditor::new(&Map, &mut heard).phb(self, &self.expected);
        assert_eq!(totals.faults, heard.faults.len() as u64);
        (heard.faults, heard.facts, totals)
    }
}

#[derive(Default)]
pub struct Heard {
    pub faults: Vec<Fault>,
    pub facts: Vec<Fact>,
}

impl Listener for Heard {
    fn fault(&mut self, phb: PhbId, fault: Fault) {
        assert_eq!(phb.get(), 3);
        self.faults.push(fault);
    }

    fn fact(&mut self, _: PhbId, fact: Fact) {
        self.facts.push(fact);
    }
}

impl IodaTables for Model {
    fn register(&self, offset: u64) -> u64 {
        match self.registers.get(&offset) {
            Some(value) => *value,
            None => panic!("{:?} has no register {offset:#x}", self.generation),
        }
    }

    fn read_table(&self, table: IodaTable, into: &mut [u64]) {
        let from = match table {
            IodaTable::Mist => &self.mist,
            IodaTable::Tvt => &self.tvt,
            IodaTable::Bars => &self.bars,
            IodaTable::Segments => &self.segments,
        };
        into.copy_from_slice(&from[..into.len()]);
    }

    fn word(&self, at: HostAddr) -> Option<u64> {
        self.reads.set(self.reads.get() + 1);
        // Memory of partitions would read as anything: say so loudly.
        assert!(!(FIRST..SECOND + REGION).contains(&at.get()), "{at:#x}");
        assert!(at.is_aligned(3));
        (at.get() < MEMORY).then(|| self.memory.get(&at.get()).copied().unwrap_or(0))
    }
}

/// TVE for a table.
pub fn tve(root: u64, levels: u32, level_shift: u32, page_shift: u32) -> u64 {
    Tve::new(&DmaTable {
        root: HostAddr::new(root),
        levels,
        level_shift,
        page_shift,
    })
    .unwrap()
    .bits()
}

/// All three generations, each brought up with two functions of two owners:
/// PE 1 of partition 1 with a window of two levels, PE 2 of partition 2 with a
/// flat one, PE 3 of a bridge.
pub fn machines() -> impl Iterator<Item = Model> {
    [
        (Generation::Phb3, 256),
        (Generation::Phb4, 256),
        (Generation::Phb4, 512),
        (Generation::Phb5, 512),
    ]
    .into_iter()
    .map(|(generation, pes)| {
        let mut it = Model::new(generation, pes);
        let reserved = pe(pes - 1);
        it.step(Step::ResetIoda);
        it.step(Step::MapRids {
            pe: reserved,
            rids: RidMatch::All,
        });
        it.step(Step::Peltv {
            parent: reserved,
            child: reserved,
            on: true,
        });
        it.step(Step::MapVectors {
            count: VECTORS,
            pe: reserved,
        });
        for segment in 0..pes {
            it.step(Step::MapM32 {
                segment,
                pe: reserved,
            });
        }
        let base = HostAddr::new(M64);
        it.step(Step::SetM64 {
            number: 15,
            base,
            size: 64 << 30,
        });
        it.step(Step::SplitM64 { number: 15 });
        for (number, rids) in [
            (1, RidMatch::Function(rid(1, 0, 0))),
            (2, RidMatch::Function(rid(1, 0, 1))),
            (3, RidMatch::Function(Bdfn::ROOT)),
        ] {
            it.step(Step::MapRids {
                pe: pe(number),
                rids,
            });
            for parent in [number, 3] {
                it.step(Step::Peltv {
                    parent: pe(parent),
                    child: pe(number),
                    on: true,
                });
            }
        }
        for segment in [4, 5] {
            it.step(Step::MapM32 { segment, pe: pe(1) });
        }
        it.step(Step::MapM32 {
            segment: 7,
            pe: pe(2),
        });
        for (vector, number) in [(0, 1), (1, 1), (6, 2)] {
            it.set_msi(vector, number);
            it.expected.set_msi(vector, Some(pe(number)));
        }
        it.expected.set_owner(pe(1), Some(ONE));
        it.expected.set_owner(pe(2), Some(TWO));
        // Two levels of 4 KiB: 4K pages; leaf 5 of the root.
        it.table(TABLES, 12);
        it.table(TABLES + 0x2000, 12);
        it.entry(TABLES, 5, (TABLES + 0x2000) | 3);
        for page in 0..8 {
            it.entry(TABLES + 0x2000, 16 + page, (FIRST + page * 0x1000) | 3);
        }
        it.entry(TABLES + 0x2000, 40, (FIRST + 0x8000) | 1);
        it.set_tve(1, 0, tve(TABLES, 2, 12, 12));
        // One level of 64 KiB: 64K pages, TVE#1.
        it.table(TABLES + 0x10000, 16);
        it.entry(TABLES + 0x10000, 0x1fff, (SECOND + REGION - 0x10000) | 3);
        it.set_tve(2, 1, tve(TABLES + 0x10000, 1, 16, 16));
        it
    })
}
