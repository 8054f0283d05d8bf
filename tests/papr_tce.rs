//! H_PUT_TCE, H_GET_TCE, H_STUFF_TCE and H_PUT_TCE_INDIRECT, as a partition
//! calls them: codes, replacement, lists, hostile arguments, cost.

#[path = "engine/support.rs"]
#[allow(dead_code)]
mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use allocation_counter::measure;
use pinion::addr::{BusAddr, GuestAddr, HostAddr};
use pinion::dma::{DetachMode, DmaError, Engine, Liobn, Quota, Window, WindowConfig};
use pinion::memory::ledger::{Ledger, OwnerId};
use pinion::papr::liobn::{Liobns, MAX_WINDOWS};
use pinion::papr::tce::TceCalls;
use pinion::partition::map::{GuestMap, Piece};
use pinion::seam::{PeId, PhbError};
use pinion::sim::{Failure, Flat, Machine, PhbKind, Step};
use pinion::tce::{PageShift, PageSizes, TableShape};
use proptest::prelude::*;

use support::{Party, Rig};

// As Linux has them (arch/powerpc/include/asm/hvcall.h): not from the code
// under test.
const H_SUCCESS: i64 = 0;
const H_BUSY: i64 = 1;
const H_HARDWARE: i64 = -1;
const H_PARAMETER: i64 = -4;
const H_NOT_ENOUGH_RESOURCES: i64 = -44;

/// First page of the window on the bus, and its pages.
const BASE: u64 = 0x40;
const PAGES: u64 = 1300;

/// The window's name in the partition.
const LIOBN: u64 = 0x8000_0003;

/// Read, write, both.
const R: u64 = 1;
const W: u64 = 2;
const RW: u64 = 3;

/// A partition with four pieces of memory, a window and a device.
struct Guest {
    rig: Rig,
    party: Party,
    window: Arc<Window<Machine>>,
    map: GuestMap,
    windows: Liobns<Machine>,
}

/// Where a page of the partition is in the machine. Page 16 lies across two
/// pieces, so it is nowhere; those from 0x200 are in the map, but not granted.
fn host_page(page: u64) -> Option<u64> {
    match page {
        0..=15 => Some(0x1000 + page),
        17..=47 => Some(0x801 + page - 17),
        0x100..=0x11f => Some(0x2000 + page - 0x100),
        _ => None,
    }
}

fn pieces(page: PageShift) -> GuestMap {
    let piece = |guest: u64, host: u64, halves: u64| Piece {
        guest: GuestAddr::new(guest << (page.get() - 1)),
        host: HostAddr::new(host << (page.get() - 1)),
        bytes: halves << (page.get() - 1),
    };
    GuestMap::new(vec![
        piece(0x200, 0x4000, 0x40),
        piece(0, 0x2000, 33),
        piece(33, 0x1001, 63),
        piece(0x400, 0x6000, 0x20),
    ])
    .unwrap()
}

impl Guest {
    fn new(kind: PhbKind, page: PageShift) -> Self {
        Self::with(Rig::new(kind, page, 5), 1 << 30)
    }

    fn with(rig: Rig, quota: u64) -> Self {
        let party = rig.party_with_quota(1, quota);
        rig.grant(&party, 0x1000, 16);
        rig.grant(&party, 0x801, 31);
        rig.grant(&party, 0x2000, 32);
        let other = rig.party(2);
        rig.grant(&other, 0x3000, 16);
        let window = rig.window(&party, BASE, PAGES, 2);
        rig.plug(&party, &window, 0);
        let windows = Liobns::default();
        windows.insert(Liobn(LIOBN as u32), window.clone()).unwrap();
        let map = pieces(rig.page);
        Self {
            rig,
            party,
            window,
            map,
            windows,
        }
    }

