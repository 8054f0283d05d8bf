//! How functions are told to send messages, against registers that keep, lose or
//! refuse what is written.

use pinion::pci::capability::{Msi, Msix};
use pinion::pci::msi::{
    ENTRY, Message, MessageCapability, MessageError, MessagePort, MessageTable, Sender,
    SourceControl, VectorPool, VectorTable, WireError, Wiring, set_pin,
};
use pinion::pci::{Bdfn, ConfigAccess, ConfigError, FunctionId, PeNumber, PhbId, Registers};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

const AT: u16 = 0x70;
const CONTROL: u16 = AT + 2;
const FUNCTION: FunctionId = FunctionId::new(PhbId::new(2), Bdfn::from_rid(0x100));
const MESSAGE: Message = Message {
    address: 0x1000_0000_0000_0120,
    data: 0x10,
};

/// Configuration space whose registers keep everything but `stuck` bits.
struct Space {
    bytes: [u8; 256],
    /// Offset of a byte and its bits that cannot be changed.
    stuck: Option<(u16, u8)>,
    /// Refuses all accesses after so many writes.
    writes_left: usize,
    log: Vec<(u16, u32)>,
}

impl Space {
    fn new() -> Self {
        Self {
            bytes: [0; 256],
            stuck: None,
            writes_left: usize::MAX,
            log: Vec::new(),
        }
    }

    fn get16(&self, at: u16) -> u16 {
        u16::from_le_bytes([self.bytes[usize::from(at)], self.bytes[usize::from(at) + 1]])
    }

    fn get32(&self, at: u16) -> u32 {
        u32::from(self.get16(at)) | u32::from(self.get16(at + 2)) << 16
    }

    fn read(&self, offset: u16, size: usize) -> u32 {
        (0..size).fold(0, |value, index| {
            value | u32::from(self.bytes[usize::from(offset) + index]) << (8 * index)
        })
    }

    fn write(&mut self, offset: u16, size: usize, value: u32) -> Result<(), ConfigError> {
        self.writes_left = self
            .writes_left
            .checked_sub(1)
            .ok_or(ConfigError::Refused {
                function: FUNCTION,
                offset,
                status: -6,
            })?;
        self.log.push((offset, value));
        for index in 0..size {
            let at = usize::from(offset) + index;
            let kept = match self.stuck {
                Some((stuck, bits)) if usize::from(stuck) == at => bits,
                _ => 0,
            };
            let byte = (value >> (8 * index)) as u8;
            self.bytes[at] = self.bytes[at] & kept | byte & !kept;
        }
        Ok(())
    }
}

impl ConfigAccess for Space {
    fn read8(&mut self, _: FunctionId, offset: u16) -> Result<u8, ConfigError> {
        Ok(self.read(offset, 1) as u8)
    }
    fn read16(&mut self, _: FunctionId, offset: u16) -> Result<u16, ConfigError> {
        Ok(self.read(offset, 2) as u16)
    }
    fn read32(&mut self, _: FunctionId, offset: u16) -> Result<u32, ConfigError> {
        Ok(self.read(offset, 4))
    }
    fn write8(&mut self, _: FunctionId, offset: u16, value: u8) -> Result<(), ConfigError> {
        self.write(offset, 1, value.into())
    }
    fn write16(&mut self, _: FunctionId, offset: u16, value: u16) -> Result<(), ConfigError> {
        self.write(offset, 2, value.into())
    }
    fn write32(&mut self, _: FunctionId, offset: u16, value: u32) -> Result<(), ConfigError> {
        self.write(offset, 4, value)
    }
    fn pause(&mut self, _: u32) {}
}

fn msi(wide: bool, maskable: bool, vectors: u8) -> MessageCapability {
    let msi = Msi {
        offset: AT,
        vectors,
        wide,
        maskable,
    };
    MessageCapability::new(msi).unwrap()
}

