//! A function is connected through PHB and controller, or not at all.

use crate::*;

/// A function with its PHB and controller.
struct Rig {
    space: Space,
    words: Words,
    pool: VectorPool,
    both: Both,
}

impl Rig {
    fn new(both: Both) -> Self {
        Self {
            space: Space::new(),
            words: Words::new(3),
            pool: VectorPool::new(PhbId::new(2), (0x1000, 64), |source| source == 0x1000).unwrap(),
            both,
        }
    }

    fn wiring(&mut self) -> Wiring<'_, Space, Both, Both> {
        Wiring {
            registers: Registers::new(&mut self.space, FUNCTION),
            table: &mut self.words,
            port: &self.both,
            sources: &self.both,
            pool: &mut self.pool,
        }
    }

    fn is_quiet(&self) -> bool {
        self.both.owner.borrow().is_empty()
            && self.both.on.borrow().is_empty()
            && self.pool.free() == 63
            && self.function_is_off()
    }

    fn function_is_off(&self) -> bool {
        self.space.get16(CONTROL) & 0x8001 == 0
    }
}

fn senders() -> [(Sender, u16); 2] {
    [
        (Sender::Table(msix(3)), 2),
        (Sender::Capability(msi(true, true, 8)), 4),
    ]
}

#[test]
fn a_function_is_connected_and_disconnected_in_order() {
    let mut rig = Rig::new(Both::new(None, false));
    let wired = rig.wiring().connect(Sender::Table(msix(3)), PE, 2).unwrap();
    let log = rig.both.log.take();
    let expected = [
        "give 1 to 5",
        "register 0 as 0x1001",
        "give 2 to 5",
        "register 1 as 0x1002",
        "message 1",
        "message 2",
        "unmask 0x1001",
        "unmask 0x1002",
    ];
    assert_eq!(log, expected);
    assert_eq!(rig.space.get16(CONTROL), 0x8000);
    assert_eq!(rig.words.entry(0), [0, 0x1000_0000, 1, 0]);
    assert_eq!(rig.words.entry(1), [0, 0x1000_0000, 2, 0]);
    // What was not asked for stays masked.
    assert_eq!(rig.words.entry(2)[3] & 1, 1);
    assert_eq!(rig.wiring().disconnect(wired).unwrap(), Ok(()));
    let log = rig.both.log.take();
    let expected = [
        "mask 0x1001",
        "mask 0x1002",
        "take 1",
        "take 2",
        "unregister 0x1002",
        "unregister 0x1001",
    ];
    assert_eq!(log, expected);
    assert!(rig.is_quiet());
}

#[test]
fn whatever_is_refused_is_undone() {
    for (sender, count) in senders() {
        let mut calls = 0;
        loop {
            let mut rig = Rig::new(Both::new(Some(calls), false));
            match rig.wiring().connect(sender, PE, count) {
                Ok(wired) => {
                    assert_eq!(calls, rig.both.log.borrow().len());
                    rig.both.refuse_at.set(None);
                    rig.wiring().disconnect(wired).unwrap().unwrap();
                    assert!(rig.is_quiet());
                    break;
                }
                Err(error) => assert!(error.to_string().ends_with("refused"), "{error}"),
            }
            assert!(rig.is_quiet(), "call {calls} of {sender:?}");
            calls += 1;
        }
        assert!(calls >= 8);
        // So is what the function itself does not keep.
        let mut rig = Rig::new(Both::new(None, false));
        rig.space.stuck = Some((AT + 11, 0x10));
        rig.words.stuck = Some(0x14);
        assert!(rig.wiring().connect(sender, PE, count).is_err());
        assert!(rig.is_quiet());
    }
}

#[test]
fn what_cannot_be_undone_is_never_handed_out_again() {
    for (sender, count) in senders() {
        for calls in 0..3 * usize::from(count) {
            let mut rig = Rig::new(Both::new(None, true));
            let wired = rig.wiring().connect(sender, PE, count).unwrap();
            let before = rig.pool.free();
            rig.both.refuse_at.set(Some(calls));
            let (error, wired) = rig.wiring().disconnect(wired).unwrap_err();
            assert!(error.to_string().ends_with("refused"), "{error}");
            assert_eq!(rig.pool.free(), before);
            assert!(rig.function_is_off());
            rig.both.refuse_at.set(None);
            rig.wiring().disconnect(wired).unwrap().unwrap();
            assert!(rig.is_quiet());
        }
    }
}

#[test]
fn a_function_that_is_gone_is_disconnected_all_the_same() {
    for (sender, count) in senders() {
        let mut rig = Rig::new(Both::new(None, false));
        let wired = rig.wiring().connect(sender, PE, count).unwrap();
        rig.space.bytes = [0xff; 256];
        rig.space.writes_left = 0;
        assert!(rig.wiring().disconnect(wired).unwrap().is_err());
        rig.space.bytes = [0; 256];
        assert!(rig.is_quiet());
    }
}

#[test]
fn more_than_there_are_is_refused_and_nothing_touched() {
    let mut rig = Rig::new(Both::new(None, false));
    let error = rig.wiring().connect(Sender::Table(msix(3)), PE, 64);
    assert!(matches!(error, Err(WireError::Vectors(_))));
    assert!(rig.space.log.is_empty() && rig.both.log.borrow().is_empty());
    // More than the function has: known only when it is told.
    let error = rig.wiring().connect(Sender::Table(msix(3)), PE, 4);
    assert!(matches!(
        error,
        Err(WireError::Function(MessageError::Vector { vector: 3, .. }))
    ));
    assert!(rig.is_quiet());
}
