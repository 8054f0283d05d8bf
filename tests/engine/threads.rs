//! Several threads at once, on real threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pinion::dma::{DetachMode, DmaError, ErrorKind};
use pinion::papr::liobn::Liobns;
use pinion::sim::{Machine, PhbKind, Rng, Step};
use pinion::tce::{Access, PageShift, Tce};

use super::support::{Rig, pe};

// More than there are cores would measure the scheduler.
const THREADS: u64 = 2;

/// Maps, replaces and unmaps random pages of one window; errors may only be
/// "busy".
#[test]
fn threads_in_one_window_never_lose_a_pin() {
    for kind in [PhbKind::Phb3, PhbKind::Phb4] {
        let rig = Rig::new(kind, PageShift::K4, 7);
        let party = rig.party(1);
        rig.grant(&party, 0x1000, 256);
        let window = rig.window(&party, 0, 512 * 12, 2);
        rig.plug(&party, &window, 0);
        let pages = (0..512 * 12)
            .step_by(11)
            .map(|page| rig.bus(page))
            .collect();
        rig.machine().set_stray(16, vec![(0, 0)], pages);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (rig, window) = (&rig, &window);
                scope.spawn(move || {
                    let mut rng = Rng::new(thread);
                    for _ in 0..1500 {
                        let page = rng.below(12) * 512 + rng.below(40);
                        let frame = rng.below(200);
                        let pages = 1 + rng.below(20);
                        let host = rig.host(0x1000 + frame);
                        let one = Tce::new(host, Access::ReadWrite).unwrap();
                        let result = match rng.below(5) {
                            2 => rig
                                .engine
                                .remap_quickly(window, rig.bus(page), one)
                                .unwrap_or_else(|| {
                                    rig.engine.remap_one(window, rig.bus(page), one)
                                }),
                            0 => rig.engine.map(
                                window,
                                rig.bus(page),
                                host,
                                pages,
                                Access::ReadWrite,
                            ),
                            1 => {
                                let list =
                                    [Tce::new(host, Access::Read).unwrap(), Tce::NONE, Tce::NONE];
                                rig.engine.remap(window, rig.bus(page), &list)
                            }
                            _ => rig.engine.unmap(window, rig.bus(page), pages).map(|_| ()),
                        };
                        if let Err(error) = result {
                            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                        }
                    }
                });
            }
        });
        rig.check(&[&*window]);
        let left = party.holdings.region(0).unwrap().pins;
        assert_eq!(rig.engine.clear(&window), Ok(left));
        rig.check(&[&*window]);
        rig.engine.remove(&window, DetachMode::Reset).unwrap();
        assert_eq!((rig.machine().table_bytes(), party.quota.used()), (0, 0));
    }
}

/// F10, A25.
#[test]
fn a_window_is_removed_while_threads_use_it() {
    for round in 0..20 {
        let rig = Rig::new(PhbKind::Phb4, PageShift::K64, round);
        let party = rig.party(1);
        rig.grant(&party, 0x1000, 64);
        let names = Liobns::default();
        let liobn = Liobns::<Machine>::of_slot(1).unwrap();
        let window = rig.window(&party, 0, 4096, 2);
        rig.plug(&party, &window, 0);
        names.insert(liobn, window).unwrap();
        let started = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (rig, names, started) = (&rig, &names, &started);
                // One page at a time, by number.
                scope.spawn(move || {
                    let mut rng = Rng::new(round * 2 + thread + 100);
                    loop {
                        let Some(named) = names.named(liobn) else {
                            std::hint::spin_loop();
                            continue;
                        };
                        let Some(window) = named.window() else {
                            return;
                        };
                        let (page, host) =
                            (rig.bus(rng.below(40)), rig.host(0x1000 + rng.below(32)));
                        let entry = Tce::new(host, Access::ReadWrite).unwrap();
                        let map = rig.engine.remap_quickly(window, page, entry);
                        let unmap = rig.engine.unmap_quickly(window, page);
                        for done in [map, unmap.map(|it| it.map(|_| ()))] {
                            if let Some(Err(error)) = done {
                                assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                            }
                        }
                    }
                });
                scope.spawn(move || {
                    let mut rng = Rng::new(round * 2 + thread);
                    loop {
                        let Some(window) = names.find(liobn) else {
                            return;
                        };
                        let (page, host) =
                            (rig.bus(rng.below(4000)), rig.host(0x1000 + rng.below(32)));
                        let map = rig.engine.map(&window, page, host, 8, Access::ReadWrite);
                        let unmap = rig.engine.unmap(&window, page, 8);
                        started.store(true, Ordering::Relaxed);
                        for error in [map.err(), unmap.err()].into_iter().flatten() {
                            assert!(
                                matches!(error.kind(), ErrorKind::Busy | ErrorKind::Gone),
                                "{error}"
                            );
                        }
                    }
                });
            }
            while !started.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            let window = names.forget(liobn).unwrap();
            rig.engine.remove(&window, DetachMode::Reset).unwrap();
        });
        assert_eq!(rig.machine().violations(), []);
        assert_eq!((rig.machine().table_bytes(), party.quota.used()), (0, 0));
        assert_eq!(party.holdings.region(0).unwrap().pins, 0);
    }
}

