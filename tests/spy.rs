//! The flush spy over the engine's model: the engine's orders pass, and each
//! way to get one wrong is named.

use std::sync::{Arc, Mutex};

use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{DetachMode, Engine, Quota, Window, WindowConfig};
use pinion::memory::ledger::{Holdings, Ledger, OwnerId};
use pinion::seam::PeId;
use pinion::sim::{Machine, PhbKind, PhbModel, Step};
use pinion::spy::{Disorder, Event, Operation, ROOM, Sight, Spy, order};
use pinion::tce::{Access, PageShift, PageSizes, TableShape, Tce};

const PE: PeId = PeId { phb: 0, pe: 1 };
const PAGE: u64 = 0x1000;
const HOST: HostAddr = HostAddr::new(0x10_0000);
const BUS: BusAddr = BusAddr::new(0x4000);
const KILL: HostAddr = HostAddr::new(0x210);

struct Rig {
    engine: Arc<Engine<Machine>>,
    holdings: Arc<Holdings<Machine>>,
    window: Arc<Window<Machine>>,
    spy: Arc<Spy>,
    // What the hook may look at: the engine's own locks are not free there.
    seen: Arc<Mutex<Sight>>,
}

impl Rig {
    fn new(kind: PhbKind) -> Self {
        let machine = Machine::new(vec![PhbModel::new(kind, 16)], 8 << 20, 1);
        let engine = Arc::new(Engine::new(machine, &[16]));
        let ledger: Ledger<Machine> = Ledger::new();
        let holdings = ledger.add_owner(OwnerId(1)).unwrap();
        ledger.grant(&holdings, HOST, 64 * PAGE, 12).unwrap();
        engine
            .platform()
            .set_owner(HOST, 64 * PAGE, Some(OwnerId(1)));
        let page = PageShift::new(12).unwrap();
        let config = WindowConfig {
            base: BusAddr::new(0),
            pages: 512,
            shape: TableShape::new(page, 1, 12).unwrap(),
            sizes: PageSizes::NONE.with(page),
            limit: 512,
        };
        let window = engine
            .create_window(&config, holdings.clone(), Arc::new(Quota::new(1 << 20)))
            .unwrap();
        engine.platform().add_function(PE, 1, OwnerId(1));
        engine.attach(&window, PE).unwrap();
        Self {
            engine,
            holdings,
            window,
            spy: Arc::new(Spy::new()),
            seen: Arc::new(Mutex::new(Sight { tce: 0, pins: 0 })),
        }
    }

    /// The watched page: its entry, and the pins of its region.
    fn look(
        engine: &Engine<Machine>,
        window: &Window<Machine>,
        holdings: &Holdings<Machine>,
    ) -> Sight {
        let mut tce = 0;
        engine.mappings(window, |mapping| {
            if mapping.bus == BUS {
                let rights = match mapping.access {
                    Some(access) if access.writes() => 3,
                    Some(_) => 1,
                    None => 4,
                };
                tce = mapping.host.get() | rights;
            }
        });
        let pins = holdings.region_of(HOST).map_or(0, |region| region.pins);
        Sight { tce, pins }
    }

    fn sight(&self) -> Sight {
        Self::look(&self.engine, &self.window, &self.holdings)
    }

    /// Does `operation` with the spy on the model's barriers and kills.
    fn spied(&self, operation: impl FnOnce()) -> (Vec<Event>, Sight, Sight) {
        let before = self.sight();
        let seen = self.seen.clone();
        self.spy.arm(move || *seen.lock().unwrap());
        let (spy, seen) = (self.spy.clone(), self.seen.clone());
        let (engine, window, holdings) = (
            Arc::downgrade(&self.engine),
            self.window.clone(),
            self.holdings.clone(),
        );
        self.engine.platform().set_hook(move |_, step| {
            let Some(engine) = engine.upgrade() else {
                return;
            };
            // Kill, the step, comes twice: when it is begun and when it works.
            if matches!(step, Step::Barrier | Step::Kill | Step::KillDone) {
                *seen.lock().unwrap() = Self::look(&engine, &window, &holdings);
            }
            match step {
                Step::Barrier => spy.barrier(),
                Step::Kill => spy.write(KILL, 1 << 62, true),
                Step::KillDone => spy.done(),
                _ => {}
            }
        });
        operation();
        self.engine.platform().clear_hook();
        let (mut events, lost) = self.spy.disarm();
        assert_eq!(lost, 0);
        let mut begun = false;
        events.retain(|event| {
            begun = !begun && matches!(event, Event::Write { .. });
            !begun
        });
        (events, before, self.sight())
    }

    fn holds(&self, what: Operation, operation: impl FnOnce()) -> Vec<Event> {
        let (events, before, after) = self.spied(operation);
        assert_eq!(
            order(what, 1, before, &events, after),
            Ok(()),
            "{events:#?}"
        );
        events
    }
}

