//! What partitions have: memory, windows, and that all of it comes back.

use crate::rig::{Frames, MIB, Rig, pe};
use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{DetachMode, DmaError};
use pinion::memory::ledger::{Ledger, LedgerError, OwnerId};
use pinion::partition::domain::{CloseError, DeviceError, Domain};
use pinion::partition::memory::{Blocks, Memory, MemoryError};
use pinion::seam::PhbError;
use pinion::sim::{Failure, Machine, PhbKind, Step};
use pinion::tce::Access;
use std::sync::{Arc, Mutex};

fn allocate(
    frames: &Frames,
    ledger: &Ledger<Machine>,
    bytes: u64,
    chip: Option<u32>,
) -> Result<Memory<Machine>, MemoryError> {
    Memory::allocate(frames, ledger, OwnerId(1), bytes, chip)
}

#[test]
fn few_large_aligned_regions_of_the_chip_that_is_wanted() {
    let frames = Frames::new(&[(16 * MIB, 112 * MIB, 0), (1 << 40, 128 * MIB, 8)]);
    let ledger = Ledger::new();
    // 64 + 32 + 4 MiB, the largest first; all on chip 8 and next to each other.
    let memory = allocate(&frames, &ledger, 100 * MIB, Some(8)).unwrap();
    let pieces = memory.map().pieces();
    assert_eq!(pieces.len(), 1, "{pieces:?}");
    assert_eq!(
        (pieces[0].host.get(), pieces[0].bytes),
        (1 << 40, 100 * MIB)
    );
    // Chip 8 has not as much any more: the rest is of any chip, in one block.
    let ledger = Ledger::new();
    let memory = allocate(&frames, &ledger, 64 * MIB, Some(8)).unwrap();
    let pieces = memory.map().pieces();
    assert_eq!((pieces.len(), pieces[0].host.get()), (1, 64 * MIB));
    // No single block is left for this.
    let ledger = Ledger::new();
    let memory = allocate(&frames, &ledger, 56 * MIB, None).unwrap();
    assert!(memory.map().pieces().len() <= 3, "{:?}", memory.map());
    for piece in memory.map().pieces() {
        let shift = piece.bytes.trailing_zeros();
        assert!(piece.host.is_aligned(shift) && piece.guest.is_aligned(shift));
        assert_eq!(ledger.owner_of(piece.host), Some(OwnerId(1)));
    }
}

#[test]
fn memory_that_cannot_be_is_refused_and_nothing_is_kept() {
    let frames = Frames::new(&[(16 * MIB, 48 * MIB, 0)]);
    let ledger = Ledger::new();
    let before = frames.free_bytes();
    let refused = |bytes| allocate(&frames, &ledger, bytes, Some(3)).err().unwrap();
    assert_eq!(refused(0), MemoryError::Size(0));
    assert_eq!(refused(MIB + 4096), MemoryError::Size(MIB + 4096));
    let (asked, missing) = (64 * MIB, 16 * MIB);
    assert_eq!(refused(asked), MemoryError::NotFree { asked, missing });
    assert_eq!((frames.free_bytes(), ledger.counts()), (before, (0, 0)));
    // An owner that there is.
    let _holdings = ledger.add_owner(OwnerId(1)).unwrap();
    let exists = LedgerError::OwnerExists(OwnerId(1));
    assert_eq!(refused(MIB), MemoryError::Ledger(exists));
    assert_eq!((frames.free_bytes(), ledger.counts()), (before, (1, 0)));
}

#[test]
fn scattered_memory_is_refused_and_nothing_is_kept() {
    let frames = Frames::new(&[(64 * MIB, 64 * MIB, 0)]);
    let ledger = Ledger::new();
    // Each second 64K is taken.
    let blocks: Vec<HostAddr> = (0..1024)
        .map(|_| frames.allocate(16, None).unwrap())
        .collect();
    for start in blocks.iter().filter(|start| !start.is_aligned(17)) {
        frames.free(*start, 16);
    }
    let before = frames.free_bytes();
    let refused = allocate(&frames, &ledger, 257 << 16, None).err();
    assert_eq!(refused, Some(MemoryError::Scattered(257 << 16)));
    assert_eq!((frames.free_bytes(), ledger.counts()), (before, (0, 0)));
    let memory = allocate(&frames, &ledger, 256 << 16, None).unwrap();
    assert_eq!(memory.map().pieces().len(), 256);
    assert_eq!(ledger.counts(), (1, 256));
}

