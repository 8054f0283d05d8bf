//! A thread that goes to sleep while another wakes it: every interleaving.

use super::rig::{BOOT, OTHER, Rig, hardware};
use crate::irq::model::Controller;

/// The sleeper's next step; the order is that of `cpu::threads` and `cpu::idle`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sleeper {
    /// Looks whether there is work.
    Look,
    /// Sleeps; goes on only while its line is high.
    Sleep,
    /// Takes what is pending.
    Take,
    /// Has found the work.
    Working,
}

/// One step of the sleeper; `false` if it can do nothing.
fn step(rig: &Rig<'_>, at: &mut Sleeper, work: bool) -> bool {
    let next = match *at {
        Sleeper::Look if work => Sleeper::Working,
        Sleeper::Look => Sleeper::Sleep,
        Sleeper::Sleep if rig.hardware.line(OTHER) => Sleeper::Take,
        Sleeper::Sleep | Sleeper::Working => return false,
        Sleeper::Take => {
            rig.hardware.run_thread(OTHER);
            if rig.hardware.line(OTHER) {
                rig.irq.take();
            }
            Sleeper::Look
        }
    };
    *at = next;
    true
}

/// The waker's two steps come after `first` and `second` steps of the sleeper,
/// with a wake-up for nothing before.
fn run(first: usize, second: usize, stale: bool) -> Sleeper {
    let hardware = hardware(Controller::Icp);
    let rig = Rig::new(&hardware, Controller::Icp);
    rig.hardware.run_thread(OTHER);
    rig.irq.open_thread(false);
    if stale {
        assert!(rig.irq.send_ipi(OTHER));
    }
    let mut sleeper = Sleeper::Look;
    let mut work = false;
    for _ in 0..first {
        step(&rig, &mut sleeper, work);
    }
    work = true;
    for _ in 0..second {
        step(&rig, &mut sleeper, work);
    }
    rig.hardware.run_thread(BOOT);
    assert!(rig.irq.send_ipi(OTHER));
    while step(&rig, &mut sleeper, work) {}
    sleeper
}

#[test]
fn no_wake_up_is_lost() {
    for first in 0..8 {
        for second in 0..8 {
            for stale in [false, true] {
                let end = run(first, second, stale);
                assert_eq!(end, Sleeper::Working, "{first} {second} {stale}");
            }
        }
    }
}
