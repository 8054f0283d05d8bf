//! A machine with an interrupt controller, and handlers that keep a record.

use crate::addr::HostAddr;
use crate::irq::icp::Port;
use crate::irq::model::{Controller, Hardware};
use crate::irq::queue::{QUEUE_SHIFT, Queue};
use crate::irq::xive::{Target, Tima};
use crate::irq::{Interrupts, Kind, Outcome, Registration, Source};
use std::cell::{Cell, RefCell};

pub const ALL: [Controller; 3] = [Controller::Icp, Controller::Xive, Controller::XiveStoreEoi];

/// The thread that devices are routed to, and another.
pub const BOOT: u32 = 8;
pub const OTHER: u32 = 9;

/// A level source and two messages.
pub const LEVEL: u32 = 0x10;
pub const MESSAGE: u32 = 0x11;
pub const SECOND: u32 = 0x12;

const QUEUE: u64 = 0x8000_0000;
const PRIORITY: u8 = 6;

pub struct Rig<'a> {
    pub hardware: &'a Hardware,
    pub irq: Interrupts<&'a Hardware, &'a Hardware>,
}

thread_local! {
    static CALLS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    static ANSWER: Cell<Outcome> = const { Cell::new(Outcome::Served) };
}

/// What all handlers of this test answer from now on.
pub fn answer(outcome: Outcome) {
    ANSWER.set(outcome);
}

/// Words with which handlers were called since the last question.
pub fn calls() -> Vec<usize> {
    CALLS.with_borrow_mut(std::mem::take)
}

fn record(data: usize) -> Outcome {
    CALLS.with_borrow_mut(|calls| calls.push(data));
    ANSWER.get()
}

pub fn source(number: u32) -> Source {
    Source::new(number).unwrap()
}

pub fn hardware(kind: Controller) -> Hardware {
    let hardware = Hardware::new(kind, &[BOOT, OTHER]);
    hardware.add_source(LEVEL, true);
    hardware.add_source(MESSAGE, false);
    hardware.add_source(SECOND, false);
    hardware
}

impl<'a> Rig<'a> {
    pub fn new(hardware: &'a Hardware, kind: Controller) -> Self {
        answer(Outcome::Served);
        calls();
        let irq = if kind == Controller::Icp {
            let port = |server| Port::new(server, hardware.icp(server));
            Interrupts::with_icp(hardware, hardware, vec![port(OTHER), port(BOOT)])
        } else {
            let queue = Queue::new(HostAddr::new(QUEUE), QUEUE_SHIFT).unwrap();
            let target = Target {
                server: BOOT,
                queue,
            };
            let tima = Tima::new(hardware.tima());
            Interrupts::with_xive(hardware, hardware, tima, PRIORITY, vec![target], true).unwrap()
        };
        irq.open_thread(true);
        Self { hardware, irq }
    }

    pub fn registration(kind: Kind, data: usize) -> Registration {
        Registration {
            name: "test".into(),
            kind,
            handler: record,
            data,
        }
    }

    /// Registers and unmasks; handlers get the source's number.
    pub fn use_source(&self, number: u32) {
        let kind = if number == LEVEL {
            Kind::Lsi
        } else {
            Kind::Msi
        };
        let registration = Self::registration(kind, number as usize);
        self.irq
            .register(source(number), registration, BOOT)
            .unwrap();
        assert!(!self.irq.unmask(source(number)).unwrap());
    }

    /// A window in which interrupts are taken: until the line is low. Returns
    /// how often the vector was entered.
    pub fn window(&self) -> usize {
        self.hardware.next_round();
        let mut entered = 0;
        while self.hardware.line(BOOT) {
            self.irq.take();
            entered += 1;
            assert!(entered < 10_000, "the thread never gets back to its work");
        }
        entered
    }
}

/// Runs `test` on each controller.
pub fn on_all(test: impl Fn(&Rig<'_>)) {
    for kind in ALL {
        let hardware = hardware(kind);
        test(&Rig::new(&hardware, kind));
    }
}

/// Runs `test` on both XIVEs.
pub fn on_xive(test: impl Fn(&Rig<'_>)) {
    for kind in [Controller::Xive, Controller::XiveStoreEoi] {
        let hardware = hardware(kind);
        test(&Rig::new(&hardware, kind));
    }
}
