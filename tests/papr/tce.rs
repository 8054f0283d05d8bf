//! H_PUT_TCE, H_GET_TCE, H_STUFF_TCE and H_PUT_TCE_INDIRECT, as a partition
//! calls them: codes, replacement, lists, failures.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pinion::addr::{BusAddr, GuestAddr};
use pinion::dma::{DetachMode, DmaError, Liobn};
use pinion::papr::liobn::{Liobns, MAX_WINDOWS};
use pinion::seam::PhbError;
use pinion::sim::{Failure, Machine, PhbKind, Step, longest_hold};
use pinion::tce::PageShift;

use super::guest::*;
use super::support::Rig;

#[test]
fn entries_are_replaced_and_no_rights_unmap() {
    for page in [PageShift::K4, PageShift::K64] {
        let guest = Guest::new(PhbKind::Phb4, page);
        assert_eq!(guest.get(7), Ok(0));
        assert_eq!(guest.put(7, guest.tce(3, R)), H_SUCCESS);
        assert_eq!(guest.get(7), Ok(guest.tce(3, R)));
        assert_eq!(guest.put(7, guest.tce(0x11f, RW)), H_SUCCESS);
        assert_eq!(guest.get(7), Ok(guest.tce(0x11f, RW)));
        // Whoever writes may read.
        assert_eq!(guest.put(7, guest.tce(17, W)), H_SUCCESS);
        assert_eq!(guest.get(7), Ok(guest.tce(17, RW)));
        assert_eq!(guest.table(), BTreeMap::from([(7, (0x801, true))]));
        // The device gets there; only the new page is pinned.
        let bus = BusAddr::new(guest.bus(7));
        assert_eq!(
            guest.rig.machine().dma(0, 0, bus, true),
            Ok(guest.rig.host(0x801))
        );
        guest.check();
        // Without rights, the rest of the entry does not matter.
        assert_eq!(guest.put(7, !RW), H_SUCCESS);
        assert_eq!((guest.get(7), guest.table().len()), (Ok(0), 0));
        assert!(guest.rig.machine().dma(0, 0, bus, true).is_err());
        let pins = (0..3).map(|region| guest.party.holdings.region(region).unwrap().pins);
        assert_eq!(pins.sum::<u64>(), 0);
        guest.check();
    }
}

#[test]
fn a_list_maps_replaces_and_unmaps_at_once() {
    let guest = Guest::new(PhbKind::Phb4, PageShift::K4);
    // 512 entries over two leaves.
    let first: Vec<u64> = (0..512).map(|i| guest.tce(i % 16, R)).collect();
    assert_eq!(guest.indirect(100, &first), H_SUCCESS);
    let second: Vec<u64> = (0..512)
        .map(|i| match i % 3 {
            0 => guest.tce(0x100 + i % 32, RW),
            1 => 0,
            _ => guest.tce(17 + i % 31, R),
        })
        .collect();
    let kills = guest.kills();
    assert_eq!(guest.indirect(400, &second), H_SUCCESS);
    assert_eq!(guest.kills() - kills, 1);
    for index in 0..PAGES {
        let expected = match index {
            100..400 => first[index as usize - 100],
            400..912 => second[index as usize - 400],
            _ => 0,
        };
        assert_eq!(guest.get(index), Ok(expected), "page {index}");
    }
    guest.check();
    // All the same, and nothing.
    let stuff = |tce, count| guest.calls().stuff(LIOBN, guest.bus(300), tce, count);
    assert_eq!(stuff(guest.tce(5, RW), 512), H_SUCCESS);
    assert!((300..812).all(|index| guest.get(index) == Ok(guest.tce(5, RW))));
    guest.check();
    assert_eq!(stuff(guest.tce(5, 0), 512), H_SUCCESS);
    assert!((300..812).all(|index| guest.get(index) == Ok(0)));
    let behind = second[412..].iter().filter(|&&tce| tce != 0).count();
    assert_eq!(guest.table().len(), 200 + behind);
    guest.check();
}

