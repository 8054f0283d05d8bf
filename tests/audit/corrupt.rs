//! One thing wrong at a time: what TVEs and tables lead to.

use crate::model::*;
use pinion::addr::{BusAddr, HostAddr};
use pinion::audit::{Fault, Holder, Named};
use pinion::pci::PhbId;

/// Changes each machine in turn; exactly `faults` must come of it, and each
/// must have a text that names the PHB.
pub fn finds(change: impl Fn(&mut Model), faults: impl Fn(&Model) -> Vec<Fault>) {
    for mut it in machines() {
        change(&mut it);
        let expected = faults(&it);
        let found = it.audit().0;
        assert_eq!(found, expected, "{:?} with {} PEs", it.generation, it.pes);
        assert!(!expected.is_empty());
        for fault in found {
            let text = Named(PhbId::new(3), fault).to_string();
            assert!(text.contains("0003"), "{text}");
        }
    }
}

const LEAF: u64 = TABLES + 0x2000;
/// First bus address of slot `slot` of PE 1's leaf.
fn bus(slot: u64) -> BusAddr {
    BusAddr::new((5 * 512 + slot) << 12)
}

fn tce(slot: u64, entry: u64, at: u64, holder: Holder) -> Fault {
    Fault::Tce {
        pe: pe(1),
        bus: bus(slot),
        entry,
        at: HostAddr::new(at),
        holder,
        expected: ONE,
    }
}

#[test]
fn a_tce_to_a_foreign_page() {
    let entry = SECOND | 1;
    finds(
        |it| it.entry(LEAF, 3, entry),
        |_| vec![tce(3, entry, SECOND, Holder::Owner(TWO))],
    );
}

#[test]
fn a_tce_to_the_hypervisor() {
    // Its own leaf, of all pages.
    finds(
        |it| it.entry(LEAF, 511, LEAF | 3),
        |_| vec![tce(511, LEAF | 3, LEAF, Holder::Nobody)],
    );
}

#[test]
fn a_tce_to_no_memory() {
    finds(
        |it| it.entry(LEAF, 0, MEMORY | 2),
        |_| vec![tce(0, MEMORY | 2, MEMORY, Holder::NoMemory)],
    );
    finds(
        |it| it.entry(LEAF, 0, !0xfff | 3),
        |_| vec![tce(0, !0xfff | 3, !0xfff, Holder::NoMemory)],
    );
}

#[test]
fn a_page_that_only_begins_in_the_owners_region() {
    // A page of 256 MB, of which partition 1 has the first 16.
    finds(
        |it| {
            it.table(TABLES + 0x20000, 12);
            it.entry(TABLES + 0x20000, 1, FIRST | 3);
            it.set_tve(1, 1, tve(TABLES + 0x20000, 1, 12, 28));
        },
        |_| {
            vec![Fault::Tce {
                pe: pe(1),
                bus: BusAddr::new(1 << 59 | 1 << 28),
                entry: FIRST | 3,
                at: HostAddr::new(SECOND),
                holder: Holder::Owner(TWO),
                expected: ONE,
            }]
        },
    );
}

#[test]
fn a_live_tce_with_bits_that_are_no_rights() {
    finds(
        |it| it.entry(LEAF, 1, FIRST | 0x10 | 1),
        |_| {
            vec![Fault::TceBits {
                pe: pe(1),
                bus: bus(1),
                entry: FIRST | 0x10 | 1,
                page_shift: 12,
            }]
        },
    );
    // A page of 64K at a 4K boundary: the PHB goes to the 64K page.
    let entry = (SECOND + 0x1000) | 3;
    finds(
        |it| it.entry(TABLES + 0x10000, 0, entry),
        |_| {
            vec![Fault::TceBits {
                pe: pe(2),
                bus: BusAddr::new(1 << 59),
                entry,
                page_shift: 16,
            }]
        },
    );
}

#[test]
fn entries_without_rights_lead_nowhere() {
    for mut it in machines() {
        // A tombstone, and a foreign address without rights.
        it.entry(LEAF, 1, SECOND | 0xc);
        it.entry(TABLES, 6, SECOND | 0xffc);
        assert_eq!(it.audit().0, []);
    }
}

#[test]
fn the_reserved_pe_with_a_tve() {
    for number in [0, 1] {
        finds(
            |it| it.set_tve(it.pes - 1, number, tve(TABLES, 2, 12, 12)),
            |it| {
                vec![Fault::TveOfNobody {
                    pe: it.expected.reserved(),
                    tve: number as u8,
                    value: tve(TABLES, 2, 12, 12),
                }]
            },
        );
    }
}

#[test]
fn a_bridges_pe_with_a_tve() {
    let value = tve(TABLES, 2, 12, 12);
    finds(
        |it| it.set_tve(3, 0, value),
        |_| {
            vec![Fault::TveOfNobody {
                pe: pe(3),
                tve: 0,
                value,
            }]
        },
    );
}

#[test]
fn bypass() {
    // All of memory, as Linux opens it, for an owned PE and the reserved one.
    let value = (0x10_0000u64 << 16) | 1 << 12 | 1 << 7;
    for owned in [true, false] {
        let number = |it: &Model| if owned { 1 } else { it.pes - 1 };
        finds(
            |it| it.set_tve(number(it), 1, value),
            |it| {
                vec![Fault::Bypass {
                    pe: pe(number(it)),
                    tve: 1,
                    value,
                    start: HostAddr::new(0),
                    end: HostAddr::new(1 << 44),
                }]
            },
        );
    }
}

