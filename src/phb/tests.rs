//! The PHB module against a register file that pretends, and a firmware that
//! writes TVEs into it.

use super::*;
use crate::addr::{BusAddr, HostAddr};
use crate::opal::gate::Gate;
use crate::opal::{Opal, OpalError, RawOpal, Token, Waiter};
use crate::pci::{Bdfn, ConfigAccess, FunctionId, Generation, PhbId};
use crate::seam::{DmaTable, KillScope, KillStyle, PhbError, TveSelect};
use std::cell::{Cell, RefCell};

const SYNC: u64 = 0x200;
const KILL: u64 = 0x210;
const ADDRESS: u64 = 0x220;
const DATA: u64 = 0x228;
const QUEUE: u64 = 0x888;

/// What was done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Barrier,
    Load(u64),
    Store(u64, u64),
    Call(u64),
}

/// Registers: a kill is under way for `kill_loads` loads of 0x888, a sync for
/// `sync_loads` loads of 0x200.
#[derive(Default)]
struct Pretend {
    events: RefCell<Vec<Event>>,
    clock: Cell<u64>,
    fenced: Cell<bool>,
    kill_loads: Cell<u64>,
    sync_loads: Cell<u64>,
    synced: Cell<u64>,
    selected: Cell<u64>,
    tves: RefCell<Vec<u64>>,
    /// Firmware writes this on top of what it is told.
    wrong: Cell<u64>,
    rtt: Cell<u16>,
    frozen: Cell<u64>,
    /// What was thawed of it.
    thawed: Cell<u64>,
    answer: Cell<i64>,
}

impl PhbHardware for &Pretend {
    fn load(&self, offset: u64) -> u64 {
        self.events.borrow_mut().push(Event::Load(offset));
        self.clock.set(self.clock.get() + 1000);
        if self.fenced.get() {
            return u64::MAX;
        }
        let left = |cell: &Cell<u64>| {
            let left = cell.get();
            cell.set(left.saturating_sub(1));
            left != 0
        };
        match offset {
            QUEUE if left(&self.kill_loads) => 1 << 56,
            SYNC if self.synced.get() != 0 && !left(&self.sync_loads) => {
                self.synced.get() | 1 << 62
            }
            DATA => {
                let index = self.selected.get() & 0x3ff;
                assert_eq!(self.selected.get() >> 48, 9, "only TVEs are pretended");
                self.tves.borrow().get(index as usize).copied().unwrap_or(0)
            }
            _ => 0,
        }
    }

    fn store(&self, offset: u64, value: u64) {
        self.events.borrow_mut().push(Event::Store(offset, value));
        match offset {
            ADDRESS => self.selected.set(value),
            SYNC => self.synced.set(value & !(1 << 63) | 1),
            _ => {}
        }
    }

    fn barrier(&self) {
        self.events.borrow_mut().push(Event::Barrier);
    }

    fn memory16(&self, _: HostAddr) -> u16 {
        self.rtt.get()
    }

    fn memory64(&self, at: HostAddr) -> u64 {
        at.get()
    }

    fn microseconds(&self) -> u64 {
        self.clock.get()
    }

    fn wait_ms(&self, milliseconds: u64) {
        self.clock.set(self.clock.get() + 1000 * milliseconds);
    }

    fn thread(&self) -> u64 {
        7
    }
}

// SAFETY: writes only answers of the freeze and config calls, through the
// pointers that those have.
unsafe impl RawOpal for &Pretend {
    // # Safety: as the trait says.
    unsafe fn call(&self, token: Token, arguments: [u64; 8]) -> Result<i64, OpalError> {
        self.events.borrow_mut().push(Event::Call(token as u64));
        match token {
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
                let mut tves = self.tves.borrow_mut();
                tves.resize(64, 0);
                tves[index as usize] = value | self.wrong.get();
            }
            Token::PciEehFreezeStatus => {
                let frozen = self.frozen.get() == arguments[1];
                // SAFETY: the call passes a pointer to a byte.
                unsafe { (arguments[2] as *mut u8).write(u8::from(frozen) * 3) };
            }
            Token::PciEehFreezeClear => {
                assert_eq!(self.frozen.get(), arguments[1]);
                self.thawed.set(self.thawed.get() | arguments[2]);
                if self.thawed.get() == 3 {
                    self.frozen.set(u64::MAX);
                }
            }
            Token::PciConfigRead32 => {
                // SAFETY: the call passes a pointer to four bytes.
                unsafe { (arguments[3] as *mut u32).write(u32::MAX) };
            }
            _ => {}
        }
        Ok(self.answer.get())
    }
}

