//! Sources from their firing to their end.

use super::rig::{
    ALL, BOOT, LEVEL, MESSAGE, OTHER, Rig, SECOND, answer, calls, hardware, on_all, on_xive, source,
};
use crate::irq::model::Controller;
use crate::irq::storm::{self, Storm};
use crate::irq::table::SlotState;
use crate::irq::{IrqError, Kind, Notice, Outcome, Source};
use crate::opal::Token;

#[test]
fn a_message_arrives_exactly_once() {
    on_all(|rig| {
        rig.use_source(MESSAGE);
        assert_eq!(rig.window(), 0);
        // Three rounds of the queue, and a bit.
        for _ in 0..3500 {
            rig.hardware.fire(MESSAGE);
            rig.window();
            assert_eq!(calls(), [MESSAGE as usize]);
        }
        assert_eq!(rig.irq.snapshot()[0].count, 3500);
        assert_eq!(rig.irq.spurious(), 0);
    });
}

#[test]
fn what_fires_again_while_it_is_served_arrives_again() {
    on_xive(|rig| {
        rig.use_source(MESSAGE);
        rig.hardware.fire(MESSAGE);
        rig.hardware.fire(MESSAGE);
        rig.hardware.fire(MESSAGE);
        rig.window();
        assert_eq!(calls().len(), 2, "the first, and all others as one");
    });
}

#[test]
fn a_level_fires_until_it_is_gone() {
    on_all(|rig| {
        rig.use_source(LEVEL);
        answer(Outcome::Later);
        rig.hardware.level(LEVEL, true);
        for _ in 0..5 {
            assert!(rig.window() <= 1);
            assert_eq!(calls(), [LEVEL as usize]);
            assert_eq!(rig.window(), 0, "silent until its end");
            assert_eq!(rig.irq.next_waiting(), Some(source(LEVEL)));
            assert_eq!(rig.irq.next_waiting(), None);
            rig.irq.end(source(LEVEL)).unwrap();
        }
        rig.window();
        calls();
        assert_eq!(rig.irq.next_waiting(), Some(source(LEVEL)));
        rig.hardware.level(LEVEL, false);
        rig.irq.end(source(LEVEL)).unwrap();
        rig.window();
        assert!(calls().is_empty());
    });
}

#[test]
fn a_level_that_is_there_before_the_unmask_arrives() {
    on_all(|rig| {
        rig.hardware.level(LEVEL, true);
        answer(Outcome::Later);
        rig.use_source(LEVEL);
        rig.window();
        assert_eq!(calls(), [LEVEL as usize]);
    });
}

#[test]
fn others_arrive_while_one_waits_for_its_end() {
    on_all(|rig| {
        rig.use_source(MESSAGE);
        rig.use_source(SECOND);
        answer(Outcome::Later);
        rig.hardware.fire(MESSAGE);
        rig.window();
        rig.hardware.fire(SECOND);
        rig.window();
        assert_eq!(calls(), [MESSAGE as usize, SECOND as usize]);
        let mut waiting = [rig.irq.next_waiting(), rig.irq.next_waiting()];
        waiting.sort();
        assert_eq!(waiting, [Some(source(MESSAGE)), Some(source(SECOND))]);
    });
}

#[test]
fn what_fires_while_masked_arrives_once_after_the_unmask() {
    on_all(|rig| {
        rig.use_source(MESSAGE);
        rig.irq.mask(source(MESSAGE)).unwrap();
        rig.hardware.fire(MESSAGE);
        rig.hardware.fire(MESSAGE);
        rig.window();
        assert!(calls().is_empty());
        assert!(!rig.irq.unmask(source(MESSAGE)).unwrap());
        rig.window();
        assert_eq!(calls(), [MESSAGE as usize]);
        rig.window();
        assert!(calls().is_empty());
    });
}

#[test]
fn what_is_on_its_way_when_it_is_masked_is_not_lost() {
    on_xive(|rig| {
        rig.use_source(MESSAGE);
        rig.hardware.fire(MESSAGE);
        rig.irq.mask(source(MESSAGE)).unwrap();
        rig.window();
        assert!(calls().is_empty());
        assert!(!rig.irq.unmask(source(MESSAGE)).unwrap());
        rig.window();
        assert_eq!(calls(), [MESSAGE as usize]);
    });
}