#[test]
fn memory_is_zeroed_in_both_directions_in_chunks() {
    let rig = Rig::new(PhbKind::Phb4, 1);
    let before = rig.frames.free_bytes();
    let domain = rig.domain(1, 100 * MIB);
    let pieces = domain.memory().map().pieces().to_vec();
    let all_zero = || {
        pieces
            .iter()
            .all(|it| rig.frames.is_zero(it.host, it.bytes))
    };
    assert!(all_zero());
    assert!(rig.frames.pauses.get() >= 7);
    rig.frames.soil(pieces[0].host, MIB);
    domain.renew(&rig.engine, &rig.ledger, &rig.frames).unwrap();
    assert!(all_zero());
    assert_eq!(rig.ledger.owner_of(pieces[0].host), Some(OwnerId(1)));
    rig.frames.soil(pieces[0].host, MIB);
    assert!(
        domain
            .release(&rig.engine, &rig.ledger, &rig.frames)
            .is_ok()
    );
    assert!(all_zero());
    assert_eq!(rig.ledger.counts(), (0, 0));
    assert_eq!(rig.frames.free_bytes(), before);
}

/// What there is of everything that can be used up.
fn counters(rig: &Rig) -> (u64, Option<u32>, u64, (usize, usize)) {
    let (free, largest) = rig.frames.free_bytes();
    (
        free,
        largest,
        rig.machine().table_bytes(),
        rig.ledger.counts(),
    )
}

#[test]
fn a_thousand_partitions_come_and_go_and_nothing_is_used_up() {
    let rig = Rig::new(PhbKind::Phb4, 7);
    let other = rig.domain(1, 10 * MIB);
    let before = counters(&rig);
    for round in 0..1000 {
        let domain = rig.domain(2 + round, (1 + u64::from(round) % 40) * MIB);
        let pieces = domain.memory().map().pieces().to_vec();
        for number in [3, 4] {
            rig.give(&domain, number);
            rig.open(&domain, number);
        }
        let window = domain.window(pe(3)).unwrap();
        rig.engine
            .map(
                &window,
                BusAddr::new(0),
                pieces[0].host,
                16,
                Access::ReadWrite,
            )
            .unwrap();
        rig.machine().dma(0, 3, BusAddr::new(0x3000), true).unwrap();
        rig.frames.soil(pieces[0].host, 1 << 16);
        drop(window);
        // By itself, or device by device.
        if round % 2 == 0 {
            domain.close_all(&rig.engine).unwrap();
            drop(domain.take(&rig.engine, pe(4)).unwrap());
        }
        assert!(
            domain
                .release(&rig.engine, &rig.ledger, &rig.frames)
                .is_ok()
        );
        for piece in &pieces {
            assert!(rig.frames.is_zero(piece.host, piece.bytes));
            rig.machine().set_owner(piece.host, piece.bytes, None);
        }
        assert_eq!(counters(&rig), before, "round {round}");
    }
    assert_eq!(rig.machine().violations(), []);
    assert_eq!(other.memory().bytes(), 10 * MIB);
}