struct Still;

impl Waiter for Still {
    fn wait_ms(&self, _: u64) {}
}

fn with<T>(
    pretend: &Pretend,
    generation: Generation,
    kill: KillPath,
    what: impl FnOnce(&Phb<'_, &Pretend, &Pretend, Still>) -> T,
) -> T {
    let (opal, gate) = (Opal::new(pretend, Still), Gate::new());
    let setup = PhbSetup {
        id: 1,
        generation,
        pes: 256,
        reserved: 255,
        kill,
        page_shifts: 1 << 12 | 1 << 16,
        rtt: Some(HostAddr::new(0x1000)),
        pest: Some(HostAddr::new(0x9000)),
    };
    what(&Phb::new(setup, pretend, &opal, &gate))
}

fn killed(pretend: &Pretend, generation: Generation, scope: KillScope) -> Result<(), PhbError> {
    with(pretend, generation, KillPath::Register, |phb| {
        phb.kill(5, scope)
    })
}

const PE_KILL: u64 = 1 << 62 | 5;
const START: u64 = 1 << 63;

#[test]
fn phb4_waits_for_a_slot_kills_syncs_and_waits_for_both() {
    use Event::*;
    let pretend = Pretend::default();
    pretend.kill_loads.set(2);
    pretend.sync_loads.set(1);
    assert_eq!(killed(&pretend, Generation::Phb4, KillScope::Pe), Ok(()));
    let expected = [
        Barrier,
        Load(KILL),
        Store(KILL, PE_KILL),
        Store(SYNC, START),
        Load(QUEUE),
        Load(QUEUE),
        Load(QUEUE),
        Load(SYNC),
        Load(SYNC),
    ];
    assert_eq!(*pretend.events.borrow(), expected);
}

#[test]
fn phb5_keeps_the_other_syncs_state() {
    let pretend = Pretend::default();
    pretend.synced.set(1 << 60 | 1);
    assert_eq!(killed(&pretend, Generation::Phb5, KillScope::Pe), Ok(()));
    let kept = Event::Store(SYNC, START | 1 << 60 | 1 << 62);
    assert!(pretend.events.borrow().contains(&kept));
    assert_eq!(
        pretend.events.borrow().len(),
        7,
        "a barrier and six accesses"
    );
}

#[test]
fn pages_are_killed_one_by_one_on_phb3_only() {
    let scope = KillScope::Pages {
        bus: BusAddr::new(1 << 59 | 0x3_0000),
        pages: 2,
        page_shift: 16,
    };
    let pretend = Pretend::default();
    assert_eq!(killed(&pretend, Generation::Phb3, scope), Ok(()));
    let page = |address: u64| Event::Store(KILL, 1 << 61 | 1 << 59 | address | 5);
    let expected = [
        Event::Barrier,
        page(0x3_0000),
        page(0x4_0000),
        Event::Load(KILL),
        Event::Store(SYNC, START),
        Event::Load(SYNC),
    ];
    assert_eq!(*pretend.events.borrow(), expected);
    // HW560152: the PE instead.
    let pretend = Pretend::default();
    assert_eq!(killed(&pretend, Generation::Phb4, scope), Ok(()));
    let whole = Event::Store(KILL, PE_KILL);
    assert!(pretend.events.borrow().contains(&whole));
    let pretend = Pretend::default();
    assert_eq!(killed(&pretend, Generation::Phb4, KillScope::All), Ok(()));
    let all = Event::Store(KILL, 1 << 63);
    assert!(pretend.events.borrow().contains(&all));
}

#[test]
fn a_kill_that_does_not_end_is_given_up_and_a_fenced_phb_is_named() {
    for generation in [Generation::Phb3, Generation::Phb4, Generation::Phb5] {
        let pretend = Pretend::default();
        pretend.sync_loads.set(u64::MAX);
        let error = killed(&pretend, generation, KillScope::Pe);
        assert_eq!(error, Err(PhbError::TimedOut), "{generation}");
        assert!(pretend.clock.get() < 2 * LIMIT_US);
        let pretend = Pretend::default();
        pretend.fenced.set(true);
        let error = killed(&pretend, generation, KillScope::Pe);
        assert_eq!(error, Err(PhbError::Fenced), "{generation}");
    }
    let pretend = Pretend::default();
    pretend.kill_loads.set(u64::MAX);
    let error = killed(&pretend, Generation::Phb4, KillScope::Pe);
    assert_eq!(error, Err(PhbError::TimedOut));
}

/// The short way does what the other does, and says no where anything is unusual.
#[test]
fn a_quick_kill_is_a_kill_or_says_no() {
    let quickly = |pretend: &Pretend, generation, path| {
        with(pretend, generation, path, |phb| phb.kill_quickly(5))
    };
    for generation in [Generation::Phb4, Generation::Phb5] {
        let (quick, slow) = (Pretend::default(), Pretend::default());
        for pretend in [&quick, &slow] {
            pretend.kill_loads.set(2);
            pretend.sync_loads.set(1);
        }
        assert!(quickly(&quick, generation, KillPath::Register));
        assert_eq!(killed(&slow, generation, KillScope::Pe), Ok(()));
        assert_eq!(*quick.events.borrow(), *slow.events.borrow());
        let unusual: [fn(&Pretend); 3] = [
            |pretend| pretend.fenced.set(true),
            |pretend| pretend.kill_loads.set(u64::MAX),
            |pretend| pretend.sync_loads.set(u64::MAX),
        ];
        for make in unusual {
            let pretend = Pretend::default();
            make(&pretend);
            assert!(!quickly(&pretend, generation, KillPath::Register));
        }
    }
    // Other ways are not tried.
    let pretend = Pretend::default();
    assert!(!quickly(&pretend, Generation::Phb3, KillPath::Register));
    assert!(!quickly(&pretend, Generation::Phb4, KillPath::Firmware));
    assert_eq!(*pretend.events.borrow(), []);
}

#[test]
fn firmware_kills_where_it_is_chosen_behind_a_barrier() {
    let pretend = Pretend::default();
    let kill = |pretend: &Pretend| {
        with(pretend, Generation::Phb4, KillPath::Firmware, |phb| {
            assert_eq!(phb.kill_style(), KillStyle::Pe);
            phb.kill(5, KillScope::Pe)
        })
    };
    assert_eq!(kill(&pretend), Ok(()));
    let events = pretend.events.take();
    assert_eq!(events, [Event::Barrier, Event::Call(126)]);
    pretend.answer.set(-6);
    assert_eq!(kill(&pretend), Err(PhbError::Firmware(-6)));
}

#[test]
fn a_tve_is_read_back_past_firmware() {
    let table = DmaTable {
        root: HostAddr::new(0x1234_0000),
        levels: 3,
        level_shift: 16,
        page_shift: 16,
    };
    let pretend = Pretend::default();
    let set = |table: Option<&DmaTable>| {
        with(&pretend, Generation::Phb5, KillPath::Register, |phb| {
            phb.set_tve(5, TveSelect::High, table)
        })
    };
    assert_eq!(set(Some(&table)), Ok(()));
    assert_ne!(pretend.tves.borrow()[11], 0);
    assert!(
        pretend
            .events
            .borrow()
            .contains(&Event::Store(ADDRESS, 9 << 48 | 11))
    );
    assert_eq!(set(None), Ok(()));
    assert_eq!(pretend.tves.borrow()[11], 0);
    // Firmware would cut a misaligned root off: it is not asked.
    let misaligned = DmaTable {
        root: HostAddr::new(0x1234_1000),
        ..table
    };
    pretend.events.take();
    assert_eq!(set(Some(&misaligned)), Err(PhbError::Firmware(-1)));
    assert!(pretend.events.borrow().is_empty());
    pretend.wrong.set(1 << 50);
    assert!(matches!(set(Some(&table)), Err(PhbError::ReadBack(_))));
    assert_eq!(set(None), Err(PhbError::ReadBack(1 << 50)));
    pretend.fenced.set(true);
    assert_eq!(set(None), Err(PhbError::Fenced));
}

#[test]
fn firmware_is_refused_while_tables_are_read() {
    let pretend = Pretend::default();
    let (opal, gate) = (Opal::new(&pretend, Still), Gate::new());
    with(&pretend, Generation::Phb4, KillPath::Register, |phb| {
        let setup = *phb.setup();
        let phb = Phb::new(setup, &pretend, &opal, &gate);
        phb.with_tables(|_| assert!(gate.enter(7).is_none()));
        assert!(gate.enter(7).is_some());
    });
}

#[test]
fn a_probe_ends_the_freeze_of_the_pe_that_the_rid_has() {
    let absent = FunctionId::new(PhbId::new(1), Bdfn::from_rid(0x0500));
    let pretend = Pretend::default();
    pretend.rtt.set(3);
    pretend.frozen.set(3);
    with(&pretend, Generation::Phb4, KillPath::Register, |phb| {
        assert_eq!(Config::known(phb).read32(absent, 0), Ok(u32::MAX));
        assert_eq!(pretend.frozen.get(), 3, "a known function's freeze stays");
        assert_eq!(Config::probing(phb).read32(absent, 0), Ok(u32::MAX));
        assert_eq!(pretend.frozen.get(), u64::MAX);
        // A number that no PE has is not believed.
        pretend.thawed.set(0);
        pretend.rtt.set(0xffff);
        pretend.frozen.set(255);
        assert_eq!(Config::probing(phb).read32(absent, 0), Ok(u32::MAX));
        assert_eq!(pretend.frozen.get(), u64::MAX);
    });
}

#[test]
fn a_function_that_is_waited_for_gets_no_dma_of_a_frozen_pe() {
    let absent = FunctionId::new(PhbId::new(1), Bdfn::from_rid(0x0500));
    let pretend = Pretend::default();
    pretend.rtt.set(3);
    pretend.frozen.set(3);
    let waited = with(&pretend, Generation::Phb4, KillPath::Register, |phb| {
        phb.ready(absent)
    });
    assert!(matches!(waited, Err(StepError::NotReady { .. })));
    assert_eq!((pretend.thawed.get(), pretend.frozen.get()), (1, 3));
}

#[test]
fn a_reset_is_not_written_where_no_capability_is() {
    let function = FunctionId::new(PhbId::new(1), Bdfn::from_rid(0x0500));
    let pretend = Pretend::default();
    let found = with(&pretend, Generation::Phb4, KillPath::Register, |phb| {
        phb.has_express(function, 0xa0)
    });
    let offset = 0xa0;
    assert_eq!(found, Err(StepError::NoExpress { function, offset }));
}

#[test]
fn a_pest_entry_names_cause_requester_and_address() {
    let pest = Pest {
        word0: 1 << 45 | 0x0108 << 16,
        word1: 0x0800_0000_0000_3000,
    };
    assert_eq!(pest.cause(), PestCause::PageFault);
    assert_eq!(pest.requester(), Bdfn::from_rid(0x0108));
    assert_eq!(pest.address(), 0x0800_0000_0000_3000);
    let pretend = Pretend::default();
    let read = with(&pretend, Generation::Phb4, KillPath::Register, |phb| {
        phb.pest(2)
    });
    let read = read.unwrap();
    assert_eq!((read.word0, read.word1), (0x9020, 0x9028));
}