    fn calls(&self) -> TceCalls<'_, Machine> {
        TceCalls {
            engine: &self.rig.engine,
            map: &self.map,
            windows: &self.windows,
        }
    }

    /// Page `index` of the window.
    fn bus(&self, index: u64) -> u64 {
        self.rig.bus(BASE + index).get()
    }

    /// An entry of the partition's page.
    fn tce(&self, page: u64, rights: u64) -> u64 {
        page << self.rig.page.get() | rights
    }

    fn put(&self, index: u64, tce: u64) -> i64 {
        self.calls().put(LIOBN, self.bus(index), tce)
    }

    fn get(&self, index: u64) -> Result<u64, i64> {
        self.calls().get(LIOBN, self.bus(index))
    }

    /// H_PUT_TCE_INDIRECT with a list at address 0.
    fn indirect(&self, index: u64, list: &[u64]) -> i64 {
        let count = list.len() as u64;
        self.calls()
            .put_indirect(LIOBN, self.bus(index), 0, count, copy(list))
    }

    /// Kills until now.
    fn kills(&self) -> u64 {
        self.rig.machine().kills(0)
    }

    /// Window page to page of the machine and the right to write.
    fn table(&self) -> BTreeMap<u64, (u64, bool)> {
        let page = self.rig.page.get();
        let mut table = BTreeMap::new();
        self.rig.engine.mappings(&self.window, |mapping| {
            let access = mapping.access.expect("no operation is running");
            let index = (mapping.bus.get() >> page) - BASE;
            table.insert(index, (mapping.host.get() >> page, access.writes()));
        });
        table
    }

    fn check(&self) {
        self.rig.check(&[&self.window]);
    }
}

/// A reader of a list that is all of the memory it is asked for.
fn copy(list: &[u64]) -> impl FnOnce(GuestAddr, &mut [u8]) -> bool {
    move |_, to| {
        let words = to.as_chunks_mut::<8>().0;
        assert!(
            words.len() <= list.len(),
            "more is read than the count says"
        );
        for (word, tce) in words.iter_mut().zip(list) {
            *word = tce.to_be_bytes();
        }
        true
    }
}

fn unread(_: GuestAddr, _: &mut [u8]) -> bool {
    panic!("a list that is refused is not read")
}

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
        assert_eq!(calls.put(liobn, guest.bus(0), good), H_PARAMETER);
        assert_eq!(calls.put(liobn, guest.bus(0), 0), H_PARAMETER);
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
            assert_eq!(calls.put(LIOBN, ioba, tce), H_PARAMETER, "{ioba:#x}");
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
        assert_eq!(calls.stuff(LIOBN, guest.bus(0), 0, count), H_PARAMETER);
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
        let answer = guest
            .calls()
            .put_indirect(LIOBN, guest.bus(0), at, count, |from, to| {
                asked.set(Some((from.get(), to.len() as u64)));
                to.fill(0);
                guest.map.host(from, to.len() as u64).is_some()
            });
        assert_eq!(asked.get(), Some((at, count * 8)));
        answer
    };
    assert_eq!(list(0xf000, 512), H_SUCCESS);
    // Page 16: the first half is one piece, the second another.
    assert_eq!(list(0x10000, 256), H_SUCCESS);
    assert_eq!(list(0x10000, 257), H_PARAMETER);
    assert_eq!(list(0x10000, 512), H_PARAMETER);
    assert_eq!(list(0x30000, 1), H_PARAMETER);
    assert_eq!(list(0xffff_ffff_ffff_f000, 512), H_PARAMETER);
}

