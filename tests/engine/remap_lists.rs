//! Lists that replace what is mapped.

use pinion::sim::PhbKind;
use pinion::tce::{Access, PageShift, Tce};

use super::support::Rig;

/// Whatever was there, each entry is the list's afterwards: of runs of entries like
/// each other, long and short, and of pages in any order.
#[test]
fn each_entry_is_what_the_list_says() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 4);
    let party = rig.party(1);
    rig.grant(&party, 0x1000, 128);
    let window = rig.window(&party, 0, 1024, 2);
    rig.plug(&party, &window, 0);
    let odd = |every: u64, number: u64| number % every == every - 1;
    let mut pages = 0;
    for (factor, every, length) in [
        (1, 100, 60),
        (7, 100, 41),
        (3, 5, 60),
        (5, 19, 33),
        (1, 100, 60),
    ] {
        let list: Vec<Tce> = (0..length)
            .map(|number| {
                let access = match odd(every, number) {
                    true => Access::Read,
                    false => Access::ReadWrite,
                };
                let page = 0x1000 + number * factor % 128;
                Tce::new(rig.host(page), access).unwrap()
            })
            .collect();
        rig.engine.remap(&window, rig.bus(500), &list).unwrap();
        pages = pages.max(length);
        for (number, entry) in (0..).zip(&list) {
            let reached = rig.engine.translate(&window, rig.bus(500 + number));
            let found = reached.map(|there| (there.host, there.access));
            assert_eq!(found, Ok((entry.host(), entry.access())), "{number}");
            let written = rig.machine().probe(0, 0, rig.bus(500 + number), true);
            assert_eq!(written.is_ok(), !odd(every, number));
        }
        assert_eq!(party.holdings.region(0).unwrap().pins, pages);
        rig.check(&[&*window]);
    }
    assert_eq!(rig.engine.clear(&window), Ok(pages));
    rig.check(&[&*window]);
}

/// An empty entry names page 0, and so does no other: the pin of a partition whose
/// memory begins there is not touched by it.
#[test]
fn a_list_over_empty_entries_leaves_page_0_alone() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 4);
    let party = rig.party(1);
    for first in [0, 0x1000, 0x2000] {
        rig.grant(&party, first, 32);
    }
    let pins =
        || [0, 0x1000, 0x2000].map(|first| party.holdings.region_of(rig.host(first)).unwrap().pins);
    let window = rig.window(&party, 0, 1024, 1);
    rig.plug(&party, &window, 0);
    // Of one region after the other, with a hole now and then.
    let list = |hole: u64| -> Vec<Tce> {
        (0..48)
            .map(|number| match number % 8 == hole {
                true => Tce::NONE,
                false => {
                    let page = number % 3 * 0x1000 + number % 32;
                    Tce::new(rig.host(page), Access::ReadWrite).unwrap()
                }
            })
            .collect()
    };
    let bus = rig.bus(500);
    for hole in [5, 8, 6, 5, 8] {
        rig.engine.remap(&window, bus, &list(hole)).unwrap();
        let mapped: u64 = pins().iter().sum();
        assert_eq!(mapped, if hole == 8 { 48 } else { 42 });
        rig.check(&[&*window]);
    }
    assert_eq!(rig.engine.unmap(&window, bus, 48), Ok(48));
    assert_eq!(pins(), [0; 3]);
    rig.check(&[&*window]);
}
