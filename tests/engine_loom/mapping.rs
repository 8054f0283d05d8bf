//! Maps and unmaps of the same pages and levels.

use std::sync::Arc as StdArc;

use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{DetachMode, ErrorKind};
use pinion::tce::Access;

use super::explored::spawn;
use super::world::{REGION, explore, world};

#[test]
fn two_maps_of_one_page_have_one_winner() {
    let _runs = explore(3, || {
        let world = world(512, 1);
        let other = {
            let world = world.clone();
            spawn(move || world.map(5, 1))
        };
        let mine = world.map(5, 2);
        let theirs = other.join().unwrap();
        assert!(mine.is_ok() != theirs.is_ok());
        let loser = mine.and(theirs).unwrap_err();
        assert_eq!(loser.kind(), ErrorKind::Busy);
        assert!(world.dma(5));
        world.check();
        assert_eq!(world.unmap(5), Ok(1));
        assert!(!world.dma(5));
        world.check();
    });
}

#[test]
fn two_unmaps_of_one_page_count_it_once_and_both_may_rely_on_it() {
    let _runs = explore(3, || {
        let world = world(512, 1);
        world.map(5, 1).unwrap();
        assert!(world.dma(5));
        let other = {
            let world = world.clone();
            spawn(move || {
                let count = world.unmap(5).unwrap();
                assert!(!world.dma(5), "reached after unmap returned");
                count
            })
        };
        let mine = world.unmap(5).unwrap();
        assert!(!world.dma(5), "reached after unmap returned");
        assert_eq!(mine + other.join().unwrap(), 1);
        assert_eq!(world.holdings.region_of(REGION).unwrap().pins, 0);
        world.check();
    });
}

#[test]
fn threads_share_kills_but_never_one_that_started_too_early() {
    let fewest = StdArc::new(std::sync::atomic::AtomicU64::new(u64::MAX));
    let seen = fewest.clone();
    let _runs = explore(3, move || {
        let world = world(512, 1);
        world.map(0, 0).unwrap();
        world.map(1, 1).unwrap();
        assert!(world.dma(0) && world.dma(1));
        let before = world.machine.kills(0);
        let other = {
            let world = world.clone();
            spawn(move || {
                assert_eq!(world.unmap(1), Ok(1));
                assert!(!world.dma(1));
            })
        };
        assert_eq!(world.unmap(0), Ok(1));
        assert!(!world.dma(0));
        other.join().unwrap();
        let kills = world.machine.kills(0) - before;
        assert!((1..=2).contains(&kills));
        seen.fetch_min(kills, std::sync::atomic::Ordering::Relaxed);
        world.check();
    });
    // One was enough in some order.
    assert_eq!(fewest.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn map_and_unmap_race_over_a_tombstone() {
    let _runs = explore(3, || {
        let world = world(512, 1);
        world.map(7, 0).unwrap();
        let unmapper = {
            let world = world.clone();
            spawn(move || assert_eq!(world.unmap(7), Ok(1)))
        };
        // Live, tombstone or empty: busy, busy or mapped.
        let mapped = match world.map(7, 1) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Busy);
                false
            }
        };
        unmapper.join().unwrap();
        assert_eq!(world.dma(7), mapped);
        world.check();
    });
}

#[test]
fn levels_come_and_go_under_two_threads() {
    let _runs = explore(3, || {
        let world = world(512 * 16, 2);
        // Leaves that stay linked when empty are used up.
        for leaf in 8..12 {
            world.map(leaf * 512, 0).unwrap();
            world.unmap(leaf * 512).unwrap();
        }
        world.map(0, 0).unwrap();
        let other = {
            let world = world.clone();
            spawn(move || {
                // Makes a leaf, or uses the one that is being emptied.
                world.map(1, 1).unwrap();
                assert!(world.dma(1));
            })
        };
        assert_eq!(world.unmap(0), Ok(1));
        world.engine.flush(&world.window).unwrap();
        assert!(!world.dma(0));
        other.join().unwrap();
        assert!(world.dma(1));
        world.check();
        assert_eq!(world.unmap(1), Ok(1));
        world
            .engine
            .remove(&world.window, DetachMode::Reset)
            .unwrap();
        assert_eq!((world.machine.table_bytes(), world.quota.used()), (0, 0));
        assert_eq!(world.machine.violations(), []);
    });
}

/// Two vCPUs put entries: whoever comes second replaces, or unmaps, what the
/// first has put. Nobody is told to come again.
#[test]
fn a_remap_waits_for_the_unmap_of_its_entry() {
    let _runs = explore(3, || {
        let world = world(512, 1);
        world.map(7, 0).unwrap();
        let unmapper = {
            let world = world.clone();
            spawn(move || assert_eq!(world.unmap(7), Ok(1)))
        };
        let (bus, host) = (BusAddr::new(7 << 12), HostAddr::new(REGION.get() + 0x1000));
        let replaced = world
            .engine
            .remap_run(&world.window, bus, host, 1, Access::ReadWrite);
        assert_eq!(replaced, Ok(()));
        unmapper.join().unwrap();
        let mapped = world.dma(7);
        let pins = world.holdings.region_of(REGION).unwrap().pins;
        assert_eq!(pins, u64::from(mapped));
        world.check();
    });
}