/// At each step of the machine while a partition stops, its device tries to
/// write: what it reaches is the partition's own, and nothing once the memory is
/// ready for others.
#[test]
fn a_device_that_never_rests_reaches_only_its_partition_while_that_stops() {
    for (kind, seed) in [
        (PhbKind::Phb3, 1),
        (PhbKind::Phb4, 2),
        (PhbKind::AllOnly, 3),
    ] {
        let rig = Rig::new(kind, seed);
        let domain = rig.domain(1, 4 * MIB);
        rig.give(&domain, 3);
        rig.open(&domain, 3);
        let start = domain.memory().map().pieces()[0].host;
        let window = domain.window(pe(3)).unwrap();
        rig.engine
            .map(&window, BusAddr::new(0), start, 256, Access::ReadWrite)
            .unwrap();
        // Each step, and how many of its attempts came through.
        let seen: Arc<Mutex<Vec<(Step, bool)>>> = Arc::default();
        let note = Arc::clone(&seen);
        rig.machine().set_hook(move |machine, step| {
            let reached = machine.probe(0, 3, BusAddr::new(0x1000), true).is_ok();
            note.lock().unwrap().push((step, reached));
        });
        domain.close_all(&rig.engine).unwrap();
        domain.renew(&rig.engine, &rig.ledger, &rig.frames).unwrap();
        rig.machine().clear_hook();
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        for step in [
            Step::BusMasterOff,
            Step::SetTve,
            Step::Kill,
            Step::Reset,
            Step::Store,
        ] {
            assert!(seen.iter().any(|it| it.0 == step), "{kind:?}: no {step:?}");
        }
        // Before bus mastering is off it reaches its memory, from then on nothing.
        let last = seen.iter().rposition(|it| it.1).unwrap();
        assert_eq!(seen[last].0, Step::BusMasterOff, "{kind:?}");
        assert_eq!(rig.machine().posted(), 0);
        assert_eq!(rig.machine().violations(), []);
    }
}

#[test]
fn a_device_moves_and_the_first_partition_is_out_of_its_reach() {
    let rig = Rig::new(PhbKind::Phb4, 5);
    let (first, second) = (rig.domain(1, 4 * MIB), rig.domain(2, 4 * MIB));
    let host = |domain: &Domain<Machine>| domain.memory().map().pieces()[0].host;
    rig.give(&first, 3);
    rig.open(&first, 3);
    let bus = BusAddr::new(0x5000);
    let map = |domain: &Domain<Machine>, at: HostAddr| {
        let window = domain.window(pe(3)).unwrap();
        rig.engine.map(&window, bus, at, 1, Access::ReadWrite)
    };
    map(&first, host(&first)).unwrap();
    assert_eq!(rig.machine().dma(0, 3, bus, true), Ok(host(&first)));
    // Not while it is the first one's.
    let config = Rig::config();
    second.give(&rig.engine, pe(3), &config).unwrap();
    assert!(matches!(
        second.open(&rig.engine, pe(3)),
        Err(DeviceError::Dma(DmaError::PeOwned { owner, .. })) if owner == OwnerId(1)
    ));
    let window = second.take(&rig.engine, pe(3)).unwrap();
    drop(window);
    drop(first.take(&rig.engine, pe(3)).unwrap());
    assert_eq!(
        first.close(&rig.engine, pe(3)),
        Err(DeviceError::HasNot(pe(3)))
    );
    rig.give(&second, 3);
    rig.open(&second, 3);
    assert_eq!(
        second.give(&rig.engine, pe(3), &config).err(),
        Some(DeviceError::Has(pe(3)))
    );
    // Where the first partition's page was, there is nothing.
    assert!(rig.machine().probe(0, 3, bus, true).is_err());
    // It can map its own memory only.
    assert!(matches!(
        map(&second, host(&first)),
        Err(DmaError::Pin { .. })
    ));
    map(&second, host(&second)).unwrap();
    assert_eq!(rig.machine().dma(0, 3, bus, true), Ok(host(&second)));
    assert_eq!(rig.machine().violations(), []);
    for domain in [first, second] {
        assert!(
            domain
                .release(&rig.engine, &rig.ledger, &rig.frames)
                .is_ok()
        );
    }
    assert_eq!(rig.ledger.counts(), (0, 0));
    assert_eq!(rig.machine().table_bytes(), 0);
}

