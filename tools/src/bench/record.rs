//! Figures of one run on one board, as JSON.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// All that a run found. Figures hold for one pair of compiler and emulator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The board.
    pub board: String,
    /// The compiler's version.
    pub rustc: String,
    /// The emulator's version.
    pub qemu: String,
    /// Instructions of a loop of known length: as they are, and as counted.
    pub calibration: (u64, u64),
    /// The rows, in the image's order.
    pub rows: Vec<Row>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub id: String,
    /// How many of the unit one measurement did.
    pub units: u64,
    /// The least that was counted for all of them.
    pub min: u64,
    /// The median.
    pub median: u64,
    /// Accesses to device registers, for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mmio: Option<u64>,
    /// Calls of firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opal: Option<u64>,
}

impl Row {
    /// The median for one unit.
    pub fn cost(&self) -> f64 {
        self.median as f64 / self.units.max(1) as f64
    }
}

impl Record {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes it.
    pub fn save(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Adds a row, unless there is one of its name.
    pub fn add(&mut self, row: Row) {
        if self.row(&row.id).is_none() {
            self.rows.push(row);
        }
    }

    /// The row of this name.
    pub fn row(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// Whether figures of both can be compared.
    pub fn same_tools(&self, other: &Self) -> bool {
        (&self.rustc, &self.qemu) == (&other.rustc, &other.qemu)
    }
}