#[test]
fn messages_of_all_layouts_are_written_where_they_belong() {
    for (wide, maskable) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut space = Space::new();
        let message = Message {
            address: if wide { MESSAGE.address } else { 0xffff_0120 },
            ..MESSAGE
        };
        let capability = msi(wide, maskable, 8);
        let mut registers = Registers::new(&mut space, FUNCTION);
        capability.enable(&mut registers, message, 4).unwrap();
        let data = if wide { AT + 12 } else { AT + 8 };
        assert_eq!(space.get32(AT + 4), message.address as u32);
        if wide {
            assert_eq!(space.get32(AT + 8), 0x1000_0000);
        }
        assert_eq!(space.get16(data), 0x10);
        assert_eq!(space.get16(CONTROL), 2 << 4 | 1);
        // Enabled last, when all else was there.
        let last = *space.log.last().unwrap();
        assert_eq!(last, (CONTROL, 2 << 4 | 1));
        let masks = data + 4;
        if maskable {
            assert_eq!(space.get32(masks) & 0xf, 0xf);
            let mut registers = Registers::new(&mut space, FUNCTION);
            capability.set_masked(&mut registers, 4, false).unwrap();
            assert_eq!(space.get32(masks) & 0xf, 0);
        }
        let mut registers = Registers::new(&mut space, FUNCTION);
        capability.disable(&mut registers).unwrap();
        assert_eq!((space.get16(CONTROL), space.get32(AT + 4)), (0, 0));
        assert_eq!(space.get16(data), 0);
        if maskable {
            assert_eq!(space.get32(masks) & 0xff, 0xff);
        }
    }
}

#[test]
fn what_msi_cannot_do_is_refused_before_a_write() {
    let narrow = msi(false, false, 4);
    let high = MESSAGE.address;
    let at = |address, data| Message { address, data };
    let cases = [
        (
            at(high, 0),
            1,
            MessageError::Address {
                function: FUNCTION,
                address: high,
            },
        ),
        (
            at(0xffff_0002, 0),
            1,
            MessageError::Address {
                function: FUNCTION,
                address: 0xffff_0002,
            },
        ),
        (
            at(0xffff_0000, 2),
            4,
            MessageError::Data {
                function: FUNCTION,
                data: 2,
                count: 4,
            },
        ),
        (
            at(0xffff_0000, 1 << 16),
            1,
            MessageError::Data {
                function: FUNCTION,
                data: 1 << 16,
                count: 1,
            },
        ),
        (
            at(0xffff_0000, 0),
            8,
            MessageError::Vector {
                function: FUNCTION,
                vector: 8,
                vectors: 4,
            },
        ),
        (
            at(0xffff_0000, 0),
            3,
            MessageError::Vector {
                function: FUNCTION,
                vector: 3,
                vectors: 4,
            },
        ),
        (
            at(0xffff_0000, 0),
            0,
            MessageError::Vector {
                function: FUNCTION,
                vector: 0,
                vectors: 4,
            },
        ),
    ];
    for (message, count, error) in cases {
        let mut space = Space::new();
        let mut registers = Registers::new(&mut space, FUNCTION);
        assert_eq!(narrow.enable(&mut registers, message, count), Err(error));
        assert_eq!(space.log, []);
    }
    let beyond = |offset, wide, maskable| {
        MessageCapability::new(Msi {
            offset,
            vectors: 1,
            wide,
            maskable,
        })
    };
    assert!(beyond(0xf4, false, false).is_some());
    assert!(beyond(0xf4, true, false).is_none());
    assert!(beyond(0xe8, true, true).is_some());
    assert!(beyond(0xec, true, true).is_none());
}

#[test]
fn registers_that_do_not_keep_a_message_leave_it_off() {
    // Address low and high, data, a mask bit.
    for stuck in [
        (AT + 5, 0x01),
        (AT + 11, 0x10),
        (AT + 12, 0x10),
        (AT + 16, 0x02),
    ] {
        let mut space = Space::new();
        space.stuck = Some(stuck);
        let mut registers = Registers::new(&mut space, FUNCTION);
        let error = msi(true, true, 8).enable(&mut registers, MESSAGE, 2);
        assert!(
            matches!(error, Err(MessageError::Stuck { .. })),
            "{error:?}"
        );
        assert_eq!(space.get16(CONTROL) & 1, 0);
    }
    // Firmware refuses in the middle, wherever that is.
    for writes_left in 0..6 {
        let mut space = Space::new();
        space.writes_left = writes_left;
        let mut registers = Registers::new(&mut space, FUNCTION);
        let error = msi(true, false, 8).enable(&mut registers, MESSAGE, 2);
        assert_eq!(error.is_err(), writes_left < 5, "{writes_left}");
        assert_eq!(space.get16(CONTROL) & 1, u16::from(writes_left >= 5));
    }
}

