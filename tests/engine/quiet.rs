//! Posted writes: translated before a kill, in memory after it.

use std::sync::Arc;

use pinion::dma::{DetachMode, DmaError, Window};
use pinion::memory::ledger::{Ledger, LedgerError};
use pinion::seam::PhbError;
use pinion::sim::{Failure, Machine, PhbKind, Step, Violation};
use pinion::tce::{Access, PageShift};

use super::support::{Party, Rig, pe};

/// A partition with two regions, whose PE 0 has posted a write to the first, and
/// whose first region no mapping holds any more.
fn posted() -> (Rig, Party, Arc<Window<Machine>>) {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 3);
    rig.machine().post_writes(1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 16);
    rig.grant(&party, 0x2000, 16);
    let window = rig.window(&party, 0, 64, 1);
    rig.plug(&party, &window, 0);
    rig.engine
        .map(&window, rig.bus(1), rig.host(0x1000), 1, Access::ReadWrite)
        .unwrap();
    rig.machine().dma(0, 0, rig.bus(1), true).unwrap();
    rig.engine.unmap(&window, rig.bus(1), 1).unwrap();
    // Neither the unmap nor its kill has pushed it.
    assert_eq!(rig.machine().posted(), 1);
    (rig, party, window)
}

#[test]
fn memory_changes_its_owner_only_when_posted_writes_have_landed() {
    let (rig, party, _window) = posted();
    let other = rig.party(2);
    let start = rig.host(0x1000);
    let open = Err(DmaError::Ledger(LedgerError::Open(start)));
    assert_eq!(rig.engine.quiet(&party.holdings, start), open);
    assert_eq!(rig.ledger.close(&party.holdings, start), Ok(0));
    let not_quiet = LedgerError::NotQuiet(start);
    assert_eq!(rig.ledger.reclaim(&party.holdings, start), Err(not_quiet));
    assert_eq!(
        rig.ledger.transfer(&party.holdings, &other.holdings, start),
        Err(not_quiet)
    );
    rig.engine.quiet(&party.holdings, start).unwrap();
    assert_eq!(rig.machine().posted(), 0);
    rig.ledger
        .transfer(&party.holdings, &other.holdings, start)
        .unwrap();
    // Nothing was pinned for the new owner: it may go on at once.
    assert_eq!(rig.ledger.close(&other.holdings, start), Ok(0));
    assert!(rig.ledger.reclaim(&other.holdings, start).is_ok());
    assert_eq!(rig.machine().violations(), []);
}

#[test]
fn memory_that_was_never_pinned_is_quiet() {
    let (rig, party, _window) = posted();
    let start = rig.host(0x2000);
    rig.ledger.close(&party.holdings, start).unwrap();
    rig.machine().fail(None);
    rig.engine.quiet(&party.holdings, start).unwrap();
    assert_eq!(rig.machine().fallible_calls(), 0);
    assert!(rig.ledger.reclaim(&party.holdings, start).is_ok());
}

#[test]
fn the_model_sees_a_write_that_lands_in_foreign_memory() {
    let (rig, party, _window) = posted();
    let other = rig.party(2);
    rig.machine()
        .set_owner(rig.host(0x1000), 16 << 12, Some(other.owner));
    rig.engine.land_writes(party.owner).unwrap();
    assert!(
        matches!(
            rig.machine().violations()[..],
            [Violation::ForeignAccess { .. }]
        ),
        "{:?}",
        rig.machine().violations()
    );
}

#[test]
fn a_push_that_fails_leaves_the_region_to_its_owner() {
    let (rig, party, window) = posted();
    let start = rig.host(0x1000);
    rig.ledger.close(&party.holdings, start).unwrap();
    rig.machine().fail(Some(Failure {
        after: 0,
        forever: false,
        error: PhbError::Fenced,
    }));
    assert_eq!(
        rig.engine.quiet(&party.holdings, start),
        Err(DmaError::Push {
            pe: pe(0),
            error: PhbError::Fenced
        })
    );
    rig.machine().fail(None);
    assert_eq!(
        rig.ledger.reclaim(&party.holdings, start),
        Err(LedgerError::NotQuiet(start))
    );
    // It can be opened again, and used.
    rig.ledger.reopen(&party.holdings, start).unwrap();
    rig.engine
        .map(&window, rig.bus(2), start, 1, Access::Read)
        .unwrap();
    rig.engine.unmap(&window, rig.bus(2), 1).unwrap();
    rig.ledger.close(&party.holdings, start).unwrap();
    // Or the PE is reset, which lands what it has posted.
    rig.engine
        .detach(&window, pe(0), DetachMode::Reset)
        .unwrap();
    assert_eq!(rig.machine().posted(), 0);
    rig.engine.quiet(&party.holdings, start).unwrap();
    assert!(rig.ledger.reclaim(&party.holdings, start).is_ok());
}

#[test]
fn a_pe_is_asked_until_it_was_reset() {
    let (rig, party, window) = posted();
    let start = rig.host(0x1000);
    rig.ledger.close(&party.holdings, start).unwrap();
    rig.engine.remove(&window, DetachMode::Running).unwrap();
    assert_eq!(rig.machine().posted(), 1);
    rig.engine.quiet(&party.holdings, start).unwrap();
    assert_eq!(rig.machine().posted(), 0);
    // After a reset there is nobody to ask.
    rig.engine.release_pe(pe(0)).unwrap();
    rig.machine().fail(None);
    rig.engine.land_writes(party.owner).unwrap();
    assert_eq!(rig.machine().fallible_calls(), 0);
}

#[test]
fn a_region_stays_closed_while_it_is_made_quiet() {
    let (rig, party, _window) = posted();
    let start = rig.host(0x1000);
    rig.ledger.close(&party.holdings, start).unwrap();
    let (holdings, ledger) = (party.holdings.clone(), Ledger::<Machine>::new());
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = seen.clone();
    rig.machine().set_hook(move |_, step| {
        if step == Step::Push {
            // Any ledger can open the gate of a region by its owner's holdings.
            let mut log = log.lock().unwrap();
            log.push(ledger.reopen(&holdings, start).unwrap_err());
            log.push(ledger.reclaim(&holdings, start).unwrap_err());
            log.push(holdings.begin_quieting(start).err().unwrap());
        }
    });
    rig.engine.quiet(&party.holdings, start).unwrap();
    rig.machine().clear_hook();
    assert_eq!(*seen.lock().unwrap(), [LedgerError::Quieting(start); 3]);
    assert!(rig.ledger.reclaim(&party.holdings, start).is_ok());
}
