//! What is told of a window while, and after, it changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pinion::addr::HostAddr;
use pinion::dma::{DetachMode, DmaError};
use pinion::memory::ledger::Ledger;
use pinion::seam::PhbError;
use pinion::sim::{Failure, Machine, PhbKind, Step};
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
    assert_eq!(rig.engine.pins_of(&window, rig.host(0x1001), 12), 1);
    rig.check(&[&*window]);
    rig.engine.remove(&window, DetachMode::Reset).unwrap();
    assert_eq!(rig.engine.pins_of(&window, rig.host(0x1001), 12), 0);
    rig.check(&[&*window]);
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
    rig.machine().set_hook(move |_, step| {
        if step != Step::Store {
            return;
        }
        match stores.fetch_add(1, Ordering::Relaxed) {
            0 => {
                let (holdings, granted) = (holdings.clone(), granted.clone());
                std::thread::spawn(move || {
                    let start = HostAddr::new(0x9000 << 12);
                    let ledger = Ledger::<Machine>::new();
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