#[test]
fn a_list_is_read_once() {
    let guest = Arc::new(Guest::new(PhbKind::Phb4, PageShift::K4));
    let memory = Arc::new(Mutex::new([guest.tce(1, R), guest.tce(2, RW), 0]));
    // The partition rewrites its list whenever anything happens.
    let (written, foreign) = (memory.clone(), guest.tce(0x200, RW));
    guest
        .rig
        .machine()
        .set_hook(move |_, _| *written.lock().unwrap() = [foreign; 3]);
    let reads = Cell::new(0);
    let answer = guest
        .calls()
        .put_indirect(LIOBN, guest.bus(9), 0x3000, 3, |from, to| {
            reads.set(reads.get() + 1);
            assert_eq!(from, GuestAddr::new(0x3000));
            let mut list = memory.lock().unwrap();
            copy(&*list)(from, to);
            *list = [foreign; 3];
            true
        });
    guest.rig.machine().clear_hook();
    assert_eq!((answer, reads.get()), (H_SUCCESS, 1));
    assert_eq!(
        guest.table(),
        BTreeMap::from([(9, (0x1001, false)), (10, (0x1002, true))])
    );
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

/// One hostile call.
#[derive(Clone, Debug)]
enum Call {
    Put(u64),
    Stuff(u64, u64),
    Indirect { at: u64, count: u64, list: Vec<u64> },
    Get,
}

/// LIOBN, page of the window, what is added to its address, the call.
type Wild = (u64, u64, u64, Call);

fn tces() -> impl Strategy<Value = u64> {
    let known = prop_oneof![0..50u64, 0x0fe..0x122u64, 0x1fe..0x212u64];
    // Page in units of 64K: scaled by the test.
    prop_oneof![
        20 => (known, 0..4u64).prop_map(|(page, rights)| page << 16 | rights),
        1 => any::<u64>(),
    ]
}

fn good_tces() -> impl Strategy<Value = u64> {
    let page = prop_oneof![0..16u64, 17..48u64, 0x100..0x120u64];
    (page, 0..4u64).prop_map(|(page, rights)| page << 16 | rights)
}

fn lists() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![
        3 => prop::collection::vec(good_tces(), 0..514),
        1 => prop::collection::vec(tces(), 0..40),
    ]
}

fn wild() -> impl Strategy<Value = Wild> {
    let counts = || prop_oneof![8 => 0..514u64, 1 => any::<u64>()];
    let at = prop_oneof![
        6 => (0..0x30u64).prop_map(|page| page << 12),
        1 => any::<u64>(),
        1 => Just(0x10_000 | 8),
    ];
    let call = prop_oneof![
        3 => tces().prop_map(Call::Put),
        3 => (tces(), counts()).prop_map(|(tce, count)| Call::Stuff(tce, count)),
        4 => (at, lists(), prop_oneof![9 => Just(None), 1 => any::<u64>().prop_map(Some)])
            .prop_map(|(at, list, count)| {
                let count = count.unwrap_or(list.len() as u64);
                Call::Indirect { at, count, list }
            }),
        2 => Just(Call::Get),
    ];
    (
        prop_oneof![20 => Just(LIOBN), 1 => any::<u64>(), 1 => LIOBN - 2..LIOBN + 2],
        prop_oneof![12 => 0..PAGES, 1 => PAGES - 2..PAGES + 2, 1 => any::<u64>()],
        prop_oneof![16 => Just(0u64), 1 => 0..0x1_0000u64],
        call,
    )
}

/// What an entry would map: nothing, or a page and whether it may be written.
type Wanted = Option<(u64, bool)>;

/// What a call asks for, read naively; `Err` if it asks for nonsense.
fn meaning(tce: u64, page: u32) -> Result<Wanted, ()> {
    let (bits, rights) = (tce & !RW, tce & RW);
    if rights == 0 {
        return Ok(None);
    }
    if bits % (1 << page) != 0 {
        return Err(());
    }
    let host = host_page(bits >> page).ok_or(())?;
    Ok(Some((host, rights & W != 0)))
}

