//! The pin gate, and the fair lock.

use loom::sync::Arc;
use loom::thread;
use pinion::memory::ledger::{Gate, GateError};
use pinion::seam::lent::Lent;
use pinion::seam::sync::{AtomicU32, Ordering, Rank, Shared};

use super::explored::{Explored, spawn};
use super::world::explore;

#[test]
fn the_gate_never_admits_a_pin_after_its_release() {
    let _runs = explore(3, || {
        let gate = Arc::new(Gate::new());
        let pinner = {
            let gate = gate.clone();
            spawn(move || match gate.pin(1) {
                Ok(()) => {
                    // As long as the pin is held, nobody can take the region.
                    assert!(!gate.is_released());
                    gate.unpin(1);
                }
                Err(error) => assert_eq!(error, GateError::Closed),
            })
        };
        let second = {
            let gate = gate.clone();
            spawn(move || {
                if gate.pin(2).is_ok() {
                    assert!(!gate.is_released());
                    gate.unpin(2);
                }
            })
        };
        gate.close();
        if gate.is_released() {
            assert_eq!(gate.pin(1), Err(GateError::Closed));
            assert!(gate.is_released());
        }
        pinner.join().unwrap();
        second.join().unwrap();
        assert!(gate.is_released());
    });
}

/// What is changed is used by nobody else, and who comes later sees the change.
#[test]
fn what_is_lent_changes_when_nobody_uses_it() {
    let _runs = explore(3, || {
        let (lent, users) = (Arc::new(Lent::new(0)), Arc::new(AtomicU32::new(0)));
        let user = {
            let (lent, users) = (lent.clone(), users.clone());
            spawn(move || {
                if let Some(value) = lent.try_use() {
                    users.fetch_add(1, Ordering::Relaxed);
                    assert!(*value < 2);
                    users.fetch_sub(1, Ordering::Relaxed);
                }
            })
        };
        let changer = {
            let (lent, users) = (lent.clone(), users.clone());
            spawn(move || {
                let mut value = lent.change();
                assert_eq!(users.load(Ordering::Relaxed), 0);
                *value += 1;
            })
        };
        {
            let value = lent.use_it();
            users.fetch_add(1, Ordering::Relaxed);
            assert!(*value < 2);
            users.fetch_sub(1, Ordering::Relaxed);
        }
        changer.join().unwrap();
        user.join().unwrap();
        assert_eq!(lent.try_use().as_deref(), Some(&1));
    });
}

#[test]
fn a_waiting_writer_comes_before_a_later_reader() {
    let _runs = explore(3, || {
        let shared = Arc::new(Shared::<u32, Explored>::new(Rank::Regions, 0));
        let first = shared.read();
        let writer = {
            let shared = shared.clone();
            spawn(move || *shared.write() += 1)
        };
        while !shared.has_writer() {
            thread::yield_now();
        }
        let second = {
            let shared = shared.clone();
            thread::spawn(move || *shared.read())
        };
        assert_eq!(*first, 0);
        drop(first);
        assert_eq!(second.join().unwrap(), 1);
        writer.join().unwrap();
        assert!(!shared.has_writer());
    });
}
