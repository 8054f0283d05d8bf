//! Rows beside budgets and Linux, for a terminal and as Markdown.

use super::budget::{Budgets, Counts};
use super::record::{Record, Row};

/// One line of the table, as text.
pub struct Line {
    /// What was done.
    pub what: String,
    /// One of what.
    pub unit: String,
    /// What one cost.
    pub cost: String,
    /// What it may cost.
    pub budget: String,
    /// What Linux pays.
    pub linux: String,
    /// How many times as much that is.
    pub ratio: String,
    /// Device registers and firmware, for one operation.
    pub outside: String,
    /// Over the budget.
    pub over: bool,
}

/// The lines: first those that have a budget or a comparison, in that order,
/// then the others as the image gave them.
pub fn lines(budgets: &Budgets, record: &Record) -> Vec<Line> {
    let known = budgets.rows.iter().filter_map(|row| record.row(&row.id));
    let others = record
        .rows
        .iter()
        .filter(|row| budgets.row(&row.id).is_none());
    known
        .chain(others)
        .map(|row| line(budgets, &record.board, row))
        .collect()
}

fn line(budgets: &Budgets, board: &str, row: &Row) -> Line {
    let known = budgets.row(&row.id);
    let budget = known.and_then(|known| known.on(board));
    let linux = known.and_then(|known| known.linux);
    let counts = known.map(|known| known.counts).unwrap_or_default();
    let cost = row.cost();
    let mut outside = Vec::new();
    outside.extend(row.mmio.map(|count| format!("{count} MMIO")));
    outside.extend(row.opal.map(|count| format!("{count} OPAL")));
    let unit = known.map_or("unit", |known| known.unit.as_str());
    Line {
        what: known.map_or_else(|| row.id.clone(), |known| known.what.clone()),
        unit: match counts {
            Counts::Instructions => unit.to_owned(),
            other => format!("{unit} ({})", other.name()),
        },
        cost: shown(cost),
        budget: budget.map(shown).unwrap_or_default(),
        linux: linux.map(shown).unwrap_or_default(),
        ratio: linux
            .filter(|_| cost > 0.0)
            .map(|linux| format!("{:.1}x", linux / cost))
            .unwrap_or_default(),
        outside: outside.join(", "),
        over: budget.is_some_and(|budget| cost > budget),
    }
}

/// Three digits are enough for what is small; nothing is rounded to zero.
fn shown(cost: f64) -> String {
    if cost >= 100.0 || cost.fract() == 0.0 {
        format!("{cost:.0}")
    } else if cost >= 10.0 {
        format!("{cost:.1}")
    } else {
        format!("{cost:.2}")
    }
}

/// Prints the table.
pub fn print(budgets: &Budgets, record: &Record) {
    println!(
        "  {}, QEMU {}; instructions unless said otherwise",
        record.rustc, record.qemu
    );
    println!(
        "  {:<58} {:>9} {:>9} {:>7} {:>7}  {:<14}",
        "", "cost", "budget", "Linux", "ratio", "per"
    );
    for line in lines(budgets, record) {
        let mark = if line.over { "  OVER" } else { "" };
        println!(
            "  {:<58} {:>9} {:>9} {:>7} {:>7}  {:<14}{}{mark}",
            line.what, line.cost, line.budget, line.linux, line.ratio, line.unit, line.outside
        );
    }
}

/// The same as Markdown.
pub fn markdown(budgets: &Budgets, record: &Record) -> String {
    let mut text = String::from(
        "| Operation | per | cost | budget | Linux | ratio | outside |\n|---|---|---|---|---|---|---|\n",
    );
    for line in lines(budgets, record) {
        let cost = if line.over {
            format!("**{}** (over)", line.cost)
        } else {
            line.cost
        };
        text.push_str(&format!(
            "| {} | {} | {cost} | {} | {} | {} | {} |\n",
            line.what, line.unit, line.budget, line.linux, line.ratio, line.outside
        ));
    }
    text
}