#[test]
fn the_pin_is_one_bit_of_the_command_register() {
    let mut space = Space::new();
    space.bytes[4] = 0x06;
    set_pin(&mut Registers::new(&mut space, FUNCTION), false).unwrap();
    assert_eq!(space.get16(4), 0x406);
    set_pin(&mut Registers::new(&mut space, FUNCTION), true).unwrap();
    assert_eq!(space.get16(4), 0x006);
    space.stuck = Some((5, 4));
    let error = set_pin(&mut Registers::new(&mut space, FUNCTION), false);
    assert!(matches!(error, Err(MessageError::Stuck { offset: 4, .. })));
}

/// A table whose words keep what is written but for one.
struct Words {
    words: Vec<u32>,
    stuck: Option<u32>,
    log: Vec<(u32, u32)>,
}

impl Words {
    fn new(vectors: u32) -> Self {
        Self {
            // As after power-on: whatever, and not masked.
            words: vec![0xdead_beee; (vectors * ENTRY / 4) as usize],
            stuck: None,
            log: Vec::new(),
        }
    }

    fn entry(&self, vector: usize) -> [u32; 4] {
        self.words[vector * 4..][..4].try_into().unwrap()
    }
}

impl VectorTable for Words {
    fn read32(&mut self, offset: u32) -> u32 {
        self.words[(offset / 4) as usize]
    }
    fn write32(&mut self, offset: u32, value: u32) {
        self.log.push((offset, value));
        if self.stuck != Some(offset) {
            self.words[(offset / 4) as usize] = value;
        }
    }
}

fn msix(vectors: u16) -> MessageTable {
    let msix = Msix {
        offset: AT,
        vectors,
        table_bar: 0,
        table_offset: 0x2000,
        pending_bar: 0,
        pending_offset: 0x3000,
    };
    MessageTable::new(FUNCTION, msix)
}

#[test]
fn a_message_of_the_table_from_its_first_to_its_last() {
    let (mut space, mut words, table) = (Space::new(), Words::new(3), msix(3));
    table
        .enable(&mut Registers::new(&mut space, FUNCTION), &mut words)
        .unwrap();
    assert_eq!(space.get16(CONTROL), 0xc000);
    assert!((0..3).all(|vector| words.entry(vector)[3] & 1 == 1));
    words.log.clear();
    table.set(&mut words, 1, MESSAGE).unwrap();
    assert_eq!(words.entry(1)[..3], [0x120, 0x1000_0000, 0x10]);
    // It is masked before anything of it changes, and stays so.
    assert_eq!(words.log[0], (0x1c, 1));
    assert_eq!(words.entry(1)[3], 1);
    table.set_masked(&mut words, 1, false).unwrap();
    table
        .open(&mut Registers::new(&mut space, FUNCTION))
        .unwrap();
    assert_eq!(space.get16(CONTROL), 0x8000);
    let masked = |words: &Words| [0, 1, 2].map(|vector| words.entry(vector)[3]);
    assert_eq!(masked(&words), [1, 0, 1]);

    space.log.clear();
    table
        .disable(&mut Registers::new(&mut space, FUNCTION), &mut words)
        .unwrap();
    assert_eq!(space.log, [(CONTROL, 0xc000), (CONTROL, 0x4000)]);
    for vector in 0..3 {
        assert_eq!(words.entry(vector), [0, 0, 0, 1]);
    }
}

#[test]
fn a_table_that_does_not_keep_a_message_is_told() {
    let table = msix(2);
    for stuck in [0x10, 0x14, 0x18] {
        let mut words = Words::new(2);
        words.stuck = Some(stuck);
        let error = table.set(&mut words, 1, MESSAGE).unwrap_err();
        assert!(
            matches!(error, MessageError::Stuck { offset, .. } if offset == stuck),
            "{error}"
        );
    }
    // An entry that cannot be masked: MSI-X is not left on.
    let (mut space, mut words) = (Space::new(), Words::new(2));
    words.stuck = Some(0x1c);
    let mut registers = Registers::new(&mut space, FUNCTION);
    assert!(table.enable(&mut registers, &mut words).is_err());
    assert_eq!(space.get16(CONTROL), 0x4000);
    // And what cannot be is not tried.
    let mut words = Words::new(2);
    let odd = Message {
        address: 0x1002,
        data: 0,
    };
    assert!(matches!(
        table.set(&mut words, 0, odd),
        Err(MessageError::Address {
            address: 0x1002,
            ..
        })
    ));
    for vector in [2, u16::MAX] {
        assert!(matches!(
            table.set(&mut words, vector, MESSAGE),
            Err(MessageError::Vector { vectors: 2, .. })
        ));
        assert!(table.set_masked(&mut words, vector, false).is_err());
    }
    assert_eq!(words.log, []);
}

