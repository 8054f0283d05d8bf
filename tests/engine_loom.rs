//! Interleavings, explored by loom. Run with
//! `RUSTFLAGS="--cfg loom" cargo test --release --target-dir target/loom --test engine_loom`.
#![cfg(loom)]

use std::sync::{Arc as StdArc, Mutex as StdMutex};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{DetachMode, DmaError, Engine, ErrorKind, Quota, Window, WindowConfig};
use pinion::memory::ledger::{Gate, GateError, Holdings, Ledger, LedgerError, OwnerId};
use pinion::seam::{
    DmaTable, Interrupts, KillScope, KillStyle, PeId, PhbError, PhbPort, TableFrames, TableLimits,
    TableMemory, TveSelect,
};
use pinion::sim::{Machine, PhbKind, PhbModel};
use pinion::tce::{Access, PageShift, PageSizes, TableShape};

/// The model machine, with a point where loom may switch threads at each
/// barrier, kill, allocation and free.
struct Explored {
    machine: StdArc<Machine>,
    switch: AtomicUsize,
}

impl Explored {
    fn point(&self) {
        self.switch.fetch_add(1, Ordering::SeqCst);
    }
}

impl TableMemory for Explored {
    fn load(&self, table: HostAddr, index: usize) -> u64 {
        self.machine.load(table, index)
    }
    fn store(&self, table: HostAddr, index: usize, value: u64) {
        self.machine.store(table, index, value);
    }
    fn clear(&self, table: HostAddr, start: usize, entries: usize) {
        self.machine.clear(table, start, entries);
    }
    fn barrier(&self) {
        self.point();
        self.machine.barrier();
    }
}

impl TableFrames for Explored {
    fn allocate(&self, shift: u32) -> Option<HostAddr> {
        self.point();
        self.machine.allocate(shift)
    }
    fn free(&self, frame: HostAddr, shift: u32) {
        self.point();
        self.machine.free(frame, shift);
    }
}

impl PhbPort for Explored {
    fn kill_style(&self, pe: PeId) -> KillStyle {
        self.machine.kill_style(pe)
    }
    fn table_limits(&self, pe: PeId) -> TableLimits {
        self.machine.table_limits(pe)
    }
    fn push_writes(&self, pe: PeId) -> Result<(), PhbError> {
        self.point();
        self.machine.push_writes(pe)
    }
    fn kill(&self, pe: PeId, scope: KillScope) -> Result<(), PhbError> {
        self.point();
        let result = self.machine.kill(pe, scope);
        self.point();
        result
    }
    fn freeze(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine.freeze(pe)
    }
    fn clear_freeze(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine.clear_freeze(pe)
    }
    fn set_tve(&self, pe: PeId, tve: TveSelect, table: Option<&DmaTable>) -> Result<(), PhbError> {
        self.point();
        self.machine.set_tve(pe, tve, table)
    }
    fn bus_master_off(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine.bus_master_off(pe)
    }
    fn reset_functions(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine.reset_functions(pe)
    }
}

impl Interrupts for Explored {
    // Loom runs all its threads on one: no count of masks by thread.
    fn mask() -> u64 {
        0
    }
    fn restore(_state: u64) {}
}

const PE: PeId = PeId { phb: 0, pe: 0 };
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
    let machine = StdArc::new(Machine::new(
        vec![PhbModel::new(PhbKind::Phb4, 2)],
        1 << 18,
        1,
    ));
    let explored = Explored {
        machine: machine.clone(),
        switch: AtomicUsize::new(0),
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
        let _alone = self.stray.lock().unwrap();
        self.machine
            .probe(0, 0, BusAddr::new(page << 12), true)
            .is_ok()
    }

    /// Takes the region back if nothing holds it; it is nobody's then.
    fn try_reclaim(&self) -> bool {
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
fn explore(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
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
}

#[test]
fn the_gate_never_admits_a_pin_after_its_release() {
    explore(3, || {
        let gate = Arc::new(Gate::new());
        let pinner = {
            let gate = gate.clone();
            thread::spawn(move || match gate.pin(1) {
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
            thread::spawn(move || {
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
    explore(2, || {
        let world = world(512, 1);
        let mapper = {
            let world = world.clone();
            thread::spawn(move || {
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
    explore(2, || {
        let world = world(512, 1);
        let other = {
            let world = world.clone();
            thread::spawn(move || world.map(5, 1))
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
    explore(2, || {
        let world = world(512, 1);
        world.map(5, 1).unwrap();
        assert!(world.dma(5));
        let other = {
            let world = world.clone();
            thread::spawn(move || {
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
    explore(2, || {
        let world = world(512, 1);
        world.map(0, 0).unwrap();
        world.map(1, 1).unwrap();
        assert!(world.dma(0) && world.dma(1));
        let before = world.machine.kills(0);
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                assert_eq!(world.unmap(1), Ok(1));
                assert!(!world.dma(1));
            })
        };
        assert_eq!(world.unmap(0), Ok(1));
        assert!(!world.dma(0));
        other.join().unwrap();
        assert!((1..=2).contains(&(world.machine.kills(0) - before)));
        world.check();
    });
}

#[test]
fn map_and_unmap_race_over_a_tombstone() {
    explore(2, || {
        let world = world(512, 1);
        world.map(7, 0).unwrap();
        let unmapper = {
            let world = world.clone();
            thread::spawn(move || assert_eq!(world.unmap(7), Ok(1)))
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
    explore(2, || {
        let world = world(512 * 16, 2);
        // Leaves that stay linked when empty are used up.
        for leaf in 8..12 {
            world.map(leaf * 512, 0).unwrap();
            world.unmap(leaf * 512).unwrap();
        }
        world.map(0, 0).unwrap();
        let other = {
            let world = world.clone();
            thread::spawn(move || {
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
    explore(2, || {
        let world = world(1024, 2);
        let other = {
            let world = world.clone();
            thread::spawn(move || {
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
    explore(2, || {
        let world = world(512, 1);
        world.map(0, 0).unwrap();
        let other = {
            let world = world.clone();
            thread::spawn(move || world.map(1, 1))
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
