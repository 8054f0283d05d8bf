//! The image: built, stripped for firmware, measured.

pub mod build;
pub mod elf;
mod strip;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// The image without symbols may be this large: bytes of `target/pinion.elf`.
pub const BUDGET: u64 = 2 * 1024 * 1024;

/// What a build made.
#[derive(Debug)]
pub struct Image {
    /// Bytes of the stripped file.
    pub file_bytes: u64,
    /// Name and bytes of each section that is loaded.
    pub sections: Vec<(String, u64)>,
}

/// Builds the image and writes `target/pinion.elf` and `target/pinion.debug`.
pub fn make(workspace: &Workspace) -> Result<Image> {
    let built = build::cargo(workspace, "pinion", "pinion")?;
    let bytes = read(&built)?;
    let stripped =
        strip::strip(&bytes).with_context(|| format!("{} cannot be stripped", built.display()))?;
    write_if_changed(workspace.debug_image(), &bytes)?;
    write_if_changed(workspace.image(), &stripped)?;
    let sections = elf::loaded_sections(&bytes)?;
    Ok(Image {
        file_bytes: stripped.len() as u64,
        sections,
    })
}

/// `cargo xtask image`.
pub fn command(workspace: &Workspace) -> Result<ExitCode> {
    let image = make(workspace)?;
    println!("{}", workspace.image().display());
    for (name, bytes) in &image.sections {
        println!("  {name:<16}{bytes:>10} bytes");
    }
    println!(
        "  {:<16}{:>10} bytes of {BUDGET}",
        "whole file", image.file_bytes
    );
    let boards = crate::board::Board::all()?;
    let flash_bytes = boards
        .iter()
        .map(|board| board.flash_bytes)
        .max()
        .unwrap_or(0);
    let flash = crate::pnor::make(workspace, flash_bytes)?;
    println!(
        "{}\n  {:<16}{flash_bytes:>10} bytes, mostly holes",
        flash.display(),
        "flash"
    );
    if image.file_bytes > BUDGET {
        eprintln!(
            "error: the image is {} bytes over its budget",
            image.file_bytes - BUDGET
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The bytes of `path`.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes `bytes` to `path` unless they are there already, so that a running
/// emulator or a debugger that holds the file is not disturbed for nothing.
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    // A new file under the name: another process may still read the old one.
    let part = path.with_extension(format!("part{}", std::process::id()));
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
