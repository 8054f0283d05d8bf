//! Pins and dirty marks at the edges of regions.

use pinion::addr::HostAddr;
use pinion::dma::{DmaError, ErrorKind};
use pinion::memory::ledger::{Ledger, OwnerId, PinError};
use pinion::sim::{Machine, PhbKind};
use pinion::tce::{Access, PageShift, Tce};

use super::support::Rig;

fn dirty(rig: &Rig, party: &super::support::Party, first: u64) -> Vec<HostAddr> {
    let mut found = Vec::new();
    party
        .holdings
        .take_dirty(rig.host(first), |host, _| found.push(host))
        .unwrap();
    found
}

#[test]
fn memory_may_end_at_2_64() {
    let ledger: Ledger<Machine> = Ledger::new();
    let holdings = ledger.add_owner(OwnerId(1)).unwrap();
    let start = HostAddr::new(u64::MAX << 16);
    ledger.grant(&holdings, start, 1 << 16, 12).unwrap();
    let last = HostAddr::new(u64::MAX << 12);
    drop(holdings.pin(last, 1, 12).unwrap());
    assert_eq!(
        holdings.pin(last, 2, 12).err(),
        Some(PinError::Overflow {
            host: last,
            bytes: 0x2000
        })
    );
    // A run through two regions, too.
    let before = HostAddr::new(start.get() - 0x1000);
    ledger.grant(&holdings, before, 0x1000, 12).unwrap();
    drop(holdings.pin(before, 17, 12).unwrap());
    assert_eq!(
        holdings.pin(before, 18, 12).err(),
        Some(PinError::Overflow {
            host: before,
            bytes: 18 << 12
        })
    );
}

/// A region may be smaller than an IO page, and end within one.
#[test]
fn a_page_that_only_begins_in_a_region_is_not_owned() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K64, 1);
    let party = rig.party(1);
    let start = rig.host(0x100);
    rig.ledger
        .grant(&party.holdings, start, (2 << 16) - 0x1000, 12)
        .unwrap();
    rig.machine()
        .set_owner(start, (2 << 16) - 0x1000, Some(party.owner));
    let window = rig.window(&party, 0, 64, 1);
    rig.plug(&party, &window, 0);
    let list = [0x100, 0x101].map(|page| Tce::new(rig.host(page), Access::Read).unwrap());
    let refused = rig
        .engine
        .remap(&window, rig.bus(4), &list)
        .expect_err("the second page ends outside");
    assert_eq!(refused.kind(), ErrorKind::NotOwned);
    assert!(
        matches!(refused, DmaError::Pin { bus, error: PinError::NotOwned { host, .. } }
            if bus == rig.bus(5) && host == rig.host(0x101)),
        "{refused:?}"
    );
    rig.engine.remap(&window, rig.bus(4), &list[..1]).unwrap();
    rig.check(&[&*window]);
}

/// No pin was ever of such a page: its region is as new, and what is wrong is told
/// of the page, not of the region.
#[test]
fn a_list_of_a_page_that_only_begins_in_a_region_does_not_touch_the_region() {
    let ledger: Ledger<Machine> = Ledger::new();
    let holdings = ledger.add_owner(OwnerId(1)).unwrap();
    let start = HostAddr::new(0x100_0000);
    ledger.grant(&holdings, start, 0x8000, 12).unwrap();
    let refused = || match holdings.pin_each(&[start.get() | 1], 16) {
        Err(refused) => refused,
        Ok(_) => panic!("32 KiB are no page of 64"),
    };
    let owner = OwnerId(1);
    let not_owned = (0, PinError::NotOwned { host: start, owner });
    assert_eq!(refused(), not_owned);
    ledger.close(&holdings, start).unwrap();
    assert_eq!(refused(), not_owned);
    // Nothing can be on its way to memory that was never pinned.
    assert_eq!(ledger.reclaim(&holdings, start).unwrap().start, start);
}

