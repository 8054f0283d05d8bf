//! After a failure a PE works again, or is known not to.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use pinion::dma::{DetachMode, DmaError, Window};
use pinion::memory::ledger::LedgerError;
use pinion::seam::PhbError;
use pinion::sim::{Failure, Machine, PhbKind, Step};
use pinion::tce::{Access, PageShift, Tce};

use super::support::{Party, Rig, pe};

/// Two windows of one PE: below and above bit 59.
fn twin() -> (Rig, Party, [Arc<Window<Machine>>; 2]) {
    twin_of(PhbKind::Phb4)
}

fn twin_of(kind: PhbKind) -> (Rig, Party, [Arc<Window<Machine>>; 2]) {
    let rig = Rig::new(kind, PageShift::K4, 5);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let windows = [0, 1 << (59 - 12)].map(|base| rig.window(&party, base, 64, 1));
    rig.plug(&party, &windows[0], 0);
    rig.engine.attach(&windows[1], pe(0)).unwrap();
    (rig, party, windows)
}

fn fail(rig: &Rig, after: u64, forever: bool) {
    let error = PhbError::TimedOut;
    rig.machine().fail(Some(Failure {
        after,
        forever,
        error,
    }));
}

/// The next thread that comes to `step` says so and waits there.
fn stop_at(rig: &Rig, step: Step) -> (Receiver<()>, Sender<()>) {
    let (arrived, at_step) = channel();
    let (go_on, waits) = channel();
    let mut ends = Some((arrived, waits));
    rig.machine().set_hook(move |_, now| {
        if now == step
            && let Some((arrived, waits)) = ends.take()
        {
            arrived.send(()).unwrap();
            waits.recv().unwrap();
        }
    });
    (at_step, go_on)
}

/// The PE does DMA through `window` again.
fn works(rig: &Rig, window: &Window<Machine>) {
    assert!(!rig.machine().is_frozen(pe(0)));
    rig.machine().bus_master_on(pe(0));
    let bus = rig.bus(rig_page(window) + 9);
    rig.engine
        .map(window, bus, rig.host(0x1000), 1, Access::ReadWrite)
        .unwrap();
    assert_eq!(rig.machine().dma(0, 0, bus, true), Ok(rig.host(0x1000)));
    rig.check(&[window]);
}

fn rig_page(window: &Window<Machine>) -> u64 {
    window.range().base().get() >> 12
}

#[test]
fn each_step_of_a_recovery_fails_and_the_next_recovery_thaws() {
    // Reset, kill, thaw, and the shared kill.
    for after in 0..4 {
        let (rig, party, [window, _]) = twin();
        rig.engine
            .map(&window, rig.bus(0), rig.host(0x1000), 1, Access::Read)
            .unwrap();
        fail(&rig, 0, false);
        assert!(rig.engine.unmap(&window, rig.bus(0), 1).is_err());
        fail(&rig, after, false);
        assert!(rig.engine.recover(&window).is_err(), "{after}");
        assert_eq!(party.holdings.region(0).unwrap().pins, 1);
        rig.machine().fail(None);
        rig.engine.recover(&window).unwrap();
        assert_eq!(party.holdings.region(0).unwrap().pins, 0);
        works(&rig, &window);
    }
}

#[test]
fn a_running_removal_of_one_window_hides_no_failure_of_the_other() {
    let (rig, _party, [a, b]) = twin();
    rig.engine
        .map(&a, rig.bus(0), rig.host(0x1000), 1, Access::Read)
        .unwrap();
    fail(&rig, 0, false);
    assert!(rig.engine.unmap(&a, rig.bus(0), 1).is_err());
    rig.engine.remove(&b, DetachMode::Running).unwrap();
    rig.engine.recover(&a).unwrap();
    works(&rig, &a);
}

