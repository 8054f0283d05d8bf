//! The rows of the 2012 review, one test each: `a<row>_...`.

use pinion::dma::{DetachMode, DmaError, ErrorKind};
use pinion::memory::ledger::{OwnerId, PinError};
use pinion::seam::{PeId, PhbError, TveSelect};
use pinion::sim::{DmaFault, Failure, PhbKind, Step};
use pinion::tce::tve::Tve;
use pinion::tce::{Access, Entry, PageShift, PageSizes, RangeError, Tce, WindowRange};
use std::sync::{Arc, Mutex};

use super::support::{Party, Rig, pe, shape};

/// A partition with 64 pages from page 0x1000, and a window of 1024 pages.
fn simple(
    kind: PhbKind,
    page: PageShift,
) -> (Rig, Party, Arc<pinion::dma::Window<pinion::sim::Machine>>) {
    let rig = Rig::new(kind, page, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 1024, 2);
    rig.plug(&party, &window, 0);
    (rig, party, window)
}

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
            log.lock()
                .unwrap()
                .push((step, holdings.region_of(host).unwrap().pins));
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
fn a20_ranges_do_not_wrap() {
    let (rig, _party, window) = simple(PhbKind::Phb4, PageShift::K4);
    for pages in [u64::MAX, 1 << 52, (1 << 52) - 1] {
        for page in [0, 1, 1023] {
            assert!(rig.engine.unmap(&window, rig.bus(page), pages).is_err());
            assert!(
                rig.engine
                    .map(
                        &window,
                        rig.bus(page),
                        rig.host(0x1000),
                        pages,
                        Access::Read
                    )
                    .is_err()
            );
        }
    }
}

#[test]
fn a21_nothing_is_rounded_or_clamped() {
    let (rig, _party, window) = simple(PhbKind::Phb4, PageShift::K64);
    let off = pinion::addr::BusAddr::new(0x1000);
    let error = rig
        .engine
        .map(&window, off, rig.host(0x1000), 1, Access::Read)
        .unwrap_err();
    assert_eq!(
        error,
        DmaError::Range(RangeError::Misaligned {
            bus: off,
            page_bytes: 0x1_0000
        })
    );
    let host = pinion::addr::HostAddr::new(rig.host(0x1000).get() + 0x1000);
    let error = rig
        .engine
        .map(&window, rig.bus(0), host, 1, Access::Read)
        .unwrap_err();
    assert_eq!(
        error,
        DmaError::MisalignedHost {
            bus: rig.bus(0),
            host,
            page_bytes: 0x1_0000
        }
    );
    let tce = Tce::new(host, Access::Read).unwrap();
    let error = rig
        .engine
        .remap(&window, rig.bus(7), &[Tce::NONE, tce])
        .unwrap_err();
    assert_eq!(
        error,
        DmaError::MisalignedHost {
            bus: rig.bus(8),
            host,
            page_bytes: 0x1_0000
        }
    );
    assert_eq!(
        rig.engine
            .remap_same(&window, rig.bus(8), tce, 3)
            .unwrap_err(),
        error
    );
    let error = rig.engine.unmap(&window, rig.bus(1023), 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
}

#[test]
fn a22_what_a_guest_forgot_is_released_at_the_end() {
    let (rig, party, window) = simple(PhbKind::Phb4, PageShift::K4);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 64, Access::ReadWrite)
        .unwrap();
    rig.engine
        .map(
            &window,
            rig.bus(700),
            rig.host(0x1000),
            64,
            Access::ReadWrite,
        )
        .unwrap();
    rig.engine.remove(&window, DetachMode::Reset).unwrap();
    assert_eq!(party.holdings.region(0).unwrap().pins, 0);
    assert!(party.holdings.is_dirty(rig.host(0x103f)));
    assert_eq!(rig.machine().table_bytes(), 0);
}

