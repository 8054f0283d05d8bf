//! Defects of other TCE code that must be impossible here, one test each:
//! `f<row>_...`.

use std::sync::Arc;

use pinion::dma::{DetachMode, DmaError, ErrorKind, Window};
use pinion::seam::{PhbError, TveSelect};
use pinion::sim::{DmaFault, Failure, Machine, PhbKind, Step};
use pinion::tce::{Access, PageShift, TableShape, Tce};

use super::support::{Party, Rig, pe, shape};

fn simple() -> (Rig, Party, Arc<Window<Machine>>) {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 2);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 1024);
    let window = rig.window(&party, 0, 1 << 14, 2);
    rig.plug(&party, &window, 0);
    (rig, party, window)
}

fn fail_next(rig: &Rig, after: u64, error: PhbError) {
    rig.machine().fail(Some(Failure {
        after,
        forever: false,
        error,
    }));
}

#[test]
fn f1_one_kill_per_indirect_call() {
    let (rig, _party, window) = simple();
    let list: Vec<Tce> = (0..512)
        .map(|i| Tce::new(rig.host(0x1000 + i * 7 % 1024), Access::ReadWrite).unwrap())
        .collect();
    for _ in 0..2 {
        let kills = rig.machine().kills(0);
        rig.engine.remap(&window, rig.bus(100), &list).unwrap();
        assert_eq!(rig.machine().kills(0), kills + 1);
    }
    let kills = rig.machine().kills(0);
    rig.engine
        .remap_same(&window, rig.bus(100), Tce::NONE, 512)
        .unwrap();
    assert_eq!(rig.machine().kills(0), kills + 1);
}

#[test]
fn f2_no_frame_is_released_before_its_kill() {
    let (rig, party, window) = simple();
    rig.engine
        .map(
            &window,
            rig.bus(0),
            rig.host(0x1000),
            1024,
            Access::ReadWrite,
        )
        .unwrap();
    for page in 0..4 {
        rig.machine().dma(0, 0, rig.bus(page), true).unwrap();
    }
    let start = rig.host(0x1000);
    rig.ledger.close(&party.holdings, start).unwrap();
    // The ledger is asked at each step: what it gives away is no more reachable.
    let (ledger, holdings) = (rig.ledger.clone(), party.holdings.clone());
    let engine = Arc::new(rig.engine);
    let within = engine.clone();
    engine.platform().set_hook(move |machine, step| {
        // Stores come with the regions' lock held.
        if step != Step::Store {
            let _ = within.quiet(&holdings, start);
            if ledger.reclaim(&holdings, start).is_ok() {
                machine.set_owner(start, 1024 << 12, None);
            }
        }
        for page in 0..4 {
            let _ = machine.probe(0, 0, pinion::addr::BusAddr::new(page << 12), true);
        }
    });
    engine
        .unmap(&window, pinion::addr::BusAddr::new(0), 1 << 14)
        .unwrap();
    engine.flush(&window).unwrap();
    engine.platform().clear_hook();
    assert_eq!(engine.platform().violations(), []);
    assert_eq!(party.holdings.region(0), None, "the region was given away");
}

#[test]
fn f3_an_overlap_is_busy_and_keeps_the_old_mapping() {
    let (rig, party, window) = simple();
    rig.engine
        .map(&window, rig.bus(10), rig.host(0x1000), 4, Access::Read)
        .unwrap();
    for (page, pages) in [(13, 1), (0, 11), (8, 20), (11, 1)] {
        let result = rig.engine.map(
            &window,
            rig.bus(page),
            rig.host(0x1100),
            pages,
            Access::Read,
        );
        assert!(matches!(result, Err(DmaError::Busy { .. })), "{result:?}");
    }
    for page in 10..14 {
        assert_eq!(
            rig.machine().dma(0, 0, rig.bus(page), false),
            Ok(rig.host(0x1000 + page - 10))
        );
    }
    assert_eq!(party.holdings.region(0).unwrap().pins, 4);
}