#[test]
fn a_running_detach_that_failed_thaws_when_it_is_tried_again() {
    // The TVE, the kill; then the reset and the thaw of the second try.
    for (first, second) in [(0, None), (1, None), (0, Some(2)), (0, Some(3))] {
        let (rig, _party, [a, b]) = twin();
        let mut tries = vec![first];
        tries.extend(second);
        for after in tries {
            fail(&rig, after, false);
            let result = rig.engine.detach(&b, pe(0), DetachMode::Running);
            assert!(matches!(result, Err(DmaError::Detach { .. })), "{result:?}");
            assert!(rig.machine().is_frozen(pe(0)));
            rig.machine().fail(None);
        }
        rig.engine.detach(&b, pe(0), DetachMode::Running).unwrap();
        works(&rig, &a);
    }
}

#[test]
fn recovery_of_a_window_covers_a_freeze_that_came_through_another() {
    let (rig, _party, [a, b]) = twin();
    fail(&rig, 0, false);
    assert!(rig.engine.detach(&b, pe(0), DetachMode::Running).is_err());
    rig.machine().fail(None);
    assert_eq!(a.failed(), None);
    rig.engine.recover(&a).unwrap();
    works(&rig, &a);
}

#[test]
fn a_pe_changes_its_owner_only_after_a_reset() {
    let (rig, party, [a, b]) = twin();
    let other = rig.party(2);
    let foreign = rig.window(&other, 0, 64, 1);
    let owned = Err(DmaError::PeOwned {
        pe: pe(0),
        owner: party.owner,
    });
    rig.engine.detach(&a, pe(0), DetachMode::Reset).unwrap();
    assert_eq!(rig.engine.attach(&foreign, pe(0)), owned);
    assert!(matches!(
        rig.engine.release_pe(pe(0)),
        Err(DmaError::TveInUse { .. })
    ));
    rig.engine.remove(&b, DetachMode::Running).unwrap();
    assert_eq!(rig.engine.attach(&foreign, pe(0)), owned);
    // Its owner may use it again at any time.
    rig.engine.attach(&a, pe(0)).unwrap();
    rig.engine.remove(&a, DetachMode::Running).unwrap();
    // Bus mastering off, reset, kill, thaw.
    for after in 0..4 {
        fail(&rig, after, false);
        assert!(rig.engine.release_pe(pe(0)).is_err());
        rig.machine().fail(None);
        assert!(rig.engine.attach(&foreign, pe(0)).is_err());
    }
    rig.engine.release_pe(pe(0)).unwrap();
    rig.engine.attach(&foreign, pe(0)).unwrap();
}

/// A kill by page is nobody else's, but its failure is everybody's: other
/// threads know it before the PE is frozen, and if the freeze fails too.
#[test]
fn a_failed_kill_by_page_is_known_to_all() {
    for forever in [false, true] {
        let (rig, party, [a, b]) = twin_of(PhbKind::Phb3);
        rig.engine
            .map(&a, rig.bus(0), rig.host(0x1000), 1, Access::Read)
            .unwrap();
        fail(&rig, 0, forever);
        let (at_freeze, go_on) = stop_at(&rig, Step::Freeze);
        std::thread::scope(|scope| {
            let unmap = scope.spawn(|| rig.engine.unmap(&a, rig.bus(0), 1));
            at_freeze.recv().unwrap();
            assert!(!rig.machine().is_frozen(pe(0)));
            let untrusted = Err(DmaError::Kill {
                pe: pe(0),
                error: PhbError::Frozen,
            });
            assert_eq!(rig.engine.flush(&b), untrusted);
            go_on.send(()).unwrap();
            assert!(matches!(unmap.join().unwrap(), Err(DmaError::Kill { .. })));
        });
        rig.machine().clear_hook();
        rig.machine().fail(None);
        // Not even the freeze worked, if all calls fail.
        assert_eq!(rig.machine().is_frozen(pe(0)), !forever);
        let (one, other) = (rig.window(&party, 0, 64, 1), rig.bus(rig_page(&b) + 5));
        assert_eq!(rig.engine.attach(&one, pe(0)), Err(DmaError::Frozen(pe(0))));
        assert!(matches!(
            rig.engine.unmap(&b, other, 1),
            Err(DmaError::Frozen(_))
        ));
        assert_eq!(party.holdings.region(0).unwrap().pins, 1);
        rig.engine.recover(&a).unwrap();
        rig.engine.recover(&b).unwrap();
        assert_eq!(party.holdings.region(0).unwrap().pins, 0);
        works(&rig, &a);
    }
}

