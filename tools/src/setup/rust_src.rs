//! The standard library's source, from which `core` and `alloc` are built for
//! the image: rustup's component, or Debian's package of the same version.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::apt::{Apt, can_unpack};
use crate::process;
use crate::progress::Step;
use crate::workspace::Workspace;

/// Debian releases that may hold the source of the pinned compiler.
const DEBIAN_SUITES: [&str; 1] = ["trixie-backports"];

/// A file that is there when the component is whole.
const WITNESS: &str = "library/core/src/lib.rs";

/// Installs the source where it is missing.
///
/// # Errors
/// Names the component, how each way failed, and what to type.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    let sysroot = sysroot()?;
    let place = sysroot.join("lib/rustlib/src/rust");
    if place.join(WITNESS).is_file() {
        return Ok(());
    }
    eprintln!(
        "Set-up: the Rust component rust-src is missing in {}",
        sysroot.display()
    );
    let by_rustup = match from_rustup() {
        Ok(()) if place.join(WITNESS).is_file() => return Ok(()),
        Ok(()) => "rustup says it is there, but the files are not".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    eprintln!("  rustup: {by_rustup}; trying Debian's package");
    let by_debian = match from_debian(workspace, &place) {
        Ok(()) => return Ok(()),
        Err(error) => format!("{error:#}"),
    };
    bail!(
        "the Rust component rust-src is missing and could not be installed\n  \
         rustup: {by_rustup}\n  Debian's package: {by_debian}\n\
         Get it with `rustup component add rust-src` on a machine with a network"
    )
}

/// The folder the running compiler belongs to.
fn sysroot() -> Result<PathBuf> {
    // Cargo names itself; its neighbours are the toolchain. Asking rustc costs more.
    if let Some(cargo) = std::env::var_os("CARGO")
        && let Some(sysroot) = Path::new(&cargo).parent().and_then(Path::parent)
        && sysroot.join("lib/rustlib").is_dir()
    {
        return Ok(sysroot.to_path_buf());
    }
    let output = process::capture(
        Command::new("rustc").args(["--print", "sysroot"]),
        Duration::from_secs(60),
    )?;
    ensure!(output.status.success(), "rustc --print sysroot failed");
    Ok(PathBuf::from(output.stdout.trim()))
}

fn from_rustup() -> Result<()> {
    ensure!(
        process::find_program(Path::new("rustup")).is_some(),
        "there is no rustup"
    );
    let step = Step::start("installing the Rust component rust-src with rustup");
    let log = std::env::temp_dir().join(format!("pinion-rustup-{}.log", std::process::id()));
    let mut last = String::new();
    let status = process::logged(
        Command::new("rustup")
            .args(["component", "add", "rust-src"])
            .env("RUSTUP_MAX_RETRIES", "1"),
        &log,
        Duration::from_secs(240),
        |line| {
            step.detail(line);
            if !line.trim().is_empty() {
                last = line.trim().to_owned();
            }
        },
    );
    // Only its last line matters, and that is in `last`.
    let _ = std::fs::remove_file(&log);
    ensure!(
        status?.success(),
        "`rustup component add rust-src` failed ({})",
        innermost(&last)
    );
    step.done();
    Ok(())
}

/// The end of a chain of causes, which is the cause.
fn innermost(message: &str) -> &str {
    let start = message
        .rmatch_indices(": ")
        .nth(1)
        .map_or(0, |(at, _)| at + 2);
    &message[start..]
}

fn from_debian(workspace: &Workspace, place: &Path) -> Result<()> {
    can_unpack()?;
    let version = rustc_version()?;
    let apt = Apt::for_unpacking(workspace, "rust-src", &DEBIAN_SUITES, None)?;
    apt.update()?;
    let offered = apt.versions("rust-src")?;
    let wanted = format!("{version}+");
    let Some(found) = offered
        .iter()
        .find(|v| v.starts_with(&wanted) || **v == version)
    else {
        bail!(
            "Debian ({}) has rust-src {}, not {version}",
            DEBIAN_SUITES.join(", "),
            offered.join(", ")
        );
    };
    let unpacked = workspace.setup_dir().join("rust-src/unpacked");
    apt.unpack(&[format!("rust-src={found}")], &unpacked)?;
    let library = unpacked.join(format!("usr/src/rustc-{version}/library"));
    ensure!(
        library.is_dir(),
        "Debian's rust-src {found} has no {}",
        library.display()
    );
    let step = Step::start(format!("copying the source into {}", place.display()));
    std::fs::create_dir_all(place).with_context(|| {
        format!(
            "cannot write {}: is the toolchain another user's?",
            place.display()
        )
    })?;
    // The last step makes it visible whole or not at all.
    let half_done = place.join("library.part");
    let mut copy = Command::new("cp");
    copy.arg("-RL")
        .arg(&library)
        .arg(&half_done)
        .stderr(Stdio::null());
    let copied = process::capture(&mut copy, Duration::from_secs(300))?;
    ensure!(
        copied.status.success(),
        "copying into {} failed",
        half_done.display()
    );
    std::fs::rename(&half_done, place.join("library"))
        .with_context(|| format!("cannot rename {}", half_done.display()))?;
    // What was unpacked is not needed any more.
    let _ = std::fs::remove_dir_all(&unpacked);
    step.done();
    Ok(())
}

/// The compiler's version, `1.95.0`.
fn rustc_version() -> Result<String> {
    let output = process::capture(
        Command::new("rustc").arg("--version"),
        Duration::from_secs(60),
    )?;
    let version = output
        .stdout
        .split_whitespace()
        .nth(1)
        .context("rustc --version says nothing")?;
    Ok(version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_at_the_end() {
        let text =
            "error: download failed: client error: dns error: failed to look up: no name server";
        assert_eq!(innermost(text), "failed to look up: no name server");
        assert_eq!(innermost("gone"), "gone");
    }
}
