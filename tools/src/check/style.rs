//! Formatting and lints: rustfmt's and clippy's word.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::Findings;
use crate::image::build::{cargo_program, for_machine};
use crate::process;
use crate::workspace::Workspace;

const LONGEST: Duration = Duration::from_secs(1800);

/// Lines of output that a finding shows.
const SHOWN: usize = 60;

/// `cargo fmt --check`.
pub fn formatting() -> Result<Findings> {
    let mut command = Command::new(cargo_program());
    command.args(["fmt", "--all", "--check"]);
    run(command, "fmt")
}

/// clippy for this machine.
pub fn host_lints() -> Result<Findings> {
    let mut command = Command::new(cargo_program());
    command.args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--color=never",
        "--",
        "-Dwarnings",
    ]);
    run(command, "clippy-host")
}

/// clippy for the image.
pub fn image_lints(workspace: &Workspace) -> Result<Findings> {
    let mut command = Command::new(cargo_program());
    command.args([
        "clippy",
        "--quiet",
        "--release",
        "--package",
        "pinion",
        "--bins",
        "--lib",
        "--color=never",
    ]);
    for_machine(workspace, &mut command);
    command.args(["--", "-Dwarnings"]);
    run(command, "clippy-image")
}

fn run(mut command: Command, name: &str) -> Result<Findings> {
    let log = format!("target/tests/{name}.log");
    // Colours would only garble the report.
    command.env("TERM", "dumb");
    let mut lines = Vec::new();
    let status = process::logged(&mut command, Path::new(&log), LONGEST, |line| {
        lines.push(line.to_owned())
    })?;
    if status.success() {
        return Ok(Findings::new());
    }
    let mut findings = vec![format!(
        "{} ({status}; all of it: {log})",
        process::describe(&command)
    )];
    findings.extend(lines.into_iter().take(SHOWN));
    Ok(findings)
}
