//! The NVMe and edu drivers against their models.
use pinion::addr::BusAddr;
use pinion::drivers::edu::{Direction, Edu, EduError};
use pinion::drivers::nvme::{
    Command, Completion, Controller, ExerciseError, IN_FLIGHT, MEMORY_SIZE, NvmeError, Opcode,
    Signal, is_refused,
};
use pinion::drivers::{DmaMemory, RegisterAccess};
use pinion::sim::edu::SimEdu;
use pinion::sim::nvme::{BusMemory, Faults, SimDma, SimNvme};

const QUEUES: u64 = 0x1_0000;
const DATA: u64 = 0x2_0000_0000;

fn drive(
    change: impl FnOnce(&mut SimNvme),
) -> (BusMemory, Result<Controller<SimNvme, SimDma>, NvmeError>) {
    let bus = BusMemory::default();
    let memory = bus.map(QUEUES, (MEMORY_SIZE / 4096) as u64, true);
    let mut model = SimNvme::new(bus.clone());
    change(&mut model);
    (bus, Controller::new(model, memory, Signal::Polled))
}

fn healthy() -> (BusMemory, Controller<SimNvme, SimDma>) {
    let (bus, controller) = drive(|_| {});
    (bus, controller.expect("a healthy drive"))
}

#[test]
fn entries_have_the_layout_of_the_specification() {
    let command = Command::transfer(
        Opcode::Write,
        1,
        0x1_2345_6789,
        8,
        [BusAddr::new(DATA), BusAddr::new(DATA + 4096)],
    );
    let entry = command.encode(0xabcd);
    assert_eq!(entry[..8], [1, 0, 0xcd, 0xab, 1, 0, 0, 0]);
    assert_eq!(
        entry[24..40],
        [0, 0, 0, 0, 2, 0, 0, 0, 0, 0x10, 0, 0, 2, 0, 0, 0]
    );
    assert_eq!(
        entry[40..52],
        [0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0, 7, 0, 0, 0]
    );
    let queue = Command::create_completion_queue(1, 16, BusAddr::new(0x3000), Some(5)).encode(0);
    assert_eq!(queue[40..48], [1, 0, 15, 0, 3, 0, 5, 0]);
    let completion =
        Completion::decode(&[1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 0xcd, 0xab, 0x03, 0x05]);
    assert_eq!(
        (
            completion.id,
            completion.head,
            completion.queue,
            completion.phase
        ),
        (0xabcd, 3, 1, true)
    );
    assert_eq!((completion.kind(), completion.code()), (2, 0x81));
}

#[test]
fn a_drive_says_what_it_is() {
    let (_, controller) = healthy();
    let identity = controller.identity();
    assert_eq!(
        (identity.vendor, identity.blocks, identity.block_size),
        (0x1b36, 256, 512)
    );
    assert!(identity.model.starts_with(b"Pinion model drive"));
}

#[test]
fn a_pattern_comes_back_through_many_rounds_of_the_queue() {
    let (bus, mut controller) = healthy();
    let mut data = bus.map(DATA, 2, true);
    // Far more commands than entries: the phase bit turns several times.
    for round in 0..50u8 {
        let pattern: Vec<u8> = (0..1024).map(|n| round ^ n as u8).collect();
        assert!(data.write(3584, &pattern));
        controller
            .transfer(
                Opcode::Write,
                u64::from(round),
                2,
                BusAddr::new(DATA + 3584),
            )
            .expect("write");
        assert!(data.write(3584, &[0xee; 1024]));
        controller
            .transfer(Opcode::Read, u64::from(round), 2, BusAddr::new(DATA + 3584))
            .expect("read");
        let mut back = vec![0; 1024];
        assert!(data.read(3584, &mut back));
        assert_eq!(back, pattern);
    }
    controller.flush().expect("flush");
    let (_, _, outcome) = controller.shut_down();
    assert_eq!(outcome, Ok(()));
}