#[test]
fn a_tve_that_describes_no_table() {
    let good = tve(TABLES, 2, 12, 12);
    for bad in [
        good | 7 << 13,                // 8 levels
        good & !(31 << 8),             // no table size
        good | 3,                      // page size 3 + 1
        good | 1 << 6,                 // a bit that is none
        good | 31 << 8,                // 2 * 39 + 12 bits, and a misaligned root
        (good + (1 << 16)) | (2 << 8), // misaligned root
    ] {
        finds(
            |it| it.set_tve(1, 1, bad),
            |_| {
                vec![Fault::TveMalformed {
                    pe: pe(1),
                    tve: 1,
                    value: bad,
                }]
            },
        );
    }
}

#[test]
fn a_table_in_a_partitions_memory() {
    finds(
        |it| it.set_tve(1, 1, tve(FIRST, 1, 12, 12)),
        |_| {
            vec![Fault::TableHolder {
                pe: pe(1),
                bus: BusAddr::new(1 << 59),
                level: 0,
                at: HostAddr::new(FIRST),
                holder: Holder::Owner(ONE),
            }]
        },
    );
    // A leaf, reached through a root that is in order.
    finds(
        |it| it.entry(TABLES, 9, SECOND | 3),
        |_| {
            vec![Fault::TableHolder {
                pe: pe(1),
                bus: BusAddr::new(9 << 21),
                level: 1,
                at: HostAddr::new(SECOND),
                holder: Holder::Owner(TWO),
            }]
        },
    );
}

#[test]
fn a_table_that_ends_in_a_partitions_memory() {
    // 2^30 bytes from 0: partition 1 begins at 2^30, so 2^31 goes into it.
    finds(
        |it| it.set_tve(1, 1, tve(1 << 31, 1, 31, 12) & !(0xffff_ffff_ffff << 16)),
        |_| {
            vec![Fault::TableHolder {
                pe: pe(1),
                bus: BusAddr::new(1 << 59),
                level: 0,
                at: HostAddr::new(FIRST),
                holder: Holder::Owner(ONE),
            }]
        },
    );
}

#[test]
fn a_table_outside_of_memory() {
    finds(
        |it| it.entry(TABLES, 0, (MEMORY + 0x5000) | 1),
        |_| {
            vec![Fault::TableHolder {
                pe: pe(1),
                bus: BusAddr::new(0),
                level: 1,
                at: HostAddr::new(MEMORY + 0x5000),
                holder: Holder::NoMemory,
            }]
        },
    );
}

#[test]
fn a_level_that_leads_to_itself() {
    finds(
        |it| it.entry(TABLES, 6, TABLES | 3),
        |_| {
            vec![Fault::TableTwice {
                pe: pe(1),
                bus: BusAddr::new(6 << 21),
                level: 1,
                at: HostAddr::new(TABLES),
            }]
        },
    );
}

#[test]
fn five_levels_that_all_lead_to_one_table_are_walked_once() {
    for mut it in machines() {
        let at = TABLES + 0x30000;
        for index in 0..512 {
            it.entry(at, index, at | 3);
        }
        it.set_tve(1, 1, tve(at, 5, 12, 12));
        it.reads.set(0);
        assert_eq!(it.audit().0.len(), 512);
        assert!(it.reads.get() < 100_000, "{} reads", it.reads.get());
    }
}

#[test]
fn a_leaf_of_another_window() {
    finds(
        |it| it.entry(TABLES, 7, (TABLES + 0x1_1000) | 3),
        |_| {
            // PE 1's walk is first, so PE 2's flat table finds its page taken,
            // and PE 1 leads to partition 2's last page.
            vec![Fault::TableTwice {
                pe: pe(2),
                bus: BusAddr::new(1 << 59),
                level: 0,
                at: HostAddr::new(TABLES + 0x10000),
            }]
        },
    );
}

#[test]
fn two_owners_in_one_table() {
    finds(
        |it| it.set_tve(2, 0, tve(TABLES, 2, 12, 12)),
        |_| {
            vec![Fault::TableShared {
                pe: pe(2),
                at: HostAddr::new(TABLES),
                other_phb: PhbId::new(3),
                other: pe(1),
                owner: ONE,
            }]
        },
    );
    // The same root in another shape is no sharing.
    finds(
        |it| it.set_tve(2, 0, tve(TABLES, 1, 12, 12)),
        |_| {
            vec![Fault::TableTwice {
                pe: pe(2),
                bus: BusAddr::new(0),
                level: 0,
                at: HostAddr::new(TABLES),
            }]
        },
    );
}

#[test]
fn a_misaligned_leaf() {
    finds(
        |it| {
            it.table(TABLES + 0x40000, 16);
            it.entry(TABLES + 0x40000, 0, (TABLES + 0x3000) | 3);
            it.set_tve(1, 1, tve(TABLES + 0x40000, 2, 16, 12));
        },
        |_| {
            vec![Fault::TableMisaligned {
                pe: pe(1),
                bus: BusAddr::new(1 << 59),
                level: 1,
                entry: (TABLES + 0x3000) | 3,
            }]
        },
    );
}