/// The entries that a call would store, or nothing if it is refused.
fn asked(guest: &Guest, (liobn, page, skew, call): &Wild) -> Option<Vec<Wanted>> {
    let shift = guest.rig.page.get();
    let (count, tces) = match call {
        Call::Get => return None,
        Call::Put(tce) => (1, vec![*tce]),
        Call::Stuff(_, count) | Call::Indirect { count, .. } if *count > 512 => return None,
        Call::Stuff(tce, count) => (*count, vec![*tce; *count as usize]),
        Call::Indirect { at, count, list } => {
            let end = at.checked_add(count * 8)?;
            // The pieces' ends, in halves of a page.
            let one =
                |first: u64, last: u64| *at >= first << (shift - 1) && end <= last << (shift - 1);
            let whole = one(0, 33) || one(33, 96) || one(0x200, 0x240) || one(0x400, 0x420);
            if at % 4096 != 0 || (*count != 0 && !whole) {
                return None;
            }
            // What is behind the list's words reads as 0.
            let word = |i: u64| list.get(i as usize).copied().unwrap_or(0);
            (*count, (0..*count).map(word).collect())
        }
    };
    if *liobn != LIOBN {
        return None;
    }
    if count == 0 {
        return Some(Vec::new());
    }
    let inside = page.checked_add(count).is_some_and(|end| end <= PAGES);
    if !inside || skew % (1 << shift) != 0 || skew >> shift != 0 {
        return None;
    }
    tces.iter().map(|&tce| meaning(tce, shift).ok()).collect()
}

fn run(guest: &Guest, wild: &Wild) -> i64 {
    let (liobn, page, skew, call) = wild;
    let ioba = page
        .wrapping_add(BASE)
        .wrapping_shl(guest.rig.page.get())
        .wrapping_add(*skew);
    let calls = guest.calls();
    match call {
        Call::Put(tce) => calls.put(*liobn, ioba, *tce),
        Call::Stuff(tce, count) => calls.stuff(*liobn, ioba, *tce, *count),
        Call::Indirect { at, count, list } => {
            calls.put_indirect(*liobn, ioba, *at, *count, |from, to| {
                let words = to.as_chunks_mut::<8>().0.iter_mut();
                for (i, word) in words.enumerate() {
                    *word = list.get(i).copied().unwrap_or(0).to_be_bytes();
                }
                guest.map.host(from, to.len() as u64).is_some()
            })
        }
        Call::Get => calls.get(*liobn, ioba).err().unwrap_or(H_SUCCESS),
    }
}

/// The same call for other IO pages: an entry's page is given in units of 64K.
fn scaled(mut wild: Wild, page: PageShift) -> Wild {
    let scale = |tce: &mut u64| {
        if *tce >> 32 == 0 {
            *tce = *tce >> 16 << page.get() | *tce & RW;
        }
    };
    match &mut wild.3 {
        Call::Put(tce) | Call::Stuff(tce, _) => scale(tce),
        Call::Indirect { list, .. } => list.iter_mut().for_each(scale),
        Call::Get => {}
    }
    wild
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// No call panics; the table is what a naive map is; one kill for a change.
    #[test]
    fn hostile_calls_do_what_a_naive_map_does(
        kind in prop_oneof![
            Just(PhbKind::Phb3), Just(PhbKind::Phb4), Just(PhbKind::AllOnly)
        ],
        page in prop_oneof![Just(PageShift::K4), Just(PageShift::K64)],
        calls in prop::collection::vec(wild(), 1..24),
    ) {
        let guest = Guest::new(kind, page);
        let pages = (0..PAGES).step_by(5).map(|index| BusAddr::new(guest.bus(index)));
        guest.rig.machine().set_stray(6, vec![(0, 0)], pages.collect());
        let mut naive: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
        for wild in calls {
            let wild = scaled(wild, page);
            let kills = guest.kills();
            let answer = run(&guest, &wild);
            let (wanted, first) = (asked(&guest, &wild), wild.1);
            let mut changed = false;
            if let Call::Get = wild.3 {
                let fine = wild.0 == LIOBN && first < PAGES && wild.2.is_multiple_of(1 << page.get())
                    && first + (wild.2 >> page.get()) < PAGES;
                // An address that wraps may be inside again.
                if first < 1 << 40 {
                    prop_assert_eq!(answer, if fine { H_SUCCESS } else { H_PARAMETER });
                }
            } else if let Some(wanted) = wanted {
                prop_assert_eq!(answer, H_SUCCESS, "{:x?}", wild);
                for (index, wanted) in (first..).zip(wanted) {
                    changed |= match wanted {
                        Some(mapping) => {
                            naive.insert(index, mapping);
                            true
                        }
                        None => naive.remove(&index).is_some(),
                    };
                }
            } else {
                prop_assert_eq!(answer, H_PARAMETER, "{:x?}", wild);
            }
            prop_assert_eq!(guest.kills() - kills, u64::from(changed), "{:x?}", wild);
            prop_assert_eq!(&guest.table(), &naive);
        }
        for index in 0..PAGES {
            let expected = naive.get(&index).copied();
            let got = guest.get(index).unwrap();
            prop_assert_eq!(meaning(got, page.get()), Ok(expected));
        }
        guest.check();
    }
}