/// The last mark of a region may be for more than is left of it. What is behind its
/// end is another region's all the same.
#[test]
fn a_region_that_ends_within_a_granule_has_no_page_behind_its_end() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    // 24 pages with a mark for each 16, then 8 of another region.
    for (first, pages) in [(0x1000, 24), (0x1018, 8)] {
        let (start, bytes) = (rig.host(first), pages << 12);
        rig.ledger.grant(&party.holdings, start, bytes, 16).unwrap();
        rig.machine().set_owner(start, bytes, Some(party.owner));
    }
    let window = rig.window(&party, 0, 64, 1);
    rig.plug(&party, &window, 0);
    // Not a run: each page is looked at.
    let entries: Vec<Tce> = [0x1010, 0x1014, 0x1012, 0x1019, 0x101b, 0x101d]
        .map(|page| Tce::new(rig.host(page), Access::ReadWrite).unwrap())
        .to_vec();
    let pins =
        || [0x1000, 0x1018].map(|first| party.holdings.region_of(rig.host(first)).unwrap().pins);
    let dirty = || [0x1000, 0x1018].map(|first| dirty(&rig, &party, first));
    let marked = [vec![rig.host(0x1010)], vec![rig.host(0x1018)]];
    for _ in 0..2 {
        rig.engine.remap(&window, rig.bus(3), &entries).unwrap();
        assert_eq!(pins(), [3, 3]);
        assert_eq!(rig.engine.unmap(&window, rig.bus(3), 6), Ok(6));
        assert_eq!(pins(), [0, 0]);
        assert_eq!(dirty(), marked);
        // Replaced pages are counted the same way.
        rig.engine.remap(&window, rig.bus(3), &entries).unwrap();
        let first = Tce::new(rig.host(0x1000), Access::Read).unwrap();
        rig.engine
            .remap_same(&window, rig.bus(3), first, 6)
            .unwrap();
        assert_eq!(pins(), [6, 0]);
        assert_eq!(dirty(), marked);
        rig.engine.clear(&window).unwrap();
        rig.check(&[&*window]);
    }
}

#[test]
fn each_page_of_a_run_that_could_be_written_is_dirty_when_it_is_unmapped() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K64, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x100, 16);
    assert_eq!(party.holdings.region(0).unwrap().granule, 16);
    let window = rig.window(&party, 0, 64, 1);
    rig.plug(&party, &window, 0);
    rig.engine
        .map(&window, rig.bus(1), rig.host(0x103), 5, Access::ReadWrite)
        .unwrap();
    assert_eq!(rig.engine.unmap(&window, rig.bus(0), 64), Ok(5));
    rig.engine
        .map(&window, rig.bus(1), rig.host(0x10a), 3, Access::ReadWrite)
        .unwrap();
    assert_eq!(rig.engine.unmap(&window, rig.bus(1), 3), Ok(3));
    let expected: Vec<_> = (0x103..0x108)
        .chain(0x10a..0x10d)
        .map(|page| rig.host(page))
        .collect();
    assert_eq!(dirty(&rig, &party, 0x100), expected);
    assert_eq!(dirty(&rig, &party, 0x100), []);
}

/// Several writable pages in one remap: the marks can be taken after its kill.
#[test]
fn marks_of_a_remap_can_be_taken_once_its_kill_is_over() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 64, 1);
    rig.plug(&party, &window, 0);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 3, Access::ReadWrite)
        .unwrap();
    rig.engine
        .remap_run(&window, rig.bus(0), rig.host(0x1010), 3, Access::Read)
        .unwrap();
    assert_eq!(
        dirty(&rig, &party, 0x1000),
        [0x1000, 0x1001, 0x1002].map(|page| rig.host(page))
    );
    assert_eq!(dirty(&rig, &party, 0x1000), []);
    // Pages that could only be read leave no mark, and hold none.
    rig.engine
        .remap_run(&window, rig.bus(0), rig.host(0x1020), 3, Access::Read)
        .unwrap();
    assert_eq!(dirty(&rig, &party, 0x1000), []);
}

#[test]
fn a_new_owner_finds_no_page_dirty() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let (party, other) = (rig.party(1), rig.party(2));
    rig.grant(&party, 0x1000, 16);
    let window = rig.window(&party, 0, 64, 1);
    rig.plug(&party, &window, 0);
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1002), 3, Access::ReadWrite)
        .unwrap();
    rig.engine.unmap(&window, rig.bus(0), 3).unwrap();
    assert!(party.holdings.is_dirty(rig.host(0x1003)));
    rig.ledger.close(&party.holdings, rig.host(0x1000)).unwrap();
    rig.engine.quiet(&party.holdings, rig.host(0x1000)).unwrap();
    rig.ledger
        .transfer(&party.holdings, &other.holdings, rig.host(0x1000))
        .unwrap();
    assert!(!other.holdings.is_dirty(rig.host(0x1003)));
    assert_eq!(dirty(&rig, &other, 0x1000), []);
}
