//! apt, driven with the tool's own list of sources and package lists, so that
//! the system's stay as they are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::os_release::OsRelease;
use super::sources::{self, Archive};
use crate::process;
use crate::progress::Step;
use crate::workspace::Workspace;

/// A download or an installation that takes longer than this has hung.
const LONGEST: Duration = Duration::from_secs(1200);
/// Package lists come in seconds; a network that swallows packets must not
/// keep a person waiting.
const LONGEST_UPDATE: Duration = Duration::from_secs(180);

/// One set of sources with its own state.
pub struct Apt {
    folder: PathBuf,
    architecture: Option<&'static str>,
    /// Where a newer release of a package than the plain one comes from.
    target_release: Option<String>,
}

/// What an installation would do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Packages with the versions that would come.
    pub installs: Vec<(String, String)>,
    /// Packages that would go.
    pub removes: Vec<String>,
}

impl Plan {
    fn parse(simulation: &str) -> Self {
        let mut plan = Self::default();
        for line in simulation.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("Inst") => {
                    let name = words.next().unwrap_or_default().to_owned();
                    let version = line
                        .split_once('(')
                        .and_then(|(_, rest)| rest.split_whitespace().next())
                        .unwrap_or_default();
                    plan.installs.push((name, version.to_owned()));
                }
                Some("Remv") => plan.removes.extend(words.next().map(str::to_owned)),
                _ => {}
            }
        }
        plan
    }

    /// The version of `package` that would come.
    pub fn version_of(&self, package: &str) -> Option<&str> {
        self.installs
            .iter()
            .find(|(name, _)| name == package)
            .map(|(_, version)| version.as_str())
    }
}

impl Apt {
    /// The release this system runs; on Debian 12 with its backports, which
    /// hold the QEMU that is needed.
    pub fn for_this_system(workspace: &Workspace, os: &OsRelease) -> Result<Self> {
        let mut archives = sources::of_release(&sources::system_archives(), &os.codename);
        let main = archives
            .first()
            .context("apt on this system names no archive with a component `main`")?
            .clone();
        let mut target_release = None;
        if main.suite == "bookworm" {
            let backports = main.with_suite("bookworm-backports");
            target_release = Some(backports.suite.clone());
            archives.push(backports);
        }
        Self::with_archives(
            &workspace.setup_dir().join("apt"),
            &archives,
            None,
            target_release,
        )
    }

    /// Another release or architecture of Debian from the same mirror, for
    /// packages that are unpacked and never installed.
    pub fn for_unpacking(
        workspace: &Workspace,
        name: &str,
        suites: &[&str],
        architecture: Option<&'static str>,
    ) -> Result<Self> {
        let os = OsRelease::read();
        let known = sources::of_release(&sources::system_archives(), &os.codename);
        let main = known
            .first()
            .context("apt on this system names no archive with a component `main`")?;
        let main = Archive {
            components: vec!["main".to_owned()],
            ..main.clone()
        };
        let archives: Vec<Archive> = suites.iter().map(|suite| main.with_suite(suite)).collect();
        Self::with_archives(
            &workspace.setup_dir().join(name),
            &archives,
            architecture,
            None,
        )
    }

