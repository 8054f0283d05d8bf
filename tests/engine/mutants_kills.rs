//! What kills cover, which scope they have, and when one is shared or not
//! needed: seen from outside of the engine, call by call.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{DmaError, Engine, ErrorKind, Quota, Window, WindowConfig};
use pinion::memory::ledger::{Holdings, Ledger, OwnerId};
use pinion::seam::{
    DmaTable, Interrupts, KillScope, KillStyle, PeId, PhbError, PhbPort, TableFrames, TableLimits,
    TableMemory, TveSelect,
};
use pinion::sim::{Failure, Machine, PhbKind, PhbModel, Step};
use pinion::tce::{Access, PageShift, Tce};

use super::support::{Rig, all_sizes, pe, shape};

std::thread_local! {
    // How often this thread has masked interrupts, so taken a lock.
    static MASKS: Cell<u64> = const { Cell::new(0) };
}

/// The model, with a note of each kill's scope and of each lock.
struct Watched {
    machine: Machine,
    scopes: Mutex<Vec<KillScope>>,
}

impl TableMemory for Watched {
    fn load(&self, table: HostAddr, index: usize) -> u64 {
        self.machine.load(table, index)
    }
    fn store(&self, table: HostAddr, index: usize, value: u64) {
        self.machine.store(table, index, value);
    }
    fn barrier(&self) {
        self.machine.barrier();
    }
}

impl TableFrames for Watched {
    fn allocate(&self, shift: u32) -> Option<HostAddr> {
        self.machine.allocate(shift)
    }
    fn free(&self, frame: HostAddr, shift: u32) {
        self.machine.free(frame, shift);
    }
}

impl PhbPort for Watched {
    type KillPort = PeId;
    fn kill_port(&self, pe: PeId) -> PeId {
        pe
    }
    fn kill_style(&self, pe: PeId) -> KillStyle {
        self.machine.kill_style(pe)
    }
    fn table_limits(&self, pe: PeId) -> TableLimits {
        self.machine.table_limits(pe)
    }
    fn kill(&self, pe: &PeId, scope: KillScope) -> Result<(), PhbError> {
        self.scopes.lock().unwrap().push(scope);
        self.machine.kill(pe, scope)
    }
    fn kill_quickly(&self, pe: &PeId) -> bool {
        self.machine.is_sound() && self.kill(pe, KillScope::Pe).is_ok()
    }
    fn freeze(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine.freeze(pe)
    }
    fn clear_freeze(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine.clear_freeze(pe)
    }
    fn set_tve(&self, pe: PeId, tve: TveSelect, table: Option<&DmaTable>) -> Result<(), PhbError> {
        self.machine.set_tve(pe, tve, table)
    }
    fn push_writes(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine.push_writes(pe)
    }
    fn bus_master_off(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine.bus_master_off(pe)
    }
    fn reset_functions(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine.reset_functions(pe)
    }
}

impl pinion::trace::Noted for Watched {}

impl Interrupts for Watched {
    fn mask() -> u64 {
        MASKS.set(MASKS.get() + 1);
        Machine::mask()
    }
    fn restore(state: u64) {
        Machine::restore(state);
    }
}

struct World {
    engine: Engine<Watched>,
    window: Arc<Window<Watched>>,
    _holdings: Arc<Holdings<Watched>>,
}

const HOST: u64 = 0x100_0000;

fn bus(page: u64) -> BusAddr {
    BusAddr::new(page << 12)
}

impl World {
    fn new(kind: PhbKind, pages: u64, levels: u32) -> Self {
        Self::with_limit(kind, pages, levels, 4096)
    }

    fn with_limit(kind: PhbKind, pages: u64, levels: u32, limit: u64) -> Self {
        let machine = Machine::new(vec![PhbModel::new(kind, 2)], 1 << 22, 1);
        machine.set_owner(HostAddr::new(HOST), 4096 << 12, Some(OwnerId(1)));
        machine.add_function(pe(0), 0, OwnerId(1));
        let watched = Watched {
            machine,
            scopes: Mutex::default(),
        };
        let engine = Engine::new(watched, &[2]);
        let ledger = Ledger::new();
        let holdings = ledger.add_owner(OwnerId(1)).unwrap();
        ledger
            .grant(&holdings, HostAddr::new(HOST), 4096 << 12, 12)
            .unwrap();
        let config = WindowConfig {
            base: bus(0),
            pages,
            shape: shape(PageShift::K4, levels),
            sizes: all_sizes(),
            limit,
        };
        let quota = Arc::new(Quota::new(1 << 22));
        let window = engine
            .create_window(&config, holdings.clone(), quota)
            .unwrap();
        engine.attach(&window, pe(0)).unwrap();
        Self {
            engine,
            window,
            _holdings: holdings,
        }
    }

