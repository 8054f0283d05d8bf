//! A profile: instructions by function, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::log::Executed;

/// Functions with less than this share of an operation are one line.
const LEAST: f64 = 0.005;

/// The line of those that are too small for one of their own.
const OTHERS: &str = "all others";

/// Where they are kept.
const FOLDER: &str = "benches/recorded/profiles";

/// One function's part of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its file and name, without what is inlined into it.
    pub function: String,
    /// Instructions.
    pub instructions: u64,
}

/// Where the instructions of one operation are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The row.
    pub row: String,
    /// All instructions, those of the call included.
    pub total: u64,
    /// By function, most first.
    pub parts: Vec<Part>,
}

impl Profile {
    /// Names what was executed.
    pub fn new(row: &str, executed: &Executed, name: impl Fn(u64) -> Option<String>) -> Self {
        let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
        for (&address, &count) in &executed.counts {
            let name = name(address).unwrap_or_else(|| "?".to_owned());
            *by_name.entry(name).or_default() += count;
        }
        let mut parts: Vec<Part> = by_name
            .into_iter()
            .map(|(function, instructions)| Part {
                function,
                instructions,
            })
            .collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.instructions));
        Self {
            row: row.to_owned(),
            total: executed.total,
            parts,
        }
    }

    /// Those that are worth a line, and the sum of the others.
    fn lines(&self) -> impl Iterator<Item = (&str, u64, f64)> {
        let share = |count: u64| count as f64 / self.total.max(1) as f64;
        let small = self
            .parts
            .iter()
            .filter(move |part| share(part.instructions) < LEAST);
        let rest: u64 = small.map(|part| part.instructions).sum();
        let large = self
            .parts
            .iter()
            .filter(move |part| share(part.instructions) >= LEAST);
        large
            .map(move |part| {
                (
                    part.function.as_str(),
                    part.instructions,
                    share(part.instructions),
                )
            })
            .chain((rest > 0).then(|| (OTHERS, rest, share(rest))))
    }

    /// For a terminal.
    pub fn table(&self) -> String {
        let mut text = format!("{}: {} instructions\n", self.row, self.total);
        for (function, count, share) in self.lines() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {count:>9} {:>5.1} %  {function}", share * 100.0);
        }
        text
    }

    /// For a page.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "\n### `{}`: {} instructions\n\n| Function | instructions | % |\n|---|---|---|\n",
            self.row, self.total
        );
        for (function, count, share) in self.lines() {
            let name = match function {
                OTHERS => OTHERS.to_owned(),
                function => format!("`{function}`"),
            };
            let _ = writeln!(text, "| {name} | {count} | {:.1} |", share * 100.0);
        }
        text
    }
}

/// All profiles of a board.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Profiles {
    /// The board.
    pub board: String,
    /// The compiler's version.
    pub rustc: String,
    /// The emulator's version.
    pub qemu: String,
    /// One a row.
    pub profiles: Vec<Profile>,
}

impl Profiles {
    /// Those that are recorded for `board` with these tools; none, if there are none.
    pub fn load_for(board: &str, rustc: &str, qemu: &str) -> Result<Self> {
        let old = Self::load(board)?;
        Ok(match (&*old.rustc, &*old.qemu) == (rustc, qemu) {
            true => old,
            false => Self {
                board: board.to_owned(),
                rustc: rustc.to_owned(),
                qemu: qemu.to_owned(),
                profiles: Vec::new(),
            },
        })
    }

    /// Those that are recorded for `board`; none, if there are none.
    pub fn load(board: &str) -> Result<Self> {
        let path = file(board);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(&path)?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Puts one in place of an older one.
    pub fn put(&mut self, profile: Profile) {
        match self.profiles.iter_mut().find(|old| old.row == profile.row) {
            Some(old) => *old = profile,
            None => self.profiles.push(profile),
        }
    }

    /// Writes them.
    pub fn save(&self) -> Result<()> {
        std::fs::create_dir_all(FOLDER)?;
        let path = file(&self.board);
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn file(board: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{board}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_parts_are_one_line() {
        let executed = Executed {
            counts: [(0, 993), (4, 4), (8, 3)].into(),
            total: 1000,
        };
        let profile = Profile::new("map-1", &executed, |address| Some(format!("f{address}")));
        let lines: Vec<_> = profile.lines().map(|line| (line.0, line.1)).collect();
        assert_eq!(lines, [("f0", 993), ("all others", 7)]);
    }
}
