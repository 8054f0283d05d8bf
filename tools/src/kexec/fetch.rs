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

/// Drivers of devices that partitions get, and what those need: of NVMe drives,
/// Intel's 82574 (e1000e) and 82576 (igb). Kernels before 6.7 need the first line,
/// and later ones have none of it.
const DRIVERS: [&str; 12] = [
    "crypto/crct10dif_common",
    "lib/crc-t10dif",
    "lib/crc64",
    "lib/crc64-rocksoft",
    "block/t10-pi",
    "drivers/nvme/common/nvme-common",
    "drivers/nvme/common/nvme-auth",
    "drivers/nvme/host/nvme-core",
    "drivers/nvme/host/nvme",
    "drivers/i2c/algos/i2c-algo-bit",
    "drivers/net/ethernet/intel/igb/igb",
    "drivers/net/ethernet/intel/e1000e/e1000e",
];

/// Fetches the programs into `root`.
pub fn programs(workspace: &Workspace, root: &Path) -> Result<()> {
    from_first_suite(workspace, |apt, _| {
        apt.unpack(&PROGRAMS.map(str::to_owned), root)?;
        Ok(PROGRAMS.join(" "))
    })
}

/// Fetches the kernel, and its drivers into the folder `drivers`.
pub fn kernel(workspace: &Workspace, kernel: &Path, drivers: &Path) -> Result<()> {
    from_first_suite(workspace, |apt, folder| {
        let image = image_of(apt, KERNEL)?;
        unpack_kernel(apt, folder, &image, kernel, Some(drivers))?;
        Ok(image)
    })
}

/// Fetches the kernel with pages of 64K.
pub fn kernel_64k(workspace: &Workspace, kernel: &Path) -> Result<()> {
    from_first_suite(workspace, |apt, folder| {
        let image = image_of(apt, KERNEL_64K)?;
        unpack_kernel(apt, folder, &image, kernel, None)?;
        Ok(image)
    })
}

/// Fetches from the first suite of which the mirror is whole. `what` gets a
/// folder for what it unpacks, and returns what it was.
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

/// Fetches package `image`; its kernel becomes the file `kernel`. Its drivers go
/// into the folder `drivers`, compressed as they are; one that it does not have is
/// left out.
fn unpack_kernel(
    apt: &Apt,
    folder: &Path,
    image: &str,
    kernel: &Path,
    drivers: Option<&Path>,
) -> Result<()> {
    let unpacked = folder.join("kernel");
    apt.unpack(&[image.to_owned()], &unpacked)?;
    let version = image.trim_start_matches("linux-image-");
    let from = unpacked.join(format!("boot/vmlinux-{version}"));
    ensure!(from.is_file(), "{image} has no {}", from.display());
    if let Some(drivers) = drivers {
        copy_drivers(&unpacked, version, drivers)?;
    }
    image::write_if_changed(kernel, &read(&from)?)?;
    // The rest of the kernel's package is not needed.
    let _ = std::fs::remove_dir_all(&unpacked);
    Ok(())
}

/// Copies the drivers of an unpacked kernel's package as they are, compressed or not.
/// One that it does not have is left out.
fn copy_drivers(package: &Path, version: &str, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for driver in DRIVERS {
        for (root, suffix) in [("usr/lib", "ko.xz"), ("lib", "ko")] {
            let from = package.join(format!("{root}/modules/{version}/kernel/{driver}.{suffix}"));
            if let (true, Some(name)) = (from.is_file(), from.file_name()) {
                image::write_if_changed(&to.join(name), &read(&from)?)?;
            }
        }
    }
    Ok(())
}
