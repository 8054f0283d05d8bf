//! Each call that can fail fails in turn in the middle of each operation, once
//! and for good.

use std::sync::Arc;

use pinion::addr::HostAddr;
use pinion::dma::{DetachMode, DmaError, Window};
use pinion::seam::PhbError;
use pinion::sim::{Failure, Machine, PhbKind};
use pinion::tce::{Access, PageShift, Tce};

use super::support::{Party, Rig, pe};

struct Scene {
    rig: Rig,
    party: Party,
    window: Arc<Window<Machine>>,
}

impl Scene {
    fn new(kind: PhbKind) -> Self {
        let rig = Rig::new(kind, PageShift::K4, 11);
        let party = rig.party(1);
        rig.grant(&party, 0x1000, 1200);
        let window = rig.window(&party, 0, 512 * 16, 3);
        rig.plug(&party, &window, 0);
        rig.plug(&party, &window, 1);
        rig.engine
            .map(
                &window,
                rig.bus(500),
                rig.host(0x1000),
                40,
                Access::ReadWrite,
            )
            .unwrap();
        let pages = (0..512 * 16).step_by(5).map(|page| rig.bus(page)).collect();
        rig.machine().set_stray(3, vec![(0, 0), (0, 1)], pages);
        Self { rig, party, window }
    }

    fn host(&self, frame: u64) -> HostAddr {
        self.rig.host(0x1000 + frame)
    }
}

type Operation = fn(&Scene) -> Result<(), DmaError>;

const OPERATIONS: [(&str, Operation); 11] = [
    ("map", |s| {
        s.rig
            .engine
            .map(&s.window, s.rig.bus(1), s.host(50), 20, Access::ReadWrite)
    }),
    ("map with new levels", |s| {
        s.rig
            .engine
            .map(&s.window, s.rig.bus(1030), s.host(0), 1100, Access::Read)
    }),
    ("unmap", |s| {
        s.rig
            .engine
            .unmap(&s.window, s.rig.bus(500), 40)
            .map(|_| ())
    }),
    ("unmap of a part", |s| {
        s.rig
            .engine
            .unmap(&s.window, s.rig.bus(490), 20)
            .map(|_| ())
    }),
    ("remap of a run", |s| {
        s.rig
            .engine
            .remap_run(&s.window, s.rig.bus(510), s.host(99), 600, Access::Read)
    }),
    ("remap of a list", |s| {
        let entry = |frame| Tce::new(s.host(frame), Access::ReadWrite).unwrap();
        let list = [entry(7), Tce::NONE, entry(900), entry(7), Tce::NONE];
        s.rig.engine.remap(&s.window, s.rig.bus(538), &list)
    }),
    ("remap to one page", |s| {
        let entry = Tce::new(s.host(3), Access::Read).unwrap();
        s.rig
            .engine
            .remap_same(&s.window, s.rig.bus(2000), entry, 512)
    }),
    ("clear", |s| s.rig.engine.clear(&s.window).map(|_| ())),
    ("flush", |s| s.rig.engine.flush(&s.window)),
    ("detach", |s| {
        s.rig.engine.detach(&s.window, pe(0), DetachMode::Reset)
    }),
    ("remove", |s| {
        s.rig.engine.remove(&s.window, DetachMode::Reset)
    }),
];

/// After any failure nothing is lost, nothing is reachable that should not be,
/// and the window can be recovered or removed.
fn survives(kind: PhbKind, name: &str, operation: Operation, failure: Failure) -> bool {
    let scene = Scene::new(kind);
    let machine = scene.rig.machine();
    machine.fail(Some(failure));
    let result = operation(&scene);
    let injected = machine.fallible_calls() > failure.after;
    machine.fail(None);
    if injected
        && !matches!(
            name,
            "map with new levels" | "remap of a run" | "remap to one page"
        )
    {
        // Where levels are missing, the engine may flush and try again.
        assert!(result.is_err(), "{name} hid a failure: {failure:?}");
    }
    assert_eq!(machine.violations(), [], "{name} {failure:?}");
    if let Err(DmaError::NoTableMemory { .. }) = result {
        assert_eq!(scene.party.holdings.region(0).unwrap().pins, 40);
    }
    if scene.window.failed().is_some() {
        let pins = scene.party.holdings.region(0).unwrap().pins;
        assert!(pins >= 40, "{name} released a page without a kill: {pins}");
        let result = scene.rig.engine.recover(&scene.window);
        assert!(
            result.is_ok() || result == Err(DmaError::WindowClosing),
            "{name}: {result:?}"
        );
    }
    if !matches!(name, "remove" | "detach") {
        scene.rig.check(&[&*scene.window]);
        // It works as before.
        scene.rig.engine.clear(&scene.window).unwrap();
        scene
            .rig
            .engine
            .map(
                &scene.window,
                scene.rig.bus(0),
                scene.host(0),
                600,
                Access::Read,
            )
            .unwrap();
    }
    if name != "remove" || result.is_err() {
        scene
            .rig
            .engine
            .remove(&scene.window, DetachMode::Reset)
            .unwrap();
    }
    assert_eq!(machine.violations(), [], "{name} {failure:?}");
    assert_eq!(
        (machine.table_bytes(), scene.party.quota.used()),
        (0, 0),
        "{name} {failure:?}"
    );
    assert_eq!(
        scene.party.holdings.region(0).unwrap().pins,
        0,
        "{name} {failure:?}"
    );
    injected
}

#[test]
fn each_fallible_call_of_each_operation_fails_in_turn() {
    let mut injected = 0;
    for kind in [PhbKind::Phb3, PhbKind::Phb4, PhbKind::AllOnly] {
        for (name, operation) in OPERATIONS {
            for forever in [false, true] {
                for error in [PhbError::TimedOut, PhbError::Fenced] {
                    for after in 0.. {
                        if !survives(
                            kind,
                            name,
                            operation,
                            Failure {
                                after,
                                forever,
                                error,
                            },
                        ) {
                            break;
                        }
                        injected += 1;
                    }
                }
            }
        }
    }
    assert!(injected > 300, "{injected}");
}

/// A region is closed between any two steps of a map. The pins came before the
/// first of them: the map succeeds, and its pages stay until they are unmapped.
#[test]
fn a_region_that_closes_in_the_middle_of_a_map_keeps_its_pages() {
    for at in 0..40 {
        let scene = Scene::new(PhbKind::Phb4);
        let start = scene.host(0);
        let (ledger, holdings) = (
            pinion::memory::ledger::Ledger::<Machine>::new(),
            scene.party.holdings.clone(),
        );
        let mut step = 0;
        scene.rig.machine().set_hook(move |_, _| {
            if step == at {
                // Any ledger can close the gate of a region by its owner's holdings.
                ledger.close(&holdings, start).unwrap();
            }
            step += 1;
        });
        scene
            .rig
            .engine
            .map(
                &scene.window,
                scene.rig.bus(3000),
                scene.host(60),
                600,
                Access::Read,
            )
            .unwrap();
        scene.rig.machine().clear_hook();
        let region = scene.party.holdings.region(0).unwrap();
        assert_eq!((region.pins, region.closing), (640, true), "{at}");
        scene.rig.check(&[&*scene.window]);
    }
}