#[test]
fn f4_a_pin_that_fails_late_is_no_success() {
    let (rig, _party, window) = simple();
    let result = rig
        .engine
        .map(&window, rig.bus(0), rig.host(0x1000), 1025, Access::Read);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::NotOwned);
    assert!(rig.engine.translate(&window, rig.bus(0)).is_err());
    rig.check(&[&*window]);
}

#[test]
fn f5_no_length_reaches_beyond_the_window() {
    let (rig, _party, window) = simple();
    let last = (1 << 14) - 1;
    rig.engine
        .map(&window, rig.bus(last), rig.host(0x1000), 1, Access::Read)
        .unwrap();
    for pages in [2, 512, 1 << 14, 1 << 51, u64::MAX / 2, u64::MAX] {
        assert!(
            rig.engine
                .map(
                    &window,
                    rig.bus(last),
                    rig.host(0x1000),
                    pages,
                    Access::Read
                )
                .is_err()
        );
        assert!(
            rig.engine
                .remap_run(
                    &window,
                    rig.bus(last),
                    rig.host(0x1000),
                    pages,
                    Access::Read
                )
                .is_err()
        );
        assert!(rig.engine.unmap(&window, rig.bus(last), pages).is_err());
    }
    rig.check(&[&*window]);
}

#[test]
fn f6_f7_no_error_path_keeps_a_pin() {
    let (rig, party, window) = simple();
    rig.grant(&party, 0x3000, 8);
    rig.ledger.close(&party.holdings, rig.host(0x3000)).unwrap();
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 1, Access::Read)
        .unwrap();
    let entry = |frame| Tce::new(rig.host(frame), Access::ReadWrite).unwrap();
    assert!(
        rig.engine
            .remap(&window, rig.bus(0), &[entry(0x1001), entry(0x3000)])
            .is_err()
    );
    assert!(
        rig.engine
            .remap(&window, rig.bus(0), &[entry(0x1001), entry(0x9000)])
            .is_err()
    );
    assert!(
        rig.engine
            .map(&window, rig.bus(5), rig.host(0x3000), 1, Access::Read)
            .is_err()
    );
    assert!(
        rig.engine
            .map(&window, rig.bus(0), rig.host(0x1000), 1, Access::Read)
            .is_err()
    );
    let pins: Vec<u64> = (0..2)
        .map(|index| party.holdings.region(index).unwrap().pins)
        .collect();
    assert_eq!(pins, [1, 0]);
}

#[test]
fn f9_a_table_that_cannot_be_made_is_not_charged() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party_with_quota(1, 1 << 20);
    fail_next(&rig, 0, PhbError::TimedOut);
    let result = rig.try_window(&party, 0, 64, shape(PageShift::K4, 2));
    assert_eq!(
        result.err(),
        Some(DmaError::NoTableMemory { bytes: 1 << 13 })
    );
    assert_eq!(party.quota.used(), 0);
}

/// The races themselves are in `threads` and in the loom tests.
#[test]
fn f10_a_removed_window_refuses_whoever_still_holds_it() {
    let (rig, _party, window) = simple();
    let reference = window.clone();
    rig.engine.remove(&window, DetachMode::Reset).unwrap();
    let result = rig
        .engine
        .map(&reference, rig.bus(0), rig.host(0x1000), 1, Access::Read);
    assert_eq!(result, Err(DmaError::WindowClosing));
}

#[test]
fn f11_a_shared_table_survives_until_the_last_detach() {
    let (rig, party, window) = simple();
    rig.plug(&party, &window, 1);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 4, Access::ReadWrite)
        .unwrap();
    assert!(rig.machine().dma(0, 1, rig.bus(0), true).is_ok());
    rig.engine
        .detach(&window, pe(0), DetachMode::Reset)
        .unwrap();
    assert!(rig.machine().dma(0, 1, rig.bus(1), true).is_ok());
    assert_eq!(party.holdings.region(0).unwrap().pins, 4);
    rig.engine
        .detach(&window, pe(1), DetachMode::Reset)
        .unwrap();
    assert_eq!(party.holdings.region(0).unwrap().pins, 0);
}

