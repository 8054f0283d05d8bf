//! A small machine with partitions, PEs and windows.

use std::sync::Arc;

use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{DmaError, Engine, Quota, Window, WindowConfig};
use pinion::memory::ledger::{Holdings, Ledger, OwnerId};
use pinion::seam::PeId;
use pinion::sim::{Machine, PhbKind, PhbModel};
use pinion::tce::{PageShift, PageSizes, TableShape};

/// The engine over the model, and who owns what.
pub struct Rig {
    pub engine: Engine<Machine>,
    pub ledger: Arc<Ledger<Machine>>,
    pub page: PageShift,
}

/// All six page sizes.
pub fn all_sizes() -> PageSizes {
    PageShift::ALL
        .into_iter()
        .fold(PageSizes::NONE, PageSizes::with)
}

pub fn pe(number: u16) -> PeId {
    PeId { phb: 0, pe: number }
}

pub fn shape(page: PageShift, levels: u32) -> TableShape {
    // One level must do for a whole test window.
    TableShape::new(page, levels, if levels == 1 { 17 } else { 12 }).unwrap()
}

/// One partition.
pub struct Party {
    pub holdings: Arc<Holdings<Machine>>,
    pub quota: Arc<Quota>,
    pub owner: OwnerId,
}

impl Rig {
    pub fn new(kind: PhbKind, page: PageShift, seed: u64) -> Self {
        Self::with_table_bytes(kind, page, seed, 8 << 20)
    }

    pub fn with_table_bytes(kind: PhbKind, page: PageShift, seed: u64, bytes: u64) -> Self {
        let machine = Machine::new(vec![PhbModel::new(kind, 16)], bytes, seed);
        machine.post_writes(3);
        Self {
            engine: Engine::new(machine, &[16]),
            ledger: Arc::new(Ledger::new()),
            page,
        }
    }

    pub fn machine(&self) -> &Machine {
        self.engine.platform()
    }

    /// A partition without memory, with plenty of table memory.
    pub fn party(&self, number: u32) -> Party {
        self.party_with_quota(number, 1 << 30)
    }

    pub fn party_with_quota(&self, number: u32, quota: u64) -> Party {
        let owner = OwnerId(number);
        let holdings = self.ledger.add_owner(owner).unwrap();
        Party {
            holdings,
            quota: Arc::new(Quota::new(quota)),
            owner,
        }
    }

    /// Page `number` of the machine, in IO pages.
    pub fn host(&self, number: u64) -> HostAddr {
        HostAddr::new(number << self.page.get())
    }

    pub fn bus(&self, number: u64) -> BusAddr {
        BusAddr::new(number << self.page.get())
    }

    /// Gives `pages` IO pages from page `first` to `party`.
    pub fn grant(&self, party: &Party, first: u64, pages: u64) {
        let bytes = pages << self.page.get();
        self.ledger
            .grant(
                &party.holdings,
                self.host(first),
                bytes,
                self.page.get().min(30),
            )
            .unwrap();
        self.machine()
            .set_owner(self.host(first), bytes, Some(party.owner));
    }

    /// A window of `pages` pages from page `first` of the bus.
    pub fn window(
        &self,
        party: &Party,
        first: u64,
        pages: u64,
        levels: u32,
    ) -> Arc<Window<Machine>> {
        self.try_window(party, first, pages, shape(self.page, levels))
            .unwrap()
    }

    pub fn try_window(
        &self,
        party: &Party,
        first: u64,
        pages: u64,
        shape: TableShape,
    ) -> Result<Arc<Window<Machine>>, DmaError> {
        let config = WindowConfig {
            base: self.bus(first),
            pages,
            shape,
            sizes: all_sizes(),
            limit: 1 << 20,
        };
        self.engine
            .create_window(&config, party.holdings.clone(), party.quota.clone())
    }

    /// Puts function `number` into PE `number` and attaches that to `window`.
    pub fn plug(&self, party: &Party, window: &Window<Machine>, number: u16) {
        self.machine().add_function(pe(number), number, party.owner);
        self.engine.attach(window, pe(number)).unwrap();
        self.machine().bus_master_on(pe(number));
    }

    /// Nothing forbidden has happened, and the pins add up.
    pub fn check(&self, windows: &[&Window<Machine>]) {
        assert_eq!(self.machine().violations(), []);
        self.engine
            .audit(windows, |audit| assert!(audit.is_balanced(), "{audit:?}"));
    }
}

/// A partition with 64 pages from page 0x1000, and a window of 1024 pages.
pub fn simple(kind: PhbKind, page: PageShift) -> (Rig, Party, Arc<Window<Machine>>) {
    let rig = Rig::new(kind, page, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 1024, 2);
    rig.plug(&party, &window, 0);
    (rig, party, window)
}
