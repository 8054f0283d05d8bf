//! A remap meets an entry whose unmap is not over: it waits for the kill.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use pinion::dma::{DmaError, ErrorKind};
use pinion::seam::PhbError;
use pinion::sim::{Failure, PhbKind, Rng, Step};
use pinion::tce::{Access, PageShift, Tce};

use super::support::{Rig, pe};

/// Two vCPUs replace, and unmap, entries of one window as H_PUT_TCE does: none of
/// their calls fails, as in one thread after the other none would. Only a thread that
/// stood still with its unmap, for longer than a kill may take, makes the other one
/// busy, once in a while.
#[test]
fn two_threads_that_replace_and_unmap_wait_for_each_other() {
    const CALLS: usize = 10_000;
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 7);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 512, 1);
    rig.plug(&party, &window, 0);
    let (busy, start) = (AtomicUsize::new(0), Barrier::new(2));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (rig, window, busy, start) = (&rig, &window, &busy, &start);
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                start.wait();
                for _ in 0..CALLS {
                    let bus = rig.bus(rng.below(4));
                    let host = rig.host(0x1000 + rng.below(64));
                    let page = Tce::new(host, Access::ReadWrite).unwrap();
                    let list = [if rng.one_in(2) { page } else { Tce::NONE }; 2];
                    while let Err(error) = rig.engine.remap(window, bus, &list) {
                        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                        busy.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let busy = busy.into_inner();
    assert!(busy < 25, "{busy} of {} calls", 2 * CALLS);
    rig.check(&[&*window]);
    rig.engine.clear(&window).unwrap();
    assert_eq!(party.holdings.region(0).unwrap().pins, 0);
}

/// The kill ends well, or fails, while a remap waits for it.
#[test]
fn a_remap_waits_for_the_kill_of_an_unmap() {
    for fails in [false, true] {
        let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 7);
        let party = rig.party(1);
        rig.grant(&party, 0x1000, 64);
        let window = rig.window(&party, 0, 512, 1);
        rig.plug(&party, &window, 0);
        let (bus, host) = (rig.bus(3), rig.host(0x1000));
        rig.engine
            .map(&window, bus, host, 1, Access::ReadWrite)
            .unwrap();
        let (begun, begins) = channel();
        let replaced = std::sync::Arc::new(AtomicBool::new(false));
        let (done, mut first) = (replaced.clone(), true);
        rig.machine().set_hook(move |_, step| {
            if step == Step::Kill && core::mem::take(&mut first) {
                begun.send(()).unwrap();
                // Time to do the wrong thing, and little of the remap's patience.
                std::thread::sleep(Duration::from_micros(50));
                assert!(!done.load(Ordering::Acquire), "replaced before the kill");
            }
        });
        if fails {
            rig.machine().fail(Some(Failure {
                after: 0,
                forever: false,
                error: PhbError::TimedOut,
            }));
        }
        let answer = std::thread::scope(|scope| {
            let unmapper = scope.spawn(|| rig.engine.unmap(&window, bus, 1));
            begins.recv().unwrap();
            let answer = rig
                .engine
                .remap_run(&window, bus, rig.host(0x1001), 1, Access::ReadWrite);
            replaced.store(answer.is_ok(), Ordering::Release);
            assert_eq!(unmapper.join().unwrap().is_err(), fails);
            answer
        });
        rig.machine().clear_hook();
        rig.machine().fail(None);
        if fails {
            // It is told why, not that it may try again: unless the machine stood still
            // for longer than a kill may take.
            let error = answer.unwrap_err();
            let stood_still = error.kind() == ErrorKind::Busy;
            assert!(stood_still || error == DmaError::Frozen(pe(0)), "{error}");
            rig.engine.recover(&window).unwrap();
        } else if let Err(error) = answer {
            // A machine that stood still for longer than a kill may take.
            assert_eq!(error.kind(), ErrorKind::Busy);
        } else {
            assert_eq!(party.holdings.region(0).unwrap().pins, 1);
        }
        rig.check(&[&*window]);
    }
}