#[test]
fn f12_a_level_that_cannot_be_made_changes_nothing() {
    // The root and the first leaf, then frames for so many of three more.
    for frames in 0..=3 {
        let rig = Rig::with_table_bytes(PhbKind::Phb4, PageShift::K4, 2, (3 + frames) << 12);
        let party = rig.party(1);
        rig.grant(&party, 0x1000, 2048);
        let window = rig.window(&party, 0, 1 << 14, 2);
        rig.plug(&party, &window, 0);
        rig.engine
            .map(&window, rig.bus(0), rig.host(0x1000), 1, Access::Read)
            .unwrap();
        let (bytes, used) = (rig.machine().table_bytes(), party.quota.used());
        assert_eq!((bytes, used), (3 << 12, 3 << 12));
        let map = rig
            .engine
            .map(&window, rig.bus(1), rig.host(0x1000), 1600, Access::Read);
        if frames == 3 {
            assert_eq!(map, Ok(()));
            continue;
        }
        assert_eq!(map, Err(DmaError::NoTableMemory { bytes: 1 << 12 }));
        assert_eq!(
            (rig.machine().table_bytes(), party.quota.used()),
            (bytes, used)
        );
        assert_eq!(party.holdings.region(0).unwrap().pins, 1);
        assert!(!rig.machine().is_frozen(pe(0)));
        assert_eq!(window.failed(), None);
        assert!(rig.machine().dma(0, 0, rig.bus(0), false).is_ok());
        assert!(rig.machine().probe(0, 0, rig.bus(1), false).is_err());
        rig.check(&[&*window]);
    }
}

#[test]
fn f13_an_unaligned_start_skips_no_live_entry() {
    let (rig, _party, window) = simple();
    for page in [512, 1023, 5 * 512, 9 * 512 + 511] {
        rig.engine
            .map(&window, rig.bus(page), rig.host(0x1000), 1, Access::Read)
            .unwrap();
    }
    // From the middle of a leaf that does not exist, over holes and leaves.
    assert_eq!(rig.engine.unmap(&window, rig.bus(77), 10 * 512 - 77), Ok(4));
    rig.check(&[&*window]);
}

#[test]
fn f14_a_failed_kill_freezes_the_pe_and_keeps_every_pin() {
    for error in [PhbError::TimedOut, PhbError::Fenced, PhbError::Firmware(-1)] {
        let (rig, party, window) = simple();
        rig.engine
            .map(&window, rig.bus(0), rig.host(0x1000), 8, Access::ReadWrite)
            .unwrap();
        rig.machine().dma(0, 0, rig.bus(1), true).unwrap();
        fail_next(&rig, 0, error);
        assert_eq!(
            rig.engine.unmap(&window, rig.bus(0), 4),
            Err(DmaError::Kill { pe: pe(0), error })
        );
        assert!(rig.machine().is_frozen(pe(0)));
        assert_eq!(party.holdings.region(0).unwrap().pins, 8);
        rig.check(&[&*window]);
        // Tombstones: the address is kept, the rights are gone.
        let mut dead = Vec::new();
        rig.engine
            .mappings(&window, |mapping| dead.push(mapping.access.is_none()));
        assert_eq!(dead, [true, true, true, true, false, false, false, false]);
        // Nothing is admitted until recovery, which releases them.
        let frozen = Err(DmaError::Frozen(pe(0)));
        assert_eq!(
            rig.engine
                .map(&window, rig.bus(100), rig.host(0x1000), 1, Access::Read),
            frozen
        );
        rig.engine.recover(&window).unwrap();
        rig.machine().bus_master_on(pe(0));
        assert!(!rig.machine().is_frozen(pe(0)));
        assert_eq!(party.holdings.region(0).unwrap().pins, 4);
        assert!(party.holdings.is_dirty(rig.host(0x1001)));
        assert!(rig.machine().dma(0, 0, rig.bus(5), true).is_ok());
        rig.engine
            .map(&window, rig.bus(0), rig.host(0x1000), 4, Access::Read)
            .unwrap();
        rig.check(&[&*window]);
    }
}

#[test]
fn f15_the_pe_is_killed_by_unmaps_before_its_tve_is_on() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    let window = rig.window(&party, 0, 64, 1);
    let known = window.clone();
    rig.machine().set_hook(move |_, step| {
        if step == Step::SetTve {
            let mut found = false;
            known.each_pe(|id| found |= id == pe(0));
            assert!(found);
        }
    });
    rig.plug(&party, &window, 0);
    rig.machine().clear_hook();
}

