//! The rows of the 2012 review, one test each: `a<row>_...`.

use pinion::dma::{DmaError, ErrorKind};
use pinion::memory::ledger::{OwnerId, PinError};
use pinion::seam::{PhbError, TveSelect};
use pinion::sim::{DmaFault, Failure, PhbKind, Step};
use pinion::tce::tve::Tve;
use pinion::tce::{Access, Entry, PageShift, Tce, WindowRange};
use std::sync::{Arc, Mutex};

use super::support::{Rig, pe, shape, simple};

#[test]
fn a2_native_and_papr_operations_work_on_one_table() {
    let (rig, _party, window) = simple(PhbKind::Phb4, PageShift::K64);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 4, Access::ReadWrite)
        .unwrap();
    rig.engine
        .remap(
            &window,
            rig.bus(2),
            &[Tce::new(rig.host(0x1010), Access::Read).unwrap(), Tce::NONE],
        )
        .unwrap();
    assert_eq!(
        rig.machine().dma(0, 0, rig.bus(1), true),
        Ok(rig.host(0x1001))
    );
    assert_eq!(
        rig.machine().dma(0, 0, rig.bus(2), false),
        Ok(rig.host(0x1010))
    );
    assert_eq!(rig.engine.unmap(&window, rig.bus(0), 4), Ok(3));
    rig.check(&[&*window]);
}

#[test]
fn a4_a_table_differs_between_phbs_in_the_kill_only() {
    for kind in [PhbKind::Phb3, PhbKind::Phb4, PhbKind::AllOnly] {
        for page in [PageShift::K4, PageShift::K64] {
            for levels in 1..=4 {
                let rig = Rig::new(kind, page, 1);
                let party = rig.party(1);
                rig.grant(&party, 0x1000, 8);
                let window = rig.window(&party, 0x80, 8, levels);
                rig.plug(&party, &window, 3);
                rig.engine
                    .map(&window, rig.bus(0x82), rig.host(0x1000), 2, Access::Read)
                    .unwrap();
                assert_eq!(
                    rig.machine().dma(0, 3, rig.bus(0x83), false),
                    Ok(rig.host(0x1001))
                );
                let table = Tve::from_bits(rig.machine().tve(pe(3), TveSelect::Low))
                    .decode()
                    .unwrap()
                    .unwrap();
                assert_eq!((table.levels, table.page_shift), (levels, page.get()));
            }
        }
    }
}

#[test]
fn a5_unmap_is_idempotent_and_counts_what_was_mapped() {
    let (rig, _party, window) = simple(PhbKind::Phb4, PageShift::K4);
    rig.engine
        .map(&window, rig.bus(3), rig.host(0x1000), 2, Access::Read)
        .unwrap();
    assert_eq!(rig.engine.unmap(&window, rig.bus(0), 16), Ok(2));
    let kills = rig.machine().kills(0);
    assert_eq!(rig.engine.unmap(&window, rig.bus(0), 16), Ok(0));
    assert_eq!(
        rig.machine().kills(0),
        kills,
        "nothing was mapped, so nothing is to be killed"
    );
}

#[test]
fn a6_pages_that_a_device_may_have_written_are_marked_dirty() {
    let (rig, party, window) = simple(PhbKind::Phb4, PageShift::K64);
    for (page, access) in [
        (0, Access::Read),
        (2, Access::Write),
        (4, Access::ReadWrite),
    ] {
        rig.engine
            .map(&window, rig.bus(page), rig.host(0x1000 + page), 1, access)
            .unwrap();
    }
    rig.engine.unmap(&window, rig.bus(0), 5).unwrap();
    let dirty: Vec<bool> = (0..6)
        .map(|page| party.holdings.is_dirty(rig.host(0x1000 + page)))
        .collect();
    assert_eq!(dirty, [false, false, true, false, true, false]);
    let mut taken = Vec::new();
    party
        .holdings
        .take_dirty(rig.host(0x1000), |host, _| taken.push(host))
        .unwrap();
    assert_eq!(taken, [rig.host(0x1002), rig.host(0x1004)]);
    assert!(!party.holdings.is_dirty(rig.host(0x1002)));
    // A run, and a replaced page.
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1008), 16, Access::Write)
        .unwrap();
    rig.engine
        .remap_run(&window, rig.bus(0), rig.host(0x1020), 1, Access::Read)
        .unwrap();
    assert!(party.holdings.is_dirty(rig.host(0x1008)));
    rig.engine.clear(&window).unwrap();
    assert!((9..24).all(|page| party.holdings.is_dirty(rig.host(0x1000 + page))));
    assert!(!party.holdings.is_dirty(rig.host(0x1020)));
}