    fn with_archives(
        folder: &Path,
        archives: &[Archive],
        architecture: Option<&'static str>,
        target_release: Option<String>,
    ) -> Result<Self> {
        for part in ["lists/partial", "archives/partial"] {
            let part = folder.join(part);
            std::fs::create_dir_all(&part)
                .with_context(|| format!("cannot make {}", part.display()))?;
        }
        let options = architecture.map_or(String::new(), |a| format!("arch={a}"));
        let text: String = archives
            .iter()
            .map(|archive| archive.line(&options) + "\n")
            .collect();
        let list = folder.join("sources.list");
        std::fs::write(&list, text).with_context(|| format!("cannot write {}", list.display()))?;
        Ok(Self {
            folder: folder.to_path_buf(),
            architecture,
            target_release,
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.options(&mut command);
        command
    }

    fn options(&self, command: &mut Command) {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut settings = vec![
            format!("Dir::Etc::sourcelist={}", path("sources.list")),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={}", path("lists")),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ];
        if let Some(architecture) = self.architecture {
            // An empty status file: what is installed here is of another machine.
            settings.push(format!("APT::Architecture={architecture}"));
            settings.push(format!("APT::Architectures={architecture}"));
            settings.push("Dir::State::status=/dev/null".to_owned());
        }
        for setting in settings {
            command.args(["-o", &setting]);
        }
        if let Some(release) = &self.target_release {
            command.args(["-t", release]);
        }
        command
            .stdin(Stdio::null())
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C.UTF-8");
    }

    fn network_options(command: &mut Command) {
        for setting in [
            "Acquire::http::Timeout=20",
            "Acquire::https::Timeout=20",
            "Acquire::Retries=1",
            "Acquire::Languages=none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            "APT::Update::Error-Mode=any",
        ] {
            command.args(["-o", setting]);
        }
    }

    /// Fetches the package lists.
    ///
    /// # Errors
    /// The network or the mirror does not answer within a time limit.
    pub fn update(&self) -> Result<()> {
        let step = Step::start("fetching package lists");
        let mut command = self.command("apt-get");
        Self::network_options(&mut command);
        command.arg("update");
        let log = self.folder.join("update.log");
        let status = process::logged(&mut command, &log, LONGEST_UPDATE, |line| step.detail(line))?;
        let hint = if self.mirror_answered() {
            "the mirror is being changed"
        } else {
            "no network?"
        };
        ensure!(
            status.success(),
            "package lists cannot be fetched ({hint}): {}",
            first_complaint(&log)
        );
        step.done();
        Ok(())
    }

    /// Whether the last [`Apt::update`] got anything from the mirror: if so, the
    /// network works, and another suite may be whole where this one is not. (apt
    /// itself asks for lists by their hash first, and by their name if that fails.)
    pub fn mirror_answered(&self) -> bool {
        std::fs::read_to_string(self.folder.join("update.log")).is_ok_and(|log| answered(&log))
    }

    /// What installing `packages` would do.
    ///
    /// # Errors
    /// They cannot be installed, or something else would have to go.
    pub fn plan(&self, packages: &[&str]) -> Result<Plan> {
        let mut command = self.command("apt-get");
        command
            .args(["-s", "--no-install-recommends", "install"])
            .args(packages);
        let log = self.folder.join("plan.log");
        let status = process::logged(&mut command, &log, LONGEST_UPDATE, |_| {})?;
        ensure!(
            status.success(),
            "{} cannot be installed: {}",
            packages.join(" "),
            first_complaint(&log)
        );
        let text = std::fs::read_to_string(&log)
            .with_context(|| format!("cannot read {}", log.display()))?;
        let plan = Plan::parse(&text);
        ensure!(
            plan.removes.is_empty(),
            "installing {} would remove {}: not done. Install it by hand",
            packages.join(" "),
            plan.removes.join(" ")
        );
        Ok(plan)
    }

    /// Installs what `plan` says, as root or through a sudo that asks nothing.
    ///
    /// # Errors
    /// Without such rights the error holds the command to type.
    pub fn install(&self, plan: &Plan, packages: &[&str]) -> Result<()> {
        eprintln!("Set-up: these packages will be installed from this system's mirror:");
        for (name, version) in &plan.installs {
            eprintln!("  {name} {version}");
        }
        let mut apt = self.command("apt-get");
        Self::network_options(&mut apt);
        apt.args(["-y", "--no-install-recommends", "install"])
            .args(packages);
        if !rustix::process::geteuid().is_root() {
            ensure!(
                sudo_asks_nothing(),
                "installing needs root. Type this, then start again:\n  sudo {}",
                process::describe(&apt)
            );
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive"])
                .arg(apt.get_program())
                .args(apt.get_args());
            apt = sudo;
        }
        apt.args(["-o", "APT::Status-Fd=1", "-o", "Dpkg::Use-Pty=0"]);
        let step = Step::start(format!("installing {}", packages.join(" ")));
        let log = self.folder.join("install.log");
        let status = process::logged(&mut apt, &log, LONGEST, |line| {
            if let Some(text) = progress_of(line) {
                step.detail(&text);
            }
        })?;
        ensure!(
            status.success(),
            "installing {} failed: {} (the whole log: {})",
            packages.join(" "),
            first_complaint(&log),
            log.display()
        );
        step.done();
        Ok(())
    }

    /// The versions of `package` that the lists offer, newest first.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let output = process::capture(
            self.command("apt-cache")
                .args(["madison", package])
                .stderr(Stdio::null()),
            LONGEST_UPDATE,
        )?;
        Ok(output
            .stdout
            .lines()
            .filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned()))
            .collect())
    }

    /// The packages that `package` depends on.
    pub fn depends(&self, package: &str) -> Result<Vec<String>> {
        let output = process::capture(
            self.command("apt-cache")
                .args(["depends", package])
                .stderr(Stdio::null()),
            LONGEST_UPDATE,
        )?;
        let names = output
            .stdout
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.map(str::to_owned).collect())
    }

    /// Fetches `packages` (names, or `name=version`) and unpacks them into
    /// `folder`. Nothing is installed.
    pub fn unpack(&self, packages: &[String], folder: &Path) -> Result<()> {
        let archives = self.folder.join("archives");
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let step = Step::start(format!("fetching {}", packages.join(" ")));
        let mut command = self.command("apt-get");
        Self::network_options(&mut command);
        command
            .arg("download")
            .args(packages)
            .current_dir(&archives);
        let log = self.folder.join("download.log");
        let status = process::logged(&mut command, &log, LONGEST, |line| step.detail(line))?;
        ensure!(
            status.success(),
            "{} cannot be fetched: {}",
            packages.join(" "),
            first_complaint(&log)
        );
        for package in packages {
            let name = package.split('=').next().unwrap_or(package);
            let file = newest_archive(&archives, name)?;
            let log = self.folder.join("unpack.log");
            let mut command = Command::new("dpkg-deb");
            command.arg("-x").arg(&file).arg(folder);
            let status = process::logged(&mut command, &log, LONGEST, |_| {})?;
            ensure!(
                status.success(),
                "{} cannot be unpacked: {}",
                file.display(),
                first_complaint(&log)
            );
        }
        step.done();
        Ok(())
    }
}

