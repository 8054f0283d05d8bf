//! Operations on one page, again and again: nothing unusual is on their way then.

use pinion::sim::PhbKind;
use pinion::tce::{Access, PageShift, Tce};

use super::support::Rig;

const KINDS: [PhbKind; 3] = [PhbKind::Phb3, PhbKind::Phb4, PhbKind::AllOnly];

/// A PHB remembers what it has used, whatever kind of kill makes it forget.
#[test]
fn a_page_that_was_unmapped_is_reached_no_more_by_any_phb() {
    for kind in KINDS {
        let rig = Rig::new(kind, PageShift::K4, 1);
        let party = rig.party(1);
        rig.grant(&party, 0x1000, 8);
        let window = rig.window(&party, 0, 64, 1);
        rig.plug(&party, &window, 0);
        let bus = rig.bus(5);
        let probe = || rig.machine().probe(0, 0, bus, true).ok();
        for page in 0x1000..0x1006 {
            let host = rig.host(page);
            rig.engine
                .map(&window, bus, host, 1, Access::ReadWrite)
                .unwrap();
            assert_eq!(probe(), Some(host), "{kind:?}");
            assert_eq!(rig.engine.unmap(&window, bus, 1), Ok(1));
            assert_eq!(probe(), None, "{kind:?}");
            let entry = Tce::new(host, Access::ReadWrite).unwrap();
            rig.engine.remap_one(&window, bus, entry).unwrap();
            assert_eq!(probe(), Some(host), "{kind:?}");
            rig.engine.remap_one(&window, bus, Tce::NONE).unwrap();
            assert_eq!(probe(), None, "{kind:?}");
        }
        rig.check(&[&*window]);
    }
}

/// An entry without rights names page 0, which is a partition's as any other may be.
#[test]
fn an_entry_that_maps_nothing_pins_nothing() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0, 8);
    let window = rig.window(&party, 0, 64, 1);
    rig.plug(&party, &window, 0);
    for page in 0..4 {
        let entry = Tce::new(rig.host(page), Access::Read).unwrap();
        rig.engine.remap_one(&window, rig.bus(5), entry).unwrap();
        rig.engine
            .remap_one(&window, rig.bus(6), Tce::NONE)
            .unwrap();
        assert_eq!(party.holdings.region(0).unwrap().pins, 1);
        rig.engine
            .remap_one(&window, rig.bus(5), Tce::NONE)
            .unwrap();
        assert_eq!(party.holdings.region(0).unwrap().pins, 0);
    }
    rig.check(&[&*window]);
}
