//! Random operations of two partitions against a naive reference: a map from
//! bus page to frame. Devices do DMA between any two steps of the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{DetachMode, ErrorKind, Window};
use pinion::memory::ledger::LedgerError;
use pinion::sim::{Hit, Machine};
use pinion::tce::{Access, Tce};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::operations::{Case, Op, PARTY, REGION, REGIONS, WINDOW, case, op};
use super::support::{Party, Rig, pe};

const CASES: u32 = 2300;
/// Most operations in one case; on average it is half of that.
const OPERATIONS: usize = 1000;

/// Bus page to frame and whether devices may write, of one window.
type Reference = BTreeMap<u64, (u64, bool)>;

struct World {
    rig: Rig,
    parties: [Party; 2],
    windows: [Arc<Window<Machine>>; 3],
    // First page of each window on the bus.
    bases: [u64; 3],
    reference: [Reference; 3],
    before: [Reference; 3],
    // Owner and whether the gate is closed.
    regions: [(usize, bool); REGIONS as usize],
    pins: [u64; REGIONS as usize],
    shared: bool,
    steps: u64,
}

fn region_start(region: u64) -> u64 {
    // Regions 0 and 1, 2 and 3 touch: runs may cross from one to the other.
    0x1000 + region * REGION
}

fn region_of(frame: u64) -> usize {
    ((frame - 0x1000) / REGION) as usize
}

impl World {
    fn new(case: Case) -> Self {
        let rig = Rig::new(case.kind, case.page, case.seed);
        let parties = [rig.party(1), rig.party(2)];
        let regions = [(0, false), (0, false), (1, false), (1, false)];
        for (region, &(party, _)) in (0..).zip(&regions) {
            rig.grant(&parties[party], region_start(region), REGION);
        }
        let bases = [0x40, 1 << (59 - case.page.get()) | 3, 0];
        let windows =
            core::array::from_fn(|w| rig.window(&parties[PARTY[w]], bases[w], WINDOW, case.levels));
        rig.plug(&parties[0], &windows[0], 0);
        rig.plug(&parties[0], &windows[1], 1);
        rig.plug(&parties[1], &windows[2], 2);
        let pages = (0..WINDOW + 2)
            .step_by(7)
            .flat_map(|page| bases.map(|base| rig.bus(base + page)));
        rig.machine()
            .set_stray(6, vec![(0, 0), (0, 1), (0, 2)], pages.collect());
        Self {
            rig,
            parties,
            windows,
            bases,
            reference: Default::default(),
            before: Default::default(),
            regions,
            pins: [0; REGIONS as usize],
            shared: false,
            steps: 0,
        }
    }

    fn bus(&self, window: usize, page: u64) -> BusAddr {
        self.rig.bus(self.bases[window] + page)
    }

    fn host(&self, region: u64, frame: u64) -> HostAddr {
        self.rig.host(region_start(region) + frame)
    }

    fn frame(&self, host: HostAddr) -> u64 {
        host.get() >> self.rig.page.get()
    }

    /// The error of pages `first..first + pages` as a source of a mapping.
    fn source_error(&self, window: usize, first: u64, pages: u64) -> Option<ErrorKind> {
        let bad = (first..first + pages).any(|frame| {
            frame >= region_start(REGIONS) || {
                let (owner, closed) = self.regions[region_of(frame)];
                owner != PARTY[window] || closed
            }
        });
        bad.then_some(ErrorKind::NotOwned)
    }

    fn range_error(page: u64, pages: u64) -> Option<ErrorKind> {
        if pages == 0 {
            Some(ErrorKind::Invalid)
        } else if page + pages > WINDOW {
            Some(ErrorKind::OutOfRange)
        } else {
            None
        }
    }

    fn forget(&mut self, window: usize, page: u64) -> bool {
        let old = self.reference[window].remove(&page);
        if let Some((frame, _)) = old {
            self.pins[region_of(frame)] -= 1;
        }
        old.is_some()
    }

    fn learn(&mut self, window: usize, page: u64, frame: u64, writes: bool) {
        self.forget(window, page);
        self.reference[window].insert(page, (frame, writes));
        self.pins[region_of(frame)] += 1;
    }

