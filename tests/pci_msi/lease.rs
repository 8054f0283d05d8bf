//! Vectors that a function keeps for somebody else, who tells it how many to send.

use crate::*;
use MessageKind::{Msi, Msix};

const FREE: u16 = 63;

/// A function with its PHB.
struct Rig {
    space: Space,
    words: Words,
    pool: VectorPool,
    both: Both,
}

/// MSI-X is behind MSI.
const MSIX_AT: u16 = 0xa0;

fn both(messages: u8, entries: u16) -> Senders {
    let msix = pinion::pci::capability::Msix {
        offset: MSIX_AT,
        vectors: entries,
        table_bar: 0,
        table_offset: 0x2000,
        pending_bar: 0,
        pending_offset: 0x3000,
    };
    Senders {
        capability: Some(msi(true, true, messages)),
        table: Some(MessageTable::new(FUNCTION, msix)),
    }
}

impl Rig {
    fn new(both: Both) -> Self {
        let mut space = Space::new();
        // It decodes memory.
        space.bytes[4] = 2;
        Self {
            space,
            words: Words::new(40),
            pool: VectorPool::new(PhbId::new(2), (0x1000, 64), |source| source == 0x1000).unwrap(),
            both,
        }
    }

    fn sound() -> Self {
        Self::new(Both::new(None, false))
    }

    fn lease(&mut self, senders: Senders) -> Result<Option<Lease>, LeaseError<&'static str>> {
        Lease::new(senders, PE, &self.both, &mut self.pool)
    }

    fn set(
        &mut self,
        lease: &Lease,
        asked: (MessageKind, u16, bool),
    ) -> Result<(), LeaseError<&'static str>> {
        let mut registers = Registers::new(&mut self.space, FUNCTION);
        lease.set(asked, &mut registers, &mut self.words, &self.both)
    }

    fn silence(&mut self, lease: &Lease) -> Result<(), MessageError> {
        lease.silence(&mut Registers::new(&mut self.space, FUNCTION))
    }

    fn is_silent(&self) -> bool {
        self.space.get16(CONTROL) & 1 == 0 && self.space.get16(MSIX_AT + 2) & 0x8000 == 0
    }

    fn is_back(&self) -> bool {
        self.both.owner.borrow().is_empty() && self.pool.free() == FREE
    }
}

#[test]
fn a_lease_has_as_many_vectors_as_the_function_can_use() {
    // MSI, entries of the table; vectors, most by each way.
    for (messages, entries, vectors, most) in [
        (1, 5, 8, [1, 5]),
        (16, 3, 16, [16, 3]),
        (1, 65, 32, [1, 32]),
        (1, 1, 1, [1, 1]),
    ] {
        let mut rig = Rig::sound();
        let lease = rig.lease(both(messages, entries)).unwrap().unwrap();
        assert_eq!(lease.vectors().count(), vectors);
        assert_eq!([lease.most(Msi), lease.most(Msix)], most);
        assert_eq!(rig.both.owner.borrow().len(), usize::from(vectors));
        assert!(rig.both.owner.borrow().values().all(|pe| *pe == PE.get()));
        assert_eq!(rig.pool.held_by(PE), vectors);
        lease.end(&rig.both, &mut rig.pool).unwrap();
        assert!(rig.is_back());
    }
    let mut rig = Rig::sound();
    let nothing = Senders {
        capability: None,
        table: None,
    };
    assert!(rig.lease(nothing).unwrap().is_none());
    assert!(rig.both.log.borrow().is_empty());
}

#[test]
fn fewer_vectors_are_better_than_none() {
    let mut rig = Rig::sound();
    // 63 are free, and side by side 32, 16, 8 and so on.
    let held = [32, 16, 8, 4, 2, 1].map(|count| {
        let lease = rig.lease(both(1, 40)).unwrap().unwrap();
        assert_eq!(lease.vectors().count(), count);
        lease
    });
    let none = rig.lease(both(1, 40)).unwrap_err();
    assert!(matches!(none, LeaseError::Vectors(_)), "{none}");
    for lease in held {
        lease.end(&rig.both, &mut rig.pool).unwrap();
    }
    assert!(rig.is_back());
}