#[test]
fn an_unmap_may_be_longer_than_a_map() {
    let guest = Guest::new(PhbKind::Phb4, PageShift::K4);
    let stuff = |index, tce, count| guest.calls().stuff(LIOBN, guest.bus(index), tce, count);
    let fill = || {
        for first in [0, 512, PAGES - 512] {
            assert_eq!(stuff(first, guest.tce(5, RW), 512), H_SUCCESS);
        }
    };
    fill();
    assert_eq!(stuff(0, guest.tce(5, RW), 513), H_PARAMETER);
    let _map = longest_hold();
    assert_eq!(stuff(0, 0, 512), H_SUCCESS);
    let short = longest_hold();
    fill();
    let _map = longest_hold();
    let kills = guest.kills();
    assert_eq!(stuff(1, 0, PAGES - 2), H_SUCCESS);
    assert_eq!(guest.kills() - kills, 1);
    // The lock is let go in between.
    let long = longest_hold();
    assert!((512..short * 3 / 2).contains(&long), "{long}, {short}");
    let left: Vec<u64> = guest.table().into_keys().collect();
    assert_eq!(left, [0, PAGES - 1]);
    assert_eq!(stuff(1, 0, PAGES), H_PARAMETER);
    guest.check();
}

#[test]
fn each_call_that_changes_something_kills_once() {
    for kind in [PhbKind::Phb3, PhbKind::Phb4, PhbKind::AllOnly] {
        let guest = Guest::new(kind, PageShift::K4);
        let calls = guest.calls();
        let count = |what: &str, expected: u64, run: &dyn Fn() -> i64| {
            let kills = guest.kills();
            assert_eq!(run(), H_SUCCESS, "{what}");
            assert_eq!(guest.kills() - kills, expected, "{what} with {kind:?}");
        };
        let list = [guest.tce(1, R), 0, guest.tce(0x100, RW), guest.tce(20, R)].repeat(128);
        count("map", 1, &|| guest.put(0, guest.tce(1, R)));
        count("replace", 1, &|| guest.put(0, guest.tce(2, RW)));
        count("unmap", 1, &|| guest.put(0, 0));
        count("unmap of nothing", 0, &|| guest.put(0, 0));
        count("list", 1, &|| guest.indirect(500, &list));
        count("list again", 1, &|| guest.indirect(501, &list));
        count("stuff", 1, &|| {
            calls.stuff(LIOBN, guest.bus(3), guest.tce(3, R), 512)
        });
        count("unmap all", 1, &|| calls.stuff(LIOBN, guest.bus(3), 0, 512));
        count("none", 0, &|| calls.stuff(LIOBN, guest.bus(3), 0, 0));
        count("an empty list", 0, &|| guest.indirect(0, &[]));
        guest.check();
    }
}