#[test]
fn f16_a_failed_detach_frees_nothing() {
    // Each step of a detach fails in turn.
    for after in 0..5 {
        let (rig, party, window) = simple();
        rig.engine
            .map(&window, rig.bus(0), rig.host(0x1000), 8, Access::ReadWrite)
            .unwrap();
        let bytes = rig.machine().table_bytes();
        fail_next(&rig, after, PhbError::TimedOut);
        let result = rig.engine.detach(&window, pe(0), DetachMode::Reset);
        assert!(matches!(result, Err(DmaError::Detach { .. })), "{result:?}");
        assert!(rig.machine().is_frozen(pe(0)));
        assert_eq!(party.holdings.region(0).unwrap().pins, 8);
        assert_eq!(rig.machine().table_bytes(), bytes);
        rig.machine().fail(None);
        rig.engine
            .detach(&window, pe(0), DetachMode::Reset)
            .unwrap();
        assert_eq!(party.holdings.region(0).unwrap().pins, 0);
        assert_eq!(rig.machine().violations(), []);
    }
}

#[test]
fn f17_a_failed_attach_leaves_the_pe_without_a_window() {
    // The kill fails, or the TVE; then also the undoing.
    for (after, forever) in [(0, false), (1, false), (0, true), (1, true)] {
        let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
        let party = rig.party(1);
        let window = rig.window(&party, 0, 64, 1);
        rig.machine().add_function(pe(0), 0, party.owner);
        rig.machine().fail(Some(Failure {
            after,
            forever,
            error: PhbError::TimedOut,
        }));
        let error = rig.engine.attach(&window, pe(0)).unwrap_err();
        assert!(matches!(error, DmaError::Attach { .. }), "{error}");
        rig.machine().fail(None);
        assert_eq!(rig.machine().tve(pe(0), TveSelect::Low), 0);
        let mut left = 0;
        window.each_pe(|_| left += 1);
        assert_eq!(
            left,
            u64::from(forever),
            "fail closed: it stays for a detach"
        );
        if forever {
            rig.engine
                .detach(&window, pe(0), DetachMode::Reset)
                .unwrap();
        }
        rig.engine.attach(&window, pe(0)).unwrap();
        rig.engine.remove(&window, DetachMode::Reset).unwrap();
        assert_eq!((rig.machine().table_bytes(), party.quota.used()), (0, 0));
    }
}

#[test]
fn f18_no_group_keeps_a_table_alive_that_is_removed() {
    let (rig, party, window) = simple();
    for number in 1..6 {
        rig.plug(&party, &window, number);
    }
    rig.engine.remove(&window, DetachMode::Reset).unwrap();
    assert_eq!((rig.machine().table_bytes(), party.quota.used()), (0, 0));
}

/// Work is measured in seam calls and in region look-ups that fail if slow: the
/// benchmark has the times.
#[test]
fn f20_more_regions_do_not_mean_more_work() {
    let mut steps = Vec::new();
    for regions in [1, 256] {
        let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
        let party = rig.party(1);
        for region in 0..regions {
            rig.grant(&party, 0x1000 + region * 16, 8);
        }
        let window = rig.window(&party, 0, 64, 1);
        rig.plug(&party, &window, 0);
        let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counter = count.clone();
        rig.machine().set_hook(move |_, _| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        let host = rig.host(0x1000 + (regions - 1) * 16);
        rig.engine
            .map(&window, rig.bus(0), host, 8, Access::Read)
            .unwrap();
        rig.engine.unmap(&window, rig.bus(0), 8).unwrap();
        steps.push(count.load(std::sync::atomic::Ordering::Relaxed));
        rig.machine().clear_hook();
    }
    assert_eq!(steps[0], steps[1]);
}

#[test]
fn f21_tear_down_visits_populated_levels_only() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 8);
    // 2^43 pages: a walk over all would not end.
    let table = TableShape::new(PageShift::K4, 5, 12).unwrap();
    let window = rig.try_window(&party, 0, 1 << 43, table).unwrap();
    rig.plug(&party, &window, 0);
    for page in [0, 1 << 20, 1 << 35, (1 << 43) - 8] {
        rig.engine
            .map(&window, rig.bus(page), rig.host(0x1000), 8, Access::Read)
            .unwrap();
        assert!(rig.machine().dma(0, 0, rig.bus(page + 7), false).is_ok());
    }
    let begin = std::time::Instant::now();
    assert_eq!(rig.engine.clear(&window), Ok(32));
    rig.engine
        .map(&window, rig.bus(1 << 42), rig.host(0x1000), 8, Access::Read)
        .unwrap();
    rig.engine.remove(&window, DetachMode::Reset).unwrap();
    assert!(begin.elapsed().as_secs() < 5);
    assert_eq!((rig.machine().table_bytes(), party.quota.used()), (0, 0));
    assert_eq!(rig.machine().violations(), []);
}