#[test]
fn a_failure_does_not_keep_the_rest_from_being_turned_off() {
    let (mut space, mut words, table) = (Space::new(), Words::new(3), msix(3));
    space.bytes[usize::from(CONTROL) + 1] = 0x80;
    words.stuck = Some(0x0c);
    let mut registers = Registers::new(&mut space, FUNCTION);
    assert!(table.disable(&mut registers, &mut words).is_err());
    assert_eq!(space.get16(CONTROL), 0x4000);
    assert_eq!(words.entry(1), [0, 0, 0, 1]);
    assert_eq!(words.entry(2), [0, 0, 0, 1]);
}

/// PHB and controller, which keep what they are told and refuse at one point.
struct Both {
    log: RefCell<Vec<String>>,
    /// Calls until one is refused; once, or from then on.
    refuse_at: Cell<Option<usize>>,
    for_ever: bool,
    owner: RefCell<BTreeMap<u16, u16>>,
    on: RefCell<BTreeMap<u32, bool>>,
}

impl Both {
    fn new(refuse_at: Option<usize>, for_ever: bool) -> Self {
        Self {
            log: RefCell::default(),
            refuse_at: Cell::new(refuse_at),
            for_ever,
            owner: RefCell::default(),
            on: RefCell::default(),
        }
    }

    fn asked(&self, what: String) -> Result<(), &'static str> {
        self.log.borrow_mut().push(what);
        match self.refuse_at.get() {
            Some(0) => {
                if !self.for_ever {
                    self.refuse_at.set(None);
                }
                Err("refused")
            }
            Some(left) => {
                self.refuse_at.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl MessagePort for Both {
    type Error = &'static str;
    fn give(&self, vector: u16, pe: PeNumber) -> Result<(), Self::Error> {
        self.asked(format!("give {vector} to {}", pe.get()))?;
        self.owner.borrow_mut().insert(vector, pe.get());
        Ok(())
    }
    fn take_back(&self, vector: u16) -> Result<(), Self::Error> {
        self.asked(format!("take {vector}"))?;
        self.owner.borrow_mut().remove(&vector);
        Ok(())
    }
    fn message(&self, vector: u16, _: PeNumber, wide: bool) -> Result<Message, Self::Error> {
        self.asked(format!("message {vector}"))?;
        let low = u64::from(vector) << 4 & !0x1f0;
        Ok(Message {
            address: if wide {
                1 << 60 | low
            } else {
                0xffff_0000 | low
            },
            data: u32::from(vector) & 0x1f,
        })
    }
}

impl SourceControl for Both {
    type Error = &'static str;
    fn register(&self, index: u16, source: u32) -> Result<(), Self::Error> {
        self.asked(format!("register {index} as {source:#x}"))?;
        assert_eq!(self.on.borrow_mut().insert(source, false), None);
        Ok(())
    }
    fn unmask(&self, source: u32) -> Result<(), Self::Error> {
        self.asked(format!("unmask {source:#x}"))?;
        *self.on.borrow_mut().get_mut(&source).unwrap() = true;
        Ok(())
    }
    fn mask(&self, source: u32) -> Result<(), Self::Error> {
        self.asked(format!("mask {source:#x}"))?;
        *self.on.borrow_mut().get_mut(&source).unwrap() = false;
        Ok(())
    }
    fn unregister(&self, source: u32) -> Result<(), Self::Error> {
        self.asked(format!("unregister {source:#x}"))?;
        assert!(self.on.borrow_mut().remove(&source).is_some());
        Ok(())
    }
}

const PE: PeNumber = PeNumber::new(5);

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
