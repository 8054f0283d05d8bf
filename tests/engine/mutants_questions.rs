//! What a person asks of a window: the last unmap of an address, its PEs.

use pinion::addr::BusAddr;
use pinion::dma::LastUnmap;
use pinion::sim::PhbKind;
use pinion::tce::{Access, PageShift, PageSizes};

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