/// F10. No PE, so no detach that would wait for what runs in the window: the
/// removal itself has to.
#[test]
fn a_window_without_pes_outlasts_the_operations_in_it() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 512, 1);
    let (begun, begins) = std::sync::mpsc::channel();
    let (go, goes) = std::sync::mpsc::channel();
    let mut waits = true;
    rig.machine().set_hook(move |_, step| {
        // The map has stored, and let go of the lock.
        if step == Step::Barrier && core::mem::take(&mut waits) {
            begun.send(()).unwrap();
            goes.recv().unwrap();
        }
    });
    let gone = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (bus, host) = (rig.bus(3), rig.host(0x1000));
        let (rig, window, gone) = (&rig, &window, &gone);
        let mapper = scope.spawn(move || rig.engine.map(window, bus, host, 4, Access::Read));
        begins.recv_timeout(Duration::from_secs(60)).unwrap();
        let remover = scope.spawn(move || {
            let result = rig.engine.remove(window, DetachMode::Reset);
            gone.store(true, Ordering::Release);
            result
        });
        // Time to do the wrong thing.
        for _ in 0..50 {
            std::thread::sleep(Duration::from_millis(2));
            if gone.load(Ordering::Acquire) {
                break;
            }
        }
        let early = gone.load(Ordering::Acquire);
        go.send(()).unwrap();
        assert_eq!(mapper.join().unwrap(), Ok(()));
        assert_eq!(remover.join().unwrap(), Ok(()));
        assert!(!early, "removed while a map was in it");
    });
    rig.machine().clear_hook();
    rig.check(&[&*window]);
    assert_eq!((rig.machine().table_bytes(), party.quota.used()), (0, 0));
    assert_eq!(party.holdings.region(0).unwrap().pins, 0);
}

#[test]
fn threads_in_different_windows_do_not_meet() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 3);
    let parties: Vec<_> = (0..THREADS as u32)
        .map(|number| rig.party(number))
        .collect();
    let windows: Vec<_> = (0..THREADS)
        .map(|number| {
            let party = &parties[number as usize];
            rig.grant(party, 0x1000 * (number + 1), 128);
            let window = rig.window(party, 0, 4096, 2);
            rig.plug(party, &window, number as u16);
            window
        })
        .collect();
    std::thread::scope(|scope| {
        for (number, window) in (0..).zip(&windows) {
            let rig = &rig;
            scope.spawn(move || {
                let mut rng = Rng::new(number);
                for _ in 0..500 {
                    let page = rig.bus(rng.below(4000));
                    let pages = 1 + rng.below(64);
                    let host = rig.host(0x1000 * (number + 1));
                    rig.engine
                        .map(window, page, host, pages, Access::ReadWrite)
                        .unwrap();
                    assert_eq!(rig.engine.unmap(window, page, pages), Ok(pages));
                }
            });
        }
    });
    for window in &windows {
        rig.check(&[&**window]);
    }
}

/// A removal waits for its PHB: whoever else wants to change the window, or to
/// use it, is told so, and changes nothing.
#[test]
fn a_window_that_is_being_removed_refuses_all_others() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 512, 2);
    rig.plug(&party, &window, 0);
    let (bus, host) = (rig.bus(3), rig.host(0x1000));
    rig.engine.map(&window, bus, host, 4, Access::Read).unwrap();
    let (begun, begins) = std::sync::mpsc::channel();
    let (go, goes) = std::sync::mpsc::channel::<()>();
    rig.machine().set_hook(move |_, step| {
        if step == Step::BusMasterOff {
            begun.send(()).unwrap();
            goes.recv().unwrap();
        }
    });
    std::thread::scope(|scope| {
        let remover = scope.spawn(|| rig.engine.remove(&window, DetachMode::Reset));
        begins.recv_timeout(Duration::from_secs(60)).unwrap();
        let busy = Err(DmaError::ControlBusy);
        let answers = [
            rig.engine.remove(&window, DetachMode::Reset),
            rig.engine.detach(&window, pe(0), DetachMode::Running),
            rig.engine.attach(&window, pe(1)),
            rig.engine.recover(&window),
        ];
        let closing = DmaError::WindowClosing;
        let map = rig.engine.map(&window, rig.bus(9), host, 1, Access::Read);
        let unmap = rig.engine.unmap(&window, bus, 4);
        let pins = party.holdings.region(0).unwrap().pins;
        go.send(()).unwrap();
        assert_eq!(answers, [busy; 4]);
        assert_eq!((map, unmap, pins), (Err(closing), Err(closing), 4));
        assert_eq!(remover.join().unwrap(), Ok(()));
    });
    rig.machine().clear_hook();
    rig.check(&[&*window]);
    assert_eq!(party.holdings.region(0).unwrap().pins, 0);
}
