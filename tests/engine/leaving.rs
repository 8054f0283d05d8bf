//! A PE leaves a window that others go on using, while an operation runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use pinion::dma::{DetachMode, DmaError, Window};
use pinion::seam::PhbError;
use pinion::sim::{Failure, Machine, PhbKind, Step};
use pinion::tce::{Access, PageShift};

use super::support::{Party, Rig, pe};

/// A window that PEs 0 and 1 use, with a page mapped; its next kill waits until
/// the sender says so, and the receiver hears of it.
fn shared() -> (Rig, Party, Arc<Window<Machine>>, Receiver<()>, Sender<()>) {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 512, 2);
    rig.plug(&party, &window, 0);
    rig.plug(&party, &window, 1);
    rig.engine
        .map(&window, rig.bus(3), rig.host(0x1000), 1, Access::ReadWrite)
        .unwrap();
    let (begun, begins) = channel();
    let (go, goes) = channel();
    let mut waits = true;
    rig.machine().set_hook(move |_, step| {
        if step == Step::Kill && core::mem::take(&mut waits) {
            begun.send(()).unwrap();
            goes.recv().unwrap();
        }
    });
    (rig, party, window, begins, go)
}

/// An unmap waits in its kill of PE 0, and kills PE 1 after that: the kill fails.
/// PE 1 is detached meanwhile. Whoever owns it next must never see it frozen for
/// that.
#[test]
fn a_kill_that_fails_late_does_not_freeze_a_pe_that_has_left() {
    let (rig, _party, window, begins, go) = shared();
    let heir = rig.party(2);
    rig.grant(&heir, 0x2000, 64);
    let other = rig.window(&heir, 0, 512, 2);
    let left = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let unmapper = scope.spawn(|| rig.engine.unmap(&window, rig.bus(3), 1));
        begins.recv_timeout(Duration::from_secs(60)).unwrap();
        let leaver = scope.spawn(|| {
            let result = rig.engine.detach(&window, pe(1), DetachMode::Reset);
            left.store(true, Ordering::Release);
            result
        });
        // Time to do the wrong thing.
        for _ in 0..50 {
            std::thread::sleep(Duration::from_millis(2));
            if left.load(Ordering::Acquire) {
                break;
            }
        }
        let early = left.load(Ordering::Acquire);
        if early {
            rig.machine().add_function(pe(1), 1, heir.owner);
            rig.engine.attach(&other, pe(1)).unwrap();
        }
        rig.machine().fail(Some(Failure {
            after: 1,
            forever: false,
            error: PhbError::TimedOut,
        }));
        go.send(()).unwrap();
        let error = PhbError::TimedOut;
        assert_eq!(
            unmapper.join().unwrap(),
            Err(DmaError::Kill { pe: pe(1), error })
        );
        assert_eq!(leaver.join().unwrap(), Ok(()));
        assert!(!rig.machine().is_frozen(pe(1)));
        assert!(!early, "detached while an unmap may yet freeze the PE");
    });
    rig.machine().fail(None);
    rig.machine().clear_hook();
    // The PE's failure was its owner's: it is gone with the detach, from the
    // window too.
    assert_eq!(window.failed(), None);
    assert_eq!(rig.engine.unmap(&window, rig.bus(3), 1), Ok(0));
    rig.machine().add_function(pe(1), 1, heir.owner);
    rig.engine.attach(&other, pe(1)).unwrap();
    rig.machine().bus_master_on(pe(1));
    rig.engine
        .map(&other, rig.bus(3), rig.host(0x2000), 1, Access::Read)
        .unwrap();
    assert!(rig.machine().dma(0, 1, rig.bus(3), false).is_ok());
    rig.check(&[&*window]);
    rig.check(&[&*other]);
}

/// Operations that begin later are not waited for: a partition that maps all day
/// cannot keep its PE.
#[test]
fn a_detach_waits_for_no_operation_that_began_after_it() {
    let (rig, _party, window, begins, go) = shared();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let unmapper = scope.spawn(|| rig.engine.unmap(&window, rig.bus(3), 1));
        begins.recv_timeout(Duration::from_secs(60)).unwrap();
        let leaver = scope.spawn(|| rig.engine.detach(&window, pe(1), DetachMode::Running));
        for thread in 0..2 {
            let (rig, window, stop) = (&rig, &window, &stop);
            scope.spawn(move || {
                let (bus, host) = (rig.bus(100 + thread), rig.host(0x1010 + thread));
                while !stop.load(Ordering::Relaxed) {
                    rig.engine.map(window, bus, host, 1, Access::Read).unwrap();
                    rig.engine.unmap(window, bus, 1).unwrap();
                }
            });
        }
        go.send(()).unwrap();
        assert_eq!(unmapper.join().unwrap(), Ok(1));
        assert_eq!(leaver.join().unwrap(), Ok(()));
        stop.store(true, Ordering::Relaxed);
    });
    rig.machine().clear_hook();
    rig.check(&[&*window]);
}

