//! What errors and questions say about tables, exactly.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{Audit, DetachMode, DmaError, Liobn, Window};
use pinion::memory::ledger::{RegionCounts, RegionNumber};
use pinion::seam::{PhbError, TableMemory, TveSelect};
use pinion::sim::{Failure, Machine, PhbKind, Step};
use pinion::tce::tve::Tve;
use pinion::tce::{Access, PageShift, Tce};

use super::support::{Party, Rig, pe};

/// A window that starts at page 0x40, not at a leaf's first entry.
fn late(levels: u32) -> (Rig, Party, Arc<Window<Machine>>) {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 2);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0x40, 1 << 13, levels);
    rig.plug(&party, &window, 0);
    (rig, party, window)
}

#[test]
fn busy_names_the_page_in_the_way() {
    for levels in [1, 2] {
        let (rig, _party, window) = late(levels);
        rig.engine
            .map(&window, rig.bus(0x53), rig.host(0x1000), 1, Access::Read)
            .unwrap();
        let busy = rig
            .engine
            .map(&window, rig.bus(0x42), rig.host(0x1010), 30, Access::Read)
            .unwrap_err();
        assert!(
            matches!(busy, DmaError::Busy { bus, .. } if bus == rig.bus(0x53)),
            "{busy:?}"
        );
    }
}

/// Somebody writes an entry into the table behind the engine's back, just before
/// it is read back.
#[test]
fn a_table_that_is_not_zero_after_its_clear_releases_nothing() {
    let mut last = usize::MAX;
    for entry in [0, 0x5555_0001] {
        let (rig, party, window) = late(1);
        rig.engine
            .map(&window, rig.bus(0x60), rig.host(0x1000), 1, Access::Read)
            .unwrap();
        let root = Tve::from_bits(rig.machine().tve(pe(0), TveSelect::Low))
            .decode()
            .unwrap()
            .unwrap()
            .root;
        let barriers = Arc::new(AtomicUsize::new(0));
        let counter = barriers.clone();
        rig.machine().set_hook(move |machine, step| {
            if step == Step::Barrier && counter.fetch_add(1, Ordering::Relaxed) + 1 == last {
                machine.store(root, 0x47, entry);
            }
        });
        let result = rig.engine.remove(&window, DetachMode::Reset);
        rig.machine().clear_hook();
        last = barriers.load(Ordering::Relaxed);
        if entry == 0 {
            result.unwrap();
            continue;
        }
        let bus = rig.bus(0x47);
        assert_eq!(result.err(), Some(DmaError::NotZero { bus, bits: entry }));
        assert_eq!(party.holdings.region(0).unwrap().pins, 1);
        assert_ne!(rig.machine().table_bytes(), 0);
    }
}

#[test]
fn removal_frees_leaves_wherever_they_are() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 2);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 1 << 18, 2);
    rig.plug(&party, &window, 0);
    // First, last, and pairs that are as far from both ends.
    for leaf in [0, 1, 2, 100, 256, 412, 510, 511] {
        rig.engine
            .map(
                &window,
                rig.bus(leaf * 512 + leaf % 7),
                rig.host(0x1000),
                1,
                Access::Read,
            )
            .unwrap();
    }
    rig.engine.remove(&window, DetachMode::Reset).unwrap();
    assert_eq!((rig.machine().table_bytes(), party.quota.used()), (0, 0));
}

#[test]
fn a_map_takes_no_more_tables_than_it_needs() {
    // Root and two nodes of 8 KiB each, two leaves of 4 KiB.
    let quota = 5 << 13;
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 2);
    let party = rig.party_with_quota(1, quota - (1 << 13));
    rig.grant(&party, 0x1000, 1024);
    let window = rig.window(&party, 0, 1 << 27, 3);
    rig.plug(&party, &window, 0);
    // Across the border of two nodes.
    let border = 1 << 18;
    rig.engine
        .map(
            &window,
            rig.bus(border - 512),
            rig.host(0x1000),
            1024,
            Access::Read,
        )
        .unwrap();
    assert_eq!(party.quota.used(), 3 * (1 << 13) + 2 * (1 << 12));
    assert_eq!(party.quota.limit(), quota - (1 << 13));
}

