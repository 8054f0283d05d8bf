//! A vCPU that changes windows, beside others that read configuration space of
//! the same group, and a partition that ends.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use pinion::papr::ddw::{Watch, WindowCalls};
use pinion::sim::{Machine, PhbKind};

use super::ddw::{BUID, BUSY, CONFIG, Guest, HARDWARE};

/// So long something that does not wait takes at most.
const PATIENCE: Duration = Duration::from_secs(20);

type Waiting = Box<dyn FnOnce() + Send>;

/// What is done while a call for windows is at work.
static MEANWHILE: Mutex<Option<Waiting>> = Mutex::new(None);
/// One test at a time has that.
static TURN: Mutex<()> = Mutex::new(());

/// The calls of a vCPU that does `act` in the middle of a creation.
fn with(guest: &Guest, act: Waiting) -> WindowCalls<'_, Machine> {
    *MEANWHILE.lock().unwrap() = Some(act);
    WindowCalls {
        watch: Watch {
            made: |_| {
                let act = MEANWHILE.lock().unwrap().take();
                act.unwrap()();
            },
            gone: |_| (),
            tables_for: |_| (),
        },
        ..guest.calls()
    }
}

#[test]
fn configuration_space_does_not_wait_for_a_call_for_windows() {
    let _turn = TURN.lock();
    let guest = Guest::new(PhbKind::Phb4, 8 << 20);
    let group = guest.groups[1].clone();
    let act = Box::new(move || {
        let (tell, told) = channel();
        thread::spawn(move || tell.send(group.keep(|| 5)));
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Some(5)));
    });
    with(&guest, act).create(CONFIG[0], BUID, 16, 25).unwrap();
    guest.finish();
    assert_eq!(guest.groups[1].keep(|| 5), None, "it is closed");
}

/// Nobody new comes in, even though the one that is in goes on; so it ends.
#[test]
fn a_group_that_closes_admits_nobody_and_waits_for_those_inside() {
    let _turn = TURN.lock();
    let guest = Guest::new(PhbKind::Phb4, 8 << 20);
    let group = guest.groups[1].clone();
    let (begin, begun) = channel();
    let (look, looked) = channel();
    let act = Box::new(move || {
        begin.send(()).unwrap();
        let end = Instant::now() + PATIENCE;
        let (tell, told) = channel();
        thread::spawn(move || {
            while group.keep(|| ()).is_some() && Instant::now() < end {
                thread::yield_now();
            }
            tell.send(group.keep(|| ()))
        });
        let refused = told.recv_timeout(PATIENCE);
        look.send(refused).unwrap();
        // The other's call comes while this one is at work.
        thread::sleep(Duration::from_millis(50));
    });
    let guest = &guest;
    thread::scope(|scope| {
        let calls = || guest.calls();
        let closer = scope.spawn(move || {
            begun.recv().unwrap();
            calls().close(&guest.groups[1])
        });
        let other = scope.spawn(move || {
            let refused = looked.recv().unwrap();
            (refused, calls().create(CONFIG[0], BUID, 16, 25).err())
        });
        let made = with(guest, act).create(CONFIG[0], BUID, 16, 25);
        assert!(made.is_ok(), "it was inside: {made:?}");
        let (refused, late) = other.join().unwrap();
        assert_eq!(refused, Ok(None));
        assert_eq!(late, Some(HARDWARE), "not {BUSY}: to try again is useless");
        closer.join().unwrap().unwrap();
    });
    assert_eq!(guest.query().windows, 1, "what it made is gone");
}
