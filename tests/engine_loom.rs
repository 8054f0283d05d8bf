//! Interleavings, explored by loom. Run with
//! `RUSTFLAGS="--cfg loom -C debug-assertions" cargo test --release --target-dir target/loom --test engine_loom`:
//! with assertions, as only the engine's own see a pin that is removed twice.
#![cfg(loom)]

use std::cell::Cell;
use std::sync::{Arc as StdArc, Mutex as StdMutex};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{DetachMode, DmaError, Engine, ErrorKind, Quota, Window, WindowConfig};
use pinion::memory::ledger::{Gate, GateError, Holdings, Ledger, LedgerError, OwnerId};
use pinion::seam::sync::{Rank, Shared};
use pinion::seam::{
    DmaTable, Interrupts, KillScope, KillStyle, PeId, PhbError, PhbPort, TableFrames, TableLimits,
    TableMemory, TveSelect,
};
use pinion::sim::{Failure, Machine, PhbKind, PhbModel, play_thread};
use pinion::tce::{Access, PageShift, PageSizes, TableShape};
use pinion::trace::{Entry, Kind, Noted, Ring, Verdict};

/// The model machine, with a point where loom may switch threads at each
/// barrier, kill, allocation and free.
struct Explored {
    machine: StdArc<Machine>,
    switch: AtomicUsize,
    // The thread whose barriers do nothing.
    forgets: Option<u64>,
}

loom::thread_local! {
    // Which thread of the model machine this is: loom runs all on one.
    static ROLE: Cell<u64> = Cell::new(0);
}

fn play() -> u64 {
    let role = ROLE.with(Cell::get);
    play_thread(role);
    role
}

/// A thread of the model machine beside thread 0, which is the test itself.
fn spawn<T: 'static>(run: impl FnOnce() -> T + 'static) -> thread::JoinHandle<T> {
    thread::spawn(move || {
        ROLE.with(|role| role.set(1));
        run()
    })
}

impl Explored {
    fn machine(&self) -> &Machine {
        play();
        &self.machine
    }

    fn point(&self) {
        self.switch.fetch_add(1, Ordering::SeqCst);
    }
}

impl TableMemory for Explored {
    fn load(&self, table: HostAddr, index: usize) -> u64 {
        self.machine().load(table, index)
    }
    fn store(&self, table: HostAddr, index: usize, value: u64) {
        self.machine().store(table, index, value);
    }
    fn clear(&self, table: HostAddr, start: usize, entries: usize) {
        self.machine().clear(table, start, entries);
    }
    fn barrier(&self) {
        self.point();
        if Some(play()) != self.forgets {
            self.machine.barrier();
        }
    }
}

impl TableFrames for Explored {
    fn allocate(&self, shift: u32) -> Option<HostAddr> {
        self.point();
        self.machine().allocate(shift)
    }
    fn free(&self, frame: HostAddr, shift: u32) {
        self.point();
        self.machine().free(frame, shift);
    }
}

impl PhbPort for Explored {
    fn kill_style(&self, pe: PeId) -> KillStyle {
        self.machine().kill_style(pe)
    }
    fn table_limits(&self, pe: PeId) -> TableLimits {
        self.machine().table_limits(pe)
    }
    fn push_writes(&self, pe: PeId) -> Result<(), PhbError> {
        self.point();
        self.machine().push_writes(pe)
    }
    fn kill(&self, pe: PeId, scope: KillScope) -> Result<(), PhbError> {
        self.point();
        let result = self.machine().kill(pe, scope);
        self.point();
        result
    }
    fn freeze(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine().freeze(pe)
    }
    fn clear_freeze(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine().clear_freeze(pe)
    }
    fn set_tve(&self, pe: PeId, tve: TveSelect, table: Option<&DmaTable>) -> Result<(), PhbError> {
        self.point();
        self.machine().set_tve(pe, tve, table)
    }
    fn bus_master_off(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine().bus_master_off(pe)
    }
    fn reset_functions(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine().reset_functions(pe)
    }
}

