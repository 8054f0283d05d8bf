//! Any content of any table: the audit ends, and what it lets pass is right.

use crate::model::*;
use pinion::audit::Fault;
use proptest::prelude::*;

/// Words near what a table holds: tables, pages, rights, and noise.
fn word() -> impl Strategy<Value = u64> {
    let address = prop_oneof![
        Just(TABLES),
        Just(TABLES + 0x2000),
        Just(FIRST),
        Just(SECOND),
        Just(SECOND - 0x1000),
        Just(MEMORY),
        (0..64u64).prop_map(|page| TABLES + (page << 12)),
        any::<u64>(),
    ];
    (address, 0..16u64, any::<bool>()).prop_map(|(address, low, keep)| {
        if keep {
            address & !0xfff | low
        } else {
            address
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_tables_end(
        machine in 0..4usize,
        entries in prop::collection::vec((0..64u64, 0..512u64, word()), 0..40),
        tves in prop::collection::vec((0..8u16, 0..2u16, word()), 0..6),
    ) {
        let mut it = machines().nth(machine).unwrap();
        for (page, index, value) in entries {
            it.entry(TABLES + (page << 12), index, value);
        }
        for (number, which, value) in tves {
            it.set_tve(number, which, value);
        }
        it.audit();
    }

    #[test]
    fn any_flipped_bit_of_a_tve_is_seen(machine in 0..4usize, bit in 0..64u32) {
        let mut it = machines().nth(machine).unwrap();
        it.tvt[2] ^= 1 << bit;
        // Another table, another size, other pages: whatever comes of it is not
        // what was there.
        let (before, after) = (machines().nth(machine).unwrap().audit(), it.audit());
        prop_assert!(!after.0.is_empty() || before.1 != after.1);
    }

    #[test]
    fn any_flipped_bit_of_the_rtt_is_seen(machine in 0..4usize, bit in 0..16u32, rid in any::<u16>()) {
        let mut it = machines().nth(machine).unwrap();
        let shift = 48 - 16 * u32::from(rid & 3) + bit;
        *it.memory.get_mut(&(RTT + u64::from(rid & !3) * 2)).unwrap() ^= 1 << shift;
        let faults = it.audit().0;
        prop_assert_eq!(faults.len(), 1);
        let named = matches!(faults[0], Fault::Rid { .. });
        prop_assert!(named);
    }

    #[test]
    fn any_flipped_bit_of_the_peltv_is_seen(machine in 0..4usize, at in any::<u64>()) {
        let mut it = machines().nth(machine).unwrap();
        let words = u64::from(it.pes) * u64::from(it.pes) / 64;
        *it.memory.get_mut(&(PELTV + at / 64 % words * 8)).unwrap() ^= 1 << (at % 64);
        let faults = it.audit().0;
        prop_assert_eq!(faults.len(), 1);
        let named = matches!(faults[0], Fault::Link { .. });
        prop_assert!(named);
    }
}
