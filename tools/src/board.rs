//! Boards as the emulator runs them: `boards/NAME.toml`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// What cannot be discovered about a board, and how QEMU runs it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Board {
    /// The file's name, not written in it.
    #[serde(skip)]
    pub name: String,
    /// One line for people.
    pub about: String,
    /// QEMU's -M.
    pub machine: String,
    /// QEMU's -m where nobody says otherwise.
    pub memory: String,
    /// QEMU's -smp where nobody says otherwise.
    pub smp: String,
    /// Log2 of nanoseconds an instruction takes when time is counted in instructions.
    pub icount_shift: u8,
    /// Bytes of the flash that the machine's model has.
    pub flash_bytes: u64,
}

impl Board {
    /// Reads `boards/NAME.toml`.
    ///
    /// # Errors
    /// There is no such board (the error names those there are), or its file
    /// is damaged.
    pub fn load(name: &str) -> Result<Self> {
        let known = Self::names();
        if !known.iter().any(|board| board == name) {
            bail!("there is no board {name:?}; known are {}", known.join(", "));
        }
        let path = Path::new("boards").join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let mut board: Self =
            toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
        name.clone_into(&mut board.name);
        Ok(board)
    }

    /// All of them.
    pub fn all() -> Result<Vec<Self>> {
        Self::names().iter().map(|name| Self::load(name)).collect()
    }

    /// The boards there are, sorted.
    pub fn names() -> Vec<String> {
        let Ok(entries) = std::fs::read_dir("boards") else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "toml"))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }
}