/// Somebody takes the marks after the store of a remap, and the device writes
/// after that, through what the PHB remembers: the page is marked all the same.
#[test]
fn a6_a_mark_taken_before_the_kill_of_a_remap_is_not_lost() {
    let (rig, party, window) = simple(PhbKind::Phb4, PageShift::K4);
    let (host, bus) = (rig.host(0x1000), rig.bus(3));
    for fails in [false, true] {
        rig.engine.clear(&window).unwrap();
        rig.engine
            .map(&window, bus, host, 1, Access::ReadWrite)
            .unwrap();
        rig.machine().dma(0, 0, bus, false).unwrap();
        party.holdings.take_dirty(host, |_, _| ()).unwrap();
        let holdings = party.holdings.clone();
        let mut done = false;
        rig.machine().set_hook(move |machine, step| {
            if step == Step::Kill && !done {
                done = true;
                let mut taken = Vec::new();
                holdings
                    .take_dirty(host, |host, _| taken.push(host))
                    .unwrap();
                assert_eq!(taken, [host]);
                assert_eq!(machine.dma(0, 0, bus, true), Ok(host));
            }
        });
        if fails {
            rig.machine().fail(Some(Failure {
                after: 0,
                forever: false,
                error: PhbError::TimedOut,
            }));
        }
        let result = rig
            .engine
            .remap_run(&window, bus, rig.host(0x1020), 1, Access::Read);
        rig.machine().clear_hook();
        rig.machine().fail(None);
        assert_eq!(result.is_err(), fails);
        if fails {
            party.holdings.take_dirty(host, |_, _| ()).unwrap();
            rig.engine.recover(&window).unwrap();
            rig.machine().bus_master_on(pe(0));
        }
        assert!(party.holdings.is_dirty(host));
        // The kill is over: now the mark can be taken.
        party.holdings.take_dirty(host, |_, _| ()).unwrap();
        assert!(!party.holdings.is_dirty(host));
    }
}

#[test]
fn a7_the_pin_comes_before_the_first_store() {
    let (rig, party, window) = simple(PhbKind::Phb4, PageShift::K4);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, holdings, host) = (seen.clone(), party.holdings.clone(), rig.host(0x1000));
    rig.machine().set_hook(move |_, step| {
        if step == Step::Store {
            log.lock()
                .unwrap()
                .push(holdings.region_of(host).unwrap().pins);
        }
    });
    rig.engine
        .map(&window, rig.bus(0), host, 4, Access::Read)
        .unwrap();
    let seen = seen.lock().unwrap();
    assert!(
        !seen.is_empty() && seen.iter().all(|&pins| pins == 4),
        "{seen:?}"
    );
    rig.machine().clear_hook();
    // The rights follow the direction.
    assert_eq!(
        rig.machine().probe(0, 0, rig.bus(1), true),
        Err(DmaFault::NoRight(1))
    );
    assert!(rig.machine().probe(0, 0, rig.bus(1), false).is_ok());
}

#[test]
fn a8_sub_page_offsets_survive() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    // A 64K page of a guest, in which 4K IO pages lie at odd places.
    rig.grant(&party, 0x1000, 16);
    let window = rig.window(&party, 0, 64, 1);
    rig.plug(&party, &window, 0);
    rig.engine
        .map(&window, rig.bus(5), rig.host(0x1003), 1, Access::ReadWrite)
        .unwrap();
    let inside = pinion::addr::BusAddr::new(rig.bus(5).get() | 0xabc);
    assert_eq!(
        rig.engine.translate(&window, inside).unwrap().host.get(),
        0x100_3abc
    );
    assert_eq!(
        rig.machine().dma(0, 0, inside, true).unwrap().get(),
        0x100_3abc
    );
    // An IO page must lie in the block behind it: not beyond its end.
    let big = rig
        .try_window(&party, 0, 4, shape(PageShift::K64, 2))
        .unwrap();
    let error = rig
        .engine
        .map(&big, rig.bus(0), rig.host(0x1000), 2, Access::Read)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotOwned);
    rig.engine
        .map(&big, rig.bus(0), rig.host(0x1000), 1, Access::Read)
        .unwrap();
}

