//! Kills that fail.

use pinion::dma::DmaError;

use super::explored::spawn;
use super::world::{PE, REGION, explore, world};

/// The first kill of two unmaps fails, whoever starts it, and whoever shares it.
#[test]
fn a_kill_that_fails_releases_nothing_in_any_thread() {
    let _runs = explore(3, || {
        let world = world(512, 1);
        world.map(0, 0).unwrap();
        world.map(1, 1).unwrap();
        assert!(world.dma(0) && world.dma(1));
        world.fail_once(0);
        let other = {
            let world = world.clone();
            spawn(move || world.unmap(1))
        };
        let results = [world.unmap(0), other.join().unwrap()];
        world.machine.fail(None);
        let failed = results.iter().filter(|result| result.is_err()).count();
        assert!(failed > 0, "{results:?}");
        // Each page whose unmap failed is held, by a live entry or a tombstone.
        let pins = || world.holdings.region_of(REGION).unwrap().pins;
        assert_eq!(pins(), failed as u64, "{results:?}");
        world.check();
        assert!(world.machine.is_frozen(PE));
        world.engine.recover(&world.window).unwrap();
        world.machine.bus_master_on(PE);
        for (page, result) in (0..).zip(results) {
            match result {
                Ok(count) => assert_eq!(count, 1),
                Err(DmaError::Kill { .. }) => {
                    assert!(!world.dma(page), "{results:?}");
                    assert_eq!(world.unmap(page), Ok(0));
                }
                // It came too late to begin.
                Err(error) => {
                    assert_eq!(error, DmaError::Frozen(PE));
                    assert!(world.dma(page), "{results:?}");
                    assert_eq!(world.unmap(page), Ok(1));
                }
            }
        }
        assert_eq!(pins(), 0);
        world.check();
    });
}

#[test]
fn a_recovery_waits_for_an_unmap_that_is_under_way() {
    let _runs = explore(3, || {
        let world = world(512, 1);
        world.map(0, 0).unwrap();
        world.map(1, 1).unwrap();
        assert!(world.dma(0) && world.dma(1));
        world.fail_once(0);
        let other = {
            let world = world.clone();
            spawn(move || world.unmap(1))
        };
        let mine = world.unmap(0);
        let recovered = world.engine.recover(&world.window);
        let theirs = other.join().unwrap();
        if recovered.is_err() {
            // The other thread's kill was the one to fail, just now.
            assert!(theirs.is_err(), "{recovered:?} {mine:?} {theirs:?}");
        }
        world.machine.fail(None);
        world.engine.recover(&world.window).unwrap();
        world.machine.bus_master_on(PE);
        assert_eq!(world.window.failed(), None);
        for (page, result) in [(0, mine), (1, theirs)] {
            let live = matches!(result, Err(DmaError::Frozen(_)));
            assert_eq!(world.dma(page), live, "{mine:?} {theirs:?}");
            assert_eq!(world.unmap(page), Ok(u64::from(live)));
        }
        assert_eq!(world.holdings.region_of(REGION).unwrap().pins, 0);
        world.check();
    });
}
