//! Tests that run on this machine: cargo's, as `tests/host.toml` lists them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::report::{self, Counts, Mark};
use crate::image::build::cargo_program;
use crate::process;

/// Where the runs are declared.
const FILE: &str = "tests/host.toml";

/// Lines of the log that a failed run shows.
const TAIL: usize = 40;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Runs {
    run: Vec<Run>,
}

/// One cargo command whose test results count.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    /// The name for people and for the log's folder.
    name: String,
    /// What it shows.
    #[allow(dead_code, reason = "for the reader of the file")]
    about: String,
    /// cargo's arguments.
    cargo: Vec<String>,
    /// Arguments for the test programs.
    #[serde(default)]
    arguments: Vec<String>,
    /// Environment.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Seconds.
    timeout: u64,
}

/// Runs all of them; with `filter` only tests whose names hold it.
pub fn run(filter: Option<&str>, counts: &mut Counts) -> Result<()> {
    let text = std::fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
    let runs: Runs = toml::from_str(&text).with_context(|| format!("{FILE} is wrong"))?;
    ensure!(!runs.run.is_empty(), "{FILE} lists no run");
    for run in &runs.run {
        counts.add(one(run, filter)?);
    }
    Ok(())
}

fn one(run: &Run, filter: Option<&str>) -> Result<Counts> {
    let mut command = Command::new(cargo_program());
    command
        .args(&run.cargo)
        .arg("--no-fail-fast")
        .arg("--color=never")
        .arg("--");
    command
        .args(filter)
        .args(&run.arguments)
        .envs(&run.environment);
    // What cargo tells this tool about itself is not for the tests' builds.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name.starts_with("CARGO_BIN_")
        {
            command.env_remove(name.as_ref());
        }
    }
    let log = PathBuf::from(format!("target/tests/{}.log", run.name));
    let start = Instant::now();
    let step = crate::progress::Step::start(format!("host tests: {}", run.name));
    let mut reader = Reader::default();
    let status = process::logged(
        &mut command,
        &log,
        Duration::from_secs(run.timeout),
        |line| {
            step.detail(line.trim());
            if let Some(text) = reader.feed(line, start.elapsed().as_secs_f64()) {
                println!("{text}");
            }
        },
    );
    drop(step);
    let good = matches!(&status, Ok(status) if status.success());
    let mut counts = reader.counts;
    if !good && counts.failed == 0 {
        // Nothing failed by name: it did not build, hung, or crashed.
        counts.failed = 1;
    }
    if !good {
        println!(
            "{}",
            report::line(Mark::Fail, &run.name, start.elapsed().as_secs_f64(), "")
        );
        match status {
            Ok(status) => println!("      cargo: {status}"),
            Err(error) => println!("      {error:#}"),
        }
        show_tail(&log);
        println!("      again: {}", process::describe(&command));
    }
    Ok(counts)
}

fn show_tail(log: &Path) {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    println!("      last lines of {}:", log.display());
    for line in &lines[lines.len().saturating_sub(TAIL)..] {
        println!("      | {line}");
    }
}

/// Follows cargo's output: which program runs, how its tests went.
#[derive(Debug, Default)]
struct Reader {
    program: String,
    since: f64,
    counts: Counts,
}

impl Reader {
    /// Reads the next line; a line for people comes back after each program
    /// that ran a test.
    fn feed(&mut self, line: &str, now: f64) -> Option<String> {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("Running ") {
            self.program = rest
                .split(" (")
                .next()
                .unwrap_or(rest)
                .trim_start_matches("unittests ")
                .to_owned();
            // "unittests src/main.rs" is the same for each crate: the file in
            // target/ tells them apart.
            if let Some((_, file)) = rest.rsplit_once("/deps/") {
                let stem = file
                    .trim_end_matches(')')
                    .rsplit_once('-')
                    .map_or(file, |(stem, _)| stem);
                self.program = format!("{stem} {}", self.program);
            }
            self.since = now;
        } else if let Some(name) = line.strip_prefix("Doc-tests ") {
            self.program = format!("{name} examples in the documentation");
            self.since = now;
        } else if let Some(counts) = parse_result(line) {
            self.counts.add(counts);
            if counts.total() == 0 {
                return None;
            }
            let mark = if counts.failed == 0 {
                Mark::Ok
            } else {
                Mark::Fail
            };
            return Some(report::line(
                mark,
                &self.program,
                now - self.since,
                &counts.to_string(),
            ));
        }
        None
    }
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
fn parse_result(line: &str) -> Option<Counts> {
    let rest = line.strip_prefix("test result: ")?;
    let (_, numbers) = rest.split_once(". ")?;
    let mut counts = Counts::default();
    for part in numbers.split(';') {
        let Some((number, what)) = part.trim().split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        match what {
            "passed" => counts.passed = number,
            "failed" => counts.failed = number,
            "ignored" => counts.skipped = number,
            _ => {}
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up_and_named() {
        let mut reader = Reader::default();
        assert_eq!(
            reader.feed(
                "     Running unittests src/lib.rs (target/debug/deps/pinion-0a1b)",
                1.0
            ),
            None
        );
        let line = reader
            .feed("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s", 3.0)
            .unwrap();
        assert!(
            line.starts_with("ok    pinion src/lib.rs") && line.contains("2.0 s"),
            "{line}"
        );
        assert!(reader.feed("   Doc-tests pinion", 3.0).is_none());
        assert_eq!(
            reader.feed(
                "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured",
                3.0
            ),
            None
        );
        let line = reader
            .feed(
                "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured",
                4.0,
            )
            .unwrap();
        assert!(line.starts_with("FAIL"), "{line}");
        assert_eq!(
            reader.counts,
            Counts {
                passed: 13,
                failed: 2,
                skipped: 1
            }
        );
    }
}