#[test]
fn what_a_partition_says_wrong_is_a_parameter_and_changes_nothing() {
    let guest = Guest::new(PhbKind::Phb4, PageShift::K64);
    let calls = guest.calls();
    let good = guest.tce(1, RW);
    assert_eq!(guest.put(0, guest.tce(2, R)), H_SUCCESS);
    let (before, kills) = (guest.table(), guest.kills());
    let page = 1 << 16;
    // Other names, also one that is right in its low half.
    for liobn in [
        0,
        1,
        LIOBN - 1,
        LIOBN + 1,
        LIOBN + 64,
        LIOBN | 1 << 32,
        u64::MAX,
    ] {
        assert_eq!(put(&calls, liobn, guest.bus(0), good), H_PARAMETER);
        assert_eq!(put(&calls, liobn, guest.bus(0), 0), H_PARAMETER);
        assert_eq!(calls.stuff(liobn, guest.bus(0), good, 1), H_PARAMETER);
        assert_eq!(calls.stuff(liobn, guest.bus(0), good, 0), H_PARAMETER);
        assert_eq!(calls.get(liobn, guest.bus(0)), Err(H_PARAMETER));
        assert_eq!(
            calls.put_indirect(liobn, guest.bus(0), 0, 1, unread),
            H_PARAMETER
        );
    }
    // Outside, and between pages.
    let outside = [
        0,
        guest.bus(0) - page,
        guest.bus(0) - 1,
        guest.bus(0) + 1,
        guest.bus(0) + 0x1000,
        guest.bus(PAGES),
        guest.bus(0) | 1 << 59,
        u64::MAX - 0xffff,
        u64::MAX,
    ];
    for ioba in outside {
        for tce in [good, 0] {
            assert_eq!(put(&calls, LIOBN, ioba, tce), H_PARAMETER, "{ioba:#x}");
            assert_eq!(calls.stuff(LIOBN, ioba, tce, 2), H_PARAMETER, "{ioba:#x}");
            let list = [tce; 2];
            let listed = calls.put_indirect(LIOBN, ioba, 0, 2, copy(&list));
            assert_eq!(listed, H_PARAMETER, "{ioba:#x}");
        }
        assert_eq!(calls.get(LIOBN, ioba), Err(H_PARAMETER), "{ioba:#x}");
    }
    // Past the end by one.
    assert_eq!(
        calls.stuff(LIOBN, guest.bus(PAGES - 1), good, 2),
        H_PARAMETER
    );
    assert_eq!(calls.stuff(LIOBN, guest.bus(PAGES - 1), 0, 2), H_PARAMETER);
    assert_eq!(guest.indirect(PAGES - 1, &[good, good]), H_PARAMETER);
    // Pages that are not wholly the partition's: across two pieces, in a hole,
    // in the map but another's, not there at all. Bits between page and rights.
    let bad = [
        guest.tce(16, R),
        guest.tce(48, R),
        guest.tce(0x200, RW),
        guest.tce(0x20f, W),
        guest.tce(1 << 40, R),
        u64::MAX,
        good | 4,
        good | 0x1000,
        good | 0x8000,
    ];
    for tce in bad {
        assert_eq!(guest.put(0, tce), H_PARAMETER, "{tce:#x}");
        assert_eq!(
            calls.stuff(LIOBN, guest.bus(0), tce, 3),
            H_PARAMETER,
            "{tce:#x}"
        );
        // All or none: the good ones before it are not stored.
        assert_eq!(
            guest.indirect(0, &[good, 0, good, tce]),
            H_PARAMETER,
            "{tce:#x}"
        );
    }
    // Too many.
    for count in [513, 514, 1 << 32 | 1, u64::MAX / 8 + 2, u64::MAX] {
        assert_eq!(calls.stuff(LIOBN, guest.bus(0), good, count), H_PARAMETER);
        let beyond = count.max(PAGES + 1);
        assert_eq!(calls.stuff(LIOBN, guest.bus(0), 0, beyond), H_PARAMETER);
        let listed = calls.put_indirect(LIOBN, guest.bus(0), 0, count, unread);
        assert_eq!(listed, H_PARAMETER);
    }
    // A list that is not aligned to 4K.
    for list in [1, 8, 0x800, 0xfff, 0x1008, u64::MAX] {
        let listed = calls.put_indirect(LIOBN, guest.bus(0), list, 1, unread);
        assert_eq!(listed, H_PARAMETER, "{list:#x}");
    }
    assert_eq!((guest.table(), guest.kills()), (before, kills));
    guest.check();
}

#[test]
fn a_list_that_is_not_all_memory_is_refused() {
    // Pieces of half pages: those of 4K end in the middle of a list.
    let guest = Guest::new(PhbKind::Phb4, PageShift::K4);
    let list = |at: u64, count: u64| {
        let asked = Cell::new(None);
        let answer =
            guest
                .calls()
                .put_indirect(LIOBN, guest.bus(0), at, count, |from, count, to| {
                    asked.set(Some((from.get(), count as u64)));
                    to.fill(count, |_| 0);
                    guest.map.host(from, 8 * count as u64).is_some()
                });
        assert_eq!(asked.get(), Some((at, count)));
        answer
    };
    assert_eq!(list(0xf000, 512), H_SUCCESS);
    // Page 16: the first half is one piece, the second another.
    assert_eq!(list(0x10000, 256), H_SUCCESS);
    assert_eq!(list(0x10000, 257), H_PARAMETER);
    assert_eq!(list(0x10000, 512), H_PARAMETER);
    assert_eq!(list(0x30000, 1), H_PARAMETER);
    assert_eq!(list(0xffff_ffff_ffff_f000, 512), H_PARAMETER);
    // Fewer words than the count, or more.
    for words in [0, 1, 3, 513] {
        let answer = guest
            .calls()
            .put_indirect(LIOBN, guest.bus(0), 0, 2, |_, _, to| {
                to.fill(words, |_| guest.tce(1, R));
                true
            });
        assert_eq!(answer, H_PARAMETER);
    }
    guest.check();
}

