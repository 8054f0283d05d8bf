//! The calls for DMA windows with any arguments, beside devices that do DMA all
//! the time.

use std::collections::BTreeMap;

use pinion::addr::BusAddr;
use pinion::sim::PhbKind;
use proptest::prelude::*;

use super::ddw::{BUID, CONFIG, Guest, HIGH, LIOBNS, PARAMETER};

#[derive(Clone, Debug)]
enum Call {
    Query(u32, u64),
    Create(u32, u64, u32, u32),
    Remove(u32),
    Reset(u32, u64),
    Put(u32, u64, u64),
}

fn call() -> impl Strategy<Value = Call> {
    let config = || prop_oneof![8 => Just(CONFIG[0]), 8 => Just(CONFIG[1]), 1 => any::<u32>()];
    let buid = || prop_oneof![16 => Just(BUID), 1 => Just(7), 1 => any::<u64>()];
    let liobn = || {
        prop_oneof![
            6 => Just(LIOBNS[0]),
            6 => Just(LIOBNS[1]),
            1 => 0x8000_0001u32..0x8000_0006,
            1 => any::<u32>(),
        ]
    };
    let page = prop_oneof![
        3 => Just(12u32), 3 => Just(16u32), 2 => Just(21u32), 2 => Just(24u32), 1 => 0..36u32, 1 => any::<u32>()
    ];
    let window = prop_oneof![8 => 18..34u32, 2 => 0..66u32, 1 => any::<u32>()];
    let ioba = prop_oneof![
        4 => (0..64u64).prop_map(|page| page << 12),
        4 => (0..64u64).prop_map(|page| HIGH | page << 16),
        2 => (0..4u64).prop_map(|page| HIGH | page << 24),
        1 => any::<u64>(),
    ];
    let tce = prop_oneof![
        8 => (0..2u64, 0..4u64).prop_map(|(page, rights)| page << 24 | rights),
        4 => (0..0x240u64, 0..4u64).prop_map(|(page, rights)| page << 16 | rights),
        1 => any::<u64>(),
    ];
    prop_oneof![
        1 => (config(), buid()).prop_map(|(config, buid)| Call::Query(config, buid)),
        4 => (config(), buid(), page, window)
            .prop_map(|(config, buid, page, window)| Call::Create(config, buid, page, window)),
        2 => liobn().prop_map(Call::Remove),
        1 => (config(), buid()).prop_map(|(config, buid)| Call::Reset(config, buid)),
        8 => (liobn(), ioba, tce).prop_map(|(liobn, ioba, tce)| Call::Put(liobn, ioba, tce)),
    ]
}

/// A window as the naive model has it: base, page shift, base-2 logarithm of
/// its bytes, and what is mapped.
#[derive(Clone, Debug, PartialEq)]
struct Naive {
    base: u64,
    page: u32,
    window: u32,
    mapped: BTreeMap<u64, u64>,
}

impl Naive {
    fn default_window() -> Self {
        Self {
            base: 0,
            page: 12,
            window: 30,
            mapped: BTreeMap::new(),
        }
    }
}

