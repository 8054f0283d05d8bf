//! Each wrong input gets its own error, and nothing changes.

use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{DetachMode, DmaError, Engine, ErrorKind, Quota, Window, WindowConfig};
use pinion::memory::ledger::{Ledger, LedgerError, OwnerId, PinError};
use pinion::seam::{PeId, TableLimits, TveSelect};
use pinion::sim::{Machine, PhbKind, PhbModel};
use pinion::tce::entry::BadAccess;
use pinion::tce::page::BadPageShift;
use pinion::tce::{Access, PageShift, RangeError, Tce};
use std::sync::Arc;

use super::support::{Party, Rig, all_sizes, pe, shape};

fn rig() -> (Rig, Party, Arc<Window<Machine>>) {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K64, 5);
    let party = rig.party(1);
    rig.grant(&party, 0x100, 32);
    let config = WindowConfig {
        base: rig.bus(8),
        pages: 64,
        shape: shape(PageShift::K64, 2),
        sizes: all_sizes(),
        limit: 16,
    };
    let window = rig
        .engine
        .create_window(&config, party.holdings.clone(), party.quota.clone())
        .unwrap();
    rig.plug(&party, &window, 0);
    rig.engine
        .map(&window, rig.bus(10), rig.host(0x100), 1, Access::ReadWrite)
        .unwrap();
    // As most of the time: one page goes a way of its own then.
    for _ in 0..3 {
        rig.engine
            .map(&window, rig.bus(11), rig.host(0x101), 1, Access::Read)
            .unwrap();
        rig.engine.unmap(&window, rig.bus(11), 1).unwrap();
    }
    (rig, party, window)
}

/// All operations give `expected` for these arguments, and change nothing.
fn refused(
    bus: BusAddr,
    host: HostAddr,
    pages: u64,
    unmap_too: bool,
    expected: impl Fn(&Rig) -> DmaError,
) {
    let (rig, party, window) = rig();
    let expected = expected(&rig);
    let mut results = vec![
        rig.engine.map(&window, bus, host, pages, Access::Read),
        rig.engine
            .remap_run(&window, bus, host, pages, Access::Read),
    ];
    if let Some(tce) = Tce::new(host, Access::Read) {
        results.push(rig.engine.remap_same(&window, bus, tce, pages));
        if pages == 1 {
            results.push(rig.engine.remap_one(&window, bus, tce));
        }
    }
    if unmap_too {
        results.push(rig.engine.unmap(&window, bus, pages).map(|_| ()));
        results.push(rig.engine.remap_same(&window, bus, Tce::NONE, pages));
    }
    for result in results {
        assert_eq!(result, Err(expected));
    }
    assert!(!expected.to_string().is_empty());
    assert_eq!(party.holdings.region(0).unwrap().pins, 1);
    assert_eq!(
        rig.machine().dma(0, 0, rig.bus(10), true),
        Ok(rig.host(0x100))
    );
    rig.check(&[&*window]);
}

const BUS: BusAddr = BusAddr::new(12 << 16);
const HOST: HostAddr = HostAddr::new(0x104 << 16);

#[test]
fn zero_length() {
    refused(BUS, HOST, 0, true, |_| RangeError::Empty(BUS).into());
}

#[test]
fn overflow_at_2_64() {
    let bus = BusAddr::new(0u64.wrapping_sub(1 << 16));
    refused(bus, HOST, 2, true, |_| {
        RangeError::Overflow { bus, pages: 2 }.into()
    });
    refused(BUS, HOST, u64::MAX, true, |_| {
        RangeError::Overflow {
            bus: BUS,
            pages: u64::MAX,
        }
        .into()
    });
    let (rig, _party, window) = rig();
    let host = HostAddr::new(0u64.wrapping_sub(1 << 16));
    let error = PinError::Overflow {
        host,
        bytes: 2 << 16,
    };
    let expected = Err(DmaError::Pin { bus: BUS, error });
    assert_eq!(
        rig.engine.map(&window, BUS, host, 2, Access::Read),
        expected
    );
    assert_eq!(
        rig.engine.remap_run(&window, BUS, host, 2, Access::Read),
        expected
    );
}

#[test]
fn misaligned_bus_address() {
    let bus = BusAddr::new(BUS.get() + 0x1000);
    refused(bus, HOST, 1, true, |_| {
        RangeError::Misaligned {
            bus,
            page_bytes: 1 << 16,
        }
        .into()
    });
}

