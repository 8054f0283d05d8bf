//! The TCE calls with any arguments, beside devices that do DMA all the time.

use std::collections::BTreeMap;

use pinion::addr::BusAddr;
use pinion::sim::PhbKind;
use pinion::tce::PageShift;
use proptest::prelude::*;

use super::guest::*;

/// One hostile call.
#[derive(Clone, Debug)]
enum Call {
    Put(u64),
    Stuff(u64, u64),
    Indirect { at: u64, count: u64, list: Vec<u64> },
    Get,
}

/// LIOBN, page of the window, what is added to its address, the call.
type Wild = (u64, u64, u64, Call);

fn tces() -> impl Strategy<Value = u64> {
    let known = prop_oneof![0..50u64, 0x0fe..0x122u64, 0x1fe..0x212u64];
    // Page in units of 64K: scaled by the test.
    prop_oneof![
        20 => (known, 0..4u64).prop_map(|(page, rights)| page << 16 | rights),
        1 => any::<u64>(),
    ]
}

fn good_tces() -> impl Strategy<Value = u64> {
    let page = prop_oneof![0..16u64, 17..48u64, 0x100..0x120u64];
    (page, 0..4u64).prop_map(|(page, rights)| page << 16 | rights)
}

fn lists() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![
        3 => prop::collection::vec(good_tces(), 0..514),
        1 => prop::collection::vec(tces(), 0..40),
    ]
}

fn wild() -> impl Strategy<Value = Wild> {
    let counts = || prop_oneof![16 => 0..514u64, 3 => 513..PAGES + 2, 1 => any::<u64>()];
    let at = prop_oneof![
        6 => (0..0x30u64).prop_map(|page| page << 12),
        1 => any::<u64>(),
        1 => Just(0x10_000 | 8),
    ];
    let call = prop_oneof![
        3 => tces().prop_map(Call::Put),
        3 => (tces(), counts()).prop_map(|(tce, count)| Call::Stuff(tce, count)),
        4 => (at, lists(), prop_oneof![9 => Just(None), 1 => any::<u64>().prop_map(Some)])
            .prop_map(|(at, list, count)| {
                let count = count.unwrap_or(list.len() as u64);
                Call::Indirect { at, count, list }
            }),
        2 => Just(Call::Get),
    ];
    (
        prop_oneof![20 => Just(LIOBN), 1 => any::<u64>(), 1 => LIOBN - 2..LIOBN + 2],
        prop_oneof![12 => 0..PAGES, 1 => PAGES - 2..PAGES + 2, 1 => any::<u64>()],
        // Whole pages of it would be another entry, a good one.
        prop_oneof![16 => Just(0u64), 1 => (0..16u64, 1..0x1000u64).prop_map(|(page, byte)| page << 12 | byte)],
        call,
    )
}

/// What an entry would map: nothing, or a page and whether it may be written.
type Wanted = Option<(u64, bool)>;

/// What a call asks for, read naively; `Err` if it asks for nonsense.
fn meaning(tce: u64, page: u32) -> Result<Wanted, ()> {
    let (bits, rights) = (tce & !RW, tce & RW);
    if rights == 0 {
        return Ok(None);
    }
    if bits % (1 << page) != 0 {
        return Err(());
    }
    let host = host_page(bits >> page).ok_or(())?;
    Ok(Some((host, rights & W != 0)))
}

/// The entries that a call would store, or nothing if it is refused.
fn asked(guest: &Guest, (liobn, page, skew, call): &Wild) -> Option<Vec<Wanted>> {
    let shift = guest.rig.page.get();
    let (count, tces) = match call {
        Call::Get => return None,
        Call::Put(tce) => (1, vec![*tce]),
        Call::Indirect { count, .. } if *count > 512 => return None,
        Call::Stuff(tce, count) if *count > PAGES || *count > 512 && tce & RW != 0 => return None,
        Call::Stuff(tce, count) => (*count, vec![*tce; *count as usize]),
        Call::Indirect { at, count, list } => {
            let end = at.checked_add(count * 8)?;
            // The pieces' ends, in halves of a page.
            let one =
                |first: u64, last: u64| *at >= first << (shift - 1) && end <= last << (shift - 1);
            let whole = one(0, 33) || one(33, 96) || one(0x200, 0x240) || one(0x400, 0x420);
            if at % 4096 != 0 || (*count != 0 && !whole) {
                return None;
            }
            // What is behind the list's words reads as 0.
            let word = |i: u64| list.get(i as usize).copied().unwrap_or(0);
            (*count, (0..*count).map(word).collect())
        }
    };
    if *liobn != LIOBN {
        return None;
    }
    if count == 0 {
        return Some(Vec::new());
    }
    let inside = page.checked_add(count).is_some_and(|end| end <= PAGES);
    if !inside || skew % (1 << shift) != 0 || skew >> shift != 0 {
        return None;
    }
    tces.iter().map(|&tce| meaning(tce, shift).ok()).collect()
}