/// Whatever fails on the way, the memory stays the partition's, and a later
/// attempt gives all of it back.
#[test]
fn each_failure_while_a_partition_ends_keeps_its_memory_and_can_be_tried_again() {
    for after in 0.. {
        let rig = Rig::new(PhbKind::Phb4, after);
        let before = counters(&rig);
        let domain = rig.domain(1, 4 * MIB);
        rig.give(&domain, 3);
        rig.open(&domain, 3);
        let start = domain.memory().map().pieces()[0].host;
        let window = domain.window(pe(3)).unwrap();
        rig.engine
            .map(&window, BusAddr::new(0), start, 4, Access::ReadWrite)
            .unwrap();
        drop(window);
        rig.machine().dma(0, 3, BusAddr::new(0), true).unwrap();
        rig.frames.soil(start, MIB);
        rig.machine().fail(Some(Failure {
            after,
            forever: false,
            error: PhbError::TimedOut,
        }));
        let released = domain.release(&rig.engine, &rig.ledger, &rig.frames);
        let calls = rig.machine().fallible_calls();
        rig.machine().fail(None);
        match released {
            Ok(()) => assert!(calls <= after, "call {after} failed, and nobody noticed"),
            Err((domain, error)) => {
                assert!(matches!(
                    error,
                    CloseError::Device { .. } | CloseError::Memory(_)
                ));
                assert_eq!(rig.ledger.owner_of(start), Some(OwnerId(1)), "{error}");
                let again = domain.release(&rig.engine, &rig.ledger, &rig.frames);
                assert!(again.is_ok(), "{after}: {error}");
            }
        }
        assert!(rig.frames.is_zero(start, 4 * MIB));
        assert_eq!(rig.machine().violations(), []);
        assert_eq!(counters(&rig), before);
        if calls <= after {
            assert!(after > 4, "only {after} calls can fail");
            return;
        }
    }
}

/// A device is pulled while its partition runs, and the partition goes on filling
/// its window; or it fills one that its device does not use yet. That is no hold on
/// the memory when the partition stops.
#[test]
fn a_window_without_its_device_does_not_keep_memory_from_a_partition_that_stops() {
    for is_pulled in [true, false] {
        let rig = Rig::new(PhbKind::Phb4, 1);
        let domain = rig.domain(1, MIB);
        rig.give(&domain, 3);
        let window = domain.window(pe(3)).unwrap();
        let host = domain.memory().map().pieces()[0].host;
        let put = || {
            let bus = BusAddr::new(0x1000);
            rig.engine.map(&window, bus, host, 1, Access::ReadWrite)
        };
        if is_pulled {
            rig.open(&domain, 3);
            put().unwrap();
            rig.engine
                .detach(&window, pe(3), DetachMode::Reset)
                .unwrap();
        }
        // Refused or not, it goes with the run.
        let _ = put();
        domain.close_all(&rig.engine).unwrap();
        domain.renew(&rig.engine, &rig.ledger, &rig.frames).unwrap();
        // The next one finds it empty, and fills it.
        rig.open(&domain, 3);
        assert_eq!(put(), Ok(()));
        domain.close_all(&rig.engine).unwrap();
        domain.renew(&rig.engine, &rig.ledger, &rig.frames).unwrap();
        assert_eq!(rig.machine().violations(), []);
    }
}

#[test]
fn memory_with_a_window_that_is_kept_somewhere_is_not_given_back() {
    let rig = Rig::new(PhbKind::Phb4, 1);
    let domain = rig.domain(1, MIB);
    rig.give(&domain, 3);
    let window = domain.window(pe(3)).unwrap();
    let start = domain.memory().map().pieces()[0].host;
    let Err((domain, error)) = domain.release(&rig.engine, &rig.ledger, &rig.frames) else {
        panic!("the window refers to the memory");
    };
    let owner = OwnerId(1);
    let expected = LedgerError::InUse { owner, others: 1 };
    assert_eq!(error, CloseError::Memory(MemoryError::Ledger(expected)));
    assert_eq!(rig.ledger.owner_of(start), Some(owner));
    drop(window);
    assert!(
        domain
            .release(&rig.engine, &rig.ledger, &rig.frames)
            .is_ok()
    );
}
