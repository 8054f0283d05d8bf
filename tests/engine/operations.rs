//! Random machines and operations, for the comparison with the reference.

use pinion::sim::PhbKind;
use pinion::tce::{Access, PageShift};
use proptest::prelude::*;

/// IO pages of each window: more leaves than may stay linked when empty.
pub const WINDOW: u64 = 6000;
/// IO pages of each region.
pub const REGION: u64 = 640;
pub const REGIONS: u64 = 4;
/// Which party has a window: of the regions, each has two side by side at first.
pub const PARTY: [usize; 3] = [0, 0, 1];

#[derive(Clone, Debug)]
pub enum Op {
    Map {
        window: usize,
        page: u64,
        region: u64,
        frame: u64,
        pages: u64,
        access: Access,
    },
    Unmap {
        window: usize,
        page: u64,
        pages: u64,
    },
    RemapRun {
        window: usize,
        page: u64,
        region: u64,
        frame: u64,
        pages: u64,
        access: Access,
    },
    RemapSame {
        window: usize,
        page: u64,
        region: u64,
        frame: u64,
        pages: u64,
        unmap: bool,
    },
    RemapList {
        window: usize,
        page: u64,
        list: Vec<(u64, u64, u8)>,
    },
    Translate {
        window: usize,
        page: u64,
        offset: u64,
    },
    Clear {
        window: usize,
    },
    Flush {
        window: usize,
    },
    Detach {
        window: usize,
    },
    Share {
        on: bool,
    },
    Close {
        region: u64,
    },
    Move {
        region: u64,
    },
    Dma {
        function: u16,
        page: u64,
        write: bool,
    },
    TakeDirty {
        region: u64,
    },
}

fn access() -> impl Strategy<Value = Access> + Clone {
    prop_oneof![
        Just(Access::Read),
        Just(Access::Write),
        Just(Access::ReadWrite)
    ]
}

fn pages() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![6 => 1u64..4, 3 => 1u64..40, 1 => 0u64..700]
}

pub fn op() -> impl Strategy<Value = Op> {
    let window = 0usize..3;
    // A little beyond the window on both sides.
    let page = prop_oneof![
        8 => 0u64..WINDOW,
        4 => (1u64..12, 0u64..9).prop_map(|(leaf, page)| leaf * 512 - 70 + page),
        1 => WINDOW - 4..WINDOW + 4
    ];
    let frame = prop_oneof![8 => 0u64..REGION, 1 => REGION - 3..REGION + 3];
    let region = 0..REGIONS;
    let run = (
        window.clone(),
        page.clone(),
        region.clone(),
        frame.clone(),
        pages(),
        access(),
    );
    let entry = (region.clone(), frame.clone(), 0u8..4);
    // Of the two regions that the window's owner has at first, alternating or in runs, all
    // with the same rights or not: all of it is likely to be mapped. Some are longer than
    // what goes at a time, 512 entries, and some go from one leaf to the next.
    let runs = prop_oneof![15 => Just(12), 1 => Just(250)];
    let kind = (window.clone(), runs, 0u64..2, any::<bool>());
    let mixed = kind.prop_flat_map(|(window, runs, most, same)| {
        let pair = PARTY[window] as u64;
        let rights = if same { 3u8..4 } else { 0..4 };
        let run = (0u64..2, 0..REGION - 8, rights, 1..8 * most + 2);
        let list = prop::collection::vec(run, 1..runs).prop_map(move |runs| {
            let pages = |(region, frame, rights, pages)| {
                (0..pages).map(move |page| (2 * pair + region, frame + page % 8, rights))
            };
            runs.into_iter().flat_map(pages).collect::<Vec<_>>()
        });
        (Just(window), list)
    });
    let near_end = (1u64..12, 1u64..20).prop_map(|(leaf, left)| leaf * 512 - left);
    let mixed_page = prop_oneof![2 => page.clone(), 1 => near_end];
    prop_oneof![
        12 => run.clone().prop_map(|(window, page, region, frame, pages, access)|
            Op::Map { window, page, region, frame, pages, access }),
        10 => (window.clone(), page.clone(), pages()).prop_map(|(window, page, pages)|
            Op::Unmap { window, page, pages }),
        3 => run.prop_map(|(window, page, region, frame, pages, access)|
            Op::RemapRun { window, page, region, frame, pages, access }),
        2 => (window.clone(), page.clone(), region.clone(), frame, 1u64..20, any::<bool>()).prop_map(
            |(window, page, region, frame, pages, unmap)|
            Op::RemapSame { window, page, region, frame, pages, unmap }),
        4 => (window.clone(), page.clone(), prop::collection::vec(entry, 0..24)).prop_map(|(window, page, list)|
            Op::RemapList { window, page, list }),
        3 => (mixed, mixed_page).prop_map(|((window, list), page)|
            Op::RemapList { window, page, list }),
        2 => (window.clone(), page.clone(), any::<u64>()).prop_map(|(window, page, offset)|
            Op::Translate { window, page, offset }),
        1 => window.clone().prop_map(|window| Op::Clear { window }),
        1 => window.clone().prop_map(|window| Op::Flush { window }),
        1 => window.prop_map(|window| Op::Detach { window }),
        1 => any::<bool>().prop_map(|on| Op::Share { on }),
        1 => region.clone().prop_map(|region| Op::Close { region }),
        2 => region.clone().prop_map(|region| Op::Move { region }),
        4 => (0u16..3, page, any::<bool>()).prop_map(|(function, page, write)| Op::Dma { function, page, write }),
        1 => region.prop_map(|region| Op::TakeDirty { region }),
    ]
}

#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub kind: PhbKind,
    pub page: PageShift,
    pub levels: u32,
    pub seed: u64,
}

pub fn case() -> impl Strategy<Value = Case> {
    let kind = prop_oneof![
        Just(PhbKind::Phb3),
        Just(PhbKind::Phb4),
        Just(PhbKind::AllOnly)
    ];
    (kind, 0usize..6, 1u32..=5, any::<u64>()).prop_map(|(kind, page, levels, seed)| {
        let page = PageShift::ALL[page];
        // What a TVE can span: five levels fit 4K pages only.
        let levels = levels.min((59 - page.get()) / 9);
        Case {
            kind,
            page,
            levels,
            seed,
        }
    })
}