#[test]
fn f24_table_memory_is_limited_and_given_back() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    // The root, twice 4K, and five leaves.
    let party = rig.party_with_quota(1, 7 << 12);
    rig.grant(&party, 0x1000, 8);
    let window = rig.window(&party, 0, 512 * 64, 2);
    rig.plug(&party, &window, 0);
    let map = |leaf: u64| {
        rig.engine.map(
            &window,
            rig.bus(leaf * 512),
            rig.host(0x1000),
            1,
            Access::Read,
        )
    };
    for leaf in 0..5 {
        map(leaf).unwrap();
    }
    assert!(matches!(map(5), Err(DmaError::Quota(error)) if error.limit == 7 << 12));
    assert_eq!(party.quota.used(), 7 << 12);
    // Leaves that became empty are found again, here by a flush of its own.
    for leaf in 0..5 {
        rig.engine.unmap(&window, rig.bus(leaf * 512), 1).unwrap();
    }
    for leaf in 10..15 {
        map(leaf).unwrap();
    }
    rig.check(&[&*window]);
    rig.engine.clear(&window).unwrap();
    rig.engine.flush(&window).unwrap();
    assert_eq!(party.quota.used(), 2 << 12);
}

#[test]
fn f28_one_frozen_pe_does_not_freeze_another() {
    let (rig, party, window) = simple();
    rig.plug(&party, &window, 1);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 2, Access::Read)
        .unwrap();
    assert_eq!(
        rig.machine().dma(0, 0, rig.bus(9), false),
        Err(DmaFault::NoRight(1))
    );
    assert!(rig.machine().is_frozen(pe(0)) && !rig.machine().is_frozen(pe(1)));
    assert!(rig.machine().dma(0, 1, rig.bus(0), false).is_ok());
    // A failed kill of one PE: the other goes on with what it has, and after
    // the detach of the failed one the window works again.
    fail_next(&rig, 0, PhbError::TimedOut);
    assert!(rig.engine.unmap(&window, rig.bus(0), 1).is_err());
    assert!(rig.machine().dma(0, 1, rig.bus(1), false).is_ok());
    rig.engine
        .detach(&window, pe(0), DetachMode::Reset)
        .unwrap();
    assert_eq!(window.failed(), None);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 1, Access::Read)
        .unwrap();
    rig.check(&[&*window]);
}

#[test]
fn f30_a_reset_leaves_no_entry() {
    let (rig, party, window) = simple();
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 64, Access::ReadWrite)
        .unwrap();
    assert_eq!(rig.engine.clear(&window), Ok(64));
    assert!(rig.machine().probe(0, 0, rig.bus(0), false).is_err());
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 64, Access::ReadWrite)
        .unwrap();
    rig.engine
        .detach(&window, pe(0), DetachMode::Reset)
        .unwrap();
    rig.engine.attach(&window, pe(0)).unwrap();
    rig.machine().bus_master_on(pe(0));
    assert!(rig.machine().probe(0, 0, rig.bus(0), false).is_err());
    let start = rig.host(0x1000);
    rig.ledger.close(&party.holdings, start).unwrap();
    rig.engine.quiet(&party.holdings, start).unwrap();
    assert!(rig.ledger.reclaim(&party.holdings, start).is_ok());
}
