//! The engine's own cost, over plain memory: `cargo bench --bench engine`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pinion::addr::{BusAddr, HostAddr};
use pinion::dma::{Engine, Quota, Window, WindowConfig};
use pinion::memory::ledger::{Ledger, OwnerId};
use pinion::seam::PeId;
use pinion::sim::Flat;
use pinion::tce::{Access, PageShift, PageSizes, TableShape, Tce};

const PAGES: u64 = 1 << 20;

struct Bench {
    engine: Engine<Flat>,
    windows: Vec<Arc<Window<Flat>>>,
    regions: u64,
}

impl Bench {
    fn new(levels: u32, regions: u64, windows: u64) -> Self {
        let engine = Engine::new(Flat::new(256 << 20), &[64]);
        let ledger = Ledger::new();
        let holdings = ledger.add_owner(OwnerId(1)).unwrap();
        // Not quite adjacent, so that they stay apart.
        for region in 0..regions {
            let start = HostAddr::new((PAGES + region * (PAGES / regions + 1)) << 12);
            ledger
                .grant(&holdings, start, (PAGES / regions) << 12, 12)
                .unwrap();
        }
        let config = WindowConfig {
            base: BusAddr::new(0),
            pages: PAGES,
            shape: TableShape::new(PageShift::K4, levels, if levels == 1 { 23 } else { 16 })
                .unwrap(),
            sizes: PageSizes::PHB4,
            limit: PAGES,
        };
        let quota = Arc::new(Quota::new(1 << 30));
        let windows: Vec<_> = (0..windows)
            .map(|number| {
                let window = engine
                    .create_window(&config, holdings.clone(), quota.clone())
                    .unwrap();
                engine
                    .attach(
                        &window,
                        PeId {
                            phb: 0,
                            pe: number as u16,
                        },
                    )
                    .unwrap();
                window
            })
            .collect();
        Self {
            engine,
            windows,
            regions,
        }
    }

    /// Page `page` of the owner's memory.
    fn host(&self, page: u64) -> HostAddr {
        let each = PAGES / self.regions;
        HostAddr::new((PAGES + page / each * (each + 1) + page % each) << 12)
    }

    fn map(&self, window: usize, page: u64, host: HostAddr, pages: u64) {
        let bus = BusAddr::new(page << 12);
        self.engine
            .map(&self.windows[window], bus, host, pages, Access::ReadWrite)
            .unwrap();
    }

    fn unmap(&self, window: usize, page: u64, pages: u64) -> u64 {
        self.engine
            .unmap(&self.windows[window], BusAddr::new(page << 12), pages)
            .unwrap()
    }
}

/// One map and one unmap of a run.
fn runs(c: &mut Criterion) {
    let mut group = c.benchmark_group("map and unmap a run");
    for (levels, regions) in [(1, 1), (2, 1), (1, 256)] {
        let bench = Bench::new(levels, regions, 1);
        for pages in [1, 16, 512, 4096, 16384, 1 << 20] {
            if pages > PAGES / regions {
                continue;
            }
            group.throughput(Throughput::Elements(pages));
            let name = format!("{levels} levels, {regions} regions");
            group.bench_with_input(BenchmarkId::new(name, pages), &pages, |b, &pages| {
                b.iter(|| {
                    bench.map(0, 0, black_box(bench.host(0)), pages);
                    bench.unmap(0, 0, pages)
                });
            });
        }
    }
    group.finish();
}

/// Lists of scattered pages, as H_PUT_TCE_INDIRECT and H_STUFF_TCE have them.
fn lists(c: &mut Criterion) {
    let mut group = c.benchmark_group("remap a list and unmap it");
    for (regions, levels) in [(1, 1), (256, 1), (1, 2)] {
        let bench = Bench::new(levels, regions, 1);
        for pages in [1, 16, 512] {
            // Neighbours in the list are far apart in memory.
            let list: Vec<Tce> = (0..pages)
                .map(|i| Tce::new(bench.host(i * 7919 % PAGES), Access::ReadWrite).unwrap())
                .collect();
            group.throughput(Throughput::Elements(pages));
            let name = format!("{levels} levels, {regions} regions");
            group.bench_with_input(BenchmarkId::new(name, pages), &list, |b, list| {
                b.iter(|| {
                    bench
                        .engine
                        .remap(&bench.windows[0], BusAddr::new(0), black_box(list))
                        .unwrap();
                    bench.unmap(0, 0, pages)
                });
            });
        }
        group.throughput(Throughput::Elements(512));
        group.bench_function(
            format!("{levels} levels, {regions} regions, 512 empty"),
            |b| {
                b.iter(|| bench.unmap(0, black_box(1024), 512));
            },
        );
    }
    group.finish();
}

/// One page each in many leaves.
fn sparse(c: &mut Criterion) {
    let bench = Bench::new(2, 1, 1);
    let mut group = c.benchmark_group("sparse");
    group.throughput(Throughput::Elements(64));
    group.bench_function("one page in each of 64 leaves, and clear", |b| {
        b.iter(|| {
            for leaf in 0..64 {
                bench.map(0, leaf * 8192, bench.host(leaf), 1);
            }
            bench.engine.clear(&bench.windows[0]).unwrap()
        });
    });
    group.finish();
}

/// Two threads, in one window and in two.
fn threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("threads");
    const ROUNDS: u64 = 1000;
    for (threads, windows) in [(1, 1), (2, 1), (2, 2)] {
        let bench = Bench::new(1, 1, windows);
        group.throughput(Throughput::Elements(ROUNDS * threads * 16));
        group.bench_function(format!("{threads} in {windows} windows, 16 pages"), |b| {
            b.iter(|| {
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let bench = &bench;
                        scope.spawn(move || {
                            let window = (thread % windows) as usize;
                            for _ in 0..ROUNDS {
                                bench.map(window, thread * 4096, bench.host(thread), 16);
                                bench.unmap(window, thread * 4096, 16);
                            }
                        });
                    }
                });
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700))
        .without_plots();
    targets = runs, lists, sparse, threads
}
criterion_main!(benches);