/// The calls on a platform whose table memory is no heap.
#[test]
fn no_call_uses_the_heap() {
    let engine = Engine::new(Flat::new(16 << 20), &[1]);
    let ledger = Ledger::new();
    let holdings = ledger.add_owner(OwnerId(1)).unwrap();
    let pieces: Vec<Piece> = (0..256)
        .map(|region| Piece {
            guest: GuestAddr::new(region << 16),
            host: HostAddr::new((0x1000 + 2 * region) << 16),
            bytes: 1 << 16,
        })
        .collect();
    for piece in &pieces {
        ledger
            .grant(&holdings, piece.host, piece.bytes, 12)
            .unwrap();
    }
    let config = WindowConfig {
        base: BusAddr::new(0),
        pages: 4096,
        shape: TableShape::new(PageShift::K4, 2, 12).unwrap(),
        sizes: PageSizes::PHB4,
        limit: 4096,
    };
    let quota = Arc::new(Quota::new(1 << 30));
    let window = engine.create_window(&config, holdings, quota).unwrap();
    engine.attach(&window, PeId { phb: 0, pe: 0 }).unwrap();
    let (map, windows) = (GuestMap::new(pieces).unwrap(), Liobns::default());
    windows.insert(Liobn(LIOBN as u32), window).unwrap();
    let calls = TceCalls {
        engine: &engine,
        map: &map,
        windows: &windows,
    };
    let list = |shift: u64| -> Vec<u64> {
        let page = |i: u64| (i * 1031 + shift) % 4096;
        (0..512).map(|i| page(i) << 12 | RW).collect()
    };
    let (first, second, none) = (list(0), list(7), vec![0; 512]);
    // The model's frames are on the heap: the leaves are made before.
    assert_eq!(calls.put(LIOBN, 0, 1), H_SUCCESS);
    let nothing = |what: &str, kills: u64, expected: i64, run: &dyn Fn() -> i64| {
        let before = engine.platform().kills();
        let used = measure(|| assert_eq!(run(), expected, "{what}"));
        assert_eq!(used.count_total, 0, "{what}: {used:?}");
        assert_eq!(engine.platform().kills() - before, kills, "{what}");
    };
    let indirect = |list: &[u64]| calls.put_indirect(LIOBN, 0, 0x1000, 512, copy(list));
    nothing("put", 1, H_SUCCESS, &|| calls.put(LIOBN, 0x5000, 0x3003));
    nothing("replace", 1, H_SUCCESS, &|| {
        calls.put(LIOBN, 0x5000, 0x4003)
    });
    nothing("get", 0, 0x4003, &|| {
        calls.get(LIOBN, 0x5000).unwrap() as i64
    });
    nothing("unmap", 1, H_SUCCESS, &|| calls.put(LIOBN, 0x5000, 0));
    nothing("list", 1, H_SUCCESS, &|| indirect(&first));
    nothing("list again", 1, H_SUCCESS, &|| indirect(&second));
    nothing("list of nothing", 1, H_SUCCESS, &|| indirect(&none));
    nothing("stuff", 1, H_SUCCESS, &|| {
        calls.stuff(LIOBN, 0, 0x2001, 512)
    });
    nothing("unstuff", 1, H_SUCCESS, &|| calls.stuff(LIOBN, 0, 0, 512));
    nothing("refusal", 0, H_PARAMETER, &|| {
        calls.put(LIOBN, 0, 1 << 40 | 1)
    });
    nothing("refused list", 0, H_PARAMETER, &|| {
        indirect(&[1 << 40 | 1; 512])
    });
}
