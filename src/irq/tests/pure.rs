//! Registers and tables by themselves.

use super::rig::source;
use crate::addr::HostAddr;
use crate::irq::esb::{Esb, EsbError, Flags, State};
use crate::irq::icp::{self, Taken, Xirr};
use crate::irq::queue::{Queue, decode};
use crate::irq::table::{MAX_SOURCES, Refused, Table, Use};
use crate::irq::xive::Ack;
use crate::irq::{Kind, Outcome, Registration, Source};
use crate::opal::XiveIrqInfo;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[test]
fn xirr_has_the_priority_above_the_source() {
    let xirr = Xirr::from_register(0x0500_1234);
    assert_eq!(xirr.cppr(), 5);
    assert_eq!(xirr.taken(), Taken::Source(source(0x1234)));
    assert_eq!(Xirr::from_register(0xff00_0000).taken(), Taken::Nothing);
    assert_eq!(Xirr::from_register(0xff00_0002).taken(), Taken::Ipi);
    assert_eq!(Xirr::ending(0x1234, 0xff), 0xff00_1234);
    assert_eq!(Xirr::ending(0xab00_1234, 4), 0x0400_1234);
}

#[test]
fn only_what_is_more_favored_is_presented() {
    assert!(icp::presents(4, 5));
    assert!(!icp::presents(5, 5));
    assert!(!icp::presents(0, icp::ACCEPT_NONE));
    assert!(!icp::presents(icp::NO_PRIORITY, icp::ACCEPT_ALL));
}

#[test]
fn an_acknowledge_says_what_is_pending() {
    assert_eq!(Ack::from_register(0x00ff), Ack::Nothing);
    assert_eq!(Ack::from_register(0x8006), Ack::Queue { priority: 6 });
    assert_eq!(Ack::from_register(0x80ff), Ack::Nothing);
    assert_eq!(Ack::from_register(0x4006), Ack::Foreign(0x4006));
    assert_eq!(Ack::from_register(0xc0ff), Ack::Foreign(0xc0ff));
}

#[test]
fn an_entry_counts_in_its_own_round_only() {
    assert_eq!(decode(0x8000_0011, true), Some(0x11));
    assert_eq!(decode(0x8000_0011, false), None);
    assert_eq!(decode(0x0000_0011, false), Some(0x11));
    assert_eq!(decode(0, true), None);
    assert_eq!(decode(0xffff_ffff, true), Some(0x7fff_ffff));
}

#[test]
fn queues_have_the_sizes_of_firmware() {
    let page = HostAddr::new(0x1_0000);
    assert!(Queue::new(page, 12).is_some());
    assert!(Queue::new(page, 16).is_some());
    assert!(Queue::new(page, 13).is_none());
    assert!(Queue::new(page, 21).is_none(), "not aligned");
}

#[test]
fn states_are_p_and_q() {
    assert_eq!(State::from_load(0), State::Ready);
    assert_eq!(State::from_load(1), State::Off);
    assert_eq!(State::from_load(2), State::Pending);
    assert_eq!(State::from_load(3), State::Queued);
    assert_eq!(State::from_load(!3), State::Ready);
}

#[test]
fn sources_of_early_hardware_and_without_pages_are_refused() {
    let number = source(7);
    let info = |flags: Flags, eoi_page| XiveIrqInfo {
        flags: flags.bits(),
        eoi_page,
        ..XiveIrqInfo::default()
    };
    for flag in [
        Flags::SHIFT_BUG,
        Flags::MASK_VIA_FIRMWARE,
        Flags::EOI_VIA_FIRMWARE,
    ] {
        assert_eq!(
            Esb::new(number, &info(flag, 0x1000)),
            Err(EsbError::EarlyHardware(number, flag.bits()))
        );
    }
    assert_eq!(
        Esb::new(number, &info(Flags::LSI, 0)),
        Err(EsbError::NoPage(number))
    );
    // Flags of a later firmware say nothing that must be known.
    let later = info(Flags::from_bits_retain(0xff00), 0x1000);
    assert!(Esb::new(number, &later).is_ok());
}

fn contents() -> Use {
    Use {
        registration: Registration {
            name: "".into(),
            kind: Kind::Msi,
            handler: |_| Outcome::Served,
            data: 0,
        },
        server: 0,
        esb: None,
    }
}

#[test]
fn the_table_takes_as_many_as_it_says() {
    let table = Table::default();
    for number in 0..MAX_SOURCES as u32 {
        assert!(table.add(source(number * 0x1000), contents()).is_ok());
    }
    let one_more = table.add(source(1), contents());
    assert_eq!(one_more.err(), Some(Refused::Full));
    assert!(table.remove(source(0)));
    assert!(table.add(source(1), contents()).is_ok());
    assert_eq!(table.iter().count(), MAX_SOURCES);
}

proptest! {
    /// Against a set: whatever comes and goes, exactly what is in it is found.
    #[test]
    fn the_table_is_a_set(steps in prop::collection::vec((any::<bool>(), 0u32..600), 1..2000)) {
        let table = Table::default();
        let mut set = BTreeSet::new();
        for (add, number) in steps {
            // Neighbours and far ones.
            let source = Source::new(number.wrapping_mul(0x40_0001) >> 1).unwrap();
            if add {
                let full = set.len() == MAX_SOURCES;
                let expected = match (set.contains(&source), full) {
                    (true, _) => Some(Refused::Taken),
                    (false, true) => Some(Refused::Full),
                    (false, false) => None,
                };
                prop_assert_eq!(table.add(source, contents()).err(), expected);
                if !full {
                    set.insert(source);
                }
            } else {
                prop_assert_eq!(table.remove(source), set.remove(&source));
            }
            prop_assert_eq!(table.find(source).is_some(), set.contains(&source));
        }
        let mut all: Vec<Source> = table.iter().map(|(source, _)| source).collect();
        all.sort();
        prop_assert!(all.iter().eq(set.iter()));
    }
}