#[test]
fn an_unmapped_buffer_stays_untouched_though_the_drive_says_success() {
    let (bus, mut controller) = healthy();
    let mut data = bus.map(DATA, 1, true);
    assert!(data.write(0, &[0x55; 512]));
    controller
        .transfer(Opcode::Write, 0, 1, BusAddr::new(DATA))
        .expect("write");
    assert!(data.write(0, &[0xaa; 512]));
    bus.unmap(DATA);
    assert_eq!(
        controller.transfer(Opcode::Read, 0, 1, BusAddr::new(DATA)),
        Ok(())
    );
    let mut after = [0; 512];
    assert!(data.read(0, &mut after));
    assert_eq!(after, [0xaa; 512]);
}

#[test]
fn as_many_commands_as_a_queue_holds_are_under_way_at_once() {
    let (bus, mut controller) = healthy();
    let data = bus.map(DATA, u64::from(IN_FLIGHT), true);
    let page = |at: u16| BusAddr::new(DATA + u64::from(at) * 4096);
    // Twice, so that the queue comes round.
    for _ in 0..2 {
        for at in 0..IN_FLIGHT {
            let begun = controller.begin(Opcode::Write, u64::from(at), 1, page(at));
            assert_eq!(begun, Ok(()));
        }
        let more = controller.begin(Opcode::Read, 0, 1, page(0));
        assert_eq!(more, Err(NvmeError::Full));
        assert_eq!(controller.ended(), 0);
    }
    assert_eq!(data.bus(), page(0));
    let beyond = controller.begin(Opcode::Read, u64::MAX, 1, page(0));
    assert!(matches!(beyond, Err(NvmeError::Range { .. })));
}

#[test]
fn a_drive_is_refused_queues_that_are_not_mapped_and_fetches_from_those_that_are() {
    let (bus, controller) = healthy();
    let (mut registers, ..) = controller.shut_down();
    let queues = [0, 0x1000].map(|offset| BusAddr::new(QUEUES + offset));
    assert_eq!(is_refused(&mut registers, queues), Ok(false));
    bus.unmap(QUEUES);
    assert_eq!(is_refused(&mut registers, queues), Ok(true));
    // Off again both times.
    assert_eq!((registers.read32(0x14), registers.read32(0x1c)), (0, 0));
}

#[test]
fn an_unmapped_queue_is_fatal() {
    let (bus, mut controller) = healthy();
    bus.unmap(QUEUES + 0x2000);
    let outcome = controller.transfer(Opcode::Read, 0, 1, BusAddr::new(DATA));
    assert_eq!(outcome, Err(NvmeError::Fatal { status: 3 }));
    // It is disabled all the same.
    let (mut registers, _, outcome) = controller.shut_down();
    assert!(matches!(outcome, Err(NvmeError::Fatal { .. })));
    assert_eq!((registers.read32(0x14), registers.read32(0x1c)), (0, 0));
}

#[test]
fn misbehaviour_is_named_in_bounded_time() {
    let fails = |faults: Faults| match drive(|it| it.faults = faults).1 {
        Ok(_) => panic!("{faults:?} went unnoticed"),
        Err(error) => error,
    };
    assert_eq!(
        fails(Faults {
            gone: true,
            ..Default::default()
        }),
        NvmeError::Gone
    );
    assert_eq!(
        fails(Faults {
            never_ready: true,
            ..Default::default()
        }),
        NvmeError::Timeout {
            what: "ready",
            milliseconds: 2000,
            status: 0
        }
    );
    assert_eq!(
        fails(Faults {
            silent: true,
            ..Default::default()
        }),
        NvmeError::Timeout {
            what: "completion",
            milliseconds: 5000,
            status: 1
        }
    );
    assert!(matches!(
        fails(Faults {
            stray: true,
            ..Default::default()
        }),
        NvmeError::Stray {
            got: 0x80,
            expected: 0,
            ..
        }
    ));
    let (_, controller) = drive(|it| it.faults.status = 0x281);
    let outcome =
        controller
            .expect("identify works")
            .transfer(Opcode::Read, 0, 1, BusAddr::new(DATA));
    assert_eq!(
        outcome,
        Err(NvmeError::Failed {
            opcode: Opcode::Read,
            kind: 2,
            code: 0x81
        })
    );
    for (capabilities, expected) in [
        (1u64 << 37 | 7, "queues of that depth"),
        (0xff, "NVM command set"),
        (1 << 48 | 1 << 37 | 0xff, "4 KB pages"),
    ] {
        let error = drive(|it| it.capabilities = capabilities).1.err();
        assert_eq!(
            error,
            Some(NvmeError::Unable {
                what: expected,
                capabilities
            })
        );
    }
    let bus = BusMemory::default();
    let small = Controller::new(
        SimNvme::new(bus.clone()),
        bus.map(QUEUES, 4, true),
        Signal::Polled,
    )
    .err();
    assert_eq!(
        small,
        Some(NvmeError::Memory {
            needed: MEMORY_SIZE,
            size: 4 * 4096
        })
    );
}

