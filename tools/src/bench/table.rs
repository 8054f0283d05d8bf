//! Rows beside budgets and Linux, for a terminal and as Markdown.

use super::budget::{Budget, Budgets, Counts, Standing};
use super::record::{Record, Row};
use super::{growth, names};

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
    /// Empty, or that it is over its budget, and whether that is known.
    pub mark: &'static str,
}

/// The lines of rows that have a budget or a comparison, in that order.
pub fn lines(budgets: &Budgets, record: &Record) -> Vec<Line> {
    let known = budgets.rows.iter().filter_map(|row| record.row(&row.id));
    known.map(|row| line(budgets, &record.board, row)).collect()
}

/// The lines of all others, as the image gave them.
pub fn others(budgets: &Budgets, record: &Record) -> Vec<Line> {
    let rows = record.rows.iter();
    rows.filter(|row| budgets.row(&row.id).is_none())
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
    let of = |count: Option<u64>, what| Some(format!("{} {what}", count.filter(|it| *it > 0)?));
    outside.extend(of(row.mmio, "MMIO"));
    outside.extend(of(row.opal, "OPAL"));
    if outside.is_empty() && row.mmio.is_some() {
        outside.push("none".to_owned());
    }
    let (words, unit) = names::in_words(&row.id);
    let unit = known.map_or(unit, |known| known.unit.as_str());
    let counts = match row.id.starts_with("window-memory") {
        true => Counts::Bytes,
        false => counts,
    };
    Line {
        what: known.map_or(words, |known| known.what.clone()),
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
        mark: match budgets.standing(&row.id, board, cost) {
            Standing::Within => "",
            Standing::Known(_) => "over, known",
            Standing::Over(_) => "OVER",
        },
    }
}

/// Three digits are enough for what is small; nothing is rounded to zero.
pub fn shown(cost: f64) -> String {
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
        "  {:<58} {:>9} {:>9} {:>7} {:>7}  {:<16} outside, an operation",
        "", "cost", "budget", "Linux", "ratio", "per"
    );
    for line in lines(budgets, record)
        .into_iter()
        .chain(others(budgets, record))
    {
        println!(
            "  {:<58} {:>9} {:>9} {:>7} {:>7}  {:<16} {:<18}{}",
            line.what,
            line.cost,
            line.budget,
            line.linux,
            line.ratio,
            line.unit,
            line.outside,
            line.mark
        );
    }
    for (row, why) in known_over(budgets, record) {
        println!("  {} is known to be over: {why}", row.what);
    }
}

/// Rows that are over their budget, and why.
fn known_over<'b>(
    budgets: &'b Budgets,
    record: &'b Record,
) -> impl Iterator<Item = (&'b Budget, &'b str)> {
    budgets.rows.iter().filter_map(|row| {
        let cost = record.row(&row.id)?.cost();
        let standing = budgets.standing(&row.id, &record.board, cost);
        let why = row.known_over_why.as_deref()?;
        matches!(standing, Standing::Known(_)).then_some((row, why))
    })
}

/// Prints how costs grow.
pub fn print_growth(record: &Record) {
    println!("  how costs grow (size: cost, ...)");
    for series in growth::series(record) {
        println!(
            "  {:<58} {:<12} {:<18} {}",
            series.what,
            series.by,
            series.grows(),
            series.costs()
        );
    }
}

/// How costs grow, as Markdown.
pub fn growth_markdown(record: &Record) -> String {
    let mut text = String::from(
        "| Operation | by | grows | size: cost | more for each doubling |\n|---|---|---|---|---|\n",
    );
    for series in growth::series(record) {
        let slopes: Vec<String> = series
            .slopes()
            .iter()
            .map(|slope| format!("{slope:.1}"))
            .collect();
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} |\n",
            series.what,
            series.by,
            series.grows(),
            series.costs(),
            slopes.join(", ")
        ));
    }
    text
}

/// Rows with a budget as Markdown, and why some are over it.
pub fn markdown(budgets: &Budgets, record: &Record) -> String {
    let mut text = String::from(
        "| Operation | per | cost | budget | Linux | ratio | outside |\n|---|---|---|---|---|---|---|\n",
    );
    for line in lines(budgets, record) {
        let cost = match line.mark {
            "" => line.cost,
            mark => format!("**{}** ({mark})", line.cost),
        };
        text.push_str(&format!(
            "| {} | {} | {cost} | {} | {} | {} | {} |\n",
            line.what, line.unit, line.budget, line.linux, line.ratio, line.outside
        ));
    }
    for (row, why) in known_over(budgets, record) {
        text.push_str(&format!("\nOver its budget: {}. {why}\n", row.what));
    }
    text
}

/// All other rows as Markdown.
pub fn others_markdown(budgets: &Budgets, record: &Record) -> String {
    let mut text = String::from("| Operation | per | cost | outside |\n|---|---|---|---|\n");
    for line in others(budgets, record) {
        text.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            line.what, line.unit, line.cost, line.outside
        ));
    }
    text
}
