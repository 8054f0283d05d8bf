//! The cargo command that builds for the machine: `core` and `alloc` from
//! source, for a target that only `boards/` describes.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::Guarded;
use crate::workspace::Workspace;

/// A build that takes longer has hung.
const LONGEST: Duration = Duration::from_secs(1800);

/// The linker script of every program for the machine.
pub const LINKER_SCRIPT: &str = "linker.ld";

/// Adds what every cargo command for the machine's target needs.
pub fn for_machine(workspace: &Workspace, command: &mut Command) {
    command
        .arg("--target")
        .arg(workspace.target_description())
        .arg("--target-dir")
        .arg(workspace.image_target_dir())
        .args([
            "-Zbuild-std=core,alloc,compiler_builtins",
            "-Zbuild-std-features=compiler-builtins-mem,optimize_for_size",
            "-Zjson-target-spec",
        ])
        // Building core from source is not stable; the compiler's version is pinned.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", rust_flags())
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR");
}

/// Names of this machine's folders do not go into the image.
fn rust_flags() -> String {
    let mut flags = Vec::new();
    let mut remap = |from: Option<PathBuf>, to: &str| {
        if let Some(from) = from {
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
        }
    };
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(home?.join(".cargo")));
    remap(cargo_home.map(|path| path.join("registry/src")), "crates");
    let sysroot = std::env::var_os("CARGO").map(PathBuf::from);
    let sysroot = sysroot
        .as_deref()
        .and_then(Path::parent)
        .and_then(Path::parent);
    remap(
        sysroot.map(|path| path.join("lib/rustlib/src/rust")),
        "rust",
    );
    flags.join(" ")
}

/// The cargo this tool was started by.
pub fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Builds the program `name` of `package` for the machine and returns where it
/// is. Cargo shows its own progress.
pub fn cargo(workspace: &Workspace, package: &str, name: &str) -> Result<PathBuf> {
    ensure!(
        workspace.target_description().is_file(),
        "{} is not there: the image cannot be built",
        workspace.target_description().display()
    );
    let script =
        std::fs::read(LINKER_SCRIPT).with_context(|| format!("cannot read {LINKER_SCRIPT}"))?;
    let mut hasher = DefaultHasher::new();
    script.hash(&mut hasher);
    let mut command = Command::new(cargo_program());
    command.args(["rustc", "--release", "--package", package, "--bin", name]);
    for_machine(workspace, &mut command);
    if !crate::progress::is_live() {
        command.arg("--quiet");
        eprintln!("building {name} ...");
    }
    command
        .arg("--")
        .arg(format!("-Clink-arg=-T{LINKER_SCRIPT}"))
        // Cargo does not know the script: its hash makes a change of it count.
        .arg("--cfg")
        .arg(format!("linker_script=\"{:016x}\"", hasher.finish()))
        .stdin(Stdio::null());
    let status = Guarded::spawn(&mut command)?
        .wait_timeout(LONGEST)?
        .with_context(|| format!("building {name} took longer than {} s", LONGEST.as_secs()))?;
    ensure!(status.success(), "{name} does not build");
    let target = workspace
        .target_description()
        .file_stem()
        .context("the target has no name")?;
    Ok(workspace
        .image_target_dir()
        .join(target)
        .join("release")
        .join(name))
}