    /// Maps page `page` of the bus to page `to`.
    fn map_to(&self, page: u64, to: u64) -> Result<(), DmaError> {
        let host = HostAddr::new(HOST + (to << 12));
        self.engine
            .map(&self.window, bus(page), host, 1, Access::ReadWrite)
    }

    fn map(&self, page: u64, pages: u64) -> Result<(), DmaError> {
        let host = HostAddr::new(HOST + (page << 12));
        self.engine
            .map(&self.window, bus(page), host, pages, Access::ReadWrite)
    }

    /// Scopes of the kills since the last call.
    fn scopes(&self) -> Vec<KillScope> {
        std::mem::take(&mut *self.engine.platform().scopes.lock().unwrap())
    }
}

fn page_scope(page: u64, pages: u64) -> Vec<KillScope> {
    vec![KillScope::Pages {
        bus: bus(page),
        pages,
        page_shift: 12,
    }]
}

#[test]
fn a_kill_by_page_has_a_limit() {
    let world = World::new(PhbKind::Phb3, 64, 1);
    world.scopes();
    world.map(3, 8).unwrap();
    assert_eq!(world.scopes(), page_scope(3, 8));
    world.map(20, 9).unwrap();
    assert_eq!(world.scopes(), [KillScope::Pe]);
    world.engine.unmap(&world.window, bus(10), 1).unwrap();
    assert_eq!(world.scopes(), page_scope(10, 1));
}

#[test]
fn kills_are_by_page_again_once_the_kill_for_a_new_level_is_over() {
    let world = World::new(PhbKind::Phb3, 4096, 2);
    world.scopes();
    for leaf in 0..3 {
        world.map(leaf * 512, 1).unwrap();
        assert_eq!(world.scopes(), [KillScope::Pe], "leaf {leaf} is new");
        world.map(leaf * 512 + 1, 1).unwrap();
        assert_eq!(world.scopes(), page_scope(leaf * 512 + 1, 1));
    }
    // The same after a kill for a new level that failed.
    world.engine.platform().machine.fail(Some(Failure {
        after: 1,
        forever: false,
        error: PhbError::TimedOut,
    }));
    let failed = world.map(5 * 512, 1);
    assert!(matches!(failed, Err(DmaError::Kill { .. })), "{failed:?}");
    world.engine.platform().machine.fail(None);
    world.engine.recover(&world.window).unwrap();
    world.scopes();
    world.map(2, 1).unwrap();
    assert_eq!(world.scopes(), page_scope(2, 1));
}

/// A PHB remembers that there is no leaf: a kill by page would let it do so.
#[test]
fn a_remap_that_links_a_level_kills_the_whole_pe() {
    let world = World::new(PhbKind::Phb3, 4096, 2);
    let host = HostAddr::new(HOST);
    let list = [Tce::new(host, Access::Read).unwrap()];
    world.scopes();
    world.engine.remap(&world.window, bus(512), &list).unwrap();
    assert_eq!(world.scopes(), [KillScope::Pe]);
    world.engine.remap(&world.window, bus(513), &list).unwrap();
    assert_eq!(world.scopes(), page_scope(513, 1));
}

/// The wait for a lock of a window has a bound that does not depend on how much
/// another thread unmaps.
#[test]
fn an_unmap_lets_go_of_the_lock_after_512_entries() {
    for levels in [1, 2] {
        let world = World::new(PhbKind::Phb4, 4096, levels);
        world.map(0, 4096).unwrap();
        let before = MASKS.get();
        assert_eq!(world.engine.clear(&world.window), Ok(4096));
        // Two passes of eight pieces each.
        assert!(MASKS.get() - before >= 16, "{levels} levels");
    }
}

#[test]
fn a_pe_may_fail_and_be_recovered_a_hundred_times() {
    let world = World::new(PhbKind::Phb4, 64, 1);
    for _ in 0..100 {
        world.engine.platform().machine.fail(Some(Failure {
            after: 0,
            forever: false,
            error: PhbError::TimedOut,
        }));
        assert!(world.map(1, 1).is_err());
        world.engine.platform().machine.fail(None);
        world.engine.recover(&world.window).unwrap();
        world.map(2, 1).unwrap();
        assert_eq!(world.engine.unmap(&world.window, bus(0), 64), Ok(1));
    }
    assert_eq!(world.engine.platform().machine.violations(), []);
}

