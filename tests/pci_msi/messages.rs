//! What is written where, and what does not stay.

use crate::*;

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
