//! A Linux that starts the image by kexec, as petitboot does: Debian's ppc64el
//! kernel, busybox and kexec-tools, unpacked and never installed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::cpio::Archive;
use crate::image::{self, read};
use crate::setup::{Apt, can_unpack};
use crate::workspace::Workspace;

/// Where the kernel comes from: the release that is wanted, by its name and by
/// its rank (a mirror may have the lists of one and not yet of the other), and
/// the one before it.
const SUITES: [&str; 3] = ["trixie", "stable", "bookworm"];

/// What the kernel package depends on names the kernel of the day.
const KERNEL: &str = "linux-image-powerpc64le";

/// Programs and the library they need.
const PROGRAMS: [&str; 3] = ["busybox-static", "kexec-tools", "libc6"];

/// Unpacked files and where they go in the initrd.
const FILES: [(&str, &str); 4] = [
    ("usr/bin/busybox", "bin/busybox"),
    ("usr/sbin/kexec", "sbin/kexec"),
    (
        "usr/lib/powerpc64le-linux-gnu/libc.so.6",
        "lib/powerpc64le-linux-gnu/libc.so.6",
    ),
    ("usr/lib/powerpc64le-linux-gnu/ld64.so.2", "lib64/ld64.so.2"),
];

/// Where all of it lies.
const FOLDER: &str = "target/kexec";

const INIT: &str = include_str!("init.sh");

/// The same for a Linux in a partition.
const PARTITION_INIT: &str = include_str!("partition.sh");

/// A kernel and the initrd for it.
#[derive(Debug)]
pub struct Linux {
    /// The kernel, an ELF file.
    pub kernel: PathBuf,
    /// The initrd, which holds the image.
    pub initrd: PathBuf,
    /// The initrd for a partition, of busybox alone.
    pub partition_initrd: PathBuf,
}

/// Fetches what is missing and packs the image of now into the initrd.
///
/// # Errors
/// The packages cannot be had here: the text says why.
pub fn make(workspace: &Workspace) -> Result<Linux> {
    let folder = Path::new(FOLDER);
    let root = folder.join("root");
    let kernel = folder.join("vmlinux");
    // The kernel comes last: where it is, the rest is.
    if !kernel.is_file() {
        fetch(workspace, &root, &kernel).context("Debian's ppc64el packages cannot be had")?;
    }
    let mut archive = Archive::default();
    for name in [
        "bin",
        "sbin",
        "lib",
        "lib/powerpc64le-linux-gnu",
        "lib64",
        "proc",
        "sys",
        "dev",
    ] {
        archive.directory(name)?;
    }
    archive.character_device("dev/console", 5, 1)?;
    for (from, to) in FILES {
        archive.file(to, 0o755, &read(&root.join(from))?)?;
    }
    archive.file("init", 0o755, INIT.as_bytes())?;
    archive.file("pinion.elf", 0o644, &read(workspace.image())?)?;
    let initrd = folder.join("initrd.cpio");
    image::write_if_changed(&initrd, &archive.finish()?)?;
    let partition_initrd = folder.join("partition-initrd.cpio");
    image::write_if_changed(&partition_initrd, &partition_archive()?)?;
    Ok(Linux {
        kernel,
        initrd,
        partition_initrd,
    })
}

/// Packs the kernel and an initrd of busybox alone into an archive that starts
/// as a partition, with these arguments for the kernel.
///
/// # Errors
/// A file cannot be read or written.
pub fn partition(linux: &Linux, arguments: &str) -> Result<PathBuf> {
    // Tests run side by side and share the file.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(FOLDER);
    let mut archive = Archive::default();
    archive.file("kernel", 0o644, &read(&linux.kernel)?)?;
    archive.file("initrd", 0o644, &read(&linux.partition_initrd)?)?;
    archive.file("bootargs", 0o644, arguments.as_bytes())?;
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let name = words.last().map_or("plain", |word| word);
    let path = folder.join(format!("partition-{name}.cpio"));
    image::write_if_changed(&path, &archive.finish()?)?;
    Ok(path)
}

fn partition_archive() -> Result<Vec<u8>> {
    let mut initrd = Archive::default();
    for name in ["bin", "proc", "sys", "dev"] {
        initrd.directory(name)?;
    }
    initrd.character_device("dev/console", 5, 1)?;
    initrd.character_device("dev/null", 1, 3)?;
    let (from, to) = FILES[0];
    initrd.file(
        to,
        0o755,
        &read(&Path::new(FOLDER).join("root").join(from))?,
    )?;
    initrd.file("init", 0o755, PARTITION_INIT.as_bytes())?;
    initrd.finish()
}

/// Fetches from the first suite of which the mirror is whole.
fn fetch(workspace: &Workspace, root: &Path, kernel: &Path) -> Result<()> {
    can_unpack()?;
    let mut first = None;
    for suite in SUITES {
        let name = format!("ppc64el-{suite}");
        let apt = Apt::for_unpacking(workspace, &name, &[suite], Some("ppc64el"))?;
        match fetch_from(workspace, &apt, &name, root, kernel) {
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

/// Fetches all from one suite; the value is the kernel's package.
fn fetch_from(
    workspace: &Workspace,
    apt: &Apt,
    name: &str,
    root: &Path,
    kernel: &Path,
) -> Result<String> {
    apt.update()?;
    let image = apt
        .depends(KERNEL)?
        .into_iter()
        .find(|name| name.starts_with("linux-image-"))
        .with_context(|| format!("{KERNEL} depends on no kernel"))?;
    apt.unpack(&PROGRAMS.map(str::to_owned), root)?;
    let unpacked = workspace.setup_dir().join(name).join("kernel");
    apt.unpack(std::slice::from_ref(&image), &unpacked)?;
    let version = image.trim_start_matches("linux-image-");
    let from = unpacked.join(format!("boot/vmlinux-{version}"));
    ensure!(from.is_file(), "{image} has no {}", from.display());
    image::write_if_changed(kernel, &read(&from)?)?;
    // Modules and the rest of the kernel's package are not needed.
    let _ = std::fs::remove_dir_all(&unpacked);
    Ok(image)
}
