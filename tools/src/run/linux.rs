//! `cargo xtask run linux`: Debian's kernel in two partitions, each with a shell.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::RunOptions;
use crate::workspace::Workspace;
use crate::{bundle, kexec};

/// The manifest: the file names it uses are those of [`files`].
pub const MANIFEST: &str = "boards/linux-two.dts";

/// A core for each partition, one for Pinion's prompt.
const SMP: &str = "3";
const MEMORY: &str = "2G";
/// A drive and a card for each partition, where a person's own devices are seldom.
const DEVICES: [&str; 4] = [
    "nvme,bus=pcie.2",
    "nvme,bus=pcie.3",
    "e1000e,bus=pcie.4,romfile=,netdev=net0",
    "e1000e,bus=pcie.5,romfile=,netdev=net1",
];
/// One network for both cards and QEMU's own router. It is kept to itself, as it
/// would answer for the other partition too.
const NETWORK: [&str; 4] = [
    "user,id=router,restrict=on",
    "hubport,id=outside,hubid=1,netdev=router",
    "hubport,id=net0,hubid=1",
    "hubport,id=net1,hubid=1",
];
/// POWER8 defines partitions and does not run them yet.
const BOARD_WITHOUT: &str = "powernv8";

/// Fetches what is missing and returns `options` with what the two partitions
/// need; what is given already stays.
///
/// # Errors
/// Debian's packages cannot be had; a bundle is given, or a board that runs no
/// partitions.
pub fn prepare(workspace: &Workspace, options: &RunOptions) -> Result<RunOptions> {
    if options.bundle.is_some() {
        bail!("`run linux` makes its own bundle: --bundle is for `run` alone");
    }
    if options.board == BOARD_WITHOUT {
        bail!("partitions do not run on {BOARD_WITHOUT} yet: try powernv9 or powernv10");
    }
    let linux = kexec::make(workspace)?;
    let output = PathBuf::from("target/run/linux.cpio");
    let folder = output.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let blob = output.with_extension("dtb");
    bundle::make(Path::new(MANIFEST), &output, &files(&linux), &blob)?;
    let mut options = options.clone();
    options.smp.get_or_insert_with(|| SMP.to_owned());
    options.memory.get_or_insert_with(|| MEMORY.to_owned());
    options.bundle = Some(output);
    options.devices.extend(DEVICES.map(str::to_owned));
    let network = NETWORK.map(|network| ["-netdev".to_owned(), network.to_owned()]);
    options.extra.extend(network.into_iter().flatten());
    Ok(options)
}

/// Where the files are that a manifest may name for Linux: `vmlinux`, `initrd`.
pub fn files(linux: &kexec::Linux) -> Vec<String> {
    vec![
        format!("vmlinux={}", linux.kernel.display()),
        format!("initrd={}", linux.partition_initrd.display()),
    ]
}

/// What a person can do once it runs.
pub const HINTS: &str = "\
Two partitions, web and database, start by themselves; each ends up in a shell, and has an NVMe drive
(/dev/nvme0n1, a file in target/run) and a network card: web is 10.0.2.15, database 10.0.2.16.
  console web     type at one of them; Ctrl-] comes back to the prompt
  partitions      what they do
  poweroff        ends the machine";