#[test]
fn the_pins_of_a_page_are_found_by_its_address() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K64, 2);
    let party = rig.party(1);
    rig.grant(&party, 0x100, 64);
    let window = rig.window(&party, 0x40, 64, 1);
    rig.plug(&party, &window, 0);
    for (bus, host) in [(0x41, 0x102), (0x45, 0x102), (0x46, 0x103), (0x4a, 0x105)] {
        rig.engine
            .map(&window, rig.bus(bus), rig.host(host), 1, Access::Read)
            .unwrap();
    }
    let pins_at = |host, shift| {
        let holds = rig.engine.pins_of(&window, host, shift);
        assert!(holds.complete);
        holds.entries
    };
    let pins = |page, shift| pins_at(rig.host(page), shift);
    assert_eq!(
        [0x101, 0x102, 0x103, 0x104, 0x105, 0x106].map(|page| pins(page, 16)),
        [0, 2, 1, 0, 1, 0]
    );
    // Pages smaller and larger than the window's.
    let at = |offset: u64| HostAddr::new(0x105_0000 - 0x1_0000 + offset);
    assert_eq!(pins_at(at(0x1_f000), 12), 1);
    assert_eq!(pins_at(at(0x2_0000), 12), 0);
    assert_eq!(pins_at(at(0xf000), 12), 0);
    assert_eq!(pins(0x102, 17), 3);
    assert_eq!(pins(0x100, 24), 4);
}

#[test]
fn an_audit_has_each_region_and_sees_what_does_not_add_up() {
    let (rig, party, window) = late(2);
    rig.grant(&party, 0x2000, 8);
    rig.engine
        .map(&window, rig.bus(0x42), rig.host(0x1004), 3, Access::Read)
        .unwrap();
    let mut seen = Vec::new();
    rig.engine.audit(&[&*window], |audit| seen.push(audit));
    let found: Vec<_> = seen
        .iter()
        .map(|audit| (audit.region.start, audit.entries, audit.region.pins))
        .collect();
    assert_eq!(found, [(rig.host(0x1000), 3, 3), (rig.host(0x2000), 0, 0)]);
    let audit = Audit {
        stranded: 1,
        ..seen[0]
    };
    assert!(seen[0].is_balanced() && !audit.is_balanced());
    let balanced = Audit {
        entries: 2,
        ..audit
    };
    assert!(balanced.is_balanced());
}

#[test]
fn pins_of_replaced_pages_whose_kill_failed_are_counted_by_an_audit() {
    let (rig, party, window) = late(2);
    rig.engine
        .map(&window, rig.bus(0x42), rig.host(0x1004), 3, Access::Read)
        .unwrap();
    rig.machine().fail(Some(Failure {
        after: 0,
        forever: false,
        error: PhbError::TimedOut,
    }));
    let list = [Tce::new(rig.host(0x1010), Access::Read).unwrap(); 2];
    let failed = rig.engine.remap(&window, rig.bus(0x42), &list);
    assert!(matches!(failed, Err(DmaError::Kill { .. })), "{failed:?}");
    rig.machine().fail(None);
    assert_eq!(party.holdings.region(0).unwrap().pins, 5);
    rig.engine.audit(&[&*window], |audit| {
        assert_eq!((audit.entries, audit.stranded), (3, 2));
    });
    rig.engine.recover(&window).unwrap();
    rig.check(&[&*window]);
}

#[test]
fn counts_say_what_they_hold() {
    let number = |number| RegionNumber::new(number).unwrap();
    assert_eq!(RegionNumber::new(256), None);
    let mut counts = RegionCounts::new();
    assert!(counts.is_empty() && counts.total() == 0);
    counts.add(number(7), 3);
    assert_eq!([5, 6, 7].map(|at| counts.of(number(at))), [0, 0, 3]);
    counts.add(number(7), 1);
    counts.add(number(5), 2);
    let mut other = RegionCounts::new();
    other.add(number(5), 10);
    counts.copy_into(&mut other);
    assert!(!counts.is_empty());
    assert_eq!((counts.total(), other.total()), (6, 16));
    assert_eq!([5, 6, 7].map(|at| other.of(number(at))), [12, 0, 4]);
    // As many as there can be, in another order, and again when they are gone.
    let mut all = RegionCounts::new();
    for round in 1..3 {
        for at in (0..256).chain((0..256).rev()) {
            all.add(number(at * 77 % 256), at as u64);
        }
        let sum = |at: usize| 2 * (0..256).find(|from| from * 77 % 256 == at).unwrap() as u64;
        assert!((0..256).all(|at| all.of(number(at)) == sum(at)), "{round}");
        let mut taken = RegionCounts::new();
        taken.append(&mut all);
        assert!(all.is_empty() && all.of(number(3)) == 0);
        assert_eq!(taken.total(), 255 * 256);
    }
}

#[test]
fn addresses_and_names_are_printed() {
    let (rig, _party, window) = late(1);
    assert_eq!(window.range().base(), rig.bus(0x40));
    assert_eq!(window.range().pages(), 1 << 13);
    let text = window.range().to_string();
    assert!(
        text.starts_with("0x40000..=0x203ffff in pages of "),
        "{text}"
    );
    assert_eq!(Liobn(0x8000_0001).to_string(), "0x80000001");
    let mut buses =
        pinion::dma::iova::IovaAllocator::new(BusAddr::new(0x10000), 0x4000, 12).unwrap();
    let text = buses.allocate(2, 1 << 12).unwrap().to_string();
    assert!(text.contains("0x10000"), "{text}");
}