#[test]
fn masked_while_it_waits_it_stays_silent_through_its_end() {
    on_all(|rig| {
        rig.use_source(MESSAGE);
        answer(Outcome::Later);
        rig.hardware.fire(MESSAGE);
        rig.window();
        assert_eq!(rig.irq.next_waiting(), Some(source(MESSAGE)));
        rig.irq.mask(source(MESSAGE)).unwrap();
        rig.irq.end(source(MESSAGE)).unwrap();
        calls();
        rig.hardware.fire(MESSAGE);
        rig.window();
        assert!(calls().is_empty());
        rig.irq.unmask(source(MESSAGE)).unwrap();
        rig.window();
        assert_eq!(calls(), [MESSAGE as usize]);
    });
}

#[test]
fn a_source_with_nothing_to_serve_is_silenced_and_said_once() {
    on_all(|rig| {
        rig.use_source(LEVEL);
        rig.use_source(MESSAGE);
        answer(Outcome::NotMine);
        rig.hardware.level(LEVEL, true);
        rig.window();
        assert_eq!(calls().len(), storm::FRUITLESS as usize);
        let told = Notice::Silenced {
            source: source(LEVEL),
            name: "test".into(),
            storm: Storm::Fruitless,
        };
        assert_eq!(rig.irq.next_notice(), Some(told));
        assert_eq!(rig.irq.next_notice(), None);
        let state = rig.irq.snapshot()[0].state;
        assert!(state.contains(SlotState::STORM | SlotState::MASKED));
        // Others live on, and it gets another chance.
        answer(Outcome::Served);
        rig.hardware.fire(MESSAGE);
        rig.window();
        assert_eq!(calls(), [MESSAGE as usize]);
        answer(Outcome::Later);
        rig.irq.unmask(source(LEVEL)).unwrap();
        rig.window();
        assert_eq!(calls(), [LEVEL as usize]);
    });
}

#[test]
fn a_level_that_its_handler_does_not_clear_is_silenced() {
    on_all(|rig| {
        rig.use_source(LEVEL);
        rig.hardware.level(LEVEL, true);
        rig.window();
        assert_eq!(calls().len(), storm::RUN as usize);
        let notice = rig.irq.next_notice();
        assert!(
            matches!(
                notice,
                Some(Notice::Silenced {
                    storm: Storm::Run,
                    ..
                })
            ),
            "{notice:?}"
        );
    });
}

#[test]
fn a_level_that_firmware_does_not_clear_is_silenced_within_a_second() {
    on_all(|rig| {
        rig.use_source(LEVEL);
        answer(Outcome::Later);
        rig.hardware.level(LEVEL, true);
        let mut served = 0;
        let notice = loop {
            rig.window();
            let Some(waiting) = rig.irq.next_waiting() else {
                panic!("silent without a word after {served}");
            };
            rig.irq.end(waiting).unwrap();
            served += 1;
            if let Some(notice) = rig.irq.next_notice() {
                break notice;
            }
        };
        assert_eq!(served, storm::LATER_PER_SECOND);
        assert!(matches!(
            notice,
            Notice::Silenced {
                storm: Storm::Later,
                ..
            }
        ));
        rig.window();
        assert_eq!(rig.irq.next_waiting(), None);
    });
}

#[test]
fn a_busy_source_is_no_storm() {
    on_all(|rig| {
        rig.use_source(MESSAGE);
        for count in 0..20_000 {
            answer(if count % 50 == 0 {
                Outcome::Served
            } else {
                Outcome::NotMine
            });
            rig.hardware.fire(MESSAGE);
            rig.window();
        }
        assert_eq!(rig.irq.next_notice(), None);
        assert_eq!(calls().len(), 20_000);
    });
}