#[test]
fn transfers_that_are_no_single_command_are_refused() {
    let (_, mut controller) = healthy();
    let cases = [
        (0, 0, DATA),
        (255, 2, DATA),
        (u64::MAX, 2, DATA),
        (0, 17, DATA),
        (0, 16, DATA + 4),
        (0, 1, DATA + 1),
        (0, 2, u64::MAX - 511),
    ];
    for (block, blocks, bus) in cases {
        let bus = BusAddr::new(bus);
        let outcome = controller.transfer(Opcode::Read, block, blocks, bus);
        assert_eq!(outcome, Err(NvmeError::Range { block, blocks, bus }));
    }
    let bus = BusAddr::new(DATA);
    assert!(controller.transfer(Opcode::Identify, 0, 1, bus).is_err());
}

#[test]
fn edu_copies_both_ways_and_a_refusal_shows_in_the_data() {
    let bus = BusMemory::default();
    let mut page = bus.map(DATA, 2, true);
    let read_only = bus.map(DATA + 0x4000, 1, false);
    let mut edu = Edu::new(SimEdu::new(bus.clone())).expect("edu");
    assert!(page.write(4000, &[7; 200]));
    // Across the page boundary and back to the start.
    edu.transfer(
        Direction::FromMemory,
        100,
        BusAddr::new(DATA + 4000),
        200,
        false,
    )
    .expect("in");
    edu.transfer(Direction::ToMemory, 100, BusAddr::new(DATA), 200, false)
        .expect("out");
    let mut back = [0; 200];
    assert!(page.read(0, &mut back));
    assert_eq!(back, [7; 200]);
    edu.transfer(
        Direction::ToMemory,
        100,
        BusAddr::new(DATA + 0x4000),
        200,
        false,
    )
    .expect("done, but refused");
    assert!(read_only.read(0, &mut back));
    assert_eq!(back, [0; 200]);
}

#[test]
fn edu_guards_the_emulator_and_its_own_time() {
    let bus = BusMemory::default();
    let mut edu = Edu::new(SimEdu::new(bus.clone())).expect("edu");
    for (offset, count) in [(0, 0), (0, 4097), (4096, 1), (u64::MAX, 2)] {
        let outcome = edu.transfer(
            Direction::ToMemory,
            offset,
            BusAddr::new(DATA),
            count,
            false,
        );
        assert_eq!(outcome, Err(EduError::Range { offset, count }));
    }
    let mut stuck = SimEdu::new(bus.clone());
    stuck.stuck = true;
    let mut edu = Edu::new(stuck).expect("edu");
    let outcome = edu.transfer(Direction::FromMemory, 0, BusAddr::new(DATA), 4, true);
    assert_eq!(outcome, Err(EduError::Timeout { milliseconds: 2000 }));
    let mut absent = SimNvme::new(bus);
    absent.faults.gone = true;
    assert_eq!(absent.read32(0), u32::MAX);
    assert_eq!(Edu::new(absent).err(), Some(EduError::Identity(u32::MAX)));
}

/// A drive that interrupts, and the one that the driver believes it has.
fn interrupting(
    signal: Signal,
    faults: Faults,
) -> (BusMemory, Result<Controller<SimNvme, SimDma>, NvmeError>) {
    let bus = BusMemory::default();
    let memory = bus.map(QUEUES, (MEMORY_SIZE / 4096) as u64, true);
    let mut model = SimNvme::new(bus.clone());
    (model.signal, model.faults) = (signal, faults);
    (bus, Controller::new(model, memory, signal))
}