#[test]
fn a_list_is_read_once() {
    const COUNT: usize = 19;
    let guest = Arc::new(Guest::new(PhbKind::Phb4, PageShift::K4));
    let kinds = [guest.tce(1, R), guest.tce(2, RW), 0];
    let first: [u64; COUNT] = core::array::from_fn(|number| kinds[number % 3]);
    let memory = Arc::new(Mutex::new(first));
    // The partition rewrites its list whenever anything happens.
    let (written, foreign) = (memory.clone(), guest.tce(0x200, RW));
    guest
        .rig
        .machine()
        .set_hook(move |_, _| *written.lock().unwrap() = [foreign; COUNT]);
    let (reads, words) = (Cell::new(0), Cell::new(0));
    let answer = guest.calls().put_indirect(
        LIOBN,
        guest.bus(9),
        0x3000,
        COUNT as u64,
        |from, count, to| {
            reads.set(reads.get() + 1);
            assert_eq!(from, GuestAddr::new(0x3000));
            let mut list = memory.lock().unwrap();
            to.fill(count, |number| {
                words.set(words.get() + 1);
                core::mem::replace(&mut list[number], foreign)
            });
            true
        },
    );
    guest.rig.machine().clear_hook();
    let counted = (answer, reads.get(), words.get());
    assert_eq!(counted, (H_SUCCESS, 1, COUNT));
    let entry = |number: u64| [(0x1001, false), (0x1002, true)][number as usize % 3];
    let mapped = (0..COUNT as u64).filter(|number| number % 3 != 2);
    let expected: BTreeMap<_, _> = mapped.map(|number| (9 + number, entry(number))).collect();
    assert_eq!(guest.table(), expected);
    guest.check();
}

#[test]
fn no_memory_for_tables_is_not_enough_resources() {
    // The root is there, but no leaf: by quota, and in the machine.
    let by_quota = Guest::with(Rig::new(PhbKind::Phb4, PageShift::K4, 1), 8192);
    let rig = Rig::with_table_bytes(PhbKind::Phb4, PageShift::K4, 1, 8192);
    for guest in [by_quota, Guest::with(rig, 1 << 30)] {
        let good = guest.tce(1, RW);
        let calls = guest.calls();
        assert_eq!(guest.put(0, good), H_NOT_ENOUGH_RESOURCES);
        assert_eq!(
            calls.stuff(LIOBN, guest.bus(0), good, 9),
            H_NOT_ENOUGH_RESOURCES
        );
        assert_eq!(guest.indirect(0, &[0, good]), H_NOT_ENOUGH_RESOURCES);
        // What needs no table works.
        assert_eq!(guest.put(0, 0), H_SUCCESS);
        assert_eq!(guest.indirect(0, &[0, 0]), H_SUCCESS);
        assert_eq!(guest.get(0), Ok(0));
        guest.check();
    }
}

#[test]
fn a_phb_that_does_not_answer_is_hardware() {
    for replaced in [false, true] {
        let guest = Guest::new(PhbKind::Phb4, PageShift::K4);
        // The leaf is there: the next call of the machine is the kill.
        assert_eq!(guest.put(9, guest.tce(2, R)), H_SUCCESS);
        if replaced {
            assert_eq!(guest.put(0, guest.tce(2, R)), H_SUCCESS);
        }
        guest.rig.machine().fail(Some(Failure {
            after: 0,
            forever: false,
            error: PhbError::TimedOut,
        }));
        assert_eq!(guest.put(0, guest.tce(1, RW)), H_HARDWARE);
        // Frozen from now on, whatever is asked.
        assert_eq!(guest.put(1, guest.tce(1, RW)), H_HARDWARE);
        assert_eq!(guest.put(1, 0), H_HARDWARE);
        assert_eq!(guest.indirect(0, &[0, 0]), H_HARDWARE);
        let stuff = guest.calls().stuff(LIOBN, guest.bus(0), guest.tce(1, R), 4);
        assert_eq!(stuff, H_HARDWARE);
        assert_eq!(guest.get(1), Ok(0));
        guest.check();
    }
}

