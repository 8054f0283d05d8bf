//! Random operations on two windows that share a PE, with a failure somewhere in
//! most of them, and recoveries that fail too.

use pinion::dma::DetachMode;
use pinion::seam::PhbError;
use pinion::sim::{Failure, PhbKind};
use pinion::tce::{Access, PageShift, Tce};
use proptest::test_runner::{Config, TestRunner};

use super::support::{Rig, pe};

/// What happens, where, how long, and after how many fallible calls one fails.
type Act = (u8, u8, u16, u8, u8);

fn play(kind: PhbKind, seed: u64, acts: &[Act]) {
    let rig = Rig::new(kind, PageShift::K4, seed);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 2048);
    rig.grant(&party, 0x1800, 2048);
    let base = 1 << (59 - 12);
    let starts = [0, base];
    let windows = starts.map(|start| rig.window(&party, start, 512 * 12, 3));
    let users: [&[u16]; 2] = [&[0, 1], &[0]];
    rig.plug(&party, &windows[0], 0);
    rig.plug(&party, &windows[0], 1);
    rig.engine.attach(&windows[1], pe(0)).unwrap();
    let pages = (0..512 * 12)
        .step_by(11)
        .flat_map(|page| starts.map(|start| rig.bus(start + page)));
    let machine = rig.machine();
    machine.set_stray(3, vec![(0, 0), (0, 1)], pages.collect());
    for &(what, place, pages, access, fails) in acts {
        let which = usize::from(place & 1);
        let window = &windows[which];
        let first = u64::from(place) * 23;
        let bus = rig.bus(starts[which] + first);
        let host = rig.host(0x1000 + u64::from(place) * 3);
        let pages = u64::from(pages % 1500) + 1;
        let access = if access & 1 == 0 {
            Access::Read
        } else {
            Access::ReadWrite
        };
        if fails < 200 {
            machine.fail(Some(Failure {
                after: u64::from(fails % 7),
                forever: fails % 3 == 0,
                error: PhbError::TimedOut,
            }));
        }
        let function = users[which][usize::from(place >> 1) % users[which].len()];
        let mode = if place & 4 == 0 {
            DetachMode::Reset
        } else {
            DetachMode::Running
        };
        let engine = &rig.engine;
        let _ = match what % 10 {
            0 | 1 => engine.map(window, bus, host, pages, access),
            2 => engine.unmap(window, bus, pages).map(|_| ()),
            3 => engine.remap_run(window, bus, host, pages, access),
            4 | 5 => {
                let list: Vec<Tce> = (0..pages.min(60))
                    .map(|n| match n % 3 {
                        0 => Tce::NONE,
                        _ => Tce::new(rig.host(0x1000 + n * 67), access).unwrap(),
                    })
                    .collect();
                engine.remap(window, bus, &list)
            }
            6 => engine.flush(window),
            7 => engine.detach(window, pe(function), mode),
            8 => engine.attach(window, pe(function)),
            _ => engine.clear(window).map(|_| ()),
        };
        assert_eq!(machine.violations(), []);
        rig.check(&[&*windows[0], &*windows[1]]);
        if fails % 4 != 0 {
            let _ = engine.recover(window);
            rig.check(&[&*windows[0], &*windows[1]]);
        }
        machine.fail(None);
        if fails % 4 == 1 {
            for window in &windows {
                engine.recover(window).unwrap();
            }
            rig.check(&[&*windows[0], &*windows[1]]);
            for function in [0, 1] {
                machine.bus_master_on(pe(function));
            }
            assert!(windows.iter().all(|window| window.failed().is_none()));
        }
    }
    for window in &windows {
        rig.engine.remove(window, DetachMode::Reset).unwrap();
    }
    rig.check(&[&*windows[0], &*windows[1]]);
    assert_eq!((machine.table_bytes(), party.quota.used()), (0, 0));
    for index in 0..2 {
        assert_eq!(party.holdings.region(index).unwrap().pins, 0);
    }
}

#[test]
fn nothing_is_lost_whatever_fails_and_whenever() {
    use proptest::prelude::*;
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let kinds = [PhbKind::Phb3, PhbKind::Phb4, PhbKind::AllOnly];
    let acts = prop::collection::vec(any::<Act>(), 1..60);
    TestRunner::new(config)
        .run(&(0..3usize, any::<u64>(), acts), |(kind, seed, acts)| {
            play(kinds[kind], seed, &acts);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}