#[test]
fn the_engine_keeps_the_order() {
    for kind in [PhbKind::Phb3, PhbKind::Phb4] {
        let rig = Rig::new(kind);
        let (engine, window) = (&rig.engine, &*rig.window);
        rig.holds(Operation::Map { pages: 3 }, || {
            engine.map(window, BUS, HOST, 3, Access::ReadWrite).unwrap()
        });
        let other = HostAddr::new(HOST.get() + 8 * PAGE);
        let entry = Tce::new(other, Access::Read).unwrap();
        let remap = Operation::Remap {
            pages: 1,
            entry: entry.bits(),
        };
        rig.holds(remap, || engine.remap(window, BUS, &[entry]).unwrap());
        rig.holds(Operation::Unmap { pages: 2 }, || {
            assert_eq!(engine.unmap(window, BUS, 2).unwrap(), 2);
        });
        rig.holds(Operation::Detach { pages: 1 }, || {
            engine.detach(window, PE, DetachMode::Reset).unwrap();
        });
    }
}

/// A good recording of an unmap of one page, with pins 5 to 4.
fn unmap() -> (Sight, Vec<Event>, Sight) {
    let dead = Sight {
        tce: 0x10_0004,
        pins: 5,
    };
    let kill = Event::Write {
        register: KILL,
        value: 1 << 62,
        kill: Some(dead),
    };
    let sync = Event::Write {
        register: HostAddr::new(0x200),
        value: 1 << 63,
        kill: None,
    };
    (
        Sight {
            tce: 0x10_0003,
            pins: 5,
        },
        vec![Event::Barrier(dead), kill, sync, Event::Done(dead)],
        Sight { tce: 0, pins: 4 },
    )
}

fn wrong(change: impl FnOnce(&mut Vec<Event>, &mut Sight)) -> Disorder {
    let (before, mut events, mut after) = unmap();
    let what = Operation::Unmap { pages: 1 };
    assert_eq!(order(what, 1, before, &events, after), Ok(()));
    change(&mut events, &mut after);
    order(what, 1, before, &events, after).unwrap_err()
}

#[test]
fn each_disorder_is_named() {
    let live = Sight {
        tce: 0x10_0003,
        pins: 5,
    };
    let early = Sight {
        tce: 0x10_0004,
        pins: 4,
    };
    let kills = |found| Disorder::Kills { found, expected: 1 };
    let pins = Disorder::Early {
        found: 4,
        expected: 5,
    };
    // No kill at all, and one for nothing.
    assert_eq!(
        wrong(|it, _| {
            it.remove(1);
        }),
        kills(0)
    );
    assert_eq!(wrong(|it, _| it.push(it[1])), kills(2));
    // Kill before the barrier, or without one.
    assert_eq!(wrong(|it, _| it.swap(0, 1)), Disorder::NoBarrier);
    assert_eq!(
        wrong(|it, _| {
            it.remove(0);
        }),
        Disorder::NoBarrier
    );
    // The entry cleared after the barrier.
    assert_eq!(
        wrong(|it, _| it[0] = Event::Barrier(live)),
        Disorder::Entry(live.tce)
    );
    // Completion not waited for, or seen before the kill.
    assert_eq!(
        wrong(|it, _| {
            it.pop();
        }),
        Disorder::NotDone
    );
    assert_eq!(wrong(|it, _| it.rotate_right(1)), Disorder::NotDone);
    // Released before the completion: at it, and at the kill.
    assert_eq!(wrong(|it, _| it[3] = Event::Done(early)), pins);
    assert_eq!(wrong(|it, _| it[0] = Event::Barrier(early)), pins);
    // Mapped again before the completion.
    assert_eq!(
        wrong(|it, _| it[3] = Event::Done(live)),
        Disorder::Changed(live.tce)
    );
    // Not released, and a tombstone left.
    let after = Disorder::After {
        found: 5,
        expected: 4,
    };
    assert_eq!(wrong(|_, it| it.pins = 5), after);
    assert_eq!(wrong(|_, it| it.tce = 4), Disorder::Left(4));
}

#[test]
fn a_spy_that_sleeps_sees_nothing_and_a_full_one_says_so() {
    let spy = Spy::new();
    spy.barrier();
    assert_eq!(spy.disarm(), (vec![], 0));
    spy.arm(|| Sight { tce: 7, pins: 1 });
    for _ in 0..ROOM + 3 {
        spy.done();
    }
    let (events, lost) = spy.disarm();
    assert_eq!((events.len(), lost), (ROOM, 3));
    spy.barrier();
    assert_eq!(spy.disarm().0, []);
}

#[test]
fn a_line_of_the_record_is_what_the_runner_reads() {
    let (_, events, _) = unmap();
    let lines: Vec<String> = events.iter().map(Event::to_string).collect();
    assert_eq!(lines[0], "flush: barrier, TCE 0x100004, pins 0x5");
    assert_eq!(
        lines[1],
        "spy: 0x210 = 0x4000000000000000 kill, TCE 0x100004, pins 0x5"
    );
    assert_eq!(lines[2], "spy: 0x200 = 0x8000000000000000");
    assert_eq!(lines[3], "flush: done, TCE 0x100004, pins 0x5");
}