/// A thread has changed entries and not passed its barrier when a PE is
/// attached: the barrier of the attach's own kill drains them too.
#[test]
fn the_kill_of_an_attach_drains_what_others_have_stored() {
    let (rig, party, [a, _b]) = twin();
    rig.engine
        .map(&a, rig.bus(0), rig.host(0x1000), 1, Access::Read)
        .unwrap();
    rig.machine().add_function(pe(1), 1, party.owner);
    let (at_barrier, go_on) = stop_at(&rig, Step::Barrier);
    std::thread::scope(|scope| {
        let unmap = scope.spawn(|| rig.engine.unmap(&a, rig.bus(0), 1));
        at_barrier.recv().unwrap();
        // The old entry is what PHBs still read.
        assert!(rig.machine().probe(0, 0, rig.bus(0), false).is_ok());
        rig.engine.attach(&a, pe(1)).unwrap();
        assert!(rig.machine().probe(0, 1, rig.bus(0), false).is_err());
        go_on.send(()).unwrap();
        assert_eq!(unmap.join().unwrap(), Ok(1));
    });
    rig.machine().clear_hook();
    rig.check(&[&*a]);
}

/// The memory of a table does not do what it is told: that is the end of the
/// window, and nothing of it is given to anybody.
#[test]
fn a_table_that_does_not_clear_is_the_end_of_its_window() {
    for remove in [false, true] {
        let (rig, party, [window, _]) = twin();
        rig.engine
            .map(&window, rig.bus(0), rig.host(0x1000), 40, Access::ReadWrite)
            .unwrap();
        let (tables, charged) = (rig.machine().table_bytes(), party.quota.used());
        rig.machine().lose_clear(7);
        let result = if remove {
            rig.engine.remove(&window, DetachMode::Running)
        } else {
            rig.engine.detach(&window, pe(0), DetachMode::Running)
        };
        let Err(DmaError::NotZero { bus, bits }) = result else {
            panic!("{result:?}");
        };
        assert_eq!((bus, bits), (rig.bus(7), 0x100_7003));
        let ends = result;
        let none = Tce::NONE;
        let all = [
            rig.engine
                .map(&window, rig.bus(50), rig.host(0x1000), 1, Access::Read),
            rig.engine.unmap(&window, rig.bus(7), 1).map(|_| ()),
            rig.engine.remap(&window, rig.bus(7), &[none]),
            rig.engine.remap_same(&window, rig.bus(7), none, 2),
            rig.engine.translate(&window, rig.bus(7)).map(|_| ()),
            rig.engine.clear(&window).map(|_| ()),
            rig.engine.flush(&window),
            rig.engine.recover(&window),
            rig.engine.attach(&window, pe(0)),
            rig.engine.detach(&window, pe(0), DetachMode::Reset),
            rig.engine.remove(&window, DetachMode::Reset),
        ];
        assert_eq!(all, [ends; 11]);
        rig.engine.mappings(&window, |found| panic!("{found:?}"));
        // Nothing was given back, and the pins are accounted for.
        assert_eq!(party.holdings.region(0).unwrap().pins, 40);
        assert_eq!(
            (rig.machine().table_bytes(), party.quota.used()),
            (tables, charged)
        );
        rig.check(&[&*window]);
        let start = rig.host(0x1000);
        rig.ledger.close(&party.holdings, start).unwrap();
        assert_eq!(
            rig.ledger.reclaim(&party.holdings, start),
            Err(LedgerError::Pinned { start, pins: 40 })
        );
    }
}