#[test]
fn misaligned_host_address() {
    for low in [1, 0x800, 0x1000] {
        let host = HostAddr::new(HOST.get() + low);
        refused(BUS, host, 1, false, |_| DmaError::MisalignedHost {
            bus: BUS,
            host,
            page_bytes: 1 << 16,
        });
    }
}

#[test]
fn beyond_the_window_or_across_its_end() {
    for (page, pages) in [(7, 1), (7, 2), (72, 1), (71, 2), (0, 8), (1 << 40, 1)] {
        let bus = BusAddr::new(page << 16);
        refused(bus, HOST, pages, true, |_| {
            RangeError::Outside {
                bus,
                pages,
                start: BusAddr::new(8 << 16),
                end: BusAddr::new((72 << 16) - 1),
            }
            .into()
        });
    }
}

#[test]
fn more_pages_than_the_limit() {
    refused(BUS, HOST, 17, true, |_| {
        RangeError::TooMany {
            pages: 17,
            limit: 16,
        }
        .into()
    });
}

#[test]
fn memory_that_is_not_owned() {
    let owner = OwnerId(1);
    for page in [0u64, 0xff, 0x120, 0x1_0000_0000] {
        let host = HostAddr::new(page << 16);
        refused(BUS, host, 1, false, |_| DmaError::Pin {
            bus: BUS,
            error: PinError::NotOwned { host, owner },
        });
    }
    // The last page of a run is beyond the region: it is the one that is named.
    let (rig, _party, window) = rig();
    let error = PinError::NotOwned {
        host: rig.host(0x120),
        owner,
    };
    let result = rig
        .engine
        .map(&window, BUS, rig.host(0x11e), 3, Access::Read);
    assert_eq!(
        result,
        Err(DmaError::Pin {
            bus: BusAddr::new(14 << 16),
            error
        })
    );
}

#[test]
fn a_region_that_is_closing() {
    let (rig, party, window) = rig();
    let is_closing = || party.holdings.region_of(HOST).unwrap().closing;
    assert!(!is_closing());
    assert_eq!(rig.ledger.close(&party.holdings, rig.host(0x100)), Ok(1));
    assert!(is_closing());
    let expected = Err(DmaError::Pin {
        bus: BUS,
        error: PinError::Closing { host: HOST },
    });
    assert_eq!(
        rig.engine.map(&window, BUS, HOST, 1, Access::Read),
        expected
    );
    assert_eq!(
        rig.engine
            .remap(&window, BUS, &[Tce::new(HOST, Access::Read).unwrap()]),
        expected
    );
    // What is mapped works, and can be unmapped; then the region is free.
    let start = rig.host(0x100);
    assert!(rig.machine().dma(0, 0, rig.bus(10), true).is_ok());
    assert_eq!(
        rig.ledger.reclaim(&party.holdings, start),
        Err(LedgerError::Pinned { start, pins: 1 })
    );
    assert_eq!(rig.engine.unmap(&window, rig.bus(10), 1), Ok(1));
    assert_eq!(
        rig.ledger.reclaim(&party.holdings, start),
        Err(LedgerError::NotQuiet(start))
    );
    rig.engine.quiet(&party.holdings, start).unwrap();
    assert_eq!(
        rig.ledger.reclaim(&party.holdings, start).unwrap().bytes,
        32 << 16
    );
    assert_eq!(rig.ledger.owner_of(start), None);
}

#[test]
fn a_window_that_is_removed() {
    let (rig, _party, window) = rig();
    rig.engine.remove(&window, DetachMode::Reset).unwrap();
    let closing = DmaError::WindowClosing;
    assert_eq!(
        rig.engine.map(&window, BUS, HOST, 1, Access::Read),
        Err(closing)
    );
    assert_eq!(rig.engine.unmap(&window, BUS, 1), Err(closing));
    assert_eq!(rig.engine.remap(&window, BUS, &[Tce::NONE]), Err(closing));
    assert_eq!(rig.engine.clear(&window), Err(closing));
    assert_eq!(rig.engine.flush(&window), Err(closing));
    assert_eq!(rig.engine.attach(&window, pe(0)), Err(closing));
    assert_eq!(rig.engine.remove(&window, DetachMode::Reset), Err(closing));
    assert_eq!(rig.engine.translate(&window, BUS), Err(closing));
    assert_eq!(closing.kind(), ErrorKind::Gone);
}

#[test]
fn wrong_rights_and_page_sizes() {
    assert_eq!(Access::from_bits(0), Err(BadAccess(0)));
    assert_eq!(Access::from_bits(4), Err(BadAccess(4)));
    assert_eq!(PageShift::new(14), Err(BadPageShift(14)));
}