#[test]
fn a_function_sends_by_one_way_at_a_time() {
    let mut rig = Rig::sound();
    let lease = rig.lease(both(4, 5)).unwrap().unwrap();
    let first = u32::from(lease.vectors().number(0).unwrap());
    rig.set(&lease, (Msix, 3, true)).unwrap();
    assert_eq!(rig.space.get16(MSIX_AT + 2), 0x8000, "on, not masked");
    for index in 0..3 {
        let entry = rig.words.entry(index);
        assert_eq!(entry, [0, 0x1000_0000, first + index as u32, 0]);
    }
    assert_eq!(rig.words.entry(3)[3] & 1, 1, "others are masked");
    rig.set(&lease, (Msi, 4, true)).unwrap();
    assert_eq!(rig.space.get16(MSIX_AT + 2) & 0x8000, 0);
    assert_eq!(rig.space.get16(CONTROL) & 0x71, 0x21);
    assert_eq!(rig.space.get32(AT + 8), 0x1000_0000);
    assert_eq!(u32::from(rig.space.get16(AT + 12)), first);
    assert_eq!(rig.space.get32(AT + 16) & 0xf, 0, "not masked");
    rig.set(&lease, (Msix, 5, false)).unwrap();
    assert_eq!(rig.space.get16(CONTROL) & 1, 0);
    assert_eq!(rig.words.entry(4)[..2], [0xffff_0000, 0]);
    rig.silence(&lease).unwrap();
    assert!(rig.is_silent());
    lease.end(&rig.both, &mut rig.pool).unwrap();
    assert!(rig.is_back());
}

#[test]
fn what_is_not_possible_leaves_the_function_silent() {
    let mut rig = Rig::sound();
    let lease = rig.lease(both(4, 5)).unwrap().unwrap();
    for asked in [(Msi, 5), (Msi, 8), (Msix, 6), (Msix, 0), (Msix, u16::MAX)] {
        rig.set(&lease, (Msix, 1, true)).unwrap();
        let refused = rig.set(&lease, (asked.0, asked.1, true));
        assert!(refused.is_err(), "{asked:?}");
        assert!(rig.is_silent(), "{asked:?}");
    }
    // Its table would read as all ones, and freeze its PE.
    rig.words.log.clear();
    rig.space.bytes[4] = 4;
    let dark = rig.set(&lease, (Msix, 1, true));
    assert_eq!(dark, Err(LeaseError::Dark));
    assert!(rig.words.log.is_empty() && rig.is_silent());
    rig.set(&lease, (Msi, 1, true)).unwrap();
    rig.space.bytes[4] = 2;
    rig.words.stuck = Some(0x14);
    assert!(matches!(
        rig.set(&lease, (Msix, 2, true)),
        Err(LeaseError::Function(_))
    ));
    assert!(rig.is_silent());
    lease.end(&rig.both, &mut rig.pool).unwrap();
}

#[test]
fn a_phb_that_refuses_keeps_the_vectors_from_others() {
    for refused in 0..8 {
        let mut rig = Rig::new(Both::new(Some(refused), false));
        assert!(rig.lease(both(1, 5)).is_err());
        assert!(rig.is_back(), "call {refused}");
    }
    let mut rig = Rig::new(Both::new(Some(2), true));
    assert!(rig.lease(both(1, 5)).is_err());
    assert_eq!(rig.pool.free(), FREE - 8, "nobody's, and not handed out");
    let mut rig = Rig::sound();
    let lease = rig.lease(both(1, 5)).unwrap().unwrap();
    rig.both.refuse_at.set(Some(3));
    let (error, lease) = lease.end(&rig.both, &mut rig.pool).unwrap_err();
    assert!(matches!(error, LeaseError::Port { .. }), "{error}");
    assert_eq!(rig.pool.held_by(PE), 8);
    lease.end(&rig.both, &mut rig.pool).unwrap();
    assert!(rig.is_back());
}

#[test]
fn a_function_that_is_gone_gives_its_vectors_back() {
    let mut rig = Rig::sound();
    let lease = rig.lease(both(4, 5)).unwrap().unwrap();
    rig.space.bytes = [0xff; 256];
    rig.space.writes_left = 0;
    assert!(rig.set(&lease, (Msix, 1, true)).is_err());
    assert!(rig.silence(&lease).is_err());
    lease.end(&rig.both, &mut rig.pool).unwrap();
    assert!(rig.is_back());
}