#[test]
fn a9_a_window_that_starts_late_maps_and_unmaps_the_same_slot() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 16);
    let window = rig.window(&party, 0x345, 600, 2);
    rig.plug(&party, &window, 0);
    rig.engine
        .map(&window, rig.bus(0x346), rig.host(0x1000), 1, Access::Read)
        .unwrap();
    assert!(rig.machine().dma(0, 0, rig.bus(0x346), false).is_ok());
    assert_eq!(rig.engine.unmap(&window, rig.bus(0x346), 1), Ok(1));
    assert_eq!(party.holdings.region(0).unwrap().pins, 0);
    rig.check(&[&*window]);
}

#[test]
fn a10_a_failed_pin_stops_the_operation() {
    let (rig, party, window) = simple(PhbKind::Phb4, PageShift::K4);
    let result = rig
        .engine
        .map(&window, rig.bus(0), rig.host(0x1030), 17, Access::Read);
    let error = PinError::NotOwned {
        host: rig.host(0x1040),
        owner: OwnerId(1),
    };
    assert_eq!(
        result,
        Err(DmaError::Pin {
            bus: rig.bus(16),
            error
        })
    );
    assert_eq!(party.holdings.region(0).unwrap().pins, 0);
    rig.check(&[&*window]);
}

#[test]
fn a11_a_later_failure_removes_the_pin() {
    let (rig, party, window) = simple(PhbKind::Phb4, PageShift::K4);
    rig.engine
        .map(&window, rig.bus(9), rig.host(0x1000), 1, Access::Read)
        .unwrap();
    let entry = Entry::Live {
        host: rig.host(0x1000),
        access: Access::Read,
    };
    let result = rig
        .engine
        .map(&window, rig.bus(0), rig.host(0x1000), 16, Access::Read);
    assert_eq!(
        result,
        Err(DmaError::Busy {
            bus: rig.bus(9),
            entry
        })
    );
    assert_eq!(party.holdings.region(0).unwrap().pins, 1);
}

#[test]
fn a12_flush_is_an_operation_that_completes() {
    let (rig, _party, window) = simple(PhbKind::Phb4, PageShift::K4);
    let kills = rig.machine().kills(0);
    rig.engine.flush(&window).unwrap();
    assert_eq!(rig.machine().kills(0), kills + 1);
}

/// One page or many: no table is allocated where levels exist, and there is no
/// heap in the engine's operations (a14_ counts that).
#[test]
fn a13_one_page_requests_allocate_nothing() {
    let (rig, _party, window) = simple(PhbKind::Phb4, PageShift::K4);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 1, Access::Read)
        .unwrap();
    rig.machine()
        .set_hook(|_, step| assert!(!matches!(step, Step::Allocate | Step::Free)));
    for _ in 0..100 {
        rig.engine.unmap(&window, rig.bus(0), 1).unwrap();
        rig.engine
            .map(&window, rig.bus(0), rig.host(0x1000), 1, Access::Read)
            .unwrap();
    }
    rig.machine().clear_hook();
}

#[test]
fn a15_a_map_scans_first_and_maps_then() {
    let (rig, party, window) = simple(PhbKind::Phb4, PageShift::K4);
    rig.engine
        .map(&window, rig.bus(600), rig.host(0x1000), 1, Access::Read)
        .unwrap();
    rig.machine()
        .set_hook(|_, step| assert!(step != Step::Store, "stored before the scan was over"));
    let result = rig
        .engine
        .map(&window, rig.bus(560), rig.host(0x1000), 64, Access::Read);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Busy);
    rig.machine().clear_hook();
    assert_eq!(party.holdings.region(0).unwrap().pins, 1);
    rig.check(&[&*window]);
}