#[test]
fn a23_detach_disables_kills_clears_and_then_releases() {
    let (rig, party, window) = simple(PhbKind::Phb4, PageShift::K4);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 4, Access::ReadWrite)
        .unwrap();
    let steps = Arc::new(Mutex::new(Vec::new()));
    let (log, holdings, host) = (steps.clone(), party.holdings.clone(), rig.host(0x1000));
    rig.machine().set_hook(move |_, step| {
        let mut log = log.lock().unwrap();
        // Four entries are cleared; later stores unlink the empty levels.
        if log.iter().filter(|&&step| step == Step::Store).count() < 4 {
            assert_eq!(holdings.region_of(host).unwrap().pins, 4);
        }
        log.push(step);
    });
    rig.engine
        .detach(&window, pe(0), DetachMode::Reset)
        .unwrap();
    rig.machine().clear_hook();
    let steps = steps.lock().unwrap();
    let order: Vec<usize> = [
        Step::BusMasterOff,
        Step::SetTve,
        Step::Kill,
        Step::KillDone,
        Step::Reset,
        Step::ClearFreeze,
    ]
    .iter()
    .map(|wanted| steps.iter().position(|step| step == wanted).unwrap())
    .collect();
    assert!(order.is_sorted(), "{steps:?}");
    let first_store = steps.iter().position(|&step| step == Step::Store).unwrap();
    assert!(first_store > order[5]);
    assert_eq!(party.holdings.region(0).unwrap().pins, 0);
    assert_eq!(rig.machine().tve(pe(0), TveSelect::Low), 0);
}

#[test]
fn a24_the_window_is_off_before_an_entry_is_cleared() {
    let (rig, _party, window) = simple(PhbKind::Phb4, PageShift::K4);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 4, Access::ReadWrite)
        .unwrap();
    rig.machine().set_hook(|machine, step| {
        if step == Step::Store {
            assert_eq!(machine.tve(pe(0), TveSelect::Low), 0);
        }
    });
    rig.engine
        .detach(&window, pe(0), DetachMode::Running)
        .unwrap();
    rig.machine().clear_hook();
    // Bus mastering went on: DMA finds no window any more, and freezes the PE.
    assert_eq!(
        rig.machine().dma(0, 0, rig.bus(0), false),
        Err(DmaFault::NoTve)
    );
    assert!(rig.machine().is_frozen(pe(0)));
    assert_eq!(rig.machine().pest(pe(0)).unwrap().fault, DmaFault::NoTve);
}

/// The model reports each slow call that is made with interrupts off.
#[test]
fn a25_nothing_slow_happens_under_a_lock() {
    let (rig, _party, window) = simple(PhbKind::Phb3, PageShift::K4);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 64, Access::ReadWrite)
        .unwrap();
    rig.engine
        .remap_run(&window, rig.bus(5), rig.host(0x1000), 3, Access::Read)
        .unwrap();
    rig.engine.clear(&window).unwrap();
    rig.engine.flush(&window).unwrap();
    rig.engine.remove(&window, DetachMode::Reset).unwrap();
    assert_eq!(rig.machine().violations(), []);
}

/// Whatever is done to a window of many leaves, bar a map or a remap, touches no
/// more of its tables in one hold of the lock than 512 entries and their levels.
#[test]
fn a25_no_lock_is_held_for_a_whole_table() {
    const LEAVES: u64 = 4000;
    let rig = Rig::with_table_bytes(PhbKind::Phb4, PageShift::K4, 1, 32 << 20);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 4096);
    let window = rig.window(&party, 0, LEAVES * 512, 3);
    rig.plug(&party, &window, 0);
    let fill = || {
        for leaf in 0..LEAVES {
            rig.engine
                .map(
                    &window,
                    rig.bus(leaf * 512),
                    rig.host(0x1000 + leaf),
                    1,
                    Access::Read,
                )
                .unwrap();
        }
        rig.engine
            .map(&window, rig.bus(1), rig.host(0x1000), 500, Access::Read)
            .unwrap();
        let _map = pinion::sim::longest_hold();
    };
    // Per entry: look, bury or clear, count, and up to three levels around it.
    let most = 512 * 12;
    fill();
    rig.engine.clear(&window).unwrap();
    let clear = pinion::sim::longest_hold();
    assert!((512..most).contains(&clear), "{clear}");
    fill();
    rig.engine.remove(&window, DetachMode::Reset).unwrap();
    let remove = pinion::sim::longest_hold();
    assert!((512..most).contains(&remove), "{remove}");
    assert_eq!((rig.machine().table_bytes(), party.quota.used()), (0, 0));
    assert_eq!(rig.machine().violations(), []);
}

