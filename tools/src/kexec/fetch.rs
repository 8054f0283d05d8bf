//! Debian's packages for ppc64el, unpacked and never installed.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::image::{self, read};
use crate::setup::{Apt, can_unpack};
use crate::workspace::Workspace;

/// Where the kernel comes from: the release that is wanted, by its name and by
/// its rank (a mirror may have the lists of one and not yet of the other), and
/// the one before it.
const SUITES: [&str; 3] = ["trixie", "stable", "bookworm"];

/// What the kernel package depends on names the kernel of the day.
const KERNEL: &str = "linux-image-powerpc64le";

/// The same, with pages of 64K; Debian has it from trixie on.
const KERNEL_64K: &str = "linux-image-powerpc64le-64k";

/// Programs and the library they need.
const PROGRAMS: [&str; 3] = ["busybox-static", "kexec-tools", "libc6"];

/// Fetches the programs into `root`, and the kernel.
pub fn all(workspace: &Workspace, root: &Path, kernel: &Path) -> Result<()> {
    from_first_suite(workspace, |apt, folder| {
        let image = image_of(apt, KERNEL)?;
        apt.unpack(&PROGRAMS.map(str::to_owned), root)?;
        unpack_kernel(apt, folder, &image, kernel)?;
        Ok(image)
    })
}

/// Fetches the kernel with pages of 64K.
pub fn kernel_64k(workspace: &Workspace, kernel: &Path) -> Result<()> {
    from_first_suite(workspace, |apt, folder| {
        let image = image_of(apt, KERNEL_64K)?;
        unpack_kernel(apt, folder, &image, kernel)?;
        Ok(image)
    })
}

/// Fetches from the first suite of which the mirror is whole. `what` gets a
/// folder for what it unpacks, and returns the package of its kernel.
fn from_first_suite(
    workspace: &Workspace,
    what: impl Fn(&Apt, &Path) -> Result<String>,
) -> Result<()> {
    can_unpack()?;
    let mut first = None;
    for suite in SUITES {
        let name = format!("ppc64el-{suite}");
        let apt = Apt::for_unpacking(workspace, &name, &[suite], Some("ppc64el"))?;
        let folder = workspace.setup_dir().join(name);
        match apt.update().and_then(|()| what(&apt, &folder)) {
            Ok(package) if first.is_some() => {
                eprintln!("Debian's {suite} is used instead: {package}");
                return Ok(());
            }
            Ok(_) => return Ok(()),
            Err(error) if apt.mirror_answered() => {
                eprintln!("Debian's {suite} for ppc64el is passed over: {error:#}");
                first = first.or(Some(error));
            }
            Err(error) => return Err(first.unwrap_or(error)),
        }
    }
    Err(first.context("no suite of Debian is known")?)
}

/// The package of the kernel that `meta` depends on.
fn image_of(apt: &Apt, meta: &str) -> Result<String> {
    let mut needed = apt.depends(meta)?.into_iter();
    needed
        .find(|name| name.starts_with("linux-image-"))
        .with_context(|| format!("{meta} depends on no kernel"))
}

/// Fetches package `image`; its kernel becomes the file `kernel`.
fn unpack_kernel(apt: &Apt, folder: &Path, image: &str, kernel: &Path) -> Result<()> {
    let unpacked = folder.join("kernel");
    apt.unpack(&[image.to_owned()], &unpacked)?;
    let version = image.trim_start_matches("linux-image-");
    let from = unpacked.join(format!("boot/vmlinux-{version}"));
    ensure!(from.is_file(), "{image} has no {}", from.display());
    image::write_if_changed(kernel, &read(&from)?)?;
    // Modules and the rest of the kernel's package are not needed.
    let _ = std::fs::remove_dir_all(&unpacked);
    Ok(())
}