impl Noted for Explored {}

impl Interrupts for Explored {
    fn mask() -> u64 {
        play();
        Machine::mask()
    }
    fn restore(state: u64) {
        play();
        Machine::restore(state);
    }
}

const PE: PeId = PeId { phb: 0, pe: 0 };
const OTHER_PE: PeId = PeId { phb: 0, pe: 1 };
const OWNER: OwnerId = OwnerId(1);
const REGION: HostAddr = HostAddr::new(0x10_0000);

struct World {
    engine: Engine<Explored>,
    ledger: Ledger<Explored>,
    holdings: StdArc<Holdings<Explored>>,
    quota: StdArc<Quota>,
    window: StdArc<Window<Explored>>,
    machine: StdArc<Machine>,
    // DMA hits after which the frame had been given away.
    stray: StdMutex<()>,
}

fn world(pages: u64, levels: u32) -> Arc<World> {
    world_where(None, pages, levels)
}

/// A world in which the barriers of thread `forgets` do nothing.
fn world_where(forgets: Option<u64>, pages: u64, levels: u32) -> Arc<World> {
    let machine = StdArc::new(Machine::new(
        vec![PhbModel::new(PhbKind::Phb4, 2)],
        1 << 18,
        1,
    ));
    let explored = Explored {
        machine: machine.clone(),
        switch: AtomicUsize::new(0),
        forgets,
    };
    let engine = Engine::new(explored, &[2]);
    let ledger = Ledger::new();
    let holdings = ledger.add_owner(OWNER).unwrap();
    ledger.grant(&holdings, REGION, 8 << 12, 12).unwrap();
    machine.set_owner(REGION, 8 << 12, Some(OWNER));
    let quota = StdArc::new(Quota::new(1 << 18));
    let config = WindowConfig {
        base: BusAddr::new(0),
        pages,
        shape: TableShape::new(PageShift::K4, levels, 12).unwrap(),
        sizes: PageSizes::PHB4,
        limit: 4096,
    };
    let window = engine
        .create_window(&config, holdings.clone(), quota.clone())
        .unwrap();
    machine.add_function(PE, 0, OWNER);
    machine.add_function(OTHER_PE, 1, OWNER);
    engine.attach(&window, PE).unwrap();
    Arc::new(World {
        engine,
        ledger,
        holdings,
        quota,
        window,
        machine,
        stray: StdMutex::new(()),
    })
}

impl World {
    fn map(&self, page: u64, frame: u64) -> Result<(), DmaError> {
        let host = HostAddr::new(REGION.get() + (frame << 12));
        self.engine.map(
            &self.window,
            BusAddr::new(page << 12),
            host,
            1,
            Access::ReadWrite,
        )
    }

    fn unmap(&self, page: u64) -> Result<u64, DmaError> {
        self.engine.unmap(&self.window, BusAddr::new(page << 12), 1)
    }

    /// A device's access; a host address it must not reach is a violation.
    fn dma(&self, page: u64) -> bool {
        self.dma_by(0, page)
    }

    fn dma_by(&self, function: u16, page: u64) -> bool {
        let _alone = self.stray.lock().unwrap();
        self.machine
            .probe(0, function, BusAddr::new(page << 12), true)
            .is_ok()
    }