fn run(guest: &Guest, wild: &Wild) -> i64 {
    let (liobn, page, skew, call) = wild;
    let ioba = page
        .wrapping_add(BASE)
        .wrapping_shl(guest.rig.page.get())
        .wrapping_add(*skew);
    let calls = guest.calls();
    match call {
        Call::Put(tce) => put(&calls, *liobn, ioba, *tce),
        Call::Stuff(tce, count) => calls.stuff(*liobn, ioba, *tce, *count),
        Call::Indirect { at, count, list } => {
            calls.put_indirect(*liobn, ioba, *at, *count, |from, count, to| {
                let word = |index| list.get(index).copied().unwrap_or(0);
                to.fill(count, word);
                guest.map.host(from, 8 * count as u64).is_some()
            })
        }
        Call::Get => calls.get(*liobn, ioba).err().unwrap_or(H_SUCCESS),
    }
}

/// The same call for other IO pages: an entry's page is given in units of 64K.
fn scaled(mut wild: Wild, page: PageShift) -> Wild {
    let scale = |tce: &mut u64| {
        if *tce >> 32 == 0 {
            *tce = *tce >> 16 << page.get() | *tce & RW;
        }
    };
    match &mut wild.3 {
        Call::Put(tce) | Call::Stuff(tce, _) => scale(tce),
        Call::Indirect { list, .. } => list.iter_mut().for_each(scale),
        Call::Get => {}
    }
    wild
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// No call panics; the table is what a naive map is; one kill for a change.
    #[test]
    fn hostile_calls_do_what_a_naive_map_does(
        kind in prop_oneof![
            Just(PhbKind::Phb3), Just(PhbKind::Phb4), Just(PhbKind::AllOnly)
        ],
        page in prop_oneof![Just(PageShift::K4), Just(PageShift::K64)],
        calls in prop::collection::vec(wild(), 1..24),
    ) {
        let guest = Guest::new(kind, page);
        let pages = (0..PAGES).step_by(5).map(|index| BusAddr::new(guest.bus(index)));
        guest.rig.machine().set_stray(6, vec![(0, 0)], pages.collect());
        let mut naive: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
        for wild in calls {
            let wild = scaled(wild, page);
            let kills = guest.kills();
            let answer = run(&guest, &wild);
            let (wanted, first) = (asked(&guest, &wild), wild.1);
            let mut changed = false;
            if let Call::Get = wild.3 {
                let fine = wild.0 == LIOBN && first < PAGES && wild.2.is_multiple_of(1 << page.get())
                    && first + (wild.2 >> page.get()) < PAGES;
                // An address that wraps may be inside again.
                if first < 1 << 40 {
                    prop_assert_eq!(answer, if fine { H_SUCCESS } else { H_PARAMETER });
                }
            } else if let Some(wanted) = wanted {
                prop_assert_eq!(answer, H_SUCCESS, "{:x?}", wild);
                for (index, wanted) in (first..).zip(wanted) {
                    changed |= match wanted {
                        Some(mapping) => {
                            naive.insert(index, mapping);
                            true
                        }
                        None => naive.remove(&index).is_some(),
                    };
                }
            } else {
                prop_assert_eq!(answer, H_PARAMETER, "{:x?}", wild);
            }
            prop_assert_eq!(guest.kills() - kills, u64::from(changed), "{:x?}", wild);
            prop_assert_eq!(&guest.table(), &naive);
        }
        for index in 0..PAGES {
            let expected = naive.get(&index).copied();
            let got = guest.get(index).unwrap();
            prop_assert_eq!(meaning(got, page.get()), Ok(expected));
        }
        guest.check();
    }
}