#[test]
fn wrong_regions() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let (party, other) = (rig.party(1), rig.party(2));
    let grant = |start, bytes, granule| {
        rig.ledger
            .grant(&party.holdings, HostAddr::new(start), bytes, granule)
    };
    let start = HostAddr::new(0x1000);
    assert_eq!(grant(0x1000, 0, 12), Err(LedgerError::Empty(start)));
    assert_eq!(
        grant(0x1000, 0x800, 12),
        Err(LedgerError::Misaligned {
            start,
            bytes: 0x800
        })
    );
    assert_eq!(grant(0x1000, 0x1000, 11), Err(LedgerError::Granule(11)));
    assert_eq!(grant(0x1000, 0x1000, 31), Err(LedgerError::Granule(31)));
    let high = HostAddr::new(u64::MAX - 0xfff);
    assert_eq!(
        grant(high.get(), 0x2000, 12),
        Err(LedgerError::Overflow {
            start: high,
            bytes: 0x2000
        })
    );
    rig.ledger
        .grant(&other.holdings, HostAddr::new(0x3000), 0x2000, 12)
        .unwrap();
    for (start, bytes) in [
        (0x3000, 0x1000),
        (0x2000, 0x2000),
        (0x4000, 0x4000),
        (0x1000, 0x9000),
    ] {
        let (start, owner) = (HostAddr::new(start), OwnerId(2));
        let result = rig.ledger.grant(&party.holdings, start, bytes, 12);
        assert_eq!(
            result,
            Err(LedgerError::Overlap {
                start,
                other: HostAddr::new(0x3000),
                owner
            })
        );
    }
    grant(0x2000, 0x1000, 12).unwrap();
    grant(0x5000, 0x1000, 12).unwrap();
    assert_eq!(rig.ledger.owner_of(HostAddr::new(0x4fff)), Some(OwnerId(2)));
    assert_eq!(rig.ledger.owner_of(HostAddr::new(0x6000)), None);
    assert_eq!(
        rig.ledger.close(&party.holdings, HostAddr::new(0x3000)),
        Err(LedgerError::NoRegion(HostAddr::new(0x3000)))
    );
    assert_eq!(
        rig.ledger.reclaim(&party.holdings, HostAddr::new(0x2000)),
        Err(LedgerError::Open(HostAddr::new(0x2000)))
    );
    assert!(matches!(
        rig.ledger.add_owner(OwnerId(1)),
        Err(LedgerError::OwnerExists(OwnerId(1)))
    ));
    for index in 2..256 {
        grant(0x10_0000 + index * 0x1000, 0x1000, 12).unwrap();
    }
    assert_eq!(
        grant(0x1000_0000, 0x1000, 12),
        Err(LedgerError::TooManyRegions(OwnerId(1)))
    );
    let _ = rig
        .ledger
        .close(&other.holdings, HostAddr::new(0x3000))
        .unwrap();
    let result = rig
        .ledger
        .transfer(&other.holdings, &party.holdings, HostAddr::new(0x3000));
    assert_eq!(result, Err(LedgerError::TooManyRegions(OwnerId(1))));
    assert_eq!(rig.ledger.owner_of(HostAddr::new(0x3000)), Some(OwnerId(2)));
}

#[test]
fn wrong_pes() {
    let (rig, _party, window) = rig();
    let other = rig.party(2);
    let foreign = rig.window(&other, 0, 64, 1);
    assert_eq!(
        rig.engine.attach(&window, pe(0)),
        Err(DmaError::Attached(pe(0)))
    );
    assert_eq!(
        rig.engine.attach(&window, pe(99)),
        Err(DmaError::UnknownPe(pe(99)))
    );
    assert_eq!(
        rig.engine.attach(&foreign, pe(0)),
        Err(DmaError::PeOwned {
            pe: pe(0),
            owner: OwnerId(1)
        })
    );
    assert_eq!(
        rig.engine.detach(&window, pe(3), DetachMode::Reset),
        Err(DmaError::NotAttached(pe(3)))
    );
    for number in 1..8 {
        rig.engine.attach(&window, pe(number)).unwrap();
    }
    assert_eq!(
        rig.engine.attach(&window, pe(8)),
        Err(DmaError::TooManyPes(pe(8)))
    );
    rig.engine
        .detach(&window, pe(0), DetachMode::Reset)
        .unwrap();
    rig.engine.attach(&foreign, pe(0)).unwrap();
}

