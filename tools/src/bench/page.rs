//! `docs/performance.md`, made from what is recorded.

use anyhow::{Context, Result};

use super::budget::Budgets;
use super::profile::Profiles;
use super::record::Record;
use super::table;

/// Where it is.
const PAGE: &str = "docs/performance.md";

/// Writes the page from what is recorded.
pub fn write(budgets: &Budgets) -> Result<()> {
    let folder = super::RECORDED;
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read {folder}"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    files.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    let records: Vec<Record> = files
        .iter()
        .map(|path| Record::load(path).with_context(|| format!("{} is damaged", path.display())))
        .collect::<Result<_>>()?;
    let mut text = text(budgets, &records);
    for record in &records {
        text.push_str(&profiles(&Profiles::load(&record.board)?));
    }
    std::fs::write(PAGE, text).with_context(|| format!("cannot write {PAGE}"))?;
    println!("{PAGE}");
    Ok(())
}

fn text(budgets: &Budgets, records: &[Record]) -> String {
    let mut text = String::from(HEAD);
    for record in records {
        let (expected, counted) = record.calibration;
        let board = &record.board;
        text.push_str(&format!(
            "\n## {board}\n\n{}, QEMU {}. A loop of {expected} instructions was counted as {counted}.\n\n{}",
            record.rustc,
            record.qemu,
            table::markdown(budgets, record)
        ));
        for (chart, what) in [
            ("linux", "costs beside Linux's"),
            ("pages", "cost of a page over pages of a call"),
            ("regions", "cost over regions"),
        ] {
            text.push_str(&format!(
                "\n![{board}: {what}](charts/{board}-{chart}.svg)\n"
            ));
        }
        text.push_str(&format!(
            "\n### How costs grow: {board}\n\n{}\n### Other rows: {board}\n\n{}",
            table::growth_markdown(record),
            table::others_markdown(budgets, record)
        ));
    }
    text.push_str("\n## What Linux was doing\n\n| Row | Linux |\n|---|---|\n");
    for row in &budgets.rows {
        if let Some(how) = &row.linux_how {
            text.push_str(&format!("| {} | {how} |\n", row.what));
        }
    }
    text
}

/// Which functions the instructions are in.
fn profiles(all: &Profiles) -> String {
    let mut text = String::new();
    if all.profiles.is_empty() {
        return text;
    }
    text.push_str(&format!(
        "\n## Where the instructions go: {}\n\n{}, QEMU {}, by `cargo xtask bench --board {} --profile ROW`: one operation as QEMU's log of \
         executed instructions\nhas it, counted for the innermost function of Pinion that each instruction was inlined from.\n",
        all.board, all.rustc, all.qemu, all.board
    ));
    for profile in &all.profiles {
        text.push_str(&profile.markdown());
    }
    text
}

const HEAD: &str = "\
# What Pinion costs

Made by `cargo xtask bench --board powernv9 --board powernv10 --record`; not to be edited by hand.

Costs are instructions on an emulated machine that counts one nanosecond an instruction (`-icount shift=0`), the median of seven runs, for one
unit. They are what a change can be judged by, not what a real machine takes: there, accesses to device registers (MMIO) and calls of firmware
(OPAL) cost most, and they are counted beside, for one operation. Linux 6.12.107 was counted in the same way, with mitigations=off. All checks, pins,
dirty marks, trace and statistics are on. Calls are measured by a partition (`tests/probe`), everything else by the image's command `bench`.

`cargo xtask bench --check`, which `.ci/run` calls, fails on a row that is over its budget (`benches/budgets.toml`), on one that costs 5 % more than is
recorded here with the same compiler and emulator, and on a cost that grows faster than log n. A row that is over its budget today has a ceiling
there, `known-over`, with the reason. `--record` lowers it to what was reached; nothing raises it. Where the instructions go is shown by
`cargo xtask bench --profile ROW`, at the end of this page.
";
