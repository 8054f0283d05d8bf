//! `benches/budgets.toml`: what rows may cost, and what Linux pays.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
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
    /// What Linux pays.
    pub linux: Option<f64>,
    /// Doing what.
    pub linux_how: Option<String>,
    /// `budget-BOARD`: another budget there.
    #[serde(flatten)]
    other: BTreeMap<String, f64>,
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
        toml::from_str(&text).with_context(|| format!("{path} is wrong"))
    }

    /// The row of this name.
    pub fn row(&self, id: &str) -> Option<&Budget> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// What it may cost on this board.
    pub fn of(&self, id: &str, board: &str) -> Option<f64> {
        self.row(id)?.on(board)
    }
}

impl Budget {
    /// What it may cost on this board.
    pub fn on(&self, board: &str) -> Option<f64> {
        let own = self.other.get(&format!("budget-{board}"));
        own.copied().or(self.budget)
    }
}
