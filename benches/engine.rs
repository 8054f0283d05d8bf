//! The engine's own time, over plain memory: `cargo bench --bench engine`. Names of
//! rows are operation, layout and set-up; the number is that of the pages of one
//! call, or of all calls if each is for one page. Times are for a page.

mod load;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use load::{Layout, Load, MEMORY, Setup};

const PAGES: [u64; 5] = [1, 16, 512, 16384, MEMORY];

/// Pages that are measured at a time, at least: one page alone is over before the
/// clock has been read.
const BATCH: u64 = 1 << 12;

/// Pages of all windows, at most.
const MOST: u64 = 1 << 20;

const SETUPS: [(&str, Setup); 4] = [
    ("1 region", setup(1, 1, 1)),
    ("256 regions", setup(1, 256, 1)),
    ("64 windows", setup(1, 1, 64)),
    ("2 levels", setup(2, 1, 1)),
];

const LAYOUTS: [(&str, Layout); 3] = [
    ("dense", Layout::Dense),
    ("scattered", Layout::Scattered),
    ("sparse", Layout::Sparse),
];

const fn setup(levels: u32, regions: u64, windows: u64) -> Setup {
    Setup {
        levels,
        regions,
        windows,
    }
}

/// Time of `run` alone, so many times, each after `prepare`.
fn timed(times: u64, prepare: impl Fn(), run: impl Fn()) -> Duration {
    let one = |_| {
        prepare();
        let start = Instant::now();
        run();
        start.elapsed()
    };
    (0..times).map(one).sum()
}

fn layouts(c: &mut Criterion) {
    for (layout_name, layout) in LAYOUTS {
        for (setup_name, setup) in SETUPS {
            for pages in PAGES {
                if pages * setup.windows > MOST {
                    continue;
                }
                let times = (BATCH / pages / setup.windows).max(1);
                let load = Load::repeated(setup, layout, pages, times);
                let mut bench = |operation: &str, prepare: &dyn Fn(), run: &dyn Fn()| {
                    let mut group = c.benchmark_group(format!("{operation} {layout_name}"));
                    group.throughput(Throughput::Elements(load.pages));
                    group.bench_function(BenchmarkId::new(setup_name, pages), |b| {
                        b.iter_custom(|times| timed(times, prepare, run));
                    });
                    group.finish();
                };
                let unmap = || assert_eq!(load.unmap(), load.pages);
                load.remap();
                bench("remap", &|| (), &|| load.remap());
                bench("unmap", &|| load.remap(), &unmap);
                load.remap();
                if layout != Layout::Scattered {
                    bench("map", &unmap, &|| load.map());
                }
            }
        }
    }
}

/// Map and unmap in one and two threads, in one window and in two. The time is that
/// of all threads for a page of theirs: half of one thread's, if nothing is shared.
fn threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("map and unmap dense");
    for pages in [1, 16, 512, 16384] {
        let rounds = (1 << 16) / pages;
        for (threads, windows) in [(1, 1), (2, 1), (2, 2)] {
            let load = Load::new(setup(1, 1, windows), Layout::Dense, 1 << 15);
            group.throughput(Throughput::Elements(rounds * threads * pages));
            let name = format!("{threads} threads, {windows} windows");
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