    fn apply(&mut self, op: &Op) {
        self.before.clone_from(&self.reference);
        self.rig.machine().take_hits();
        let kills = self.rig.machine().kills(0);
        // PEs that a kill of the window goes to.
        let most = match op {
            Op::Map { window, .. }
            | Op::Unmap { window, .. }
            | Op::RemapRun { window, .. }
            | Op::RemapSame { window, .. }
            | Op::RemapList { window, .. }
            | Op::Clear { window }
            | Op::Flush { window } => 1 + u64::from(*window == 0 && self.shared),
            Op::Detach { .. } | Op::Share { .. } => 8,
            _ => 0,
        };
        self.run(op);
        let used = self.rig.machine().kills(0) - kills;
        assert!(
            used <= most,
            "{used} kills in one operation, {most} allowed"
        );
        self.check_hits();
        self.steps += 1;
        self.check(self.steps.is_multiple_of(32));
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Map {
                window,
                page,
                region,
                frame,
                pages,
                access,
            } => {
                let host = self.host(region, frame);
                let first = self.frame(host);
                let busy = (page..page + pages).any(|p| self.reference[window].contains_key(&p));
                let expected = Self::range_error(page, pages)
                    .or(self.source_error(window, first, pages))
                    .or(busy.then_some(ErrorKind::Busy));
                let result = self.rig.engine.map(
                    &self.windows[window],
                    self.bus(window, page),
                    host,
                    pages,
                    access,
                );
                assert_eq!(result.err().map(|e| e.kind()), expected, "{result:?}");
                if result.is_ok() {
                    for i in 0..pages {
                        self.learn(window, page + i, first + i, access.writes());
                    }
                }
            }
            Op::Unmap {
                window,
                page,
                pages,
            } => {
                let result =
                    self.rig
                        .engine
                        .unmap(&self.windows[window], self.bus(window, page), pages);
                match Self::range_error(page, pages) {
                    Some(kind) => assert_eq!(result.unwrap_err().kind(), kind),
                    None => {
                        let mapped = (page..page + pages)
                            .filter(|&p| self.forget(window, p))
                            .count();
                        assert_eq!(result, Ok(mapped as u64));
                    }
                }
            }
            Op::RemapRun {
                window,
                page,
                region,
                frame,
                pages,
                access,
            } => {
                let host = self.host(region, frame);
                let first = self.frame(host);
                let expected =
                    Self::range_error(page, pages).or(self.source_error(window, first, pages));
                let bus = self.bus(window, page);
                let result =
                    self.rig
                        .engine
                        .remap_run(&self.windows[window], bus, host, pages, access);
                assert_eq!(result.err().map(|e| e.kind()), expected, "{result:?}");
                if result.is_ok() {
                    for i in 0..pages {
                        self.learn(window, page + i, first + i, access.writes());
                    }
                }
            }
            Op::RemapSame {
                window,
                page,
                region,
                frame,
                pages,
                unmap,
            } => {
                let host = self.host(region, frame);
                let first = self.frame(host);
                let tce = if unmap {
                    Tce::NONE
                } else {
                    Tce::new(host, Access::ReadWrite).unwrap()
                };
                let source = if unmap {
                    None
                } else {
                    self.source_error(window, first, 1)
                };
                let expected = Self::range_error(page, pages).or(source);
                let bus = self.bus(window, page);
                let result = self
                    .rig
                    .engine
                    .remap_same(&self.windows[window], bus, tce, pages);
                assert_eq!(result.err().map(|e| e.kind()), expected, "{result:?}");
                if result.is_ok() {
                    for p in page..page + pages {
                        self.forget(window, p);
                        if !unmap {
                            self.learn(window, p, first, true);
                        }
                    }
                }
            }
            Op::RemapList {
                window,
                page,
                ref list,
            } => {
                let entries: Vec<(u64, Tce)> = list
                    .iter()
                    .map(|&(region, frame, rights)| {
                        let host = self.host(region, frame);
                        let tce = match Access::from_bits(rights.into()) {
                            Ok(access) => Tce::new(host, access).unwrap(),
                            Err(_) => Tce::NONE,
                        };
                        (self.frame(host), tce)
                    })
                    .collect();
                let bad = entries
                    .iter()
                    .filter(|(_, tce)| tce.is_mapping())
                    .find_map(|&(frame, _)| self.source_error(window, frame, 1));
                let expected = Self::range_error(page, entries.len() as u64).or(bad);
                let tces: Vec<Tce> = entries.iter().map(|&(_, tce)| tce).collect();
                let (engine, bus) = (&self.rig.engine, self.bus(window, page));
                let to = &self.windows[window];
                let result = match tces[..] {
                    [one] => engine
                        .remap_quickly(to, bus, one)
                        .unwrap_or_else(|| engine.remap_one(to, bus, one)),
                    _ => engine.remap(to, bus, &tces),
                };
                assert_eq!(result.err().map(|e| e.kind()), expected, "{result:?}");
                if result.is_ok() {
                    if entries.len() > 512 {
                        LONG_LISTS.fetch_add(1, Ordering::Relaxed);
                    }
                    for (p, (frame, tce)) in (page..).zip(entries) {
                        self.forget(window, p);
                        if tce.is_mapping() {
                            self.learn(window, p, frame, tce.bits() & 2 != 0);
                        }
                    }
                }
            }
            Op::Translate {
                window,
                page,
                offset,
            } => {
                let offset = offset & (self.rig.page.bytes() - 1);
                let bus = BusAddr::new(self.bus(window, page).get() + offset);
                let result = self.rig.engine.translate(&self.windows[window], bus);
                match self.reference[window].get(&page) {
                    Some(&(frame, writes)) => {
                        let found = result.unwrap();
                        assert_eq!(found.host.get(), self.rig.host(frame).get() + offset);
                        assert_eq!(found.access.writes(), writes);
                    }
                    None if page >= WINDOW => {
                        assert_eq!(result.unwrap_err().kind(), ErrorKind::OutOfRange)
                    }
                    None => assert_eq!(result.unwrap_err().kind(), ErrorKind::NotMapped),
                }
            }
            Op::Clear { window } => {
                let result = self.rig.engine.clear(&self.windows[window]);
                assert_eq!(result, Ok(self.reference[window].len() as u64));
                self.forget_all(window);
            }
            Op::Flush { window } => self.rig.engine.flush(&self.windows[window]).unwrap(),
            Op::Detach { window } => {
                if window == 0 && self.shared {
                    // Not the last: the other PE's mappings stay.
                    self.rig
                        .engine
                        .detach(&self.windows[0], pe(1), DetachMode::Running)
                        .unwrap();
                    self.shared = false;
                    return;
                }
                let function = window as u16;
                let mode = if window == 1 {
                    DetachMode::Running
                } else {
                    DetachMode::Reset
                };
                self.rig
                    .engine
                    .detach(&self.windows[window], pe(function), mode)
                    .unwrap();
                self.forget_all(window);
                self.rig
                    .engine
                    .attach(&self.windows[window], pe(function))
                    .unwrap();
                self.rig.machine().bus_master_on(pe(function));
            }
            Op::Share { on } => {
                if on && !self.shared {
                    self.rig.engine.attach(&self.windows[0], pe(1)).unwrap();
                } else if !on && self.shared {
                    self.rig
                        .engine
                        .detach(&self.windows[0], pe(1), DetachMode::Running)
                        .unwrap();
                }
                self.shared = on;
            }
            Op::Close { region } => {
                let (owner, closed) = self.regions[region as usize];
                let start = self.host(region, 0);
                let holdings = &self.parties[owner].holdings;
                if closed {
                    self.rig.ledger.reopen(holdings, start).unwrap();
                } else {
                    let pins = self.rig.ledger.close(holdings, start).unwrap();
                    assert_eq!(pins, self.pins[region as usize]);
                }
                self.regions[region as usize].1 = !closed;
            }
            Op::Move { region } => self.transfer(region),
            Op::Dma {
                function,
                page,
                write,
            } => {
                let window = usize::from(function);
                let bus = self.bus(window, page);
                let result = self.rig.machine().probe(0, function, bus, write);
                match self.reference[window].get(&page) {
                    Some(&(frame, writes)) if writes || !write => {
                        assert_eq!(result, Ok(self.rig.host(frame)))
                    }
                    _ => assert!(result.is_err(), "{result:?}"),
                }
            }
            Op::TakeDirty { region } => {
                let (owner, _) = self.regions[region as usize];
                self.rig
                    .engine
                    .land_writes(self.parties[owner].owner)
                    .unwrap();
                self.check_dirty();
                let start = self.host(region, 0);
                self.parties[owner]
                    .holdings
                    .take_dirty(start, |_, _| ())
                    .unwrap();
                self.rig.machine().forget_written();
                // Only what devices write from now on counts; other regions
                // may keep marks, which is the safe side.
            }
        }
    }

    fn transfer(&mut self, region: u64) {
        let (owner, closed) = self.regions[region as usize];
        let [from, to] = [&self.parties[owner], &self.parties[1 - owner]];
        let start = self.host(region, 0);
        let quiet = self.rig.engine.quiet(&from.holdings, start);
        assert_eq!(
            quiet.is_ok(),
            closed && self.pins[region as usize] == 0,
            "{quiet:?}"
        );
        let result = self
            .rig
            .ledger
            .transfer(&from.holdings, &to.holdings, start);
        let pins = self.pins[region as usize];
        if !closed {
            assert_eq!(result, Err(LedgerError::Open(start)));
        } else if pins != 0 {
            assert_eq!(result, Err(LedgerError::Pinned { start, pins }));
        } else {
            result.unwrap();
            // From here on, a device of the old owner must not reach it.
            let bytes = REGION << self.rig.page.get();
            self.rig.machine().set_owner(start, bytes, Some(to.owner));
            self.rig.machine().forget_written();
            self.regions[region as usize] = (1 - owner, false);
        }
    }

    fn forget_all(&mut self, window: usize) {
        let pages: Vec<u64> = self.reference[window].keys().copied().collect();
        for page in pages {
            self.forget(window, page);
        }
    }

    /// DMA during the operation reached what was mapped before or after it.
    fn check_hits(&self) {
        for hit in self.rig.machine().take_hits() {
            assert!(self.explains(&hit), "{hit:x?}");
        }
    }

    fn explains(&self, hit: &Hit) -> bool {
        (0..3).any(|window| {
            let Some(page) = self.windows[window].range().page_index(hit.bus) else {
                return false;
            };
            [&self.before, &self.reference]
                .into_iter()
                .any(|reference| {
                    let found = reference[window].get(&page.0);
                    found.is_some_and(|&(frame, writes)| {
                        self.rig.host(frame) == hit.host && (writes || !hit.write)
                    })
                })
        })
    }

    fn check(&self, thoroughly: bool) {
        assert_eq!(self.rig.machine().violations(), []);
        for region in 0..REGIONS {
            let (owner, _) = self.regions[region as usize];
            let info = self.parties[owner]
                .holdings
                .region_of(self.host(region, 0))
                .unwrap();
            assert_eq!(
                info.pins, self.pins[region as usize],
                "pins of region {region}"
            );
        }
        if !thoroughly {
            return;
        }
        let [a, b, c] = &self.windows;
        self.rig.check(&[a, b]);
        self.rig.check(&[c]);
        self.check_dirty();
        for window in 0..3 {
            let mut found = Reference::new();
            self.rig.engine.mappings(&self.windows[window], |mapping| {
                let page = (mapping.bus.get() >> self.rig.page.get()) - self.bases[window];
                let writes = mapping
                    .access
                    .expect("a tombstone outside of an operation")
                    .writes();
                found.insert(page, (self.frame(mapping.host), writes));
            });
            assert_eq!(found, self.reference[window]);
        }
    }

    /// What a device wrote is marked, once the entry that allowed it is gone.
    fn check_dirty(&self) {
        let mapped: Vec<u64> = self
            .reference
            .iter()
            .flat_map(|r| r.values())
            .filter(|(_, w)| *w)
            .map(|&(f, _)| f)
            .collect();
        for region in 0..REGIONS {
            let (owner, _) = self.regions[region as usize];
            for frame in (0..REGION).map(|frame| region_start(region) + frame) {
                let host = self.rig.host(frame);
                if self.rig.machine().was_written(host, self.rig.page.get())
                    && !mapped.contains(&frame)
                {
                    assert!(
                        self.parties[owner].holdings.is_dirty(host),
                        "page {host} is not marked"
                    );
                }
            }
        }
    }

    /// Everything goes away, and nothing is left.
    fn end(self) {
        for (window, number) in self.windows.iter().zip(0..) {
            let mode = DetachMode::Reset;
            self.rig
                .engine
                .remove(window, mode)
                .unwrap_or_else(|error| panic!("window {number}: {error}"));
        }
        assert_eq!(self.rig.machine().violations(), []);
        assert_eq!(self.rig.machine().table_bytes(), 0);
        for party in &self.parties {
            assert_eq!(party.quota.used(), 0);
            for index in 0..REGIONS as usize {
                assert_eq!(
                    party.holdings.region(index).map_or(0, |region| region.pins),
                    0
                );
            }
        }
    }
}

static OPERATIONS_DONE: AtomicU64 = AtomicU64::new(0);
/// Lists mapped that are longer than what goes at a time.
static LONG_LISTS: AtomicU64 = AtomicU64::new(0);

#[test]
fn a_million_operations_agree_with_the_reference() {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 4000,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let operations = prop::collection::vec(op(), 1..=OPERATIONS);
    runner
        .run(&(case(), operations), |(case, operations)| {
            let mut world = World::new(case);
            for op in &operations {
                world.apply(op);
            }
            OPERATIONS_DONE.fetch_add(operations.len() as u64, Ordering::Relaxed);
            world.end();
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(OPERATIONS_DONE.load(Ordering::Relaxed) >= 1_000_000);
    let long = LONG_LISTS.load(Ordering::Relaxed);
    assert!(long >= 100, "{long} long lists");
}
