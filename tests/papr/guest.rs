//! A partition with one window and one device, for the TCE calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use pinion::addr::{GuestAddr, HostAddr};
use pinion::dma::{Liobn, Window};
use pinion::papr::liobn::Liobns;
use pinion::papr::tce::{List, TceCalls};
use pinion::partition::map::{GuestMap, Piece};
use pinion::seam::Platform;
use pinion::sim::{Machine, PhbKind};
use pinion::tce::PageShift;

use super::support::{Party, Rig};

// As Linux has them (arch/powerpc/include/asm/hvcall.h): not from the code
// under test.
pub const H_SUCCESS: i64 = 0;
pub const H_BUSY: i64 = 1;
pub const H_HARDWARE: i64 = -1;
pub const H_PARAMETER: i64 = -4;
pub const H_NOT_ENOUGH_RESOURCES: i64 = -44;

/// First page of the window on the bus, and its pages.
pub const BASE: u64 = 0x40;
pub const PAGES: u64 = 1300;

/// The window's name in the partition.
pub const LIOBN: u64 = 0x8000_0003;

/// Read, write, both.
pub const R: u64 = 1;
pub const W: u64 = 2;
pub const RW: u64 = 3;

/// A partition with four pieces of memory, a window and a device.
pub struct Guest {
    pub rig: Rig,
    pub party: Party,
    pub window: Arc<Window<Machine>>,
    pub map: GuestMap,
    pub windows: Liobns<Machine>,
}

/// Where a page of the partition is in the machine. Page 16 lies across two
/// pieces, so it is nowhere; those from 0x200 are in the map, but not granted.
pub fn host_page(page: u64) -> Option<u64> {
    match page {
        0..=15 => Some(0x1000 + page),
        17..=47 => Some(0x801 + page - 17),
        0x100..=0x11f => Some(0x2000 + page - 0x100),
        _ => None,
    }
}

pub fn pieces(page: PageShift) -> GuestMap {
    let piece = |guest: u64, host: u64, halves: u64| Piece {
        guest: GuestAddr::new(guest << (page.get() - 1)),
        host: HostAddr::new(host << (page.get() - 1)),
        bytes: halves << (page.get() - 1),
    };
    GuestMap::new(vec![
        piece(0x200, 0x4000, 0x40),
        piece(0, 0x2000, 33),
        piece(33, 0x1001, 63),
        piece(0x400, 0x6000, 0x20),
    ])
    .unwrap()
}

impl Guest {
    pub fn new(kind: PhbKind, page: PageShift) -> Self {
        Self::with(Rig::new(kind, page, 5), 1 << 30)
    }

    pub fn with(rig: Rig, quota: u64) -> Self {
        let party = rig.party_with_quota(1, quota);
        rig.grant(&party, 0x1000, 16);
        rig.grant(&party, 0x801, 31);
        rig.grant(&party, 0x2000, 32);
        let other = rig.party(2);
        rig.grant(&other, 0x3000, 16);
        let window = rig.window(&party, BASE, PAGES, 2);
        rig.plug(&party, &window, 0);
        let windows = Liobns::default();
        windows.insert(Liobn(LIOBN as u32), window.clone()).unwrap();
        let map = pieces(rig.page);
        Self {
            rig,
            party,
            window,
            map,
            windows,
        }
    }

    pub fn calls(&self) -> TceCalls<'_, Machine> {
        TceCalls {
            engine: &self.rig.engine,
            map: &self.map,
            windows: &self.windows,
        }
    }

    /// Page `index` of the window.
    pub fn bus(&self, index: u64) -> u64 {
        self.rig.bus(BASE + index).get()
    }

    /// An entry of the partition's page.
    pub fn tce(&self, page: u64, rights: u64) -> u64 {
        page << self.rig.page.get() | rights
    }

    pub fn put(&self, index: u64, tce: u64) -> i64 {
        put(&self.calls(), LIOBN, self.bus(index), tce)
    }

    pub fn get(&self, index: u64) -> Result<u64, i64> {
        self.calls().get(LIOBN, self.bus(index))
    }

    /// H_PUT_TCE_INDIRECT with a list at address 0.
    pub fn indirect(&self, index: u64, list: &[u64]) -> i64 {
        let count = list.len() as u64;
        self.calls()
            .put_indirect(LIOBN, self.bus(index), 0, count, copy(list))
    }

    /// Kills until now.
    pub fn kills(&self) -> u64 {
        self.rig.machine().kills(0)
    }

    /// Window page to page of the machine and the right to write.
    pub fn table(&self) -> BTreeMap<u64, (u64, bool)> {
        let page = self.rig.page.get();
        let mut table = BTreeMap::new();
        self.rig.engine.mappings(&self.window, |mapping| {
            let access = mapping.access.expect("no operation is running");
            let index = (mapping.bus.get() >> page) - BASE;
            table.insert(index, (mapping.host.get() >> page, access.writes()));
        });
        table
    }

    pub fn check(&self) {
        self.rig.check(&[&self.window]);
    }
}

/// A reader of a list that is all of the memory it is asked for.
pub fn copy(list: &[u64]) -> impl FnOnce(GuestAddr, usize, &mut List<'_>) -> bool {
    move |_, count, to| {
        to.fill(count, |number| list[number]);
        true
    }
}

pub fn unread(_: GuestAddr, _: usize, _: &mut List<'_>) -> bool {
    panic!("a list that is refused is not read")
}

/// H_PUT_TCE as a partition gets it: the short way, and the long one for what is left.
pub fn put<P: Platform>(calls: &TceCalls<'_, P>, liobn: u64, ioba: u64, tce: u64) -> i64 {
    let quickly = match tce & RW {
        0 => calls.clear_quickly(liobn, ioba),
        _ => calls.put_quickly(liobn, ioba, tce),
    };
    quickly.unwrap_or_else(|| calls.put(liobn, ioba, tce))
}
