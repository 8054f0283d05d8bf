//! The engine's own cost in instructions of this machine, counted by
//! valgrind, so that it is the same each time and under any load:
//! `cargo bench --bench engine_count`, followed by `-- unmap dense` for some rows
//! only. Prints a table, which `docs/tce-engine.md` has.

mod load;

use std::process::{Command, Stdio};

use load::{Layout, Load, MEMORY, Setup};

const PAGES: [u64; 5] = [1, 16, 512, 16384, MEMORY];

/// Levels, regions, windows.
const SETUPS: [(u32, u64, u64); 5] = [(1, 1, 1), (1, 16, 1), (1, 256, 1), (1, 1, 64), (2, 1, 1)];

const ROWS: [&str; 8] = [
    "map dense",
    "map sparse",
    "unmap dense",
    "unmap scattered",
    "unmap sparse",
    "remap dense",
    "remap scattered",
    "remap sparse",
];

/// Valgrind counts only in here.
#[inline(never)]
fn counted_part(run: &dyn Fn()) {
    run();
}

/// Runs one case; valgrind watches.
fn case(row: &str, pages: u64, (levels, regions, windows): (u32, u64, u64)) {
    let layout = match row.split(' ').nth(1) {
        Some("dense") => Layout::Dense,
        Some("scattered") => Layout::Scattered,
        _ => Layout::Sparse,
    };
    let setup = Setup {
        levels,
        regions,
        windows,
    };
    let load = Load::new(setup, layout, pages);
    // What is made once is there.
    load.remap();
    load.unmap();
    if row.starts_with("map") {
        counted_part(&|| load.map());
    } else {
        load.remap();
        if row.starts_with("unmap") {
            counted_part(&|| assert_eq!(load.unmap(), load.pages));
        } else {
            counted_part(&|| load.remap());
        }
    }
    println!("{}", load.pages);
}

/// Instructions per page of one case.
fn count(row: &str, pages: u64, setup: (u32, u64, u64)) -> f64 {
    let arguments = [pages, setup.0.into(), setup.1, setup.2].map(|number| number.to_string());
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*counted_part*",
        ])
        .arg(std::env::current_exe().expect("this program has a path"))
        .arg("--case")
        .arg(row)
        .args(&arguments)
        .stdin(Stdio::null())
        .output()
        .expect("valgrind is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{row} {arguments:?}: {errors}");
    let done: f64 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .expect("the number of pages");
    let counted: f64 = errors
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, number)| number.trim().parse().ok())
        .expect("valgrind's count");
    counted / done
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some([row, numbers @ ..]) = arguments
        .iter()
        .position(|argument| argument == "--case")
        .and_then(|at| arguments.get(at + 1..))
    {
        let number = |index: usize| numbers[index].parse::<u64>().expect("a number");
        case(row, number(0), (number(1) as u32, number(2), number(3)));
        return;
    }
    println!("| Operation | Levels | Regions | Windows | 1 | 16 | 512 | 16384 | 2^20 |");
    println!("|---|---|---|---|---|---|---|---|---|");
    // Cargo adds `--bench`.
    let words: Vec<&String> = arguments[1..]
        .iter()
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let wanted = |row: &&str| {
        words
            .iter()
            .all(|word| row.split(' ').any(|part| part == *word))
    };
    for row in ROWS.into_iter().filter(wanted) {
        for setup in SETUPS {
            let figures = PAGES.map(|pages| format!("{:.1}", count(row, pages, setup)));
            let (levels, regions, windows) = setup;
            println!(
                "| {row} | {levels} | {regions} | {windows} | {} |",
                figures.join(" | ")
            );
        }
    }
}
