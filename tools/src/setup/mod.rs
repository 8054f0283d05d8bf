//! Set-up: finds what is missing and installs it, leaving the system's own
//! package lists alone. Costs milliseconds when nothing is missing.

mod apt;
mod os_release;
mod rust_src;
mod sources;
pub mod version;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::process;
use crate::workspace::Workspace;
pub use apt::{Apt, can_unpack};
use os_release::OsRelease;
use version::Version;

/// QEMU older than this aborts or hangs with what the tests need.
pub const QEMU_NEEDED: Version = Version::new(10, 0, 2);

/// The emulator's usual name.
pub const QEMU_PROGRAM: &str = "qemu-system-ppc64";

/// Programs that Debian's packages bring, with the package of each.
const PROGRAMS: [(&str, &str); 2] = [
    ("dtc", "device-tree-compiler"),
    (QEMU_PROGRAM, "qemu-system-ppc"),
];

/// What a command needs before it can start.
#[derive(Debug, Clone)]
pub struct Wanted {
    rust_src: bool,
    emulator: bool,
    qemu: Option<PathBuf>,
}

impl Wanted {
    /// What tests on this machine need: cargo is there already.
    pub fn nothing() -> Self {
        Self {
            rust_src: false,
            emulator: false,
            qemu: None,
        }
    }

    /// What the image's build needs.
    pub fn for_image() -> Self {
        Self {
            rust_src: true,
            emulator: false,
            qemu: None,
        }
    }

    /// What running the image needs; `qemu` replaces the usual emulator.
    pub fn everything(qemu: Option<&Path>) -> Self {
        Self {
            rust_src: true,
            emulator: true,
            qemu: qemu.map(Path::to_path_buf),
        }
    }
}

/// Checks what `wanted` names and installs what is missing.
///
/// # Errors
/// Names each thing that is missing and could not be installed, and how to get it.
pub fn ensure(workspace: &Workspace, wanted: &Wanted) -> Result<()> {
    let mut failures = Vec::new();
    if wanted.rust_src
        && let Err(error) = rust_src::ensure(workspace)
    {
        failures.push(format!("{error:#}"));
    }
    if wanted.emulator
        && let Err(error) = ensure_programs(workspace, wanted.qemu.as_deref())
    {
        failures.push(format!("{error:#}"));
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("set-up is incomplete\n\n{}", failures.join("\n\n"))
}

fn ensure_programs(workspace: &Workspace, qemu: Option<&Path>) -> Result<()> {
    let mut missing = Vec::new();
    for (program, package) in PROGRAMS {
        if program == QEMU_PROGRAM {
            match check_qemu(qemu.unwrap_or(Path::new(QEMU_PROGRAM)))? {
                QemuState::Good => {}
                _ if qemu.is_some() => bail!(
                    "{}: no such program (--qemu)",
                    qemu.unwrap_or(Path::new("")).display()
                ),
                QemuState::Missing => {
                    missing.push(Missing {
                        package,
                        why: format!(
                            "{QEMU_PROGRAM} is not there (QEMU {QEMU_NEEDED} or later is needed)"
                        ),
                    });
                }
                QemuState::Old(found) => missing.push(Missing {
                    package,
                    why: format!(
                        "{QEMU_PROGRAM} is QEMU {found}; {QEMU_NEEDED} or later is needed"
                    ),
                }),
            }
        } else if process::find_program(Path::new(program)).is_none() {
            missing.push(Missing {
                package,
                why: format!("{program} is not there"),
            });
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("Set-up: some programs are missing:");
    for Missing { package, why } in &missing {
        eprintln!("  {package}: {why}");
    }
    let packages: Vec<&str> = missing.iter().map(|m| m.package).collect();
    install(workspace, &packages)?;
    match check_qemu(qemu.unwrap_or(Path::new(QEMU_PROGRAM)))? {
        QemuState::Good => Ok(()),
        QemuState::Missing => bail!("{QEMU_PROGRAM} is still not there after the installation"),
        QemuState::Old(found) => bail!(
            "{} is QEMU {found} even after the installation; {QEMU_NEEDED} or later is needed: \
             another copy comes first in PATH",
            process::find_program(Path::new(QEMU_PROGRAM))
                .unwrap_or_default()
                .display()
        ),
    }
}

struct Missing {
    package: &'static str,
    why: String,
}

fn install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let os = OsRelease::read();
    let by_hand = format!(
        "install these packages by hand: {} (QEMU must be {QEMU_NEEDED} or later{})",
        packages.join(" "),
        if os.codename == "bookworm" {
            ": bookworm-backports has it"
        } else {
            ""
        }
    );
    if !os.is_debian_like() || process::find_program(Path::new("apt-get")).is_none() {
        bail!(
            "this system ({}) has no apt-get that the tool knows to use; {by_hand}",
            os.name
        );
    }
    let apt = Apt::for_this_system(workspace, &os)?;
    apt.update()
        .map_err(|error| anyhow::anyhow!("{error:#}\n{by_hand}"))?;
    let plan = apt.plan(packages)?;
    if let Some(found) = plan.version_of("qemu-system-ppc") {
        match Version::of_debian_package(found) {
            Some(version) if version >= QEMU_NEEDED => {}
            _ => bail!(
                "{} offers QEMU {found}; {QEMU_NEEDED} or later is needed. \
                 Use a newer release, or build QEMU and give it with --qemu PROGRAM",
                os.name
            ),
        }
    }
    apt.install(&plan, packages)
}

enum QemuState {
    Good,
    Missing,
    Old(Version),
}

/// Asks the emulator for its version.
///
/// # Errors
/// The program starts but does not say which QEMU it is.
fn check_qemu(program: &Path) -> Result<QemuState> {
    if process::find_program(program).is_none() {
        return Ok(QemuState::Missing);
    }
    let output = process::capture(
        Command::new(program).arg("--version").stderr(Stdio::null()),
        Duration::from_secs(20),
    )?;
    let Some(version) = Version::of_qemu_banner(&output.stdout) else {
        bail!(
            "{} --version does not say which QEMU it is: {:?}",
            program.display(),
            output.stdout.trim()
        );
    };
    Ok(if version >= QEMU_NEEDED {
        QemuState::Good
    } else {
        QemuState::Old(version)
    })
}

/// The version of the emulator, as its banner says it, for reports.
pub fn qemu_version(program: &Path) -> Result<Version> {
    let output = process::capture(
        Command::new(program).arg("--version").stderr(Stdio::null()),
        Duration::from_secs(20),
    )?;
    Version::of_qemu_banner(&output.stdout)
        .ok_or_else(|| anyhow::anyhow!("{} is no QEMU", program.display()))
}