/// Runs `other` while an unmap of pages 3 and 4 has buried its entries and has
/// yet to kill.
fn during_unmap(
    other: impl Fn(&Rig, &Window<Machine>) + Send + 'static,
) -> (Arc<Rig>, Arc<Window<Machine>>) {
    let rig = Arc::new(Rig::new(PhbKind::Phb4, PageShift::K4, 9));
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 16);
    let window = rig.window(&party, 0, 64, 1);
    rig.plug(&party, &window, 0);
    rig.engine
        .map(&window, rig.bus(3), rig.host(0x1000), 2, Access::ReadWrite)
        .unwrap();
    rig.machine().dma(0, 0, rig.bus(3), true).unwrap();
    let ran = Arc::new(AtomicU64::new(0));
    let (inner_rig, inner_window, inner_ran) = (rig.clone(), window.clone(), ran.clone());
    rig.machine().set_hook(move |_, step| {
        if step == Step::Barrier && inner_ran.fetch_add(1, Ordering::Relaxed) == 0 {
            other(&inner_rig, &inner_window);
        }
    });
    assert_eq!(rig.engine.unmap(&window, rig.bus(3), 2), Ok(2));
    rig.machine().clear_hook();
    assert!(ran.load(Ordering::Relaxed) > 0);
    rig.check(&[&*window]);
    (rig, window)
}

#[test]
fn an_unmap_of_what_another_has_buried_waits_for_a_kill() {
    during_unmap(|rig, window| {
        let kills = rig.machine().kills(0);
        assert_eq!(rig.engine.unmap(window, rig.bus(3), 1), Ok(0));
        assert_eq!(rig.machine().kills(0), kills + 1);
        assert!(rig.machine().probe(0, 0, rig.bus(3), true).is_err());
    });
}

#[test]
fn a_remap_meets_a_tombstone() {
    during_unmap(|rig, window| {
        let tce = Tce::new(rig.host(0x1008), Access::Read).unwrap();
        let busy = rig
            .engine
            .remap(window, rig.bus(2), &[tce, Tce::NONE, tce])
            .unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::Busy);
        assert!(
            matches!(busy, DmaError::Busy { bus, .. } if bus == rig.bus(4)),
            "{busy:?}"
        );
        // What maps nothing over a tombstone is an unmap of it.
        let kills = rig.machine().kills(0);
        rig.engine
            .remap(window, rig.bus(2), &[Tce::NONE, Tce::NONE, Tce::NONE])
            .unwrap();
        assert_eq!(rig.machine().kills(0), kills + 1);
        assert!(rig.machine().probe(0, 0, rig.bus(3), true).is_err());
    });
}

#[test]
fn a_barrier_can_be_had_alone() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 9);
    let barriers = Arc::new(AtomicU64::new(0));
    let counter = barriers.clone();
    rig.machine().set_hook(move |_, step| {
        counter.fetch_add(u64::from(step == Step::Barrier), Ordering::Relaxed);
    });
    rig.engine.barrier();
    assert_eq!(barriers.load(Ordering::Relaxed), 1);
    assert_eq!(rig.machine().kills(0), 0);
}

/// Holes cost as much as entries: each takes a look at the table.
#[test]
fn an_unmap_of_holes_lets_go_of_the_lock_too() {
    let pages = 2 << 18;
    let world = World::with_limit(PhbKind::Phb4, pages, 3, pages);
    world.map(0, 1).unwrap();
    world.map_to(1 << 18, 0).unwrap();
    let before = MASKS.get();
    assert_eq!(world.engine.unmap(&world.window, bus(0), pages), Ok(2));
    // Two passes over 2 leaves and 1022 holes, in pieces of 512 at most.
    assert!(MASKS.get() - before >= 4);
    // Once for the page, twice to make one look enough the next time.
    let masks = MASKS.get();
    assert_eq!(world.engine.unmap(&world.window, bus(0), 1), Ok(0));
    assert!(MASKS.get() - masks <= 3);
    let masks = MASKS.get();
    assert_eq!(world.engine.unmap(&world.window, bus(0), 1), Ok(0));
    assert_eq!(MASKS.get() - masks, 1);
}
