//! One thing wrong at a time: tables of the PHB other than TVEs.

use crate::corrupt::finds;
use crate::model::*;
use pinion::addr::HostAddr;
use pinion::audit::{Fault, Holder, M64Bar, layout};
use pinion::pci::Generation;

#[test]
fn a_rid_of_another_pe() {
    for (number, expected) in [(rid(1, 0, 0), 1), (rid(1, 0, 1), 2)] {
        finds(
            |it| it.set_rid(number.rid(), 3 - expected),
            |_| {
                vec![Fault::Rid {
                    rid: number,
                    value: 3 - expected,
                    expected: pe(expected),
                }]
            },
        );
    }
}

#[test]
fn a_rid_that_nobody_has() {
    for number in [rid(0xff, 31, 7), rid(1, 0, 2), rid(0, 0, 5)] {
        finds(
            |it| it.set_rid(number.rid(), 1),
            |it| {
                vec![Fault::Rid {
                    rid: number,
                    value: 1,
                    expected: it.expected.reserved(),
                }]
            },
        );
    }
}

#[test]
fn a_rid_with_a_pe_that_does_not_exist() {
    finds(
        |it| it.set_rid(0x100, 0xffff),
        |_| {
            vec![Fault::Rid {
                rid: rid(1, 0, 0),
                value: 0xffff,
                expected: pe(1),
            }]
        },
    );
}

#[test]
fn a_pe_whose_errors_do_not_freeze_itself() {
    finds(
        |it| it.set_link(1, 1, false),
        |_| {
            vec![Fault::Link {
                parent: pe(1),
                child: pe(1),
                set: false,
            }]
        },
    );
}

#[test]
fn a_pe_whose_errors_freeze_another() {
    for child in [2, 63, 64, 255] {
        finds(
            |it| it.set_link(1, child, true),
            |_| {
                vec![Fault::Link {
                    parent: pe(1),
                    child: pe(child),
                    set: true,
                }]
            },
        );
    }
    finds(
        |it| it.set_link(it.pes - 1, it.pes - 2, true),
        |it| {
            vec![Fault::Link {
                parent: pe(it.pes - 1),
                child: pe(it.pes - 2),
                set: true,
            }]
        },
    );
}

#[test]
fn a_segment_of_another_pe() {
    for (segment, value) in [(4, 2), (7, 1), (8, 1), (0, 0)] {
        finds(
            |it| it.set_segment(segment, value),
            |it| {
                let expected = match segment {
                    4 => pe(1),
                    7 => pe(2),
                    _ => it.expected.reserved(),
                };
                vec![Fault::Segment {
                    segment,
                    value,
                    expected,
                }]
            },
        );
    }
}

#[test]
fn an_msi_of_another_pe() {
    for (vector, value, expected) in [
        (0, 2, Some(1)),
        (6, 1, Some(2)),
        (6, 0, Some(2)),
        (9, 1, None),
        // As a reset leaves it.
        (9, 0, None),
        (VECTORS - 1, 0, None),
    ] {
        finds(
            |it| it.set_msi(vector, value),
            |it| {
                vec![Fault::Msi {
                    vector,
                    value: pe(value),
                    expected: expected.map_or(it.expected.reserved(), pe),
                }]
            },
        );
    }
}

#[test]
fn a_memory_bar_that_nobody_set() {
    finds(
        |it| {
            // Single-PE BARs are never set up.
            if it.generation == Generation::Phb3 {
                it.bars[2] = 3 << 62 | 0x3fff_ffff;
            } else {
                it.bars[4] = 1 << 63 | 2 << 60;
                it.bars[5] = 1 << 63 | 1;
            }
        },
        |it| {
            let value = if it.generation == Generation::Phb3 {
                [it.bars[2], 0]
            } else {
                [it.bars[4], it.bars[5]]
            };
            vec![Fault::Bar {
                number: 2,
                value,
                expected: None,
            }]
        },
    );
}

#[test]
fn the_split_bar_off_or_elsewhere() {
    let expected = Some(M64Bar {
        base: M64,
        size: 64 << 30,
    });
    let at = |it: &Model| {
        if it.generation == Generation::Phb3 {
            15
        } else {
            30
        }
    };
    let fault = move |it: &Model| {
        let value = if it.generation == Generation::Phb3 {
            [it.bars[15], 0]
        } else {
            [it.bars[30], it.bars[31]]
        };
        vec![Fault::Bar {
            number: 15,
            value,
            expected,
        }]
    };
    finds(
        |it| {
            let at = at(it);
            it.bars[at] &= !(1 << 63);
            it.bars[31] &= !(1 << 63);
        },
        fault,
    );
    finds(
        |it| {
            let at = at(it);
            it.bars[at] ^= if it.generation == Generation::Phb3 {
                1 << 52
            } else {
                1 << 40
            };
        },
        fault,
    );
}

#[test]
fn a_column_that_gives_a_segment_away() {
    for mut it in machines().filter(|it| it.generation != Generation::Phb3) {
        // BAR 15 of 16 uses the last column; of 32 it is by segment.
        it.segments[9] ^= 1;
        let faults = it.audit().0;
        let expected = Fault::BarSegment {
            number: 15,
            segment: 9,
            value: 8,
        };
        assert_eq!(faults, [expected]);
    }
}

#[test]
fn the_32_bit_window_elsewhere() {
    finds(
        |it| {
            it.registers.insert(layout::M32_START, 0);
        },
        |_| {
            vec![Fault::M32 {
                value: [0x6_0000_0000, 0, 1 << 31],
                expected: [0x6_0000_0000, 0x8000_0000, 1 << 31],
            }]
        },
    );
}

#[test]
fn tables_of_firmware_elsewhere() {
    for (name, register, told) in [
        ("RTT", layout::RTT_BAR, RTT),
        ("PELT-V", layout::PELTV_BAR, PELTV),
    ] {
        // In a partition's memory: it could give itself any PE.
        for mut it in machines() {
            it.registers.insert(register, 1 << 63 | FIRST);
            let faults = it.audit().0;
            let base = Fault::Base {
                table: name,
                value: 1 << 63 | FIRST,
                told: Some(HostAddr::new(told)),
            };
            let holder = Fault::BaseHolder {
                table: name,
                at: HostAddr::new(FIRST),
                holder: Holder::Owner(ONE),
            };
            assert_eq!(faults, [base, holder]);
            // Off.
            it.registers.insert(register, told);
            let off = Fault::Base {
                table: name,
                value: told,
                told: Some(HostAddr::new(told)),
            };
            assert_eq!(it.audit().0, [off]);
        }
    }
    let mut it = machines().next().unwrap();
    it.registers
        .insert(layout::IVT_BAR, 1 << 63 | MEMORY << 8 | 0x800);
    let outside = Fault::BaseHolder {
        table: "IVT",
        at: HostAddr::new(MEMORY << 8),
        holder: Holder::NoMemory,
    };
    assert_eq!(it.audit().0, [outside]);
}

#[test]
fn four_tves_for_a_pe() {
    for mut it in machines().filter(|it| it.generation != Generation::Phb3) {
        for value in [1 << 44, 1 << 39] {
            it.registers.insert(layout::CONTROL, value);
            assert_eq!(it.audit().0, [Fault::Control { value }]);
        }
    }
}

#[test]
fn a_fenced_phb_is_not_believed() {
    finds(
        |it| {
            it.registers.insert(layout::RTT_BAR, u64::MAX);
        },
        |_| vec![Fault::Fenced],
    );
}