fn is_named(config: u32, buid: u64) -> bool {
    CONFIG.contains(&config) && buid == BUID
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn windows_are_what_a_naive_model_says(
        kind in prop_oneof![Just(PhbKind::Phb3), Just(PhbKind::Phb4), Just(PhbKind::AllOnly)],
        calls in prop::collection::vec(call(), 1..30),
    ) {
        let guest = Guest::new(kind, 8 << 20);
        let stray = [0, 0x1000, 0x3000, HIGH, HIGH | 1 << 16, HIGH | 1 << 24];
        let stray = stray.map(BusAddr::new).to_vec();
        guest.rig.machine().set_stray(5, vec![(0, 0), (0, 1)], stray);
        let pages: &[u32] = if kind == PhbKind::Phb3 { &[12, 16, 24] } else { &[12, 16, 21] };
        let mut naive = [Some(Naive::default_window()), None];
        for call in calls {
            match call.clone() {
                Call::Query(config, buid) => {
                    let answer = guest.calls().query(config, buid);
                    if is_named(config, buid) {
                        let free = naive.iter().filter(|window| window.is_none()).count();
                        prop_assert_eq!(answer.map(|answer| answer.windows as usize), Ok(free));
                    } else if !(config == 0 && buid == 7) {
                        prop_assert_eq!(answer, Err(PARAMETER));
                    }
                }
                Call::Create(config, buid, page, window) => {
                    let answer = guest.calls().create(config, buid, page, window);
                    let tve = naive.iter().rposition(|window| window.is_none());
                    let most = [31, 55];
                    let place = tve.filter(|&tve| {
                        is_named(config, buid)
                            && pages.contains(&page)
                            && (page..=most[tve]).contains(&window)
                    });
                    if let Some(tve) = place {
                        // A stray DMA has frozen the device, or a table is too large.
                        if let Ok(made) = answer {
                            let base = [0, HIGH][tve];
                            prop_assert_eq!(
                                (made.liobn.0, made.base.get(), made.bytes),
                                (LIOBNS[tve], base, 1 << window)
                            );
                            naive[tve] = Some(Naive { base, page, window, mapped: BTreeMap::new() });
                        } else {
                            prop_assert!(false, "{:x?}: {:?}", call, answer);
                        }
                    } else if !(config == 0 && buid == 7) {
                        prop_assert_eq!(answer, Err(PARAMETER), "{:x?}", call);
                    }
                }
                Call::Remove(liobn) => {
                    let answer = guest.calls().remove(liobn);
                    let tve = LIOBNS.iter().position(|&known| known == liobn);
                    let had = tve.is_some_and(|tve| naive[tve].take().is_some());
                    prop_assert_eq!(answer, if had { Ok(()) } else { Err(PARAMETER) });
                }
                Call::Reset(config, buid) => {
                    let answer = guest.calls().reset(config, buid);
                    if is_named(config, buid) {
                        prop_assert_eq!(answer, Ok(()));
                        naive = [Some(Naive::default_window()), None];
                    } else if !(config == 0 && buid == 7) {
                        prop_assert_eq!(answer, Err(PARAMETER));
                    }
                }
                Call::Put(liobn, ioba, tce) => {
                    let answer = guest.put(liobn, ioba, tce);
                    let tve = LIOBNS.iter().position(|&known| known == liobn);
                    let window = tve.and_then(|tve| naive[tve].as_mut());
                    let inside = window.filter(|window| {
                        ioba.checked_sub(window.base).is_some_and(|offset| offset >> window.window == 0)
                            && ioba.trailing_zeros() >= window.page
                    });
                    let Some(window) = inside else {
                        prop_assert_eq!(answer, -4, "{:x?}", call);
                        continue;
                    };
                    let (address, rights) = (tce & !3, tce & 3);
                    let good = address.checked_add(1 << window.page).is_some_and(|end| end <= 1 << 25)
                        && address.trailing_zeros() >= window.page;
                    if rights == 0 {
                        prop_assert_eq!(answer, 0, "{:x?}", call);
                        window.mapped.remove(&ioba);
                    } else if good {
                        prop_assert_eq!(answer, 0, "{:x?}", call);
                        window.mapped.insert(ioba, address | if rights == 1 { 1 } else { 3 });
                    } else {
                        prop_assert_eq!(answer, -4, "{:x?}", call);
                    }
                }
            }
            let live = naive.iter().flatten();
            guest.check(live.map(|window| window.mapped.len() as u64).sum());
        }
        for (tve, liobn) in LIOBNS.into_iter().enumerate() {
            for (&ioba, &tce) in naive[tve].iter().flat_map(|window| &window.mapped) {
                prop_assert_eq!(guest.tces().get(liobn.into(), ioba), Ok(tce));
            }
        }
        guest.finish();
    }
}