#[test]
fn a_source_that_nobody_asked_for_is_masked_and_said() {
    on_all(|rig| {
        rig.use_source(MESSAGE);
        rig.use_source(SECOND);
        // As if routed by somebody else.
        let number = SECOND;
        rig.irq.unregister(source(number)).unwrap();
        let priority = 6.min(5 + rig.irq.ipis(BOOT) as u8);
        if rig.irq.send_ipi(BOOT) {
            use crate::irq::Firmware;
            rig.window();
            rig.hardware.set_xive(number, BOOT, priority).unwrap();
        } else {
            use crate::irq::{Bus, Firmware, esb::Esb};
            let info = rig.hardware.irq_info(number).unwrap();
            Esb::new(source(number), &info)
                .unwrap()
                .start(&rig.hardware);
            rig.hardware.route(number, BOOT, 6, number).unwrap();
            rig.hardware.barrier();
        }
        rig.hardware.fire(number);
        rig.window();
        assert!(calls().is_empty());
        assert_eq!(rig.irq.next_notice(), Some(Notice::Unknown(source(number))));
        assert_eq!(rig.irq.next_notice(), None);
        rig.hardware.fire(number);
        assert_eq!(rig.window(), 0);
        rig.hardware.fire(MESSAGE);
        rig.window();
        assert_eq!(calls(), [MESSAGE as usize]);
    });
}

#[test]
fn a_phb3_message_is_ended_in_its_bridge_too() {
    let hardware = hardware(Controller::Icp);
    let rig = Rig::new(&hardware, Controller::Icp);
    let registration = Rig::registration(Kind::Phb3Msi { phb: 2 }, 1);
    rig.irq
        .register(source(MESSAGE), registration, BOOT)
        .unwrap();
    rig.irq.unmask(source(MESSAGE)).unwrap();
    rig.hardware.fire(MESSAGE);
    rig.window();
    assert_eq!(rig.hardware.phb3_ends(), [(2, MESSAGE)]);
}

#[test]
fn what_cannot_be_registered_is_refused_and_leaves_nothing() {
    on_all(|rig| {
        let registration = Rig::registration(Kind::Msi, 0);
        let register = |number| rig.irq.register(source(number), registration, BOOT);
        rig.use_source(MESSAGE);
        assert_eq!(register(MESSAGE), Err(IrqError::InUse(source(MESSAGE))));
        assert_eq!(
            rig.irq.register(source(SECOND), registration, 77),
            Err(IrqError::NoThread(77))
        );
        let is_icp = rig.irq.send_ipi(OTHER);
        let token = if is_icp {
            Token::SetXive
        } else {
            Token::XiveSetIrqConfig
        };
        rig.hardware.refuse(token);
        assert!(matches!(register(SECOND), Err(IrqError::Firmware(_))));
        assert_eq!(rig.irq.snapshot().len(), 1);
        assert_eq!(
            rig.irq.unmask(source(SECOND)),
            Err(IrqError::NotInUse(source(SECOND)))
        );
        assert!(register(SECOND).is_ok());
        if is_icp {
            assert_eq!(register(2), Err(IrqError::Number(2)));
            assert_eq!(register(1 << 24), Err(IrqError::Number(1 << 24)));
        }
        assert_eq!(Source::new(1 << 31), None);
    });
}

#[test]
fn on_xive_firmware_says_what_is_a_level() {
    on_xive(|rig| {
        let registration = Rig::registration(Kind::Msi, 0);
        rig.irq.register(source(LEVEL), registration, BOOT).unwrap();
        assert_eq!(rig.irq.snapshot()[0].registration.kind, Kind::Lsi);
    });
}

#[test]
fn unregistered_it_is_off_and_can_be_registered_again() {
    on_all(|rig| {
        for _ in 0..2000 {
            rig.use_source(MESSAGE);
            rig.hardware.fire(MESSAGE);
            rig.irq.unregister(source(MESSAGE)).unwrap();
            rig.window();
            assert!(calls().is_empty());
            assert_eq!(rig.irq.next_notice(), None);
        }
    });
}

