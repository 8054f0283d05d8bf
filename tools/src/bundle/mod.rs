//! `cargo xtask bundle`: an initrd of a manifest and the files that it names.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cpio::Archive;
use crate::image::{self, read};
use crate::process;

/// Name of the compiled manifest in the bundle, as `src/partition/bundle.rs` has it.
const MANIFEST: &str = "manifest.dtb";

/// Properties that name files.
const FILES: [&str; 2] = ["kernel", "initrd"];

/// Longest that dtc and fdtget may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Makes `output` from the manifest source. A file is taken from `files` if
/// its name is there (`NAME=PATH`), else from beside the manifest.
///
/// # Errors
/// dtc refuses the source, or a file is not there: nothing is written.
pub fn command(manifest: &Path, output: &Path, files: &[String]) -> Result<ExitCode> {
    let bytes = make(manifest, output, files, &Path::new("target").join(MANIFEST))?;
    println!("{}: {} KiB", output.display(), bytes.div_ceil(1024));
    Ok(ExitCode::SUCCESS)
}

/// As [`command`], with the compiled manifest at `blob`; returns the bundle's
/// bytes.
///
/// # Errors
/// As of [`command`].
pub fn make(manifest: &Path, output: &Path, files: &[String], blob: &Path) -> Result<usize> {
    let places = files
        .iter()
        .map(|pair| {
            let (name, path) = pair
                .split_once('=')
                .with_context(|| format!("--file {pair}: expected NAME=PATH"))?;
            Ok((name, PathBuf::from(path)))
        })
        .collect::<Result<BTreeMap<_, _>>>()?;
    run(Command::new("dtc")
        .args(["-I", "dts", "-O", "dtb", "-o"])
        .arg(blob)
        .arg(manifest))?;
    let mut archive = Archive::default();
    archive.file(MANIFEST, 0o644, &read(blob)?)?;
    let folder = manifest.parent().unwrap_or(Path::new("."));
    let mut folders = BTreeSet::new();
    for name in named(blob)? {
        let place = places
            .get(name.as_str())
            .cloned()
            .unwrap_or_else(|| folder.join(&name));
        let contents = read(&place).with_context(|| {
            format!(
                "{}: names \"{name}\" (--file {name}=PATH takes it from elsewhere)",
                manifest.display()
            )
        })?;
        for above in Path::new(&name)
            .ancestors()
            .skip(1)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            let above = above.to_string_lossy();
            if !above.is_empty() && folders.insert(above.to_string()) {
                archive.directory(&above)?;
            }
        }
        archive.file(&name, 0o644, &contents)?;
    }
    let bytes = archive.finish()?;
    image::write_if_changed(output, &bytes)?;
    Ok(bytes.len())
}

/// The files that the partitions of a compiled manifest name.
fn named(blob: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    // Each look is a process: none where no node can name a file.
    let bytes = read(blob)?;
    let has = |name: &str| bytes.windows(name.len()).any(|it| it == name.as_bytes());
    if !FILES.iter().any(|name| has(name)) {
        return Ok(names);
    }
    let nodes = run(Command::new("fdtget").arg("-l").arg(blob).arg("/"))?;
    for node in nodes.lines() {
        for property in FILES {
            // Nothing where the node has no such property.
            let value = run(Command::new("fdtget")
                .args(["-t", "s", "-d", ""])
                .arg(blob)
                .arg(format!("/{node}"))
                .arg(property))?;
            let name = value.trim_end_matches('\n');
            if name.is_empty() {
                continue;
            }
            ensure!(
                name != MANIFEST
                    && Path::new(name)
                        .components()
                        .all(|part| matches!(part, std::path::Component::Normal(_))),
                "/{node}: {property}: \"{name}\" is no name for a file of a bundle"
            );
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

fn run(command: &mut Command) -> Result<String> {
    let output = process::capture(command, LIMIT)?;
    if !output.status.success() {
        bail!("{} failed", process::describe(command));
    }
    Ok(output.stdout)
}
