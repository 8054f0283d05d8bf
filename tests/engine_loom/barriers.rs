//! Barriers: each thread's own, and whose kill it is.

use std::sync::{Arc as StdArc, Mutex as StdMutex};

use pinion::seam::TableMemory;

use super::explored::spawn;
use super::world::{OTHER_PE, explore, world_where};

#[test]
fn a_pe_that_is_attached_finds_nothing_that_is_being_unmapped() {
    assert_eq!(attached_while_unmapped(None), 0);
}

#[test]
fn an_attach_without_its_barrier_is_noticed() {
    assert!(attached_while_unmapped(Some(0)) > 0);
}

/// In how many interleavings a PE, attached by thread 0, reaches a page after
/// thread 1 has unmapped it.
fn attached_while_unmapped(forgets: Option<u64>) -> usize {
    let reached = StdArc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = reached.clone();
    let _runs = explore(3, move || {
        let world = world_where(forgets, 512, 1);
        // Seen by the PHB for sure, whoever forgets.
        world.machine.barrier();
        world.map(3, 0).unwrap();
        world.machine.barrier();
        let other = {
            let world = world.clone();
            spawn(move || assert_eq!(world.unmap(3), Ok(1)))
        };
        world.engine.attach(&world.window, OTHER_PE).unwrap();
        world.dma_by(1, 3);
        other.join().unwrap();
        if world.dma_by(1, 3) {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    reached.load(std::sync::atomic::Ordering::Relaxed)
}

/// Two threads unmap a page each; the barriers of one do nothing. The other may
/// rely on its unmap all the same, also when it shares the kill.
#[test]
fn a_thread_without_its_barrier_is_noticed_whoever_kills() {
    for forgets in [0, 1] {
        let reached = StdArc::new(StdMutex::new([0, 0]));
        let counter = reached.clone();
        let _runs = explore(3, move || {
            let world = world_where(Some(forgets), 512, 1);
            world.map(0, 0).unwrap();
            world.map(1, 1).unwrap();
            world.machine.barrier();
            world.dma(0);
            world.dma(1);
            let before = world.machine.kills(0);
            let other = {
                let world = world.clone();
                spawn(move || {
                    assert_eq!(world.unmap(1), Ok(1));
                    world.dma(1)
                })
            };
            assert_eq!(world.unmap(0), Ok(1));
            let mine = world.dma(0);
            let theirs = other.join().unwrap();
            let (wrong, right) = if forgets == 0 {
                (mine, theirs)
            } else {
                (theirs, mine)
            };
            assert!(!right, "reached after unmap returned");
            let shared = world.machine.kills(0) - before == 1;
            counter.lock().unwrap()[usize::from(shared)] += usize::from(wrong);
        });
        let [own, shared] = *reached.lock().unwrap();
        assert!(own > 0 && shared > 0, "{own} {shared}");
    }
}
