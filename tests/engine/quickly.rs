//! Operations on one page that go the short way.

use pinion::seam::{TableFrames, TableMemory};
use pinion::sim::{Flat, PhbKind};
use pinion::tce::chain::Tables;
use pinion::tce::tree::Position;
use pinion::tce::{Access, PageShift, Slot, TableShape, Tce, Tree};

use super::support::Rig;

/// In any number of levels, in leaves and in holes.
#[test]
fn a_slot_is_found_where_the_general_way_finds_it() {
    let memory = Flat::new(1 << 20);
    let table = |shift| {
        let table = memory.allocate(shift).unwrap();
        memory.clear(table, 0, 1 << (shift - 3));
        table
    };
    for levels in 1..=5 {
        let shape = TableShape::new(PageShift::K4, levels, 12).unwrap();
        let tree = Tree::new(table(shape.frame_shift(0)), shape);
        let last = (1u64 << shape.slot_bits()) - 1;
        for slot in [0, 513 & last, last] {
            let mut spare = Tables::default();
            spare.leaves.push(&memory, table(12));
            (2..levels).for_each(|_| spare.nodes.push(&memory, table(13)));
            tree.ensure(&memory, Slot::new(slot), &mut spare).unwrap();
        }
        let mut found = 0;
        for slot in [
            0,
            1,
            511,
            512,
            513,
            1024,
            1 << 18,
            last.saturating_sub(512),
            last.saturating_sub(511),
            last,
        ] {
            let slot = Slot::new(slot & last);
            let expected = match tree.find(&memory, slot) {
                Position::In(leaf) => Some(leaf),
                Position::Hole { .. } => None,
            };
            found += usize::from(expected.is_some());
            assert_eq!(tree.find_leaf(&memory, slot), expected, "{levels} {slot:?}");
        }
        assert_eq!(found == 10, levels == 1, "{levels}: {found}");
    }
}

/// The frame at address 0 is a page as any other, and an empty entry does not name it.
#[test]
fn nothing_is_not_mapped_in_a_hurry() {
    let rig = Rig::new(PhbKind::Phb4, PageShift::K4, 1);
    let party = rig.party(1);
    rig.grant(&party, 0, 16);
    let window = rig.window(&party, 0, 1024, 1);
    rig.plug(&party, &window, 3);
    let entry = Tce::new(rig.host(1), Access::ReadWrite).unwrap();
    for page in 0..2 {
        let bus = rig.bus(page);
        let quickly = rig.engine.remap_quickly(&window, bus, entry);
        // The first one finds out what the second one needs.
        assert_eq!(quickly.is_some(), page == 1);
        quickly
            .unwrap_or_else(|| rig.engine.remap_one(&window, bus, entry))
            .unwrap();
    }
    assert!(rig.host(0).get() == 0);
    let nothing = rig.engine.remap_quickly(&window, rig.bus(2), Tce::NONE);
    assert_eq!(nothing, None);
    assert_eq!(party.holdings.region(0).unwrap().pins, 2);
    for expected in [1, 0] {
        let unmapped = rig.engine.unmap_quickly(&window, rig.bus(1));
        assert_eq!(unmapped, Some(Ok(expected)));
    }
    assert_eq!(party.holdings.region(0).unwrap().pins, 1);
    rig.check(&[&*window]);
}
