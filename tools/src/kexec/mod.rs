//! A Linux that starts the image by kexec, as petitboot does: Debian's ppc64el
//! kernel, busybox and kexec-tools, unpacked and never installed.

mod fetch;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::cpio::Archive;
use crate::image::{self, read};
use crate::workspace::Workspace;

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

/// Where the kernel's drivers lie, there and in a partition's initrd.
const DRIVERS: &str = "drivers";

/// What is said first of a failure; the cause follows.
const CANNOT: &str = "Debian's ppc64el packages cannot be had";

const INIT: &str = include_str!("init.sh");

/// The same for a Linux in a partition.
const PARTITION_INIT: &str = include_str!("partition.sh");

/// What that does with the partition's devices.
const PARTITION_DEVICES: &str = include_str!("devices.sh");

/// A kernel and the initrd for it.
#[derive(Debug)]
pub struct Linux {
    /// The kernel, an ELF file.
    pub kernel: PathBuf,
    /// The initrd, which holds the image.
    pub initrd: PathBuf,
    /// The initrd for a partition, of busybox and a few drivers.
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
    let drivers = folder.join(DRIVERS);
    // What was fetched last is there only with the rest.
    if !root.join(FILES[0].0).is_file() || !root.join(FILES[2].0).is_file() {
        fetch::programs(workspace, &root).context(CANNOT)?;
    }
    if !kernel.is_file() || !drivers.is_dir() {
        fetch::kernel(workspace, &kernel, &drivers).context(CANNOT)?;
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

/// Fetches the kernel with pages of 64K, unless it is there.
///
/// # Errors
/// Its package cannot be had here: the text says why.
pub fn make_kernel_64k(workspace: &Workspace) -> Result<PathBuf> {
    let kernel = Path::new(FOLDER).join("vmlinux-64k");
    if !kernel.is_file() {
        fetch::kernel_64k(workspace, &kernel).context(CANNOT)?;
    }
    Ok(kernel)
}

/// Packs a kernel and an initrd into an archive that starts
/// as a partition, with these arguments for the kernel.
///
/// # Errors
/// A file cannot be read or written.
pub fn partition(kernel: &Path, initrd: &Path, arguments: &str) -> Result<PathBuf> {
    // Tests run side by side and share the file.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(FOLDER);
    let mut archive = Archive::default();
    archive.file("kernel", 0o644, &read(kernel)?)?;
    archive.file("initrd", 0o644, &read(initrd)?)?;
    archive.file("bootargs", 0o644, arguments.as_bytes())?;
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let name = words.last().map_or("plain", |word| word);
    let stem = kernel.file_stem().unwrap_or_default().display();
    let path = folder.join(format!("partition-{stem}-{name}.cpio"));
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
    initrd.file("devices", 0o644, PARTITION_DEVICES.as_bytes())?;
    initrd.directory(DRIVERS)?;
    for driver in drivers()? {
        let name = driver.file_name().unwrap_or_default().display();
        initrd.file(&format!("{DRIVERS}/{name}"), 0o644, &read(&driver)?)?;
    }
    initrd.finish()
}

/// The drivers that were fetched, in a fixed order.
fn drivers() -> Result<Vec<PathBuf>> {
    let folder = Path::new(FOLDER).join(DRIVERS);
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    all.sort();
    Ok(all)
}
