//! The isolation audit against PHBs whose tables are in order, and against the
//! same with one thing wrong: each kind of damage must be named, and no other.

mod corrupt;
mod corrupt_phb;
mod model;
mod passes;
mod random;
mod spaces;

use model::*;
use pinion::addr::{BusAddr, HostAddr};
use pinion::audit::{Fact, Totals};
use pinion::pci::RidMatch;
use pinion::pci::steps::Step;

#[test]
fn tables_in_order_have_no_faults_and_all_entries_are_seen() {
    for it in machines() {
        let (faults, facts, totals) = it.audit();
        assert_eq!(faults, [], "{:?}", it.generation);
        let expected = Totals {
            faults: 0,
            rids: 3,
            links: 6,
            windows: 2,
            tables: 3,
            live: 10,
            msis: 3,
            segments: 3,
            bars: 1,
        };
        assert_eq!(totals, expected, "{:?}", it.generation);
        let run = |bus, host, pages, writes| Fact::Run {
            pe: pe(1),
            bus: BusAddr::new(bus),
            host: HostAddr::new(host),
            pages,
            page_shift: 12,
            writes,
            owner: ONE,
        };
        assert!(facts.contains(&run((5 * 512 + 16) << 12, FIRST, 8, true)));
        assert!(facts.contains(&run((5 * 512 + 40) << 12, FIRST + 0x8000, 1, false)));
        assert!(facts.contains(&Fact::Run {
            pe: pe(2),
            bus: BusAddr::new(1 << 59 | 0x1fff << 16),
            host: HostAddr::new(SECOND + REGION - 0x10000),
            pages: 1,
            page_shift: 16,
            writes: true,
            owner: TWO,
        }));
        assert!(facts.contains(&Fact::Link(pe(3), pe(2))));
        assert!(facts.contains(&Fact::Msi(6, pe(2))));
        assert!(facts.contains(&Fact::Segment(5, pe(1))));
        assert!(facts.contains(&Fact::Rid(rid(1, 0, 1), pe(2))));
    }
}

#[test]
fn a_phb_after_a_reset_is_in_order() {
    for generation in [
        pinion::pci::Generation::Phb3,
        pinion::pci::Generation::Phb4,
        pinion::pci::Generation::Phb5,
    ] {
        let (faults, _, totals) = Model::new(generation, 256).audit();
        assert_eq!(faults, []);
        // The segments are PE 0's, which is nobody.
        assert_eq!(totals.segments, 0);
    }
}

#[test]
fn what_is_given_back_is_expected_at_the_reserved_pe() {
    for mut it in machines() {
        let reserved = it.expected.reserved();
        for step in [
            Step::MapRids {
                pe: reserved,
                rids: RidMatch::Bus(1),
            },
            Step::MapM32 {
                segment: 7,
                pe: reserved,
            },
            Step::Peltv {
                parent: pe(2),
                child: pe(2),
                on: false,
            },
        ] {
            it.step(step);
        }
        it.expected.set_msi(6, None);
        it.set_msi(6, reserved.get());
        it.expected.set_owner(pe(2), None);
        it.set_tve(2, 1, 0);
        let (faults, _, totals) = it.audit();
        assert_eq!(faults, []);
        assert_eq!(
            (totals.rids, totals.links, totals.segments, totals.msis),
            (1, 5, 2, 2)
        );
        assert_eq!((totals.windows, totals.tables), (1, 2));
    }
}

#[test]
fn a_bus_behind_a_bridge_is_one_pe() {
    for mut it in machines() {
        it.step(Step::MapRids {
            pe: pe(2),
            rids: RidMatch::Bus(0xff),
        });
        let (faults, _, totals) = it.audit();
        assert_eq!((faults.len(), totals.rids), (0, 3 + 256));
    }
}

#[test]
fn pes_of_one_owner_may_share_a_table() {
    for mut it in machines() {
        it.expected.set_owner(pe(3), Some(ONE));
        it.set_tve(3, 0, tve(TABLES, 2, 12, 12));
        let (faults, _, totals) = it.audit();
        assert_eq!(faults, []);
        assert_eq!((totals.windows, totals.tables, totals.live), (3, 3, 10));
    }
}
