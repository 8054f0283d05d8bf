//! Changes to a device tree blob: sound ones by fdtput, which comes with dtc,
//! damage by hand.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde::Deserialize;

use crate::{image, process};

/// One change.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Change {
    /// Adds a node, and those above it that are missing.
    AddNode(String),
    /// Removes the node at this path.
    RemoveNode(String),
    /// Removes a property: path and name.
    RemoveProperty(String, String),
    /// Sets a property to 32-bit cells: path, name, cells.
    SetCells(String, String, Vec<u32>),
    /// Sets a property to a string: path, name, text.
    SetText(String, String, String),
    /// Keeps this many bytes; the header still says the old size.
    Cut(usize),
    /// Overwrites a 32-bit word: offset in bytes and value.
    Poke(usize, u32),
}

/// Makes `changes` one after the other; the result is also left at `path`.
pub fn change(tree: Vec<u8>, changes: &[Change], path: &Path) -> Result<Vec<u8>> {
    let mut tree = tree;
    for change in changes {
        match change {
            Change::Cut(bytes) => {
                ensure!(
                    *bytes <= tree.len(),
                    "{change:?}: the tree has {} bytes",
                    tree.len()
                );
                tree.truncate(*bytes);
            }
            Change::Poke(offset, value) => {
                let Some(word) = tree.get_mut(*offset..*offset + 4) else {
                    bail!("{change:?}: the tree has {} bytes", tree.len());
                };
                word.copy_from_slice(&value.to_be_bytes());
            }
            _ => {
                image::write_if_changed(path, &tree)?;
                fdtput(change, path)?;
                tree = image::read(path)?;
            }
        }
    }
    image::write_if_changed(path, &tree)?;
    Ok(tree)
}

fn fdtput(change: &Change, path: &Path) -> Result<()> {
    let mut command = Command::new("fdtput");
    match change {
        Change::AddNode(node) => {
            command.arg("-cp").arg(path).arg(node);
        }
        Change::RemoveNode(node) => {
            command.arg("-r").arg(path).arg(node);
        }
        Change::RemoveProperty(node, name) => {
            command.arg("-d").arg(path).arg(node).arg(name);
        }
        Change::SetCells(node, name, cells) => {
            command.args(["-t", "x"]).arg(path).arg(node).arg(name);
            command.args(cells.iter().map(|cell| format!("{cell:x}")));
        }
        Change::SetText(node, name, text) => {
            command
                .args(["-t", "s"])
                .arg(path)
                .arg(node)
                .arg(name)
                .arg(text);
        }
        Change::Cut(_) | Change::Poke(..) => bail!("{change:?} is not for fdtput"),
    }
    let line = process::describe(&command);
    let mut said = Vec::new();
    let log = path.with_extension("fdtput.log");
    let status = process::logged(&mut command, &log, Duration::from_secs(20), |text| {
        said.push(text.to_owned())
    })?;
    ensure!(status.success(), "{line}: {}", said.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_lands_where_it_is_meant() {
        let path = std::env::temp_dir().join(format!("pinion-tree-{}.dtb", std::process::id()));
        let tree = change(
            vec![1; 16],
            &[Change::Cut(12), Change::Poke(4, 0xaabb_ccdd)],
            &path,
        )
        .unwrap();
        assert_eq!(tree, [1, 1, 1, 1, 0xaa, 0xbb, 0xcc, 0xdd, 1, 1, 1, 1]);
        assert!(change(vec![1; 16], &[Change::Cut(17)], &path).is_err());
        assert!(change(vec![1; 16], &[Change::Poke(13, 0)], &path).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
