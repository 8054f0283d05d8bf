//! Turns with a partition's group of functions.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use pinion::papr::turns::Turns;

use super::explored::{Explored, spawn};
use super::world::explore;

/// A call, an access and the end of the partition: the end comes after both, and
/// after it there are none.
#[test]
fn nobody_is_inside_a_group_that_was_closed() {
    let _runs = explore(3, || {
        let turns = Arc::new(Turns::<Explored>::new());
        // Set when the group is somebody else's.
        let gone = Arc::new(AtomicU32::new(0));
        turns.open();
        let call = {
            let (turns, gone) = (turns.clone(), gone.clone());
            spawn(move || {
                if let Ok(_claim) = turns.claim() {
                    assert_eq!(gone.load(Ordering::Relaxed), 0);
                }
            })
        };
        let access = {
            let (turns, gone) = (turns.clone(), gone.clone());
            spawn(move || turns.keep(|| assert_eq!(gone.load(Ordering::Relaxed), 0)))
        };
        let last = turns.claim_last();
        gone.store(1, Ordering::Relaxed);
        drop(last);
        assert!(turns.claim().is_err() && turns.keep(|| ()).is_none());
        call.join().unwrap();
        access.join().unwrap();
    });
}
