//! What a person asks of a window: the last unmap of an address, its PEs.

use pinion::addr::BusAddr;
use pinion::dma::{DetachMode, DmaError, LastUnmap, Meaning};
use pinion::sim::PhbKind;
use pinion::tce::{Access, Entry, PageShift, PageSizes};

use super::support::{Rig, pe};

#[test]
fn the_last_unmap_of_any_byte_of_a_page_is_told() {
    for page in [PageShift::K4, PageShift::K64] {
        let rig = Rig::new(PhbKind::Phb4, page, 1);
        let party = rig.party(1);
        rig.grant(&party, 0x1000, 16);
        let window = rig.window(&party, 0x40, 64, 1);
        rig.plug(&party, &window, 0);
        let at = |page: u64, byte: u64| BusAddr::new(rig.bus(page).get() + byte);
        let last_byte = page.bytes() - 1;
        assert_eq!(window.last_unmap(at(0x45, 0)), None);
        rig.engine
            .map(&window, rig.bus(0x44), rig.host(0x1000), 8, Access::Read)
            .unwrap();
        rig.engine.unmap(&window, rig.bus(0x44), 3).unwrap();
        rig.engine.unmap(&window, rig.bus(0x49), 1).unwrap();
        let first = LastUnmap {
            bus: rig.bus(0x44),
            pages: 3,
            later: 1,
        };
        let second = LastUnmap {
            bus: rig.bus(0x49),
            pages: 1,
            later: 0,
        };
        let expected = [
            (at(0x43, last_byte), None),
            (at(0x44, 0), Some(first)),
            (at(0x45, 0x123), Some(first)),
            (at(0x46, last_byte), Some(first)),
            (at(0x47, 0), None),
            (at(0x48, last_byte), None),
            (at(0x49, 0), Some(second)),
            (at(0x49, last_byte), Some(second)),
            (at(0x4a, 0), None),
            // Outside of the window.
            (at(0x3f, last_byte), None),
            (at(0x80, 0), None),
            (BusAddr::new(u64::MAX), None),
        ];
        for (bus, last) in expected {
            assert_eq!(window.last_unmap(bus), last, "{bus:?}");
        }
    }
}

/// As a PHB walks, for any byte of a page: to the entry, to a table that is not
/// there, or not at all.
#[test]
fn a_walk_tells_each_step() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K64, 1);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 16);
    let window = rig.window(&party, 0, 512 * 512 * 2, 3);
    rig.plug(&party, &window, 0);
    let page = 512 * 512 + 7 * 512 + 9;
    rig.engine
        .map(&window, rig.bus(page), rig.host(0x1003), 1, Access::Read)
        .unwrap();
    let walk = |bus: u64| {
        let mut steps = Vec::new();
        let result = rig
            .engine
            .walk(&window, BusAddr::new(bus), |step| steps.push(step));
        (result, steps)
    };
    for byte in [0, 0x1234, 0xffff] {
        let (result, steps) = walk(rig.bus(page).get() + byte);
        assert_eq!(result, Ok(()));
        let [root, node, leaf] = steps[..] else {
            panic!("{steps:?}")
        };
        assert_eq!([root, node, leaf].map(|step| step.level), [0, 1, 2]);
        assert_eq!([root, node, leaf].map(|step| step.index), [1, 7, 9]);
        assert_eq!(root.meaning, Meaning::Table(node.table));
        assert_eq!(node.meaning, Meaning::Table(leaf.table));
        assert_eq!(root.bits, node.table.get() | 3);
        let (host, access) = (rig.host(0x1003), Access::Read);
        assert_eq!(leaf.meaning, Meaning::Page(Entry::Live { host, access }));
        assert_eq!(leaf.bits, host.get() | 1);
    }
    let meanings = |page| {
        let (result, steps) = walk(rig.bus(page).get());
        assert_eq!(result, Ok(()));
        steps.iter().map(|step| step.meaning).collect::<Vec<_>>()
    };
    assert_eq!(meanings(0), [Meaning::NoTable]);
    let node = walk(rig.bus(page).get()).1[0].meaning;
    assert_eq!(meanings(page + 512), [node, Meaning::NoTable]);
    let empty = meanings(page + 1);
    assert_eq!((empty.len(), empty[2]), (3, Meaning::Page(Entry::Empty)));
    let (result, steps) = walk(rig.bus(512 * 512 * 2).get());
    assert!(matches!(result, Err(DmaError::Range(_))), "{result:?}");
    assert_eq!(steps, []);
    rig.engine.remove(&window, DetachMode::Reset).unwrap();
    let (result, steps) = walk(rig.bus(page).get());
    assert_eq!((result, steps), (Err(DmaError::WindowClosing), vec![]));
}

#[test]
fn the_pes_of_a_window_are_told() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    let window = rig.window(&party, 0, 64, 1);
    let pes = || {
        let mut found = Vec::new();
        window.each_pe(|pe| found.push(pe));
        found
    };
    assert_eq!(pes(), []);
    rig.plug(&party, &window, 3);
    rig.plug(&party, &window, 5);
    assert_eq!(pes(), [pe(3), pe(5)]);
}

#[test]
fn the_page_sizes_of_each_generation_are_these() {
    let sizes = |set: PageSizes| {
        PageShift::ALL
            .into_iter()
            .filter(|&page| set.contains(page))
            .map(PageShift::get)
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(PageSizes::PHB3), [12, 16, 24, 28]);
    assert_eq!(sizes(PageSizes::PHB4), [12, 16, 21, 30]);
    assert_eq!(sizes(PageSizes::NONE), []);
    let collect = |shifts: [u32; 4]| {
        shifts
            .map(|shift| PageShift::new(shift).unwrap())
            .into_iter()
            .fold(PageSizes::NONE, PageSizes::with)
    };
    // Nothing else is in them: the sets are compared, not only what can be asked.
    assert_eq!(PageSizes::PHB3, collect([12, 16, 24, 28]));
    assert_eq!(PageSizes::PHB4, collect([12, 16, 21, 30]));
}
