//! Levels that come and go between the steps of other operations.

use std::sync::Arc;

use pinion::dma::DetachMode;
use pinion::sim::{PhbKind, Step};
use pinion::tce::{Access, PageShift, Tce};

use super::support::{Rig, pe};

/// A PHB remembers that there is no leaf. One thread links it and has yet to
/// kill; another one maps a page in it, with a kill of its own.
#[test]
fn a_kill_by_page_is_not_used_while_another_thread_links_a_level() {
    let rig = Arc::new(Rig::new(PhbKind::Phb3, PageShift::K4, 4));
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 16);
    let window = rig.window(&party, 0, 512 * 16, 2);
    rig.plug(&party, &window, 0);
    let (mine, theirs) = (rig.bus(1024), rig.bus(1025));
    assert!(rig.machine().probe(0, 0, theirs, false).is_err());
    let (other, shared) = (rig.clone(), window.clone());
    // The first barrier is before the link, the second before the kill.
    let mut barriers = 0;
    rig.machine().set_hook(move |machine, step| {
        barriers += u32::from(step == Step::Barrier);
        if step == Step::Barrier && barriers == 2 {
            other
                .engine
                .map(&shared, theirs, other.host(0x1001), 1, Access::Read)
                .unwrap();
            assert_eq!(
                machine.probe(0, 0, theirs, false),
                Ok(other.host(0x1001)),
                "mapped, and not reachable"
            );
        }
    });
    rig.engine
        .map(&window, mine, rig.host(0x1000), 1, Access::Read)
        .unwrap();
    rig.machine().clear_hook();
    assert!(rig.machine().probe(0, 0, mine, false).is_ok());
    rig.check(&[&*window]);
}

/// Entries of a list that map nothing make no leaf.
#[test]
fn a_list_links_leaves_only_where_it_maps() {
    for first in [0u64, 100, 511] {
        let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 4);
        let party = rig.party_with_quota(1, 3 << 12);
        rig.grant(&party, 0x1000, 16);
        let window = rig.window(&party, 0, 512 * 16, 2);
        rig.plug(&party, &window, 0);
        // Over four or five leaves, one page in the third.
        let mut list = vec![Tce::NONE; 2048];
        let at = (1024 + 7 - first) as usize;
        list[at] = Tce::new(rig.host(0x1000), Access::Read).unwrap();
        rig.engine.remap(&window, rig.bus(first), &list).unwrap();
        assert_eq!(party.quota.used(), 3 << 12);
        assert!(rig.machine().probe(0, 0, rig.bus(1031), false).is_ok());
        rig.engine
            .remap(&window, rig.bus(first), &[Tce::NONE; 2048])
            .unwrap();
        rig.engine.flush(&window).unwrap();
        assert_eq!(party.quota.used(), 2 << 12);
        rig.check(&[&*window]);
    }
}

/// What a list replaces stays one entry of its leaf, what it unmaps is one less: the
/// leaf goes when none is left.
#[test]
fn a_list_that_replaces_and_unmaps_leaves_no_leaf_behind() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 4);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 512 * 16, 2);
    rig.plug(&party, &window, 0);
    let root = party.quota.used();
    let list = |from: u64, is_mapped: fn(u64) -> bool| -> Vec<Tce> {
        let entry = |number| Tce::new(rig.host(from + number), Access::ReadWrite).unwrap();
        (0..24)
            .map(|number| match is_mapped(number) {
                true => entry(number),
                false => Tce::NONE,
            })
            .collect()
    };
    let bus = rig.bus(700);
    rig.engine
        .remap(&window, bus, &list(0x1000, |_| true))
        .unwrap();
    let with_leaf = party.quota.used();
    assert!(with_leaf > root);
    let few = list(0x1020, |number| number % 12 < 2);
    rig.engine.remap(&window, bus, &few).unwrap();
    for (number, entry) in few.iter().enumerate() {
        let reached = rig
            .machine()
            .probe(0, 0, rig.bus(700 + number as u64), true);
        assert_eq!(reached.ok(), entry.is_mapping().then_some(entry.host()));
    }
    assert_eq!(party.holdings.region(0).unwrap().pins, 4);
    rig.engine.flush(&window).unwrap();
    assert_eq!(party.quota.used(), with_leaf);
    assert_eq!(rig.engine.unmap(&window, bus, 24), Ok(4));
    rig.engine.flush(&window).unwrap();
    assert_eq!(party.quota.used(), root);
    rig.check(&[&*window]);
}

/// The last empty leaves stay linked, since a PE was attached: those of the time
/// before are gone, and take no place of theirs.
#[test]
fn empty_leaves_of_the_last_use_take_no_place_of_those_of_the_next() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 4);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 16);
    let window = rig.window(&party, 0, 512 * 16, 2);
    let root = party.quota.used();
    rig.plug(&party, &window, 0);
    let touch = |leaf: u64| {
        let bus = rig.bus(leaf * 512);
        rig.engine
            .map(&window, bus, rig.host(0x1000), 1, Access::Read)
            .unwrap();
        assert_eq!(rig.engine.unmap(&window, bus, 1), Ok(1));
    };
    (0..4).for_each(touch);
    let all_kept = party.quota.used();
    rig.engine
        .detach(&window, pe(0), DetachMode::Running)
        .unwrap();
    assert_eq!(party.quota.used(), root);
    rig.engine.attach(&window, pe(0)).unwrap();
    // The first of them again, and three others.
    [0, 7, 8, 9].into_iter().for_each(touch);
    assert_eq!(party.quota.used(), all_kept);
    touch(0);
    assert_eq!(party.quota.used(), all_kept);
    rig.check(&[&*window]);
}
