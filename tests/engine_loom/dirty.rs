//! Dirty marks: what is taken, what is wiped, and what a device may yet write.

use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::WindowConfig;
use pinion::memory::ledger::OwnerId;
use pinion::tce::{Access, PageShift, PageSizes, TableShape};

use super::explored::spawn;
use super::world::{REGION, explore, world};

/// A remap replaces a page that a device writes; another thread takes the marks,
/// copies what it was told of, and the device writes once more. Nobody takes the
/// marks after that: if the write came after the copy, the page is dirty.
#[test]
fn a_write_after_the_marks_were_taken_is_marked() {
    let _runs = explore(3, || {
        let world = world(512, 1);
        // Marked from before, so that there is something to take.
        world.map(3, 0).unwrap();
        world.unmap(3).unwrap();
        world.map(3, 0).unwrap();
        assert!(world.holdings.is_dirty(REGION));
        // The PHB remembers the page.
        assert!(world.dma(3));
        let other = {
            let world = world.clone();
            spawn(move || {
                let host = HostAddr::new(REGION.get() + (1 << 12));
                let bus = BusAddr::new(3 << 12);
                let window = &world.window;
                let done = world.engine.remap_run(window, bus, host, 1, Access::Read);
                done.unwrap();
            })
        };
        let mut taken = Vec::new();
        let take = world
            .holdings
            .take_dirty(REGION, |host, _| taken.push(host));
        take.unwrap();
        // The copy: of what is marked, and of what is live and writable.
        world.machine.forget_written();
        world.dma(3);
        let written = world.machine.was_written(REGION, 12);
        other.join().unwrap();
        if written {
            assert!(world.holdings.is_dirty(REGION), "a write would be missed");
        }
        assert_eq!(taken, [REGION]);
        world.check();
    });
}

/// A region changes its owner: its marks are wiped without a lock, before the new
/// owner can find it. What the new owner's device writes keeps its mark.
#[test]
fn the_wipe_for_a_new_owner_takes_no_mark_of_its_own() {
    let _runs = explore(3, || {
        let world = world(512, 1);
        world.map(3, 0).unwrap();
        world.unmap(3).unwrap();
        assert!(world.holdings.is_dirty(REGION));
        world.ledger.close(&world.holdings, REGION).unwrap();
        world.engine.quiet(&world.holdings, REGION).unwrap();
        let heir = world.ledger.add_owner(OwnerId(2)).unwrap();
        let config = WindowConfig {
            base: BusAddr::new(0),
            pages: 512,
            shape: TableShape::new(PageShift::K4, 1, 12).unwrap(),
            sizes: PageSizes::PHB4,
            limit: 512,
        };
        let window = world
            .engine
            .create_window(&config, heir.clone(), world.quota.clone())
            .unwrap();
        let other = {
            let (world, window) = (world.clone(), window.clone());
            spawn(move || {
                let bus = BusAddr::new(5 << 12);
                let engine = &world.engine;
                let mapped = engine.map(&window, bus, REGION, 1, Access::ReadWrite);
                if mapped.is_ok() {
                    assert_eq!(engine.unmap(&window, bus, 1), Ok(1));
                }
                mapped.is_ok()
            })
        };
        let moved = world.ledger.transfer(&world.holdings, &heir, REGION);
        moved.unwrap();
        let mapped = other.join().unwrap();
        assert_eq!(heir.is_dirty(REGION), mapped);
        assert_eq!(heir.region(0).map(|region| region.pins), Some(0));
    });
}
