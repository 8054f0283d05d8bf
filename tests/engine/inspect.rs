//! What is told of a window while, and after, it changes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{DetachMode, DmaError, Holds, Liobn};
use pinion::seam::PhbError;
use pinion::sim::{Failure, PhbKind, Step};
use pinion::tce::{Access, PageShift};

use super::support::{Rig, pe};

#[test]
fn a_removal_that_failed_hides_no_pin() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 512, 2);
    rig.plug(&party, &window, 0);
    rig.engine
        .map(&window, rig.bus(3), rig.host(0x1000), 4, Access::ReadWrite)
        .unwrap();
    rig.machine().fail(Some(Failure {
        after: 0,
        forever: true,
        error: PhbError::Fenced,
    }));
    let removed = rig.engine.remove(&window, DetachMode::Reset);
    assert!(
        matches!(removed, Err(DmaError::Detach { .. })),
        "{removed:?}"
    );
    rig.machine().fail(None);
    // The PE may reach the pages as before.
    let all = |entries| Holds {
        entries,
        complete: true,
    };
    assert_eq!(rig.engine.pins_of(&window, rig.host(0x1001), 12), all(1));
    rig.check(&[&*window]);
    rig.engine.remove(&window, DetachMode::Reset).unwrap();
    assert_eq!(rig.engine.pins_of(&window, rig.host(0x1001), 12), all(0));
    rig.check(&[&*window]);
}

#[test]
fn a_window_tells_its_number_once_it_has_one() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    let window = rig.window(&party, 0, 512, 1);
    assert_eq!(window.liobn(), None);
    for number in [0x8000_0001, 1] {
        window.set_liobn(Liobn(number));
        assert_eq!(window.liobn(), Some(Liobn(number)));
    }
}

/// While a removal runs, entries and pins go at any moment: what is told of the
/// window is nothing, and not called all.
#[test]
fn a_window_that_is_being_removed_does_not_answer_for_its_pages() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 512, 1);
    rig.plug(&party, &window, 0);
    let (bus, host) = (rig.bus(3), rig.host(0x1000));
    rig.engine.map(&window, bus, host, 4, Access::Read).unwrap();
    let engine = Arc::new(rig.engine);
    let (told, answers) = channel();
    let (within, there) = (engine.clone(), window.clone());
    engine.platform().set_hook(move |_, step| {
        if step == Step::BusMasterOff {
            let mut entries = 0;
            within.mappings(&there, |_| entries += 1);
            told.send((within.pins_of(&there, host, 12), entries))
                .unwrap();
        }
    });
    engine.remove(&window, DetachMode::Reset).unwrap();
    engine.platform().clear_hook();
    let holds = Holds {
        entries: 0,
        complete: false,
    };
    assert_eq!(answers.try_iter().collect::<Vec<_>>(), [(holds, 0)]);
    assert_eq!(engine.platform().violations(), []);
}

/// A page that a remap has replaced is held until its kill, and no entry says so.
#[test]
fn a_replaced_page_is_not_called_free_before_its_kill() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 1024, 2);
    rig.plug(&party, &window, 0);
    let (old, new) = (rig.host(0x1000), rig.host(0x1020));
    let engine = Arc::new(rig.engine);
    let bus = BusAddr::new(3 << 12);
    let look = |complete| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, within, there) = (seen.clone(), engine.clone(), window.clone());
        engine.platform().set_hook(move |_, step| {
            if matches!(step, Step::Kill | Step::KillDone) {
                log.lock().unwrap().push(within.pins_of(&there, old, 12));
            }
        });
        engine.map(&window, bus, old, 1, Access::Read).unwrap();
        let result = engine.remap_run(&window, bus, new, 1, Access::Read);
        engine.platform().clear_hook();
        let seen = core::mem::take(&mut *seen.lock().unwrap());
        let after = Holds {
            entries: 0,
            complete,
        };
        assert_eq!(engine.pins_of(&window, old, 12), after);
        (result, seen)
    };
    let running = |entries| Holds {
        entries,
        complete: false,
    };
    // A map's kill, and the remap's: before it begins, when it has, and when it is
    // done but not known to be.
    let (result, seen) = look(true);
    assert_eq!(result, Ok(()));
    let mut expected = vec![running(1); seen.len() / 2];
    expected.resize(seen.len(), running(0));
    assert_eq!(seen, expected);
    engine.unmap(&window, bus, 1).unwrap();
    // The kill fails: the page stays pinned until the recovery.
    engine.platform().fail(Some(Failure {
        after: 1,
        forever: false,
        error: PhbError::TimedOut,
    }));
    let (result, _) = look(false);
    assert!(matches!(result, Err(DmaError::Kill { .. })), "{result:?}");
    engine.platform().fail(None);
    engine.recover(&window).unwrap();
    let nothing = Holds {
        entries: 0,
        complete: true,
    };
    assert_eq!(engine.pins_of(&window, old, 12), nothing);
}

/// Whoever changes an owner's regions holds the books of the machine: a remap of
/// any length lets it pass.
#[test]
fn a_long_remap_does_not_hold_up_a_grant() {
    const PAGES: u64 = 4096;
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 2 * PAGES);
    let window = rig.window(&party, 0, PAGES, 1);
    rig.plug(&party, &window, 0);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), PAGES, Access::Read)
        .unwrap();
    let granted = Arc::new(AtomicBool::new(false));
    let in_time = Arc::new(AtomicBool::new(false));
    let stores = AtomicU64::new(0);
    let (holdings, seen) = (party.holdings.clone(), in_time.clone());
    let ledger = rig.ledger.clone();
    rig.machine().set_hook(move |_, step| {
        if step != Step::Store {
            return;
        }
        match stores.fetch_add(1, Ordering::Relaxed) {
            0 => {
                let (holdings, granted) = (holdings.clone(), granted.clone());
                let ledger = ledger.clone();
                std::thread::spawn(move || {
                    let start = HostAddr::new(0x9000 << 12);
                    ledger.grant(&holdings, start, 1 << 12, 12).unwrap();
                    granted.store(true, Ordering::Release);
                });
            }
            // Time for it, in several holds of the lock.
            1..2100 if !granted.load(Ordering::Acquire) => {
                std::thread::sleep(Duration::from_millis(2));
            }
            store if store < PAGES => {
                seen.store(granted.load(Ordering::Acquire), Ordering::Relaxed);
            }
            _ => {}
        }
    });
    rig.engine
        .remap_run(
            &window,
            rig.bus(0),
            rig.host(0x1000 + PAGES),
            PAGES,
            Access::Read,
        )
        .unwrap();
    rig.machine().clear_hook();
    assert!(in_time.load(Ordering::Relaxed));
    rig.engine
        .detach(&window, pe(0), DetachMode::Reset)
        .unwrap();
    rig.check(&[&*window]);
}
