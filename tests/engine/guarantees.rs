//! Rows of the requirements, one test each: limits, ends and errors. `a<row>_...`.

use pinion::dma::{DetachMode, DmaError, ErrorKind};
use pinion::seam::{PeId, TveSelect};
use pinion::sim::{DmaFault, PhbKind, Step};
use pinion::tce::{Access, PageShift, PageSizes, RangeError, Tce};
use std::sync::{Arc, Mutex};

use super::support::{Rig, pe, shape, simple};

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
        // Stores come with the regions' lock held. After the last of those that
        // clear, a barrier comes; what is freed is freed after the release.
        if !matches!(step, Step::Store | Step::Free) {
            assert_eq!(holdings.region_of(host).unwrap().pins, 4);
        }
        log.lock().unwrap().push(step);
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
    let last_barrier = steps.iter().rposition(|&step| step == Step::Barrier);
    assert!(last_barrier.unwrap() >= first_store + 4);
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
