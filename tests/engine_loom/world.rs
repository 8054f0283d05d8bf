//! A small world for each interleaving: one window, two PEs, eight pages.

use std::sync::{Arc as StdArc, Mutex as StdMutex};

use loom::sync::Arc;
use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{DmaError, Engine, Quota, Window, WindowConfig};
use pinion::memory::ledger::{Holdings, Ledger, LedgerError, OwnerId};
use pinion::seam::{PeId, PhbError};
use pinion::sim::{Failure, Machine, PhbKind, PhbModel};
use pinion::tce::{Access, PageShift, PageSizes, TableShape, Tce};

use super::explored::Explored;

pub const PE: PeId = PeId { phb: 0, pe: 0 };
pub const OTHER_PE: PeId = PeId { phb: 0, pe: 1 };
pub const OWNER: OwnerId = OwnerId(1);
pub const REGION: HostAddr = HostAddr::new(0x10_0000);
/// After [`World::grant_other`].
pub const OTHER_REGION: HostAddr = HostAddr::new(0x20_0000);

pub struct World {
    pub engine: Engine<Explored>,
    pub ledger: Ledger<Explored>,
    pub holdings: StdArc<Holdings<Explored>>,
    pub quota: StdArc<Quota>,
    pub window: StdArc<Window<Explored>>,
    pub machine: StdArc<Machine>,
    // DMA hits after which the frame had been given away.
    stray: StdMutex<()>,
}

pub fn world(pages: u64, levels: u32) -> Arc<World> {
    world_where(None, pages, levels)
}

/// A world in which the barriers of thread `forgets` do nothing.
pub fn world_where(forgets: Option<u64>, pages: u64, levels: u32) -> Arc<World> {
    let machine = StdArc::new(Machine::new(
        vec![PhbModel::new(PhbKind::Phb4, 2)],
        1 << 18,
        1,
    ));
    let engine = Engine::new(Explored::new(machine.clone(), forgets), &[2]);
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
    /// The call behind the next `after` ones that can fail does so, by a time-out.
    pub fn fail_once(&self, after: u64) {
        self.machine.fail(Some(Failure {
            after,
            forever: false,
            error: PhbError::TimedOut,
        }));
    }

    pub fn map(&self, page: u64, frame: u64) -> Result<(), DmaError> {
        let host = HostAddr::new(REGION.get() + (frame << 12));
        self.engine.map(
            &self.window,
            BusAddr::new(page << 12),
            host,
            1,
            Access::ReadWrite,
        )
    }

    pub fn unmap(&self, page: u64) -> Result<u64, DmaError> {
        self.unmap_pages(page, 1)
    }

    pub fn unmap_pages(&self, page: u64, pages: u64) -> Result<u64, DmaError> {
        let bus = BusAddr::new(page << 12);
        self.engine.unmap(&self.window, bus, pages)
    }

    /// Grants a second region, as large as the first.
    pub fn grant_other(&self) {
        let granted = self.ledger.grant(&self.holdings, OTHER_REGION, 8 << 12, 12);
        granted.unwrap();
        self.machine.set_owner(OTHER_REGION, 8 << 12, Some(OWNER));
    }

    /// Maps the first pages of `regions` from `page` on, whatever was there.
    pub fn remap(&self, page: u64, regions: &[HostAddr]) -> Result<(), DmaError> {
        let entry = |&host: &HostAddr| Tce::new(host, Access::ReadWrite).unwrap();
        let list: Vec<Tce> = regions.iter().map(entry).collect();
        let bus = BusAddr::new(page << 12);
        self.engine.remap(&self.window, bus, &list)
    }

    /// A device's access; a host address it must not reach is a violation.
    pub fn dma(&self, page: u64) -> bool {
        self.dma_by(0, page)
    }

    pub fn dma_by(&self, function: u16, page: u64) -> bool {
        // Loom tries both orders only of what meets in an object of its own.
        self.engine.platform().point();
        let _alone = self.stray.lock().unwrap();
        self.machine
            .probe(0, function, BusAddr::new(page << 12), true)
            .is_ok()
    }

    /// Takes the region back if nothing holds it; it is nobody's then.
    pub fn try_reclaim(&self) -> bool {
        self.try_reclaim_of(REGION)
    }

    /// As [`World::try_reclaim`], of the region at `start`.
    pub fn try_reclaim_of(&self, start: HostAddr) -> bool {
        if let Err(error) = self.engine.quiet(&self.holdings, start) {
            assert!(
                matches!(error, DmaError::Ledger(LedgerError::Pinned { .. })),
                "{error}"
            );
            return false;
        }
        match self.ledger.reclaim(&self.holdings, start) {
            Ok(free) => {
                self.machine.set_owner(free.start, free.bytes, None);
                true
            }
            Err(LedgerError::Pinned { .. } | LedgerError::Open(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    pub fn check(&self) {
        assert_eq!(self.machine.violations(), []);
        self.engine.audit(&[&*self.window], |audit| {
            assert!(audit.is_balanced(), "{audit:?}")
        });
    }
}

/// Explores with at most `preemptions` forced switches of threads.
pub fn explore(preemptions: usize, test: impl Fn() + Sync + Send + 'static) -> usize {
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
