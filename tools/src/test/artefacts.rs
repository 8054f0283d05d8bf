//! What emulator tests boot, made once before the first of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::bundled;
use super::declaration::{Drive, Kernel};
use super::expand::Case;
use crate::board::Board;
use crate::emulator::qemu::Setting;
use crate::kexec::{self, Linux};
use crate::trampoline::{self, Change, Entry, Trampoline};
use crate::workspace::Workspace;
use crate::{image, pnor, run};

/// Files that tests name.
pub struct Artefacts {
    /// The image.
    pub image: PathBuf,
    /// Debian's kernel and an initrd that starts the image by kexec, or why
    /// they are not to be had.
    pub linux: Result<Linux, String>,
    /// Debian's kernel with pages of 64K, or why it is not to be had.
    kernel_64k: Result<PathBuf, String>,
    flash: Option<PathBuf>,
    probe: Option<PathBuf>,
    trampoline: Option<Trampoline>,
}

impl Artefacts {
    /// Makes what `cases` need.
    pub fn prepare(workspace: &Workspace, cases: &[Case]) -> Result<Self> {
        let any = |wants: &dyn Fn(&Case) -> bool| cases.iter().any(wants);
        image::make(workspace)?;
        let flash = if any(&|case| case.settings.drive == Some(Drive::Pnor)) {
            let boards: Vec<Board> = cases
                .iter()
                .map(|case| Board::load(&case.board))
                .collect::<Result<_>>()?;
            Some(pnor::make(
                workspace,
                boards
                    .iter()
                    .map(|board| board.flash_bytes)
                    .max()
                    .unwrap_or(0),
            )?)
        } else {
            None
        };
        let hostile = |case: &Case| {
            case.settings.kernel == Some(Kernel::HostileEntry) || case.settings.tree.is_some()
        };
        let trampoline = if any(&hostile) {
            Some(Trampoline::build(workspace)?)
        } else {
            None
        };
        let probe = if any(&|case| {
            let initrd = case.settings.initrd.as_deref().unwrap_or_default();
            initrd == "probe" || bundled::needs_probe(initrd)
        }) {
            Some(image::build::cargo(workspace, "pinion-probe", "probe")?)
        } else {
            None
        };
        let none = || "no test boots Linux".to_owned();
        let linux = if any(&|case| {
            case.settings.kernel == Some(Kernel::Linux)
                || linux_partition(case).is_some()
                || wants_linux(case)
        }) {
            kexec::make(workspace).map_err(|error| format!("{error:#}"))
        } else {
            Err(none())
        };
        let large = |case: &Case| {
            linux_partition(case).is_some_and(|(flavour, _)| flavour == Flavour::Pages64K)
        };
        let kernel_64k = if any(&large) {
            kexec::make_kernel_64k(workspace).map_err(|error| format!("{error:#}"))
        } else {
            Err(none())
        };
        Ok(Self {
            image: workspace.image().to_path_buf(),
            linux,
            kernel_64k,
            flash,
            probe,
            trampoline,
        })
    }

    /// A file that enters the image with `changes` made to the tree of the
    /// machine that `setting` describes.
    pub fn entered(
        &self,
        entry: Entry,
        changes: &[Change],
        setting: &Setting,
        folder: &Path,
    ) -> Result<PathBuf> {
        let trampoline = self
            .trampoline
            .as_ref()
            .context("the trampoline was not built")?;
        let tree = match changes {
            [] => None,
            changes => Some(trampoline.changed_tree(setting, changes, folder)?),
        };
        let bytes = trampoline.with_image(&image::read(&self.image)?, tree.as_deref(), entry)?;
        trampoline::write(folder, &bytes)
    }

    /// Linux as a partition, with these arguments; the inner error says why it
    /// is not to be had.
    pub fn linux_partition(
        &self,
        flavour: Flavour,
        arguments: &str,
    ) -> Result<Result<PathBuf, String>> {
        let linux = match &self.linux {
            Ok(linux) => linux,
            Err(why) => return Ok(Err(why.clone())),
        };
        let kernel = match (flavour, &self.kernel_64k) {
            (Flavour::Pages4K, _) => &linux.kernel,
            (Flavour::Pages64K, Ok(kernel)) => kernel,
            (Flavour::Pages64K, Err(why)) => return Ok(Err(why.clone())),
        };
        kexec::partition(kernel, &linux.partition_initrd, arguments).map(Ok)
    }

    /// The partition that tests what Pinion does to it.
    pub fn probe(&self) -> Result<PathBuf> {
        self.probe.clone().context("the probe was not built")
    }

    /// An initrd with a manifest, if `words` ask for one: see [`bundled::make`].
    /// Its manifest may name `probe`, and `vmlinux` and `initrd` for Linux; the
    /// inner error says why that is not to be had.
    pub fn bundled(&self, words: &str, folder: &Path) -> Result<Result<Option<PathBuf>, String>> {
        let mut files = Vec::new();
        if bundled::needs_linux(words) {
            match &self.linux {
                Ok(linux) => files = run::linux::files(linux),
                Err(why) => return Ok(Err(why.clone())),
            }
        }
        if let Some(probe) = &self.probe {
            files.push(format!("probe={}", probe.display()));
        }
        bundled::make(words, &files, folder).map(Ok)
    }

    /// A copy of the flash image for one machine, which may write to it.
    pub fn flash_copy(&self, folder: &Path, flash_bytes: u64) -> Result<PathBuf> {
        let from = self
            .flash
            .as_ref()
            .context("the flash image was not made")?;
        let to = folder.join("flash.pnor");
        pnor::copy(from, &to, flash_bytes)?;
        Ok(to)
    }
}

/// Whether the case's manifest names Debian's kernel.
fn wants_linux(case: &Case) -> bool {
    bundled::needs_linux(case.settings.initrd.as_deref().unwrap_or_default())
}

/// Size of the pages that a kernel of Debian's manages its memory in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Debian's usual kernel.
    Pages4K,
    /// The one with `-64k` in its package's name.
    Pages64K,
}

/// The kernel and its arguments, if the case wants Linux as a partition: `linux`
/// or `linux-64k`, and the arguments behind it.
pub fn linux_partition(case: &Case) -> Option<(Flavour, &str)> {
    let initrd = case.settings.initrd.as_deref()?;
    let (word, arguments) = initrd.split_once(' ').unwrap_or((initrd, ""));
    match word {
        "linux" => Some((Flavour::Pages4K, arguments)),
        "linux-64k" => Some((Flavour::Pages64K, arguments)),
        _ => None,
    }
}