/// A number that one PHB does not have is no PE of the next.
#[test]
fn a_pe_behind_the_last_of_its_phb() {
    let phbs = vec![
        PhbModel::new(PhbKind::Phb4, 4),
        PhbModel::new(PhbKind::Phb4, 4),
    ];
    let engine = Engine::new(Machine::new(phbs, 1 << 20, 1), &[4, 4]);
    let rig = Rig {
        engine,
        ledger: Arc::new(Ledger::new()),
        page: PageShift::K4,
    };
    let window = rig.window(&rig.party(1), 0, 64, 1);
    for phb in [0, 1] {
        let [last, behind] = [3, 4].map(|pe| PeId { phb, pe });
        let attached = rig.engine.attach(&window, behind);
        assert_eq!(attached, Err(DmaError::UnknownPe(behind)));
        rig.engine.attach(&window, last).unwrap();
    }
}

/// A window may be made for PHBs that differ; each PE is checked against its own.
#[test]
fn a_pe_whose_phb_cannot_walk_the_table() {
    let phb = |page_shifts, levels| {
        let limits = TableLimits {
            page_shifts,
            levels,
        };
        PhbModel::new(PhbKind::Phb4, 1).with_limits(limits)
    };
    let phbs = vec![phb(1 << 12 | 1 << 16, 5), phb(1 << 12, 5), phb(1 << 16, 2)];
    let machine = Machine::new(phbs, 1 << 20, 1);
    let engine = Engine::new(machine, &[1, 1, 1]);
    let ledger = Ledger::new();
    let holdings = ledger.add_owner(OwnerId(1)).unwrap();
    let config = WindowConfig {
        base: BusAddr::new(0),
        pages: 64,
        shape: shape(PageShift::K64, 3),
        sizes: all_sizes(),
        limit: 16,
    };
    let quota = Arc::new(Quota::new(1 << 20));
    let window = engine.create_window(&config, holdings, quota).unwrap();
    let [good, small, flat] = [0, 1, 2].map(|phb| PeId { phb, pe: 0 });
    let error = engine.attach(&window, small).unwrap_err();
    assert_eq!(
        error,
        DmaError::PePageSize {
            pe: small,
            page: PageShift::K64
        }
    );
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = engine.attach(&window, flat).unwrap_err();
    assert_eq!(
        error,
        DmaError::PeLevels {
            pe: flat,
            levels: 3,
            most: 2
        }
    );
    assert_eq!(error.kind(), ErrorKind::Invalid);
    // Nothing has changed: they are nobody's, and no TVE is on.
    window.each_pe(|pe| panic!("{pe}"));
    for pe in [small, flat] {
        assert_eq!(engine.platform().tve(pe, TveSelect::Low), 0);
        engine.release_pe(pe).unwrap();
    }
    engine.attach(&window, good).unwrap();
}

#[test]
fn a_limit_that_would_hold_the_lock_too_long() {
    let (rig, party, _window) = rig();
    let limit = pinion::dma::MOST_PAGES_AT_ONCE + 1;
    let config = WindowConfig {
        base: rig.bus(0),
        pages: 64,
        shape: super::support::shape(rig.page, 2),
        sizes: super::support::all_sizes(),
        limit,
    };
    let used = party.quota.used();
    let result = rig
        .engine
        .create_window(&config, party.holdings.clone(), party.quota.clone());
    assert_eq!(result.err(), Some(DmaError::Limit(limit)));
    assert_eq!(party.quota.used(), used);
}

/// One page, or none, is more than such a window takes; however often it is tried.
#[test]
fn a_limit_of_no_page() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 4);
    let config = WindowConfig {
        base: rig.bus(0),
        pages: 64,
        shape: shape(PageShift::K4, 1),
        sizes: all_sizes(),
        limit: 0,
    };
    let window = rig
        .engine
        .create_window(&config, party.holdings.clone(), party.quota.clone())
        .unwrap();
    rig.plug(&party, &window, 0);
    let refused = DmaError::from(RangeError::TooMany { pages: 1, limit: 0 });
    for _ in 0..3 {
        let (bus, host) = (rig.bus(5), rig.host(0x1000));
        let mapped = rig.engine.map(&window, bus, host, 1, Access::Read);
        assert_eq!(mapped, Err(refused));
        assert_eq!(rig.engine.unmap(&window, bus, 1), Err(refused));
    }
    rig.check(&[&*window]);
}
