//! Messages of a function, as its partition asks for them.

use pinion::papr::messages::{Limits, Messages, Sender, Sent};
use pinion::papr::xive::{Lisn, Refused};
use pinion::pci::msi::MessageKind::{self, Msi, Msix};
use pinion::sim::Rng;

const WRONG: i32 = -3;
const FAILED: i32 = -1;

/// A function that remembers what it was told.
#[derive(Default)]
pub struct Told {
    /// Kind, count, wide; `None`: silence.
    pub sent: Vec<Option<(MessageKind, u16, bool)>>,
    refuses: bool,
}

impl Told {
    fn tell(&mut self, what: Option<(MessageKind, u16, bool)>) -> Result<(), Refused> {
        self.sent.push(what);
        if self.refuses { Err(Refused) } else { Ok(()) }
    }
}

impl Sender for Told {
    fn set(&mut self, kind: MessageKind, count: u16, wide: bool) -> Result<(), Refused> {
        self.tell(Some((kind, count, wide)))
    }
    fn silence(&mut self) -> Result<(), Refused> {
        self.tell(None)
    }
}

fn with(msi: u16, msix: u16) -> Messages {
    let sources = (64..64 + u32::from(msi.max(msix))).map(Lisn::new);
    Messages::new(Limits { msi, msix }, sources.collect())
}

/// Four by MSI, or six by MSI-X.
pub fn messages() -> Messages {
    with(4, 6)
}

fn sent(kind: MessageKind, count: u16) -> Result<Sent, i32> {
    Ok(Sent { count, kind })
}

#[test]
fn each_function_of_the_call_does_its_own() {
    let (messages, mut told) = (messages(), Told::default());
    let mut change = |function, count| messages.change(function, count, &mut told);
    assert_eq!(change(0, 5), sent(Msi, 0));
    assert_eq!(change(1, 2), sent(Msi, 2));
    assert_eq!(change(3, 4), sent(Msi, 4));
    assert_eq!(change(4, 5), sent(Msix, 5));
    assert_eq!(change(0, 1), sent(Msix, 5));
    assert_eq!(change(5, 1), sent(Msi, 1));
    assert_eq!(change(6, 6), sent(Msix, 6));
    assert_eq!(change(2, 6), sent(Msi, 0));
    assert_eq!(change(4, 1), sent(Msix, 1));
    assert_eq!(change(3, 0), sent(Msi, 0));
    let expected = [
        Some((Msi, 2, true)),
        Some((Msi, 4, true)),
        Some((Msix, 5, true)),
        Some((Msi, 1, false)),
        Some((Msix, 6, false)),
        None,
        Some((Msix, 1, true)),
        None,
    ];
    assert_eq!(told.sent, expected);
}

#[test]
fn as_many_as_there_are_and_as_msi_can_count() {
    let (messages, mut told) = (messages(), Told::default());
    for (function, wanted, count, kind) in [
        (3, 3, 2, Msi),
        (3, 5, 4, Msi),
        (3, u32::MAX, 4, Msi),
        (4, 7, 6, Msix),
        (4, 0x1_0001, 6, Msix),
        (4, u32::MAX, 6, Msix),
    ] {
        assert_eq!(
            messages.change(function, wanted, &mut told),
            sent(kind, count)
        );
        let last = messages.source(u32::from(count) - 1).unwrap();
        assert_eq!(last.get(), 63 + u32::from(count));
        for index in [u32::from(count), 0x1_0000, u32::MAX] {
            assert_eq!(messages.source(index), None);
        }
    }
}

#[test]
fn what_the_function_has_not_is_refused() {
    for (only, other, way) in [(with(2, 0), 4, Msi), (with(0, 2), 3, Msix)] {
        let mut told = Told::default();
        assert_eq!(only.change(other, 1, &mut told), Err(WRONG));
        assert_eq!(only.change(other + 2, 1, &mut told), Err(WRONG));
        for function in [7, 8, 1 << 31, u32::MAX] {
            assert_eq!(only.change(function, 1, &mut told), Err(WRONG));
        }
        assert!(told.sent.is_empty());
        assert_eq!(only.change(1, 2, &mut told), sent(way, 2));
        // Linux ends whatever there is as MSI.
        assert!(only.change(3, 0, &mut told).is_ok());
        assert_eq!(told.sent.last(), Some(&None));
        assert_eq!(only.source(0), None);
    }
}

#[test]
fn a_function_that_refuses_sends_nothing() {
    let messages = messages();
    let mut told = Told::default();
    assert_eq!(messages.change(4, 2, &mut told), sent(Msix, 2));
    told.refuses = true;
    for (function, count) in [(4, 3), (3, 1), (3, 0), (2, 0)] {
        assert_eq!(messages.change(function, count, &mut told), Err(FAILED));
        assert_eq!(messages.now().count, 0);
        assert_eq!(messages.source(0), None);
    }
}

#[test]
fn whatever_is_asked_for_no_other_source_is_told() {
    let mut rng = Rng::new(7);
    for (msi, msix) in [(0, 1), (1, 0), (4, 6), (32, 5), (1, 32)] {
        let (messages, mut told) = (with(msi, msix), Told::default());
        for _ in 0..20_000 {
            let number = |rng: &mut Rng| (rng.number() >> rng.below(64)) as u32;
            let (function, count, index) = (number(&mut rng), number(&mut rng), number(&mut rng));
            let function = if rng.one_in(4) {
                function
            } else {
                function & 7
            };
            told.refuses = rng.one_in(8);
            if let Ok(Sent { count, kind }) = messages.change(function, count, &mut told) {
                assert!(count <= messages.limits().of(kind));
                assert_eq!(messages.now(), Sent { count, kind });
            }
            let source = messages.source(index).map(Lisn::get);
            let is_sent = index < messages.now().count.into();
            assert_eq!(source, is_sent.then(|| 64 + index));
        }
        for (kind, count, _) in told.sent.into_iter().flatten() {
            assert!((1..=messages.limits().of(kind)).contains(&count));
            assert!(kind == Msix || count.is_power_of_two());
        }
    }
}
