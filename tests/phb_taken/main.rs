//! A PHB that is taken, used, frozen and reset, over a tree of functions and a
//! firmware that keeps the PHB's tables. It is as unforgiving as silicon: an
//! access to what is not there freezes the PE of its RID, and configuration
//! space of a frozen PE reads as all ones and takes no write.

mod silicon;

use pinion::pci::registers as reg;
use pinion::pci::steps::Step;
use pinion::pci::{Generation, NotAssignable};
use pinion::phb::StepError;
use pinion::seam::PhbError;
use pinion::sim::pci::boards::{Board, nvme};
use silicon::*;

/// With a drive on a PHB of each generation. Emulated POWER8 has no frozen PEs:
/// there this is all that shows what becomes of one.
fn each_generation(what: impl Fn(&Silicon, &Host<'_>)) {
    for generation in [Generation::Phb3, Generation::Phb4, Generation::Phb5] {
        let (board, _) = Board::one_device(generation, 0);
        take(&board, 0, &what);
    }
}

#[test]
fn a_phb_is_taken_with_nothing_at_pe_0() {
    for generation in [Generation::Phb3, Generation::Phb4, Generation::Phb5] {
        let (board, _) = Board::one_device(generation, 0);
        take(&board, 0, |silicon, host| {
            assert_eq!(host.broken, []);
            let drive = group(host, CARD);
            let pe = host.plan.group(drive).pe.unwrap();
            assert_eq!(pe.get(), 0, "the first that is handed out");
            let reserved = host.info.reserved().get();
            silicon.with(|it| {
                assert!(it.vectors.iter().all(|pe| *pe == reserved));
                assert_eq!(it.rtt[usize::from(CARD)], pe.get());
                assert_eq!(it.rtt[usize::from(CARD) + 1], reserved);
                assert!(it.frozen.iter().all(|state| *state == 0), "probes ended");
                assert!(!it.masters.contains(&CARD));
                assert_eq!(it.resets, []);
            });
            assert!(host.is_up(drive));
            assert_eq!(host.assignable(drive, |_| true), Ok(()));
        });
    }
}

#[test]
fn a_function_that_mastered_the_bus_before_is_stopped_and_reset() {
    let (mut board, drive) = Board::one_device(Generation::Phb4, 0);
    board.pci.model_mut(drive).put16(reg::COMMAND, 0x146);
    take(&board, 0, |silicon, host| {
        assert_eq!(silicon.command(CARD) & MASTER, 0);
        let at = group(host, CARD);
        open(host, at);
        host.start(at).unwrap();
        silicon.with(|it| {
            assert_eq!(it.resets, [CARD], "before its first use");
            assert_eq!(it.masters.iter().filter(|it| **it == CARD).count(), 1);
        });
        assert_ne!(silicon.command(CARD) & MASTER, 0);
        let memory = silicon.command(CARD) & 2;
        assert_ne!(memory, 0, "its registers are back");
    });
}

#[test]
fn what_a_detach_has_reset_is_not_reset_again() {
    let (board, _) = Board::one_device(Generation::Phb4, 0);
    take(&board, 0, |silicon, host| {
        let at = group(host, CARD);
        let pe = open(host, at);
        host.start(at).unwrap();
        // The owner goes on after a detach without reset.
        host.start(at).unwrap();
        assert_eq!(silicon.with(|it| it.resets.len()), 1);
        host.bus_master_off(pe).unwrap();
        assert_eq!(silicon.command(CARD) & MASTER, 0);
        host.reset_functions(pe).unwrap();
        assert_eq!(silicon.with(|it| it.resets.len()), 2);
        host.start(at).unwrap();
        assert_eq!(silicon.with(|it| it.resets.len()), 2);
    });
}

#[test]
fn firmware_sets_up_again_what_a_reset_loses_and_what_was_there_wins() {
    let (mut board, drive) = Board::one_device(Generation::Phb4, 0);
    let control = |silicon: &Silicon| {
        silicon.with(|it| {
            let express = it.express(CARD).unwrap();
            it.function(CARD, express + reg::express::DEVICE_CONTROL, 2, None)
        })
    };
    let model = board.pci.model_mut(drive);
    let mut all = (0x40..0x100u16).step_by(4);
    let express = all.find(|at| model.get16(*at) as u8 == reg::capability::EXPRESS);
    let at = express.unwrap() + reg::express::DEVICE_CONTROL;
    model.allow16(at, 0x7fff);
    model.put16(at, 0x5127);
    // Done; not known to firmware; not known to this firmware.
    for status in [0, -1, -7] {
        take(&board, 0, |silicon, host| {
            silicon.with(|it| it.set_up_status = status);
            let group = group(host, CARD);
            open(host, group);
            host.start(group).unwrap();
            silicon.with(|it| {
                assert_eq!((&it.resets[..], &it.set_up[..]), (&[CARD][..], &[CARD][..]))
            });
            assert_eq!(control(silicon), 0x5127, "payload size as before");
        });
    }
    // A function that firmware cannot set up is not used.
    take(&board, 0, |silicon, host| {
        silicon.with(|it| it.set_up_status = -6);
        let group = group(host, CARD);
        open(host, group);
        let (step, _) = host.start(group).unwrap_err();
        assert!(matches!(step, Step::Reset { .. }));
        assert_eq!(silicon.command(CARD) & MASTER, 0);
    });
}

#[test]
fn a_frozen_pe_is_not_started_and_its_reset_thaws_no_dma() {
    each_generation(|silicon, host| {
        let at = group(host, CARD);
        let pe = open(host, at);
        host.freeze(pe).unwrap();
        let refused = host.start(at).unwrap_err();
        assert!(matches!(refused, (Step::OpenDma { .. }, StepError::Frozen(it)) if it.get() == pe));
        assert_eq!(silicon.command(CARD) & MASTER, 0);
        host.clear_freeze(pe).unwrap();
        host.start(at).unwrap();
        // The engine gave up on a kill: stopped and reset all the same.
        host.freeze(pe).unwrap();
        host.bus_master_off(pe).unwrap();
        assert_eq!(silicon.command(CARD) & MASTER, 0);
        host.freeze(pe).unwrap();
        host.reset_functions(pe).unwrap();
        let state = silicon.with(|it| it.frozen[usize::from(pe)]);
        assert_eq!(state, DMA, "only the engine knows when it may go on");
        assert_ne!(silicon.command(CARD) & 2, 0, "its registers are back");
    });
}

#[test]
fn virtual_functions_go_on_when_their_owner_starts_the_card() {
    let (board, _) = Board::sriov(Generation::Phb4);
    take(&board, 2, |silicon, host| {
        assert_eq!(host.broken, []);
        let (card, first) = (group(host, CARD), host.groups.of_virtuals().next().unwrap());
        let rid = host.topology.virtuals[0].bdfn.rid();
        open(host, first);
        host.start(first).unwrap();
        assert_eq!(silicon.with(|it| it.resets.clone()), [rid]);
        open(host, card);
        host.start(card).unwrap();
        silicon.with(|it| {
            assert_eq!(it.resets, [rid, CARD]);
            let started: Vec<u16> = it.masters.iter().copied().filter(|it| *it != 0).collect();
            assert_eq!(
                started,
                [rid, rid, CARD],
                "again behind the reset of the card"
            );
            assert_eq!(it.set_up, [CARD], "firmware knows no virtual functions");
        });
        assert_eq!(host.quiet_virtuals(), 0);
        assert_eq!(silicon.command(rid) & MASTER, 0);
    });
}

#[test]
fn a_function_that_is_taken_out_is_detached_though_its_pe_freezes() {
    let (board, drive) = Board::one_device(Generation::Phb4, 0);
    // The link's end froze the PE first, or the first access does.
    for by_link in [true, false] {
        take(&board, 0, |silicon, host| {
            let at = group(host, CARD);
            let pe = open(host, at);
            host.start(at).unwrap();
            assert_eq!(host.find_gone(pe), []);
            remove(silicon, drive);
            if by_link {
                silicon.with(|it| it.frozen[usize::from(pe)] = MMIO | DMA);
                assert_eq!(host.find_gone(pe), [], "a frozen PE tells nothing");
            }
            let before = silicon.with(|it| it.clock);
            host.bus_master_off(pe).unwrap();
            assert!(
                silicon.with(|it| it.clock) >= before + 100_000,
                "time to drain"
            );
            assert_ne!(silicon.with(|it| it.frozen[usize::from(pe)]) & DMA, 0);
            host.push_writes(pe).unwrap();
            host.reset_functions(pe).unwrap();
            let gone = name(host, CARD);
            assert_eq!(host.find_gone(pe), [gone]);
            // What is in its place is nobody's until the next scan.
            host.clear_freeze(pe).unwrap();
            assert_eq!(
                host.assignable(at, |_| false),
                Err(NotAssignable::Gone(gone))
            );
            let refused = host.start(at).unwrap_err().1;
            assert_eq!(refused, StepError::Absent(gone));
        });
    }
}

#[test]
fn a_pe_that_freezes_during_the_look_has_lost_nothing() {
    each_generation(|silicon, host| {
        let pe = open(host, group(host, CARD));
        silicon.with(|it| it.will_freeze = Some(pe.into()));
        assert_eq!(host.find_gone(pe), []);
        assert!(!host.is_deserted(pe));
        let state = silicon.with(|it| it.frozen[usize::from(pe)]);
        assert_eq!(state, DMA, "its error is still to be told");
        assert_eq!(host.find_gone(pe), [], "and can be recovered from");
    });
}

#[test]
fn a_function_that_does_not_answer_for_a_while_is_not_gone() {
    let (board, drive) = Board::one_device(Generation::Phb4, 0);
    take(&board, 0, |silicon, host| {
        let pe = open(host, group(host, CARD));
        let look_in = |us: u64| {
            silicon.with(|it| it.clock += us);
            host.find_gone(pe)
        };
        for _ in 0..3 {
            remove(silicon, drive);
            assert_eq!(look_in(800_000), []);
            assert_eq!(look_in(800_000), []);
            silicon.with(|it| it.pci.bring_back(drive));
            // Its second begins anew.
            assert_eq!(look_in(800_000), []);
        }
        assert!(!host.is_deserted(pe));
        remove(silicon, drive);
        assert_eq!(look_in(0), []);
        assert_eq!(look_in(1_200_000), [name(host, CARD)]);
    });
}

#[test]
fn a_look_behind_a_freeze_thaws_no_dma() {
    let (board, drive) = Board::one_device(Generation::Phb4, 0);
    take(&board, 0, |silicon, host| {
        let pe = open(host, group(host, CARD));
        host.freeze(pe).unwrap();
        assert_eq!(host.find_gone_behind_freeze(pe), []);
        remove(silicon, drive);
        host.freeze(pe).unwrap();
        assert_eq!(host.find_gone(pe), []);
        assert_eq!(host.find_gone_behind_freeze(pe), [name(host, CARD)]);
        assert!(host.is_deserted(pe));
        assert_ne!(silicon.with(|it| it.frozen[usize::from(pe)]) & DMA, 0);
    });
}

#[test]
fn of_a_group_that_lost_one_of_two_the_other_is_there() {
    let (board, nodes) = Board::switch(Generation::Phb3, 0, [nvme(), nvme()]);
    take(&board, 0, |silicon, host| {
        let (first, second) = (0x300, 0x400);
        let at = group(host, first);
        assert_eq!(at, group(host, second));
        let pe = open(host, at);
        remove(silicon, nodes[0]);
        // One that was just reset may not answer for a second.
        for later in [0, 900_000] {
            silicon.with(|it| it.clock += later);
            assert_eq!(host.find_gone(pe), [], "after {later} us");
        }
        silicon.with(|it| it.clock += 200_000);
        assert_eq!(host.find_gone(pe), [name(host, first)]);
        assert!(!host.is_deserted(pe));
        remove(silicon, nodes[1]);
        host.find_gone_behind_freeze(pe);
        assert!(host.is_deserted(pe));
    });
}

#[test]
fn a_function_below_a_bridge_that_does_not_answer_is_not_gone() {
    let (mut board, root) = Board::empty(Generation::Phb4, 0);
    let drive = board.pci.add(Some(root), 0, 0, nvme());
    take(&board, 0, |silicon, host| {
        let at = group(host, CARD);
        let pe = open(host, at);
        host.start(at).unwrap();
        remove(silicon, drive);
        remove(silicon, root);
        assert!(matches!(
            host.bus_master_off(pe),
            Err(PhbError::ReadBack(_))
        ));
        assert_eq!(host.find_gone(pe), []);
        assert!(host.push_writes(pe).is_err());
    });
}

#[test]
fn a_function_below_a_frozen_bridge_is_not_gone() {
    let (board, drive) = Board::one_device(Generation::Phb4, 0);
    take(&board, 0, |silicon, host| {
        let pe = open(host, group(host, CARD));
        let bridge = host.plan.group(group(host, 0)).pe.unwrap().get();
        remove(silicon, drive);
        silicon.with(|it| it.frozen[usize::from(bridge)] = MMIO | DMA);
        let outcome = host.bus_master_off(pe);
        assert!(matches!(outcome, Err(PhbError::ReadBack(_))));
        assert_eq!(host.find_gone(pe), []);
        let state = silicon.with(|it| it.frozen[usize::from(bridge)]);
        assert_eq!(state, MMIO | DMA, "not its business");
    });
}