#[test]
fn software_sources_fire_when_they_are_triggered() {
    on_xive(|rig| {
        let new = rig.irq.allocate().unwrap();
        assert_eq!(rig.irq.trigger(new), Err(IrqError::NotInUse(new)));
        rig.use_source(new.get());
        rig.irq.trigger(new).unwrap();
        rig.window();
        assert_eq!(calls(), [new.get() as usize]);
        rig.use_source(LEVEL);
        assert_eq!(
            rig.irq.trigger(source(LEVEL)),
            Err(IrqError::NoTrigger(source(LEVEL)))
        );
        rig.irq.unregister(new).unwrap();
        rig.irq.free(new).unwrap();
    });
}

#[test]
fn shut_down_leaves_nothing_routed_and_no_queue() {
    on_all(|rig| {
        rig.use_source(LEVEL);
        rig.use_source(MESSAGE);
        answer(Outcome::Later);
        rig.hardware.level(LEVEL, true);
        rig.hardware.fire(MESSAGE);
        rig.window();
        rig.hardware.run_thread(OTHER);
        rig.irq.open_thread(false);
        rig.irq.close_thread();
        rig.hardware.run_thread(BOOT);
        assert!(!rig.hardware.is_quiet());
        rig.irq.shut_down().unwrap();
        assert!(rig.hardware.is_quiet());
    });
}

#[test]
fn shut_down_tries_everything_even_if_something_fails() {
    for kind in ALL {
        let hardware = hardware(kind);
        let rig = Rig::new(&hardware, kind);
        rig.use_source(LEVEL);
        rig.use_source(MESSAGE);
        let token = if kind == Controller::Icp {
            Token::PciMsiEoi
        } else {
            Token::XiveSync
        };
        rig.hardware.refuse(token);
        let result = rig.irq.shut_down();
        assert_eq!(result.is_err(), kind != Controller::Icp);
        assert_eq!(rig.hardware.cppr(BOOT), 0);
    }
}

#[test]
fn other_threads_take_nothing_but_ipis() {
    let hardware = hardware(Controller::Icp);
    let rig = Rig::new(&hardware, Controller::Icp);
    rig.hardware.run_thread(OTHER);
    rig.irq.open_thread(false);
    {
        use crate::irq::Firmware;
        rig.hardware.level(LEVEL, true);
        rig.hardware.set_xive(LEVEL, OTHER, 5).unwrap();
    }
    assert!(!rig.hardware.line(OTHER));
    rig.hardware.run_thread(BOOT);
    assert!(rig.irq.send_ipi(OTHER));
    assert!(rig.hardware.line(OTHER) && !rig.hardware.line(BOOT));
    rig.hardware.run_thread(OTHER);
    rig.irq.take();
    assert!(!rig.hardware.line(OTHER));
    assert_eq!((rig.irq.ipis(OTHER), rig.irq.ipis(BOOT)), (1, 0));
}

#[test]
fn what_was_on_its_way_when_its_source_went_is_no_stranger() {
    on_all(|rig| {
        rig.use_source(MESSAGE);
        rig.hardware.fire(MESSAGE);
        rig.irq.unregister(source(MESSAGE)).unwrap();
        rig.window();
        assert!(!calls().contains(&(MESSAGE as usize)));
        assert_eq!(rig.irq.next_notice(), None);
        // And the next user of its number starts from nothing.
        rig.use_source(MESSAGE);
        rig.window();
        assert!(!calls().contains(&(MESSAGE as usize)));
        rig.hardware.fire(MESSAGE);
        rig.window();
        assert_eq!(calls(), [MESSAGE as usize]);
    });
}

#[test]
fn what_an_icp_has_when_its_source_is_masked_comes_after_the_mask() {
    on_all(|rig| {
        rig.use_source(MESSAGE);
        rig.hardware.fire(MESSAGE);
        rig.irq.mask(source(MESSAGE)).unwrap();
        rig.window();
        assert!(calls().is_empty());
        let must_look = rig.irq.unmask(source(MESSAGE)).unwrap();
        rig.window();
        let called = calls() == [MESSAGE as usize];
        // Repeated by hardware, or by the driver.
        assert!(must_look != called);
    });
}
