//! What a window refuses after a failure, what it remembers of one, and how
//! emptying it is noted.

use pinion::dma::{DetachMode, DmaError, Window};
use pinion::seam::PhbError;
use pinion::sim::{Failure, Machine, PhbKind};
use pinion::tce::{Access, PageShift};
use pinion::trace::{Kind, Verdict};
use std::sync::Arc;

use super::support::{Party, Rig, pe};

/// A window of one level, which needs no memory to map, with PE 0.
fn flat() -> (Rig, Party, Arc<Window<Machine>>) {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 1024, 1);
    rig.plug(&party, &window, 0);
    (rig, party, window)
}

fn timed_out(after: u64, forever: bool) -> Option<Failure> {
    Some(Failure {
        after,
        forever,
        error: PhbError::TimedOut,
    })
}

#[test]
fn no_pe_comes_to_a_window_whose_kill_failed() {
    let (rig, party, window) = flat();
    rig.machine().add_function(pe(1), 1, party.owner);
    rig.machine().fail(timed_out(0, false));
    let mapped = rig
        .engine
        .map(&window, rig.bus(3), rig.host(0x1000), 1, Access::Read);
    let error = PhbError::TimedOut;
    assert_eq!(mapped, Err(DmaError::Kill { pe: pe(0), error }));
    rig.machine().fail(None);
    assert_eq!(
        rig.engine.attach(&window, pe(1)),
        Err(DmaError::Frozen(pe(0)))
    );
    rig.engine.recover(&window).unwrap();
    rig.engine.attach(&window, pe(1)).unwrap();
    rig.check(&[&*window]);
}

#[test]
fn no_pe_opens_a_window_again_whose_removal_failed() {
    let (rig, party, window) = flat();
    rig.machine().add_function(pe(1), 1, party.owner);
    rig.machine().fail(timed_out(0, true));
    rig.engine.remove(&window, DetachMode::Reset).unwrap_err();
    rig.machine().fail(None);
    assert_eq!(
        rig.engine.attach(&window, pe(1)),
        Err(DmaError::WindowClosing)
    );
    assert_eq!(
        rig.engine
            .map(&window, rig.bus(3), rig.host(0x1000), 1, Access::Read),
        Err(DmaError::WindowClosing)
    );
    rig.engine.remove(&window, DetachMode::Reset).unwrap();
    assert_eq!(
        rig.engine.attach(&window, pe(1)),
        Err(DmaError::WindowClosing)
    );
}

#[test]
fn a_window_remembers_which_of_its_pes_failed() {
    let (rig, party, window) = flat();
    rig.plug(&party, &window, 1);
    for failing in [1, 0] {
        rig.machine().fail(timed_out(failing, false));
        rig.engine
            .map(&window, rig.bus(3), rig.host(0x1000), 1, Access::Read)
            .unwrap_err();
        rig.machine().fail(None);
        let failing = pe(failing as u16);
        assert_eq!(window.failed(), Some(failing));
        rig.engine.recover(&window).unwrap();
        assert_eq!(window.failed(), None);
    }
    rig.check(&[&*window]);
}

#[test]
fn emptying_a_window_is_noted_with_its_pages() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let ring = rig.machine().start_trace();
    let party = rig.party(1);
    let window = rig.window(&party, 16, 1024, 1);
    rig.engine.empty(&window).unwrap();
    let entry = ring.entries().next().unwrap();
    assert_eq!((entry.kind, entry.verdict), (Kind::Clear, Verdict::Done));
    assert_eq!((entry.bus, entry.pages), (rig.bus(16).get(), 1024));
}
