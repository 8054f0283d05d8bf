//! Row A13: no operation on a window uses the heap, once the tables that it
//! needs exist. The allocator counts, so that this is not by reading.

use std::hint::black_box;
use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{Engine, Quota, Window, WindowConfig};
use pinion::memory::ledger::{Ledger, OwnerId};
use pinion::seam::PeId;
use pinion::sim::Flat;
use pinion::tce::{Access, PageShift, PageSizes, TableShape, Tce};

/// IO pages of the window, and of the partition.
const PAGES: u64 = 1 << 14;
/// Regions of the partition, not adjacent.
const REGIONS: u64 = 256;

struct Rig {
    engine: Engine<Flat>,
    window: Arc<Window<Flat>>,
}

impl Rig {
    fn new(levels: u32) -> Self {
        let engine = Engine::new(Flat::new(16 << 20), &[1]);
        let ledger = Ledger::new();
        let holdings = ledger.add_owner(OwnerId(1)).unwrap();
        for region in 0..REGIONS {
            let bytes = (PAGES / REGIONS) << 12;
            ledger
                .grant(&holdings, host(region * (PAGES / REGIONS)), bytes, 12)
                .unwrap();
        }
        let level_shift = if levels == 1 { 17 } else { 12 };
        let config = WindowConfig {
            base: BusAddr::new(0),
            pages: PAGES,
            shape: TableShape::new(PageShift::K4, levels, level_shift).unwrap(),
            sizes: PageSizes::PHB4,
            limit: PAGES,
        };
        let quota = Arc::new(Quota::new(1 << 30));
        let window = engine.create_window(&config, holdings, quota).unwrap();
        engine.attach(&window, PeId { phb: 0, pe: 0 }).unwrap();
        Self { engine, window }
    }
}

/// Page `page` of the partition: a gap follows each region.
fn host(page: u64) -> HostAddr {
    let each = PAGES / REGIONS;
    HostAddr::new((PAGES + page / each * (each + 1) + page % each) << 12)
}

fn bus(page: u64) -> BusAddr {
    BusAddr::new(page << 12)
}

fn nothing(what: &str, run: impl FnOnce()) {
    let used = measure(run);
    assert_eq!(used.count_total, 0, "{what}: {used:?}");
}

#[test]
fn the_counter_counts() {
    let used: AllocationInfo = measure(|| drop(black_box(Box::new(1))));
    assert_eq!(used.count_total, 1);
}

/// One page, a run, a list over all regions, replacements, look-ups, refusals:
/// with one level, and with four.
#[test]
fn a13_no_operation_uses_the_heap() {
    for levels in [1, 4] {
        let Rig { engine, window } = Rig::new(levels);
        let list = |shift: u64| -> Vec<Tce> {
            (0..512)
                .map(|i| Tce::new(host((i * 1031 + shift) % PAGES), Access::ReadWrite).unwrap())
                .collect()
        };
        let (first, second) = (list(0), list(7));
        // The model keeps its frames in a heap of its own: these leaves stay.
        for page in [0, 2048] {
            engine
                .map(&window, bus(page), host(0), 1, Access::Read)
                .unwrap();
            engine.unmap(&window, bus(page), 1).unwrap();
        }
        for pages in [1, 16, PAGES / REGIONS] {
            nothing("map", || {
                engine
                    .map(&window, bus(0), host(0), pages, Access::ReadWrite)
                    .unwrap();
            });
            nothing("busy map", || {
                let again = engine.map(&window, bus(0), host(0), pages, Access::Read);
                assert!(again.is_err());
            });
            nothing("translate", || {
                assert!(engine.translate(&window, bus(0)).is_ok());
            });
            nothing("unmap", || {
                assert_eq!(engine.unmap(&window, bus(0), pages), Ok(pages));
            });
            nothing("unmap of nothing", || {
                assert_eq!(engine.unmap(&window, bus(0), pages), Ok(0));
            });
        }
        nothing("remap to pages", || {
            engine.remap(&window, bus(2048), &first).unwrap();
        });
        nothing("remap to other pages", || {
            engine.remap(&window, bus(2048), &second).unwrap();
        });
        nothing("unmap of scattered pages", || {
            assert_eq!(engine.unmap(&window, bus(2048), 512), Ok(512));
        });
        // The first lets go of the empty leaves.
        engine.flush(&window).unwrap();
        nothing("flush", || engine.flush(&window).unwrap());
        nothing("map of a page that is not owned", || {
            let refused = engine.map(&window, bus(0), HostAddr::new(0), 1, Access::Read);
            assert!(refused.is_err());
        });
    }
}
