//! Initrds with the partition that measures calls: `tests/probe`.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;

use crate::cpio::Archive;
use crate::workspace::Workspace;
use crate::{bundle, image};

/// What the probe is told: to measure, or to be there and nothing else.
const MEASURE: &str = "probe=cost";
const WAIT: &str = "probe=wait";

/// Where they are written.
const FOLDER: &str = "target/bench";

/// One partition, for `start`.
///
/// # Errors
/// It does not build.
pub fn one(workspace: &Workspace) -> Result<PathBuf> {
    let probe = probe(workspace)?;
    let mut archive = Archive::default();
    archive.file("kernel", 0o644, &image::read(&probe)?)?;
    archive.file("bootargs", 0o644, MEASURE.as_bytes())?;
    let path = PathBuf::from(FOLDER).join("partition.cpio");
    image::write_if_changed(&path, &archive.finish()?)?;
    Ok(path)
}

/// A manifest with `count` of them, that start by themselves: all but one wait.
///
/// # Errors
/// It does not build.
pub fn many(workspace: &Workspace, count: usize) -> Result<PathBuf> {
    let probe = probe(workspace)?;
    let mut source = String::from("/dts-v1/;\n/ {\n\tcompatible = \"pinion,manifest-v1\";\n");
    // The first to be started would measure before the others are there.
    for number in 1..=count {
        let word = if number == count { MEASURE } else { WAIT };
        // Writing to a string does not fail.
        let _ = writeln!(
            source,
            "\tp{number} {{ memory = <0 0x1000000>; cpus = <1>; kernel = \"probe\"; bootargs = \"{word}\"; autostart; }};"
        );
    }
    source.push_str("};\n");
    let at = |name: &str| PathBuf::from(FOLDER).join(name);
    let manifest = at(&format!("partitions-{count}.dts"));
    image::write_if_changed(&manifest, source.as_bytes())?;
    let path = at(&format!("partitions-{count}.cpio"));
    let files = [format!("probe={}", probe.display())];
    bundle::make(
        &manifest,
        &path,
        &files,
        &at(&format!("partitions-{count}.dtb")),
    )?;
    Ok(path)
}

fn probe(workspace: &Workspace) -> Result<PathBuf> {
    std::fs::create_dir_all(FOLDER)?;
    image::build::cargo(workspace, "pinion-probe", "probe")
}
