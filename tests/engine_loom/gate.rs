//! The pin gate, and the fair lock.

use loom::sync::Arc;
use loom::thread;
use pinion::memory::ledger::{Gate, GateError};
use pinion::seam::sync::{Rank, Shared};

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