#[test]
fn a16_replacing_is_another_operation() {
    let (rig, party, window) = simple(PhbKind::Phb4, PageShift::K4);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 8, Access::Read)
        .unwrap();
    assert!(
        rig.engine
            .map(&window, rig.bus(0), rig.host(0x1010), 8, Access::Read)
            .is_err()
    );
    assert_eq!(
        rig.machine().dma(0, 0, rig.bus(0), false),
        Ok(rig.host(0x1000))
    );
    rig.engine
        .remap_run(&window, rig.bus(0), rig.host(0x1010), 8, Access::Read)
        .unwrap();
    assert_eq!(
        rig.machine().dma(0, 0, rig.bus(0), false),
        Ok(rig.host(0x1010))
    );
    assert_eq!(party.holdings.region(0).unwrap().pins, 8);
    rig.check(&[&*window]);
}

#[test]
fn a17_one_kill_per_operation_and_pe() {
    let (rig, party, window) = simple(PhbKind::Phb4, PageShift::K4);
    rig.plug(&party, &window, 1);
    let kills = || rig.machine().kills(0);
    let before = kills();
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 64, Access::Read)
        .unwrap();
    assert_eq!(kills(), before + 2);
    rig.engine.unmap(&window, rig.bus(0), 1024).unwrap();
    assert_eq!(kills(), before + 4);
}

#[test]
fn a18_a_page_is_released_after_the_completed_kill_only() {
    let (rig, party, window) = simple(PhbKind::Phb4, PageShift::K4);
    for scattered in [false, true] {
        rig.engine
            .map(&window, rig.bus(0), rig.host(0x1000), 2, Access::ReadWrite)
            .unwrap();
        let list = [
            Tce::new(rig.host(0x1008), Access::ReadWrite).unwrap(),
            Tce::NONE,
        ];
        let steps = Arc::new(Mutex::new(Vec::new()));
        let (log, holdings, host) = (steps.clone(), party.holdings.clone(), rig.host(0x1000));
        rig.machine().set_hook(move |_, step| {
            // Stores may come with the regions' lock held.
            if step != Step::Store {
                let pins = holdings.region_of(host).unwrap().pins;
                log.lock().unwrap().push((step, pins));
            }
        });
        if scattered {
            rig.engine.remap(&window, rig.bus(0), &list).unwrap();
        } else {
            rig.engine.unmap(&window, rig.bus(0), 2).unwrap();
        }
        rig.machine().clear_hook();
        let steps = steps.lock().unwrap();
        let kill = steps
            .iter()
            .position(|&(step, _)| step == Step::Kill)
            .unwrap();
        let barrier = steps
            .iter()
            .position(|&(step, _)| step == Step::Barrier)
            .unwrap();
        let done = steps
            .iter()
            .rposition(|&(step, _)| step == Step::KillDone)
            .unwrap();
        assert!(barrier < kill);
        assert!(
            steps[..=done].iter().all(|&(_, pins)| pins >= 2),
            "{steps:?}"
        );
        rig.engine.clear(&window).unwrap();
        assert_eq!(party.holdings.region(0).unwrap().pins, 0);
    }
}

#[test]
fn a19_all_or_nothing() {
    let (rig, party, window) = simple(PhbKind::Phb4, PageShift::K4);
    let good = Tce::new(rig.host(0x1000), Access::Read).unwrap();
    let bad = Tce::new(rig.host(0x2000), Access::Read).unwrap();
    rig.engine
        .map(&window, rig.bus(1), rig.host(0x1005), 1, Access::Read)
        .unwrap();
    let result = rig
        .engine
        .remap(&window, rig.bus(0), &[good, Tce::NONE, good, bad, good]);
    let error = PinError::NotOwned {
        host: rig.host(0x2000),
        owner: OwnerId(1),
    };
    assert_eq!(
        result,
        Err(DmaError::Pin {
            bus: rig.bus(3),
            error
        })
    );
    assert_eq!(
        rig.engine.translate(&window, rig.bus(0)),
        Err(DmaError::NotMapped(rig.bus(0)))
    );
    assert!(rig.engine.translate(&window, rig.bus(1)).is_ok());
    assert_eq!(party.holdings.region(0).unwrap().pins, 1);
}

#[test]
fn a3_a_window_describes_itself() {
    let (_rig, _party, window) = simple(PhbKind::Phb4, PageShift::K64);
    let range: &WindowRange = window.range();
    assert_eq!(
        (range.base().get(), range.bytes(), range.shape().page()),
        (0, 1024 << 16, PageShift::K64)
    );
    assert_eq!((range.shape().levels(), window.owner()), (2, OwnerId(1)));
}
