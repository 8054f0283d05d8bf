//! The engine's own time, over plain memory: `cargo bench --bench engine`.

mod load;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use load::{Layout, Load, MEMORY, Setup};

const PAGES: [u64; 5] = [1, 16, 512, 16384, MEMORY];

const SETUPS: [(&str, Setup); 4] = [
    ("1 region", setup(1, 1, 1)),
    ("256 regions", setup(1, 256, 1)),
    ("64 windows", setup(1, 1, 64)),
    ("2 levels", setup(2, 1, 1)),
];

const fn setup(levels: u32, regions: u64, windows: u64) -> Setup {
    Setup {
        levels,
        regions,
        windows,
    }
}

fn layouts(c: &mut Criterion) {
    let layouts = [
        ("dense", Layout::Dense),
        ("scattered", Layout::Scattered),
        ("sparse", Layout::Sparse),
    ];
    for (layout_name, layout) in layouts {
        let mut group = c.benchmark_group(layout_name);
        for (setup_name, setup) in SETUPS {
            for pages in PAGES {
                let load = Load::new(setup, layout, pages);
                group.throughput(Throughput::Elements(load.pages));
                let mut bench = |operation: &str, run: &dyn Fn()| {
                    let name = format!("{operation}, {setup_name}");
                    group.bench_function(BenchmarkId::new(name, pages), |b| b.iter(run));
                };
                if layout != Layout::Scattered {
                    bench("map and unmap", &|| {
                        load.map();
                        assert_eq!(load.unmap(), load.pages);
                    });
                }
                bench("remap and unmap", &|| {
                    load.remap();
                    assert_eq!(load.unmap(), load.pages);
                });
                load.remap();
                bench("replace", &|| load.remap());
            }
        }
        group.finish();
    }
}

/// One and two threads, in one window and in two.
fn threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("threads");
    for pages in [1, 16, 512, 16384] {
        let rounds = (16384 / pages).max(16);
        for (threads, windows) in [(1, 1), (2, 1), (2, 2)] {
            let load = Load::new(setup(1, 1, windows), Layout::Dense, 1 << 15);
            group.throughput(Throughput::Elements(rounds * threads * pages));
            let name = format!("{threads} in {windows} windows");
            group.bench_function(BenchmarkId::new(name, pages), |b| {
                b.iter(|| {
                    std::thread::scope(|scope| {
                        for thread in 0..threads {
                            let load = &load;
                            scope.spawn(move || load.work(thread, pages, rounds));
                        }
                    });
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .without_plots();
    targets = layouts, threads
}
criterion_main!(benches);