    /// Takes the region back if nothing holds it; it is nobody's then.
    fn try_reclaim(&self) -> bool {
        if let Err(error) = self.engine.quiet(&self.holdings, REGION) {
            assert!(
                matches!(error, DmaError::Ledger(LedgerError::Pinned { .. })),
                "{error}"
            );
            return false;
        }
        match self.ledger.reclaim(&self.holdings, REGION) {
            Ok(free) => {
                self.machine.set_owner(free.start, free.bytes, None);
                true
            }
            Err(LedgerError::Pinned { .. } | LedgerError::Open(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn check(&self) {
        assert_eq!(self.machine.violations(), []);
        self.engine.audit(&[&*self.window], |audit| {
            assert!(audit.is_balanced(), "{audit:?}")
        });
    }
}

/// Explores with at most `preemptions` forced switches of threads.
fn explore(preemptions: usize, test: impl Fn() + Sync + Send + 'static) -> usize {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    let runs = StdArc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = runs.clone();
    builder.check(move || {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        test();
    });
    let runs = runs.load(std::sync::atomic::Ordering::Relaxed);
    println!("{runs} interleavings");
    assert!(runs > 10, "only {runs} interleavings");
    runs
}

#[test]
fn the_gate_never_admits_a_pin_after_its_release() {
    let _runs = explore(3, || {
        let gate = Arc::new(Gate::new());
        let pinner = {
            let gate = gate.clone();
            spawn(move || match gate.pin(1) {
                Ok(()) => {
                    // As long as the pin is held, nobody can take the region.
                    assert!(!gate.is_released());
                    gate.unpin(1);
                }
                Err(error) => assert_eq!(error, GateError::Closed),
            })
        };
        let second = {
            let gate = gate.clone();
            spawn(move || {
                if gate.pin(2).is_ok() {
                    assert!(!gate.is_released());
                    gate.unpin(2);
                }
            })
        };
        gate.close();
        if gate.is_released() {
            assert_eq!(gate.pin(1), Err(GateError::Closed));
            assert!(gate.is_released());
        }
        pinner.join().unwrap();
        second.join().unwrap();
        assert!(gate.is_released());
    });
}

#[test]
fn a_region_that_is_taken_back_is_reached_by_no_device() {
    let _runs = explore(2, || {
        let world = world(512, 1);
        let mapper = {
            let world = world.clone();
            spawn(move || {
                if world.map(3, 0).is_ok() {
                    world.dma(3);
                    assert_eq!(world.unmap(3), Ok(1));
                }
            })
        };
        world.ledger.close(&world.holdings, REGION).unwrap();
        let gone = world.try_reclaim();
        world.dma(3);
        mapper.join().unwrap();
        assert!(gone || world.try_reclaim());
        world.dma(3);
        world.check();
    });
}

#[test]
fn two_maps_of_one_page_have_one_winner() {
    let _runs = explore(2, || {
        let world = world(512, 1);
        let other = {
            let world = world.clone();
            spawn(move || world.map(5, 1))
        };
        let mine = world.map(5, 2);
        let theirs = other.join().unwrap();
        assert!(mine.is_ok() != theirs.is_ok());
        let loser = mine.and(theirs).unwrap_err();
        assert_eq!(loser.kind(), ErrorKind::Busy);
        assert!(world.dma(5));
        world.check();
        assert_eq!(world.unmap(5), Ok(1));
        assert!(!world.dma(5));
        world.check();
    });
}

#[test]
fn two_unmaps_of_one_page_count_it_once_and_both_may_rely_on_it() {
    let _runs = explore(2, || {
        let world = world(512, 1);
        world.map(5, 1).unwrap();
        assert!(world.dma(5));
        let other = {
            let world = world.clone();
            spawn(move || {
                let count = world.unmap(5).unwrap();
                assert!(!world.dma(5), "reached after unmap returned");
                count
            })
        };
        let mine = world.unmap(5).unwrap();
        assert!(!world.dma(5), "reached after unmap returned");
        assert_eq!(mine + other.join().unwrap(), 1);
        assert_eq!(world.holdings.region_of(REGION).unwrap().pins, 0);
        world.check();
    });
}

#[test]
fn threads_share_kills_but_never_one_that_started_too_early() {
    let fewest = StdArc::new(std::sync::atomic::AtomicU64::new(u64::MAX));
    let seen = fewest.clone();
    let _runs = explore(2, move || {
        let world = world(512, 1);
        world.map(0, 0).unwrap();
        world.map(1, 1).unwrap();
        assert!(world.dma(0) && world.dma(1));
        let before = world.machine.kills(0);
        let other = {
            let world = world.clone();
            spawn(move || {
                assert_eq!(world.unmap(1), Ok(1));
                assert!(!world.dma(1));
            })
        };
        assert_eq!(world.unmap(0), Ok(1));
        assert!(!world.dma(0));
        other.join().unwrap();
        let kills = world.machine.kills(0) - before;
        assert!((1..=2).contains(&kills));
        seen.fetch_min(kills, std::sync::atomic::Ordering::Relaxed);
        world.check();
    });
    // One was enough in some order.
    assert_eq!(fewest.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn map_and_unmap_race_over_a_tombstone() {
    let _runs = explore(2, || {
        let world = world(512, 1);
        world.map(7, 0).unwrap();
        let unmapper = {
            let world = world.clone();
            spawn(move || assert_eq!(world.unmap(7), Ok(1)))
        };
        // Live, tombstone or empty: busy, busy or mapped.
        let mapped = match world.map(7, 1) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Busy);
                false
            }
        };
        unmapper.join().unwrap();
        assert_eq!(world.dma(7), mapped);
        world.check();
    });
}

#[test]
fn levels_come_and_go_under_two_threads() {
    let _runs = explore(2, || {
        let world = world(512 * 16, 2);
        // Leaves that stay linked when empty are used up.
        for leaf in 8..12 {
            world.map(leaf * 512, 0).unwrap();
            world.unmap(leaf * 512).unwrap();
        }
        world.map(0, 0).unwrap();
        let other = {
            let world = world.clone();
            spawn(move || {
                // Makes a leaf, or uses the one that is being emptied.
                world.map(1, 1).unwrap();
                assert!(world.dma(1));
            })
        };
        assert_eq!(world.unmap(0), Ok(1));
        world.engine.flush(&world.window).unwrap();
        assert!(!world.dma(0));
        other.join().unwrap();
        assert!(world.dma(1));
        world.check();
        assert_eq!(world.unmap(1), Ok(1));
        world
            .engine
            .remove(&world.window, DetachMode::Reset)
            .unwrap();
        assert_eq!((world.machine.table_bytes(), world.quota.used()), (0, 0));
        assert_eq!(world.machine.violations(), []);
    });
}

#[test]
fn a_window_goes_while_another_thread_maps_and_unmaps() {
    let _runs = explore(2, || {
        let world = world(1024, 2);
        let other = {
            let world = world.clone();
            spawn(move || {
                for result in [world.map(2, 0).err(), world.unmap(2).err()] {
                    assert!(
                        result.is_none_or(|error| error == DmaError::WindowClosing),
                        "{result:?}"
                    );
                }
            })
        };
        world
            .engine
            .remove(&world.window, DetachMode::Reset)
            .unwrap();
        other.join().unwrap();
        assert_eq!(world.machine.table_bytes(), 0);
        assert_eq!(world.holdings.region_of(REGION).unwrap().pins, 0);
        assert_eq!(world.machine.violations(), []);
        assert_eq!(world.map(2, 0), Err(DmaError::WindowClosing));
    });
}

#[test]
fn the_last_detach_and_a_map_leave_all_or_nothing() {
    let _runs = explore(2, || {
        let world = world(512, 1);
        world.map(0, 0).unwrap();
        let other = {
            let world = world.clone();
            spawn(move || world.map(1, 1))
        };
        world
            .engine
            .detach(&world.window, PE, DetachMode::Reset)
            .unwrap();
        let mapped = other.join().unwrap();
        if let Err(error) = mapped {
            assert_eq!(error, DmaError::WindowClosing);
        }
        // A map before the detach was cleared with it, one after it stands.
        let pins = world.holdings.region_of(REGION).unwrap().pins;
        assert!(pins <= u64::from(mapped.is_ok()));
        assert!(!world.dma(0) && !world.dma(1));
        world.check();
    });
}

#[test]
fn a_waiting_writer_comes_before_a_later_reader() {
    let _runs = explore(3, || {
        let shared = Arc::new(Shared::<u32, Explored>::new(Rank::Regions, 0));
        let first = shared.read();
        let writer = {
            let shared = shared.clone();
            spawn(move || *shared.write() += 1)
        };
        while !shared.has_writer() {
            thread::yield_now();
        }
        let second = {
            let shared = shared.clone();
            thread::spawn(move || *shared.read())
        };
        assert_eq!(*first, 0);
        drop(first);
        assert_eq!(second.join().unwrap(), 1);
        writer.join().unwrap();
        assert!(!shared.has_writer());
    });
}

/// The first kill of two unmaps fails, whoever starts it, and whoever shares it.
#[test]
fn a_kill_that_fails_releases_nothing_in_any_thread() {
    let fewest = StdArc::new(std::sync::atomic::AtomicU64::new(u64::MAX));
    let seen = fewest.clone();
    let _runs = explore(2, move || {
        let world = world(512, 1);
        world.map(0, 0).unwrap();
        world.map(1, 1).unwrap();
        assert!(world.dma(0) && world.dma(1));
        world.machine.fail(Some(Failure {
            after: 0,
            forever: false,
            error: PhbError::TimedOut,
        }));
        let other = {
            let world = world.clone();
            spawn(move || world.unmap(1))
        };
        let results = [world.unmap(0), other.join().unwrap()];
        world.machine.fail(None);
        let failed = results.iter().filter(|result| result.is_err()).count();
        assert!(failed > 0, "{results:?}");
        // Each page whose unmap failed is held, by a live entry or a tombstone.
        let pins = || world.holdings.region_of(REGION).unwrap().pins;
        assert_eq!(pins(), failed as u64, "{results:?}");
        world.check();
        assert!(world.machine.is_frozen(PE));
        world.engine.recover(&world.window).unwrap();
        world.machine.bus_master_on(PE);
        for (page, result) in (0..).zip(results) {
            match result {
                Ok(count) => assert_eq!(count, 1),
                Err(DmaError::Kill { .. }) => {
                    assert!(!world.dma(page), "{results:?}");
                    assert_eq!(world.unmap(page), Ok(0));
                }
                // It came too late to begin.
                Err(error) => {
                    assert_eq!(error, DmaError::Frozen(PE));
                    assert!(world.dma(page), "{results:?}");
                    assert_eq!(world.unmap(page), Ok(1));
                }
            }
        }
        assert_eq!(pins(), 0);
        world.check();
    });
}

#[test]
fn a_recovery_waits_for_an_unmap_that_is_under_way() {
    let fewest = StdArc::new(std::sync::atomic::AtomicU64::new(u64::MAX));
    let seen = fewest.clone();
    let _runs = explore(2, move || {
        let world = world(512, 1);
        world.map(0, 0).unwrap();
        world.map(1, 1).unwrap();
        assert!(world.dma(0) && world.dma(1));
        world.machine.fail(Some(Failure {
            after: 0,
            forever: false,
            error: PhbError::TimedOut,
        }));
        let other = {
            let world = world.clone();
            spawn(move || world.unmap(1))
        };
        let mine = world.unmap(0);
        let recovered = world.engine.recover(&world.window);
        let theirs = other.join().unwrap();
        if recovered.is_err() {
            // The other thread's kill was the one to fail, just now.
            assert!(theirs.is_err(), "{recovered:?} {mine:?} {theirs:?}");
        }
        world.machine.fail(None);
        world.engine.recover(&world.window).unwrap();
        world.machine.bus_master_on(PE);
        assert_eq!(world.window.failed(), None);
        for (page, result) in [(0, mine), (1, theirs)] {
            let live = matches!(result, Err(DmaError::Frozen(_)));
            assert_eq!(world.dma(page), live, "{mine:?} {theirs:?}");
            assert_eq!(world.unmap(page), Ok(u64::from(live)));
        }
        assert_eq!(world.holdings.region_of(REGION).unwrap().pins, 0);
        world.check();
    });
}

#[test]
fn a_pe_that_is_attached_finds_nothing_that_is_being_unmapped() {
    assert_eq!(attached_while_unmapped(None), 0);
}

#[test]
fn an_attach_without_its_barrier_is_noticed() {
    assert!(attached_while_unmapped(Some(0)) > 0);
}

/// In how many interleavings a PE, attached by thread 0, reaches a page after
/// thread 1 has unmapped it.
fn attached_while_unmapped(forgets: Option<u64>) -> usize {
    let reached = StdArc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = reached.clone();
    let _runs = explore(2, move || {
        let world = world_where(forgets, 512, 1);
        // Seen by the PHB for sure, whoever forgets.
        world.machine.barrier();
        world.map(3, 0).unwrap();
        world.machine.barrier();
        let other = {
            let world = world.clone();
            spawn(move || assert_eq!(world.unmap(3), Ok(1)))
        };
        world.engine.attach(&world.window, OTHER_PE).unwrap();
        world.dma_by(1, 3);
        other.join().unwrap();
        if world.dma_by(1, 3) {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    reached.load(std::sync::atomic::Ordering::Relaxed)
}

/// Two threads unmap a page each; the barriers of one do nothing. The other may
/// rely on its unmap all the same, also when it shares the kill.
#[test]
fn a_thread_without_its_barrier_is_noticed_whoever_kills() {
    for forgets in [0, 1] {
        let reached = StdArc::new(StdMutex::new([0, 0]));
        let counter = reached.clone();
        let _runs = explore(2, move || {
            let world = world_where(Some(forgets), 512, 1);
            world.map(0, 0).unwrap();
            world.map(1, 1).unwrap();
            world.machine.barrier();
            world.dma(0);
            world.dma(1);
            let before = world.machine.kills(0);
            let other = {
                let world = world.clone();
                spawn(move || {
                    assert_eq!(world.unmap(1), Ok(1));
                    world.dma(1)
                })
            };
            assert_eq!(world.unmap(0), Ok(1));
            let mine = world.dma(0);
            let theirs = other.join().unwrap();
            let (wrong, right) = if forgets == 0 {
                (mine, theirs)
            } else {
                (theirs, mine)
            };
            assert!(!right, "reached after unmap returned");
            let shared = world.machine.kills(0) - before == 1;
            counter.lock().unwrap()[usize::from(shared)] += usize::from(wrong);
        });
        let [own, shared] = *reached.lock().unwrap();
        assert!(own > 0 && shared > 0, "{own} {shared}");
    }
}

/// Two operations go into a ring of one while another thread reads: what it
/// reads is one of them, whole, or nothing.
#[test]
fn a_torn_entry_of_the_trace_is_not_read() {
    loom::model(|| {
        let operation = |number: u64| Entry {
            kind: Kind::Map,
            verdict: Verdict::Done,
            end: number,
            ticks: number,
            owner: number as u32,
            liobn: number as u32,
            bus: number << 12,
            pages: number,
            target: number << 12,
        };
        let ring = Arc::new(Ring::<1>::new());
        let writer = Arc::clone(&ring);
        let thread = thread::spawn(move || {
            writer.note(&operation(1));
            writer.note(&operation(2));
        });
        for entry in ring.entries() {
            assert_eq!(entry, operation(entry.pages));
        }
        thread.join().unwrap();
        let last: Vec<Entry> = ring.entries().collect();
        assert_eq!(last, [operation(2)]);
    });
}
