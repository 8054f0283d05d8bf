//! What emulator tests boot, made once before the first of them.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::declaration::{Kernel, TreeChange};
use super::expand::Case;
use crate::emulator::qemu::Setting;
use crate::image;
use crate::workspace::Workspace;

/// Files that tests name.
pub struct Artefacts {
    /// The image.
    pub image: PathBuf,
    /// Debian's kernel and an initrd that starts the image by kexec, or why
    /// they are not to be had.
    pub linux: Result<Linux, String>,
}

/// A Linux that starts the image.
pub struct Linux {
    /// Its kernel.
    pub kernel: PathBuf,
    /// Its initrd.
    pub initrd: PathBuf,
}

impl Artefacts {
    /// Makes what `cases` need.
    pub fn prepare(workspace: &Workspace, _program: &Path, _cases: &[Case]) -> Result<Self> {
        image::make(workspace)?;
        Ok(Self {
            image: workspace.image().to_path_buf(),
            linux: Err("not there yet".to_owned()),
        })
    }

    /// The image behind a program that changes how it is entered.
    pub fn entered(
        &self,
        _case: &Case,
        _kernel: Kernel,
        _tree: Option<&[TreeChange]>,
        _setting: &Setting,
        _folder: &Path,
    ) -> Result<PathBuf> {
        bail!("not there yet")
    }

    /// A copy of the flash image for one machine, which may write to it.
    pub fn flash_copy(&self, _folder: &Path) -> Result<PathBuf> {
        bail!("not there yet")
    }
}