/// The reset of a PE fails when it is out of the window's list already: it is in
/// again, and the detach can be tried again.
#[test]
fn a_pe_whose_reset_fails_is_still_attached() {
    for (step, after) in [("kill", 2), ("reset", 3), ("thaw", 4)] {
        let (rig, party, window, _begins, go) = shared();
        go.send(()).unwrap();
        rig.machine().fail(Some(Failure {
            after,
            forever: false,
            error: PhbError::Fenced,
        }));
        let result = rig.engine.detach(&window, pe(1), DetachMode::Reset);
        assert!(
            matches!(result, Err(DmaError::Detach { .. })),
            "{step}: {result:?}"
        );
        let mut pes = Vec::new();
        window.each_pe(|pe| pes.push(pe));
        assert_eq!(pes, [pe(0), pe(1)], "{step}");
        assert!(rig.machine().is_frozen(pe(1)));
        assert_eq!(party.holdings.region(0).unwrap().pins, 1);
        rig.machine().fail(None);
        rig.engine
            .detach(&window, pe(1), DetachMode::Reset)
            .unwrap();
        assert_eq!(rig.engine.unmap(&window, rig.bus(3), 1), Ok(1), "{step}");
        rig.machine().clear_hook();
        rig.check(&[&*window]);
    }
}

/// A window that its last PE has left stays empty until one is attached: nobody
/// would take out what is mapped meanwhile.
#[test]
fn a_window_that_its_last_pe_has_left_maps_nothing_until_one_is_attached() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 512, 2);
    let (bus, host) = (rig.bus(3), rig.host(0x1000));
    let map = || rig.engine.map(&window, bus, host, 1, Access::ReadWrite);
    let remap = || {
        let access = Access::ReadWrite;
        rig.engine.remap_run(&window, bus, host, 1, access)
    };
    let pins = || party.holdings.region(0).unwrap().pins;
    // One that no PE has used yet is filled beforehand.
    assert_eq!(map(), Ok(()));
    rig.plug(&party, &window, 0);
    for mode in [DetachMode::Running, DetachMode::Reset] {
        rig.engine.detach(&window, pe(0), mode).unwrap();
        assert_eq!(map(), Err(DmaError::Detached));
        assert_eq!(remap(), Err(DmaError::Detached));
        // What a driver takes out is out.
        assert_eq!(rig.engine.unmap(&window, bus, 1), Ok(0));
        assert_eq!(rig.engine.clear(&window), Ok(0));
        assert_eq!((pins(), rig.engine.flush(&window)), (0, Ok(())));
        // An attach that fails changes nothing of that.
        rig.machine().fail(Some(Failure {
            after: 1,
            forever: false,
            error: PhbError::TimedOut,
        }));
        let failed = rig.engine.attach(&window, pe(0));
        assert!(matches!(failed, Err(DmaError::Attach { .. })), "{failed:?}");
        rig.machine().fail(None);
        assert_eq!(map(), Err(DmaError::Detached));
        rig.engine.attach(&window, pe(0)).unwrap();
        rig.machine().bus_master_on(pe(0));
        assert_eq!((map(), pins()), (Ok(()), 1));
        assert!(rig.machine().dma(0, 0, bus, false).is_ok());
    }
    rig.check(&[&*window]);
}

/// What was mapped before a first PE came is let go without one.
#[test]
fn a_window_that_no_pe_uses_is_emptied_by_itself() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 512, 2);
    let tables = rig.machine().table_bytes();
    let map = || {
        let (bus, host) = (rig.bus(3), rig.host(0x1000));
        rig.engine.map(&window, bus, host, 2, Access::ReadWrite)
    };
    map().unwrap();
    rig.engine.empty(&window).unwrap();
    assert_eq!(party.holdings.region(0).unwrap().pins, 0);
    assert_eq!(rig.machine().table_bytes(), tables);
    assert_eq!(map(), Err(DmaError::Detached));
    rig.plug(&party, &window, 0);
    map().unwrap();
    // One that is used is not.
    assert_eq!(rig.engine.empty(&window), Err(DmaError::Attached(pe(0))));
    assert_eq!(party.holdings.region(0).unwrap().pins, 2);
    rig.check(&[&*window]);
}
