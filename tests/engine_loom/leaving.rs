//! Windows, PEs and regions that go while others use them.

use pinion::dma::{DetachMode, DmaError};

use super::explored::spawn;
use super::world::{OTHER_PE, OTHER_REGION, PE, REGION, explore, world};

#[test]
fn a_region_that_is_taken_back_is_reached_by_no_device() {
    let _runs = explore(3, || {
        let world = world(512, 1);
        let mapper = {
            let world = world.clone();
            spawn(move || {
                if world.map(3, 0).is_ok() {
                    world.dma(3);
                    assert_eq!(world.unmap(3), Ok(1));
                }
            })
        };
        world.ledger.close(&world.holdings, REGION).unwrap();
        let gone = world.try_reclaim();
        world.dma(3);
        mapper.join().unwrap();
        assert!(gone || world.try_reclaim());
        world.dma(3);
        world.check();
    });
}

/// A list of two regions, of which one is taken back, is mapped and unmapped as a
/// whole, or leaves no pin in the other.
#[test]
fn one_of_the_regions_of_a_list_is_taken_back() {
    let _runs = explore(3, || {
        let world = world(512, 1);
        world.grant_other();
        let mapper = {
            let world = world.clone();
            spawn(
                move || match world.remap(3, &[REGION, OTHER_REGION, REGION]) {
                    Ok(()) => {
                        world.dma(4);
                        assert_eq!(world.unmap_pages(3, 3), Ok(3));
                    }
                    Err(DmaError::Pin { error, .. }) => assert_eq!(error.host(), OTHER_REGION),
                    Err(error) => panic!("{error}"),
                },
            )
        };
        world.ledger.close(&world.holdings, OTHER_REGION).unwrap();
        let gone = world.try_reclaim_of(OTHER_REGION);
        world.dma(4);
        mapper.join().unwrap();
        assert_eq!(world.holdings.region_of(REGION).unwrap().pins, 0);
        assert!(gone || world.try_reclaim_of(OTHER_REGION));
        world.dma(4);
        world.check();
    });
}

#[test]
fn a_window_goes_while_another_thread_maps_and_unmaps() {
    let _runs = explore(3, || {
        let world = world(1024, 2);
        let other = {
            let world = world.clone();
            spawn(move || {
                for result in [world.map(2, 0).err(), world.unmap(2).err()] {
                    assert!(
                        result.is_none_or(|error| error == DmaError::WindowClosing),
                        "{result:?}"
                    );
                }
            })
        };
        world
            .engine
            .remove(&world.window, DetachMode::Reset)
            .unwrap();
        other.join().unwrap();
        assert_eq!(world.machine.table_bytes(), 0);
        assert_eq!(world.holdings.region_of(REGION).unwrap().pins, 0);
        assert_eq!(world.machine.violations(), []);
        assert_eq!(world.map(2, 0), Err(DmaError::WindowClosing));
    });
}

#[test]
fn the_last_detach_and_a_map_leave_all_or_nothing() {
    let _runs = explore(3, || {
        let world = world(512, 1);
        world.map(0, 0).unwrap();
        let other = {
            let world = world.clone();
            spawn(move || world.map(1, 1))
        };
        world
            .engine
            .detach(&world.window, PE, DetachMode::Reset)
            .unwrap();
        let mapped = other.join().unwrap();
        if let Err(error) = mapped {
            assert!(
                matches!(error, DmaError::WindowClosing | DmaError::Detached),
                "{error}"
            );
        }
        // A map before the detach was cleared with it, one after it is refused:
        // whoever attaches next finds the window empty.
        assert_eq!(world.holdings.region_of(REGION).unwrap().pins, 0);
        assert!(!world.dma(0) && !world.dma(1));
        world.check();
    });
}

/// The fallible calls of a detach and of an unmap, in any order, of which one
/// fails: whatever it was, a PE that has left is not frozen, now or later.
#[test]
fn a_pe_that_has_left_is_frozen_by_no_operation() {
    for after in 0..7 {
        let _runs = explore(3, move || {
            let world = world(512, 1);
            world.engine.attach(&world.window, OTHER_PE).unwrap();
            world.map(3, 0).unwrap();
            world.fail_once(after);
            let other = {
                let world = world.clone();
                spawn(move || world.unmap(3))
            };
            let left = world
                .engine
                .detach(&world.window, OTHER_PE, DetachMode::Reset);
            if left.is_ok() {
                assert!(!world.machine.is_frozen(OTHER_PE));
            }
            let unmapped = other.join().unwrap();
            world.machine.fail(None);
            if left.is_ok() {
                assert!(!world.machine.is_frozen(OTHER_PE), "{unmapped:?}");
                world.engine.release_pe(OTHER_PE).unwrap();
            }
            world.engine.recover(&world.window).unwrap();
            world.check();
        });
    }
}
