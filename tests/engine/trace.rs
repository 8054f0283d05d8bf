//! Operations are noted: what, whose, where, with what result.

use pinion::dma::{DetachMode, Liobn};
use pinion::seam::PhbError;
use pinion::sim::{Failure, PhbKind};
use pinion::tce::{Access, PageShift, Tce};
use pinion::trace::{Entry, Kind, Verdict};

use super::support::{Rig, pe};

#[test]
fn each_operation_is_noted_once_and_in_order() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let ring = rig.machine().start_trace();
    let party = rig.party(9);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 1024, 2);
    window.set_liobn(Liobn(0x8000_0001));
    rig.plug(&party, &window, 3);
    let (bus, host) = (rig.bus(5), rig.host(0x1000));
    rig.engine
        .map(&window, bus, host, 4, Access::ReadWrite)
        .unwrap();
    rig.engine
        .map(&window, bus, host, 1, Access::ReadWrite)
        .unwrap_err();
    let other = Tce::new(rig.host(0x1008), Access::Read).unwrap();
    rig.engine.remap(&window, bus, &[other]).unwrap();
    rig.engine.unmap(&window, bus, 2).unwrap();
    rig.engine.clear(&window).unwrap();
    rig.engine
        .detach(&window, pe(3), DetachMode::Reset)
        .unwrap();
    rig.engine.remove(&window, DetachMode::Reset).unwrap();

    let entries: Vec<Entry> = ring.entries().collect();
    let told: Vec<(Kind, Verdict, u64)> = entries
        .iter()
        .map(|entry| (entry.kind, entry.verdict, entry.pages))
        .collect();
    assert_eq!(
        told,
        [
            (Kind::Kill, Verdict::Done, 0),
            (Kind::Attach, Verdict::Done, 0),
            (Kind::Map, Verdict::Done, 4),
            (Kind::Map, Verdict::Busy, 1),
            (Kind::Remap, Verdict::Done, 1),
            (Kind::Unmap, Verdict::Done, 2),
            (Kind::Clear, Verdict::Done, 1024),
            (Kind::Kill, Verdict::Done, 0),
            (Kind::Detach, Verdict::Done, 0),
            (Kind::Remove, Verdict::Done, 0),
        ]
    );
    let map = entries[2];
    assert_eq!((map.owner, map.liobn), (9, 0x8000_0001));
    assert_eq!((map.bus, map.target), (bus.get(), host.get()));
    assert_eq!(entries[1].target, Entry::pe(0, 3));
    assert!(entries.iter().all(|entry| entry.ticks > 0));
}

/// Where nothing is unusual, one page goes a way of its own.
#[test]
fn operations_on_one_page_are_noted_as_any_others() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let ring = rig.machine().start_trace();
    let party = rig.party(9);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 1024, 1);
    rig.plug(&party, &window, 3);
    let mut expected = Vec::new();
    for page in 0..3 {
        let (bus, host) = (rig.bus(5 + page), rig.host(0x1000 + page));
        let entry = Tce::new(host, Access::ReadWrite).unwrap();
        rig.engine
            .map(&window, bus, host, 1, Access::ReadWrite)
            .unwrap();
        assert_eq!(rig.engine.unmap(&window, bus, 1), Ok(1));
        assert_eq!(rig.engine.unmap(&window, bus, 1), Ok(0));
        let nothing = rig.engine.remap_quickly(&window, bus, Tce::NONE);
        assert_eq!(nothing, None, "no mapping");
        let quickly = rig.engine.remap_quickly(&window, bus, entry);
        assert_eq!(quickly, Some(Ok(())));
        let one = |kind, target| (kind, Verdict::Done, 1, bus.get(), target);
        expected.extend([
            one(Kind::Map, host.get()),
            one(Kind::Unmap, 0),
            one(Kind::Unmap, 0),
            one(Kind::Remap, 0),
        ]);
    }
    let entries = ring.entries().skip(2);
    let told = entries.map(|it| (it.kind, it.verdict, it.pages, it.bus, it.target));
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn a_failed_kill_is_noted_with_its_operation() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let ring = rig.machine().start_trace();
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 64);
    let window = rig.window(&party, 0, 1024, 1);
    rig.plug(&party, &window, 0);
    rig.machine().fail(Some(Failure {
        after: 0,
        forever: false,
        error: PhbError::TimedOut,
    }));
    rig.engine
        .map(&window, rig.bus(0), rig.host(0x1000), 1, Access::Read)
        .unwrap_err();
    let entries: Vec<Entry> = ring.entries().collect();
    let last = entries.last_chunk::<2>().unwrap();
    assert_eq!(last.map(|entry| entry.kind), [Kind::Kill, Kind::Map]);
    assert!(last.iter().all(|entry| entry.verdict == Verdict::Hardware));
    rig.engine.recover(&window).unwrap();
    assert_eq!(ring.entries().last().unwrap().kind, Kind::Recover);
}