/// The downloaded file of package `name`.
fn newest_archive(folder: &Path, name: &str) -> Result<PathBuf> {
    let prefix = format!("{name}_");
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .max()
        .map(|(_, path)| path)
        .with_context(|| format!("no archive of {name} in {}", folder.display()))
}

fn sudo_asks_nothing() -> bool {
    process::find_program(Path::new("sudo")).is_some()
        && process::capture(
            Command::new("sudo")
                .args(["-n", "true"])
                .stderr(Stdio::null()),
            Duration::from_secs(10),
        )
        .is_ok_and(|output| output.status.success())
}

/// The line of apt's log that says why, or where to look.
fn first_complaint(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .find(|line| line.starts_with("E: "))
        .or_else(|| {
            text.lines()
                .find(|line| line.starts_with("Err:") || line.starts_with("W: "))
        })
        .map_or_else(|| format!("see {}", log.display()), str::to_owned)
}

/// Whether a log of `apt-get update` tells of anything that came.
fn answered(log: &str) -> bool {
    log.lines()
        .any(|line| line.starts_with("Get:") || line.starts_with("Hit:"))
}

/// apt's machine-readable progress as text: `dlstatus:1:12.5:what`.
fn progress_of(line: &str) -> Option<String> {
    let mut parts = line.splitn(4, ':');
    let kind = parts.next()?;
    if kind != "dlstatus" && kind != "pmstatus" {
        return None;
    }
    let (_, percent, what) = (parts.next()?, parts.next()?, parts.next()?);
    let percent: f64 = percent.parse().ok()?;
    Some(format!("{percent:.0}% {what}"))
}

/// Fails unless the tools that unpack packages are there.
pub fn can_unpack() -> Result<()> {
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        if process::find_program(Path::new(program)).is_none() {
            bail!("{program} is not on this system");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_tells_what_comes_and_goes() {
        let plan = Plan::parse(
            "NOTE: This is only a simulation!\n\
             Inst libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n\
             Inst qemu-system-ppc [1:7.2+dfsg-7] (1:10.0.2+ds-2~bpo12+1 Debian Backports:bookworm-backports [amd64])\n\
             Remv libvirt0 [9.0]\nConf libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n",
        );
        assert_eq!(
            plan.version_of("qemu-system-ppc"),
            Some("1:10.0.2+ds-2~bpo12+1")
        );
        assert_eq!(plan.version_of("libfdt1"), Some("1.6.1-4+b1"));
        assert_eq!(plan.removes, ["libvirt0"]);
    }

    #[test]
    fn a_mirror_that_is_out_of_step_is_told_from_none() {
        assert!(answered(
            "Get:1 http://mirror/debian trixie InRelease [140 kB]\n\
             Err:2 http://mirror/debian trixie/main ppc64el Packages\n  File has unexpected size\n"
        ));
        assert!(answered("Hit:1 http://mirror/debian trixie InRelease\n"));
        assert!(!answered(
            "Err:1 http://mirror/debian trixie InRelease\n  Temporary failure resolving 'mirror'\n"
        ));
    }

    #[test]
    fn progress_lines_are_told_from_others() {
        assert_eq!(
            progress_of("dlstatus:3:12.5:Retrieving file 3 of 9").as_deref(),
            Some("12% Retrieving file 3 of 9")
        );
        assert_eq!(progress_of("Reading package lists..."), None);
    }
}
