//! Where things are: sources, and what the tool makes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder that holds `Cargo.toml` of the workspace; the current directory
/// from [`Workspace::enter`] on, so that every path the tool prints or hands
/// to QEMU can be short and relative to it.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the workspace of this tool and makes it the current directory.
    pub fn enter() -> Result<Self> {
        let tools = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = tools
            .parent()
            .map(Path::to_path_buf)
            .context("tools/ has no parent folder")?;
        std::env::set_current_dir(&root)
            .with_context(|| format!("cannot enter {}", root.display()))?;
        Ok(Self { root })
    }

    /// The image as firmware loads it: stripped.
    pub fn image(&self) -> &'static Path {
        Path::new("target/pinion.elf")
    }

    /// The same image with symbols and line tables.
    pub fn debug_image(&self) -> &'static Path {
        Path::new("target/pinion.debug")
    }

    /// Cargo's target directory for builds of the image.
    pub fn image_target_dir(&self) -> &'static Path {
        Path::new("target/image")
    }

    /// The target description of the image.
    pub fn target_description(&self) -> &'static Path {
        Path::new("boards/powerpc64-pinion.json")
    }

    /// What set-up keeps between runs: package lists, unpacked packages, logs.
    pub fn setup_dir(&self) -> PathBuf {
        self.root.join("target/setup")
    }
}
