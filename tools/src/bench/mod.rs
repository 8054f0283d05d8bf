//! `cargo xtask bench`: what Pinion costs, counted on the emulator.

mod boot;
mod budget;
mod chart;
mod console;
mod growth;
mod lines;
mod machine;
mod names;
mod page;
mod partition;
mod profile;
mod record;
mod table;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::board::Board;
use crate::cli::{BenchOptions, BenchTarget};
use crate::workspace::Workspace;
use crate::{image, setup};
use budget::{Budgets, Standing};
use growth::Verdict;
use record::Record;

/// Figures that were recorded, a file for each board.
const RECORDED: &str = "benches/recorded";

/// Charts of them, for the page.
const CHARTS: &str = "docs/charts";

/// How much more than what is known `--check` lets pass, in percent: another order
/// of functions makes a difference already.
pub const SLACK: f64 = 5.0;

/// Measures what `target` names, or all operations.
pub fn command(
    workspace: &Workspace,
    target: Option<BenchTarget>,
    options: &BenchOptions,
) -> Result<ExitCode> {
    match target {
        Some(BenchTarget::Boot(options)) => boot::command(workspace, &options),
        None => operations(workspace, options),
    }
}

/// Measures, shows, and compares as the options say.
fn operations(workspace: &Workspace, options: &BenchOptions) -> Result<ExitCode> {
    if !options.profile.is_empty() {
        profile::command(workspace, options)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut budgets = Budgets::load()?;
    setup::ensure(
        workspace,
        &setup::Wanted::everything(options.qemu.as_deref()),
    )?;
    let made = image::make(workspace)?;
    let mut wrong = Vec::new();
    let mut records = Vec::new();
    for name in &options.boards {
        let board = Board::load(name)?;
        println!("{}: counting instructions ...", board.about);
        let record = machine::measure(workspace, options, &board, made.file_bytes)?;
        table::print(&budgets, &record);
        table::print_growth(&record);
        let path = Path::new("target/bench").join(format!("{name}.json"));
        record.save(&path)?;
        println!("{}", path.display());
        for chart in chart::draw(&budgets, &record, Path::new("target/bench"))? {
            println!("{}", chart.display());
        }
        if options.check {
            wrong.extend(check(&budgets, &record)?);
        }
        records.push(record);
    }
    if options.record {
        for record in &records {
            record.save(&recorded(&record.board))?;
            chart::draw(&budgets, record, Path::new(CHARTS))?;
        }
        budgets.lower(|id| {
            let all = records
                .iter()
                .filter_map(|record| Some(record.row(id)?.cost()));
            all.reduce(f64::max)
        })?;
        page::write(&budgets)?;
    }
    if !options.check {
        return Ok(ExitCode::SUCCESS);
    }
    for line in &wrong {
        eprintln!("error: {line}");
    }
    let checked: usize = records.iter().map(|record| record.rows.len()).sum();
    println!("{checked} rows checked, {} wrong", wrong.len());
    if checked == 0 {
        bail!("nothing was measured");
    }
    Ok(ExitCode::from(u8::from(!wrong.is_empty())))
}

fn recorded(board: &str) -> std::path::PathBuf {
    Path::new(RECORDED).join(format!("{board}.json"))
}

/// What is over its budget, or over what was recorded with the same compiler
/// and emulator.
fn check(budgets: &Budgets, record: &Record) -> Result<Vec<String>> {
    let path = recorded(&record.board);
    let before = if path.exists() {
        Some(Record::load(&path).with_context(|| format!("{} is damaged", path.display()))?)
    } else {
        println!("{}: nothing is recorded: only budgets count", record.board);
        None
    };
    Ok(compare(budgets, record, before.as_ref()))
}

fn compare(budgets: &Budgets, record: &Record, before: Option<&Record>) -> Vec<String> {
    let mut wrong = Vec::new();
    let known = before.filter(|before| before.same_tools(record));
    for row in &record.rows {
        let cost = row.cost();
        if let Standing::Over(most) = budgets.standing(&row.id, &record.board, cost) {
            wrong.push(format!(
                "{}: {} costs {cost:.2}, over its budget: {most} at most",
                record.board, row.id
            ));
        }
        if let Some(was) = known
            .and_then(|known| known.row(&row.id))
            .map(|row| row.cost())
            // The image grows with what it can do; it has a limit.
            && row.id != "image"
            && cost > was * (1.0 + SLACK / 100.0)
        {
            wrong.push(format!(
                "{}: {} costs {cost:.2}, more than {SLACK} % over the recorded {was:.2}",
                record.board, row.id
            ));
        }
    }
    for series in growth::series(record) {
        if series.is_guarded() && series.verdict() == Verdict::Faster {
            wrong.push(format!(
                "{}: {} grows faster than log n with {}: {}",
                record.board,
                series.what,
                series.by,
                series.costs()
            ));
        }
    }
    for row in known.iter().flat_map(|known| &known.rows) {
        if record.row(&row.id).is_none() {
            wrong.push(format!(
                "{}: {} is no longer measured",
                record.board, row.id
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Row;

    fn record(cost: u64, qemu: &str) -> Record {
        Record {
            board: "powernv9".into(),
            qemu: qemu.into(),
            rows: vec![Row {
                id: "map-1".into(),
                units: 1,
                min: cost,
                median: cost,
                mmio: None,
                opal: None,
            }],
            ..Record::default()
        }
    }

    #[test]
    fn a_row_over_its_budget_or_its_record_is_wrong() {
        let budgets = Budgets::load_from("../benches/budgets.toml").unwrap();
        let before = record(100, "10");
        assert!(compare(&budgets, &record(105, "10"), Some(&before)).is_empty());
        assert!(
            compare(&budgets, &record(106, "10"), Some(&before))[0].contains("over the recorded")
        );
        // Other tools: the record says nothing.
        assert!(compare(&budgets, &record(106, "11"), Some(&before)).is_empty());
        assert!(
            compare(&budgets, &record(19_100, "11"), Some(&before))[0].contains("over its budget")
        );
        let mut empty = record(1, "10");
        empty.rows.clear();
        assert!(compare(&budgets, &empty, Some(&before))[0].contains("no longer measured"));
    }
}