#[test]
fn an_entry_that_another_vcpu_unmaps_is_busy() {
    let guest = Arc::new(Guest::new(PhbKind::Phb4, PageShift::K4));
    assert_eq!(guest.put(4, guest.tce(1, RW)), H_SUCCESS);
    let answers = Arc::new(Mutex::new(Vec::new()));
    let (other, told) = (guest.clone(), answers.clone());
    guest.rig.machine().set_hook(move |_, step| {
        if step == Step::Kill && told.lock().unwrap().is_empty() {
            let answer = [
                other.put(4, other.tce(2, RW)),
                other.indirect(3, &[0, other.tce(2, R)]),
                other.get(4).unwrap() as i64,
            ];
            told.lock().unwrap().extend(answer);
        }
    });
    assert_eq!(guest.put(4, 0), H_SUCCESS);
    guest.rig.machine().clear_hook();
    assert_eq!(*answers.lock().unwrap(), [H_BUSY, H_BUSY, 0]);
    assert_eq!(guest.put(4, guest.tce(2, RW)), H_SUCCESS);
    guest.check();
}

#[test]
fn memory_that_is_being_taken_back_is_refused_but_can_be_unmapped() {
    let guest = Guest::new(PhbKind::Phb4, PageShift::K4);
    assert_eq!(guest.put(0, guest.tce(1, RW)), H_SUCCESS);
    let pins = guest
        .rig
        .ledger
        .close(&guest.party.holdings, guest.rig.host(0x1000));
    assert_eq!(pins, Ok(1));
    assert_eq!(guest.put(1, guest.tce(1, RW)), H_PARAMETER);
    assert_eq!(
        guest.indirect(1, &[guest.tce(0x100, R), guest.tce(2, R)]),
        H_PARAMETER
    );
    assert_eq!(guest.table().len(), 1);
    assert_eq!(guest.put(0, 0), H_SUCCESS);
    guest.check();
}

#[test]
fn a_window_that_is_gone_refuses() {
    let guest = Guest::new(PhbKind::Phb4, PageShift::K4);
    assert_eq!(guest.put(0, guest.tce(1, RW)), H_SUCCESS);
    guest
        .rig
        .engine
        .remove(&guest.window, DetachMode::Reset)
        .unwrap();
    // It has its name still.
    assert_eq!(guest.put(0, guest.tce(1, RW)), H_PARAMETER);
    assert_eq!(guest.put(0, 0), H_PARAMETER);
    assert_eq!(guest.indirect(0, &[guest.tce(1, R)]), H_PARAMETER);
    assert_eq!(guest.get(0), Err(H_PARAMETER));
    assert!(guest.windows.forget(Liobn(LIOBN as u32)).is_some());
    assert!(guest.windows.forget(Liobn(LIOBN as u32)).is_none());
    assert_eq!(guest.put(0, 0), H_PARAMETER);
    assert_eq!(guest.rig.machine().violations(), []);
}

#[test]
fn a_number_names_one_window() {
    let guest = Guest::new(PhbKind::Phb4, PageShift::K4);
    let (windows, window) = (&guest.windows, || guest.window.clone());
    let taken = Liobn(LIOBN as u32);
    assert_eq!(
        windows.insert(taken, window()),
        Err(DmaError::LiobnTaken(taken))
    );
    assert_eq!(Liobns::<Machine>::of_slot(3), Some(taken));
    assert_eq!(Liobns::<Machine>::of_slot(MAX_WINDOWS), None);
    let last = Liobns::<Machine>::of_slot(MAX_WINDOWS - 1).unwrap();
    assert_eq!(windows.insert(last, window()), Ok(()));
    for never in [0, 0x7fff_ffff, last.0 + 1, u32::MAX].map(Liobn) {
        let unknown = Err(DmaError::UnknownLiobn(never));
        assert_eq!(windows.insert(never, window()), unknown);
        assert!(windows.find(never).is_none() && windows.forget(never).is_none());
    }
}