#[test]
fn a_command_ends_by_its_interrupt() {
    for signal in [Signal::Pin, Signal::Message, Signal::TableMessage] {
        for eager in [false, true] {
            let faults = Faults {
                eager,
                ..Faults::default()
            };
            let (bus, controller) = interrupting(signal, faults);
            let mut controller = controller.unwrap();
            let data = bus.map(DATA, 1, true);
            for block in 0..40 {
                controller
                    .transfer(Opcode::Write, block, 8, data.bus())
                    .unwrap();
            }
            let (model, _, outcome) = controller.shut_down();
            assert_eq!(outcome, Ok(()));
            // Two of identify, two of the queues, forty writes; no time gone by.
            let wanted = if eager { 88 } else { 44 };
            assert_eq!(model.interrupts, wanted, "{signal:?}");
            assert_eq!(model.paused, 0);
        }
    }
}

#[test]
fn an_interrupt_that_does_not_come_is_an_error() {
    let (_, controller) = interrupting(
        Signal::TableMessage,
        Faults {
            mute: true,
            ..Faults::default()
        },
    );
    let silent = |done| NvmeError::NoInterrupt {
        milliseconds: 5000,
        done,
    };
    assert_eq!(controller.err(), Some(silent(true)));
    let (_, controller) = interrupting(
        Signal::Pin,
        Faults {
            silent: true,
            ..Faults::default()
        },
    );
    assert_eq!(controller.err(), Some(silent(false)));
    assert_eq!(
        silent(false).to_string(),
        "no interrupt within 5000 ms; the command is not done"
    );
    // A queue that is refused is fatal, whatever the signal.
    let (bus, controller) = interrupting(Signal::Message, Faults::default());
    let mut controller = controller.unwrap();
    bus.unmap(QUEUES + 2 * 4096);
    let error = controller.transfer(Opcode::Read, 0, 1, BusAddr::new(DATA));
    assert!(matches!(error, Err(NvmeError::Fatal { .. })), "{error:?}");
}

#[test]
fn a_page_comes_back_or_its_first_wrong_byte_is_named() {
    let (bus, mut controller) = healthy();
    let mut data = bus.map(DATA, 2, true);
    for seed in [0, 1, 0x80] {
        controller.write_and_compare(&mut data, 16, seed).unwrap();
    }
    // The page that is read into is another one for the drive.
    bus.unmap(DATA + 4096);
    let error = controller.write_and_compare(&mut data, 16, 7).unwrap_err();
    let differs = ExerciseError::Differs {
        at: 0,
        written: 7,
        read: 0xc5,
    };
    assert_eq!(error, differs);
    let mut small = bus.map(DATA + 0x10_0000, 1, true);
    let error = controller.write_and_compare(&mut small, 0, 0);
    assert_eq!(error, Err(ExerciseError::Memory(4096)));
}

#[test]
fn what_is_not_mapped_is_proven_untouched_and_what_is_shows() {
    const OTHER: u64 = 0x3_0000_0000;
    let (bus, mut controller) = healthy();
    let mut checked = bus.map(DATA, 2, true);
    let mut gone = bus.map(OTHER, 1, true);
    let at = BusAddr::new(OTHER);
    // Still mapped: both ways are seen.
    let error = controller.try_unmapped(&mut gone, at, &mut checked, 8);
    assert!(
        matches!(error, Err(ExerciseError::Reached { at: 0, bus, .. }) if bus == at),
        "{error:?}"
    );
    // Mapped for reading only.
    bus.unmap(OTHER);
    let mut readable = bus.map(OTHER, 1, false);
    let error = controller.try_unmapped(&mut readable, at, &mut checked, 8);
    assert_eq!(error, Err(ExerciseError::Leaked { at: 3, bus: at }));
    bus.unmap(OTHER);
    controller
        .try_unmapped(&mut readable, at, &mut checked, 8)
        .unwrap();
}

#[test]
fn edu_interrupts_when_it_is_told_to() {
    let mut edu = Edu::new(SimEdu::new(BusMemory::default())).unwrap();
    for why in [1, 0x8000_0000] {
        edu.interrupt(why).unwrap();
    }
    let mut registers = edu.into_registers();
    registers.interrupts = false;
    let mut edu = Edu::new(registers).unwrap();
    let error = EduError::NoInterrupt {
        milliseconds: 1000,
        status: 4,
    };
    assert_eq!(edu.interrupt(4), Err(error));
    // Acknowledged all the same: nothing is left for the next.
    assert_eq!(edu.into_registers().read32(0x24), 0);
}
