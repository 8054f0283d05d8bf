//! `benches/budgets.toml`: what rows may cost, and what Linux pays.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Where it is.
const FILE: &str = "benches/budgets.toml";

/// What a row counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counts {
    /// Instructions.
    #[default]
    Instructions,
    /// Accesses to device registers.
    Mmio,
    /// Bytes.
    Bytes,
}

impl Counts {
    /// For the head of a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Mmio => "accesses",
            Self::Bytes => "bytes",
        }
    }
}

/// One row.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Budget {
    /// What the image calls it.
    pub id: String,
    /// For people.
    pub what: String,
    /// What one of it is.
    pub unit: String,
    /// What is counted.
    #[serde(default)]
    pub counts: Counts,
    /// The most that one may cost.
    pub budget: Option<f64>,
    /// What it costs today, where that is more than the budget: `--check` lets no
    /// more pass, but for what lets the order of functions change. It only falls.
    pub known_over: Option<f64>,
    /// Why it does.
    pub known_over_why: Option<String>,
    /// What Linux pays.
    pub linux: Option<f64>,
    /// Doing what.
    pub linux_how: Option<String>,
    /// `budget-BOARD`: another budget there.
    #[serde(flatten)]
    other: BTreeMap<String, f64>,
}

/// Whether a cost is within its budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing {
    /// It is, or there is no budget.
    Within,
    /// It is not, and that is known; the budget.
    Known(f64),
    /// It is not: the most that it may be.
    Over(f64),
}

/// All rows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// In the order in which they are shown.
    #[serde(rename = "row")]
    pub rows: Vec<Budget>,
}

impl Budgets {
    /// Reads the file.
    pub fn load() -> Result<Self> {
        Self::load_from(FILE)
    }

    /// Reads a file like it.
    pub fn load_from(path: &str) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        let all: Self = toml::from_str(&text).with_context(|| format!("{path} is wrong"))?;
        for row in &all.rows {
            for key in row.other.keys() {
                ensure!(key.starts_with("budget-"), "{path}: {}: {key}?", row.id);
            }
        }
        Ok(all)
    }

    /// The row of this name.
    pub fn row(&self, id: &str) -> Option<&Budget> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// Where a row stands on this board.
    pub fn standing(&self, id: &str, board: &str, cost: f64) -> Standing {
        let row = self.row(id);
        let Some((row, budget)) = row.and_then(|row| Some((row, row.on(board)?))) else {
            return Standing::Within;
        };
        match row.known_over {
            _ if cost <= budget => Standing::Within,
            Some(known) if cost <= known * (1.0 + super::SLACK / 100.0) => Standing::Known(budget),
            Some(known) => Standing::Over(known.max(budget)),
            None => Standing::Over(budget),
        }
    }

    /// Lowers what is known to be over to what `costs` say, on the board where
    /// it is most, in the file too. Nothing is ever raised.
    pub fn lower(&mut self, costs: impl Fn(&str) -> Option<f64>) -> Result<()> {
        let text = std::fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
        let mut lines: Vec<String> = Vec::new();
        let mut row = String::new();
        for line in text.lines() {
            if let Some(id) = line.strip_prefix("id = ") {
                row = id.trim_matches('"').to_owned();
            }
            let known = line.strip_prefix("known-over = ").map(str::parse::<f64>);
            match (known, costs(&row).map(f64::ceil)) {
                (Some(Ok(known)), Some(cost)) if cost < known => {
                    lines.push(format!("known-over = {cost}"));
                }
                _ => lines.push(line.to_owned()),
            }
        }
        std::fs::write(FILE, lines.join("\n") + "\n")
            .with_context(|| format!("cannot write {FILE}"))?;
        *self = Self::load()?;
        Ok(())
    }
}

impl Budget {
    /// What it may cost on this board.
    pub fn on(&self, board: &str) -> Option<f64> {
        let own = self.other.get(&format!("budget-{board}"));
        own.copied().or(self.budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_within_known_to_be_over_or_over() {
        let text = "[[row]]\nid = \"a\"\nwhat = \"a\"\nunit = \"a\"\nbudget = 10\nknown-over = 20\nbudget-p10 = 12\n";
        let budgets: Budgets = toml::from_str(text).unwrap();
        let standing = |board, cost| budgets.standing("a", board, cost);
        assert_eq!(standing("p9", 10.0), Standing::Within);
        assert_eq!(standing("p9", 11.0), Standing::Known(10.0));
        assert_eq!(standing("p9", 21.0), Standing::Known(10.0));
        assert_eq!(standing("p9", 21.1), Standing::Over(20.0));
        assert_eq!(standing("p10", 12.0), Standing::Within);
        assert_eq!(budgets.standing("b", "p9", 1e9), Standing::Within);
    }
}
