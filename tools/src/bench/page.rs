//! `docs/performance.md`, made from what is recorded.

use std::path::Path;

use anyhow::{Context, Result};

use super::budget::Budgets;
use super::profile::Profiles;
use super::record::Record;
use super::table;

/// Writes the page from the records in `folder`.
pub fn write(budgets: &Budgets, folder: &str, page: &Path) -> Result<()> {
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
    std::fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
}

fn text(budgets: &Budgets, records: &[Record]) -> String {
    let mut text = String::from(HEAD);
    for record in records {
        let (expected, counted) = record.calibration;
        text.push_str(&format!(
            "\n## {}\n\n{}, QEMU {}. A loop of {expected} instructions was counted as {counted}.\n\n{}",
            record.board,
            record.rustc,
            record.qemu,
            table::markdown(budgets, record)
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

Made by `cargo xtask bench --record`; not to be edited by hand. `cargo xtask bench --check` fails on a row that is over its budget, or more
than 5 % over what is recorded here with the same compiler and emulator.

Costs are instructions on an emulated machine that counts one nanosecond an instruction (`-icount shift=0`), the median of several runs, for one
unit. They are what a change can be judged by, not what a real machine takes: there, accesses to device registers cost most, and they are
counted beside. Linux 6.12.107 was counted in the same way, with mitigations=off. All checks, pins, dirty marks, trace and statistics are on.
";
