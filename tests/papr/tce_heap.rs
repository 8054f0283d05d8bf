//! The TCE calls need no heap and one kill each.

use std::sync::Arc;

use allocation_counter::measure;
use pinion::addr::{BusAddr, GuestAddr, HostAddr};
use pinion::dma::{Engine, Liobn, Quota, WindowConfig};
use pinion::memory::ledger::{Ledger, OwnerId};
use pinion::papr::liobn::Liobns;
use pinion::papr::tce::TceCalls;
use pinion::partition::map::{GuestMap, Piece};
use pinion::seam::PeId;
use pinion::sim::Flat;
use pinion::tce::{PageShift, PageSizes, TableShape};

use super::guest::*;

/// The calls on a platform whose table memory is no heap.
#[test]
fn no_call_uses_the_heap() {
    let engine = Engine::new(Flat::new(16 << 20), &[1]);
    let ledger = Ledger::new();
    let holdings = ledger.add_owner(OwnerId(1)).unwrap();
    let pieces: Vec<Piece> = (0..256)
        .map(|region| Piece {
            guest: GuestAddr::new(region << 16),
            host: HostAddr::new((0x1000 + 2 * region) << 16),
            bytes: 1 << 16,
        })
        .collect();
    for piece in &pieces {
        ledger
            .grant(&holdings, piece.host, piece.bytes, 12)
            .unwrap();
    }
    let config = WindowConfig {
        base: BusAddr::new(0),
        pages: 4096,
        shape: TableShape::new(PageShift::K4, 2, 12).unwrap(),
        sizes: PageSizes::PHB4,
        limit: 4096,
    };
    let quota = Arc::new(Quota::new(1 << 30));
    let window = engine.create_window(&config, holdings, quota).unwrap();
    engine.attach(&window, PeId { phb: 0, pe: 0 }).unwrap();
    let (map, windows) = (GuestMap::new(pieces).unwrap(), Liobns::default());
    windows.insert(Liobn(LIOBN as u32), window).unwrap();
    let calls = TceCalls {
        engine: &engine,
        map: &map,
        windows: &windows,
    };
    let list = |shift: u64| -> Vec<u64> {
        let page = |i: u64| (i * 1031 + shift) % 4096;
        (0..512).map(|i| page(i) << 12 | RW).collect()
    };
    let (first, second, none) = (list(0), list(7), vec![0; 512]);
    // The model's frames are on the heap: the leaves are made before.
    assert_eq!(put(&calls, LIOBN, 0, 1), H_SUCCESS);
    let nothing = |what: &str, kills: u64, expected: i64, run: &dyn Fn() -> i64| {
        let before = engine.platform().kills();
        let used = measure(|| assert_eq!(run(), expected, "{what}"));
        assert_eq!(used.count_total, 0, "{what}: {used:?}");
        assert_eq!(engine.platform().kills() - before, kills, "{what}");
    };
    let indirect = |list: &[u64]| calls.put_indirect(LIOBN, 0, 0x1000, 512, copy(list));
    nothing("put", 1, H_SUCCESS, &|| put(&calls, LIOBN, 0x5000, 0x3003));
    nothing("replace", 1, H_SUCCESS, &|| {
        put(&calls, LIOBN, 0x5000, 0x4003)
    });
    nothing("get", 0, 0x4003, &|| {
        calls.get(LIOBN, 0x5000).unwrap() as i64
    });
    nothing("unmap", 1, H_SUCCESS, &|| put(&calls, LIOBN, 0x5000, 0));
    nothing("list", 1, H_SUCCESS, &|| indirect(&first));
    nothing("list again", 1, H_SUCCESS, &|| indirect(&second));
    nothing("list of nothing", 1, H_SUCCESS, &|| indirect(&none));
    nothing("stuff", 1, H_SUCCESS, &|| {
        calls.stuff(LIOBN, 0, 0x2001, 512)
    });
    nothing("unstuff", 1, H_SUCCESS, &|| calls.stuff(LIOBN, 0, 0, 512));
    nothing("refusal", 0, H_PARAMETER, &|| {
        put(&calls, LIOBN, 0, 1 << 40 | 1)
    });
    nothing("refused list", 0, H_PARAMETER, &|| {
        indirect(&[1 << 40 | 1; 512])
    });
}