#[test]
fn a27_page_sizes_are_checked_against_the_phb() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::M16, 1);
    let party = rig.party(1);
    let config = pinion::dma::WindowConfig {
        base: rig.bus(0),
        pages: 16,
        shape: shape(PageShift::M16, 2),
        sizes: PageSizes::PHB4,
        limit: 16,
    };
    let result = rig
        .engine
        .create_window(&config, party.holdings.clone(), party.quota.clone());
    assert_eq!(result.err(), Some(DmaError::PageSize(PageShift::M16)));
    assert_eq!((party.quota.used(), rig.machine().table_bytes()), (0, 0));
}

/// Steps of the engine as a measure of its work: flat in the table's size.
#[test]
fn a28_one_page_costs_the_same_in_any_window() {
    let mut stores = Vec::new();
    for pages in [64, 4096, 1 << 20] {
        let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
        let party = rig.party(1);
        rig.grant(&party, 0x1000, 64);
        let window = rig.window(&party, 0, pages, 3);
        rig.plug(&party, &window, 0);
        rig.engine
            .map(&window, rig.bus(7), rig.host(0x1000), 1, Access::Read)
            .unwrap();
        let count = Arc::new(Mutex::new(0));
        let counter = count.clone();
        rig.machine()
            .set_hook(move |_, _| *counter.lock().unwrap() += 1);
        rig.engine.unmap(&window, rig.bus(7), 1).unwrap();
        rig.engine
            .map(&window, rig.bus(7), rig.host(0x1000), 1, Access::Read)
            .unwrap();
        rig.machine().clear_hook();
        stores.push(*count.lock().unwrap());
    }
    assert!(
        stores.iter().all(|&steps| steps == stores[0] && steps < 30),
        "{stores:?}"
    );
}

#[test]
fn a31_an_operation_that_is_dropped_keeps_every_pin() {
    // No proof of a kill, no release: a forgotten failure ends in a frozen
    // window, never in a freed page.
    let (rig, party, window) = simple(PhbKind::Phb4, PageShift::K4);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 4, Access::Read)
        .unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        rig.machine()
            .set_hook(|_, step| assert!(step != Step::Kill, "stop in the middle"));
        let _ = rig.engine.unmap(&window, rig.bus(0), 4);
    }));
    rig.machine().clear_hook();
    assert!(result.is_err());
    assert_eq!(party.holdings.region(0).unwrap().pins, 4);
    assert!(window.failed().is_some());
}

#[test]
fn a32_errors_have_the_classes_of_the_interface() {
    let (rig, _party, window) = simple(PhbKind::Phb4, PageShift::K4);
    let kind = |result: Result<(), DmaError>| result.unwrap_err().kind();
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 1, Access::Read)
        .unwrap();
    let map = |page, host| rig.engine.map(&window, page, host, 1, Access::Read);
    assert_eq!(kind(map(rig.bus(0), rig.host(0x1000))), ErrorKind::Busy);
    assert_eq!(
        kind(map(rig.bus(1024), rig.host(0x1000))),
        ErrorKind::OutOfRange
    );
    assert_eq!(kind(map(rig.bus(1), rig.host(0x2000))), ErrorKind::NotOwned);
    assert_eq!(
        kind(map(pinion::addr::BusAddr::new(1), rig.host(0x1000))),
        ErrorKind::Invalid
    );
    let translate = rig.engine.translate(&window, rig.bus(1));
    assert_eq!(translate.unwrap_err().kind(), ErrorKind::NotMapped);
    assert_eq!(
        rig.engine
            .attach(&window, PeId { phb: 1, pe: 0 })
            .unwrap_err()
            .kind(),
        ErrorKind::Gone
    );
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
