//! `cargo xtask test`: host tests, then emulator tests side by side.

mod artefacts;
mod bundled;
mod declaration;
mod devices;
mod disks;
mod emulated;
mod expand;
mod faults;
mod host;
mod play;
mod report;
mod trace;
mod transcript;

use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::cli::TestOptions;
use crate::workspace::Workspace;
use declaration::Declarations;
use expand::Case;
use report::Counts;

/// Sets up, runs the tests, prints the closing line.
///
/// # Errors
/// Nothing could be run: set-up or build failed, or the filter fits nothing.
pub fn command(workspace: &Workspace, options: &TestOptions) -> Result<ExitCode> {
    let cases = expand::expand(&Declarations::load()?)?;
    let fits = |name: &str| {
        options
            .filter
            .as_deref()
            .is_none_or(|filter| name.contains(filter))
    };
    let mut chosen: Vec<Case> = match &options.filter {
        // A whole name means that test alone, not those it is a part of.
        Some(name) if cases.iter().any(|case| case.name == *name) => cases
            .into_iter()
            .filter(|case| case.name == *name)
            .collect(),
        _ => cases.into_iter().filter(|case| fits(&case.name)).collect(),
    };
    // The longest first, or the last of them runs alone.
    chosen.sort_by_key(|case| std::cmp::Reverse(case.timeout));
    if options.list {
        for case in &chosen {
            println!("{}", case.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    // A filter that fits emulator tests means those, unless --host says otherwise.
    let run_host =
        !options.emulator && (options.host || options.filter.is_none() || chosen.is_empty());
    let run_emulator = !options.host && !chosen.is_empty();

    crate::setup::ensure(workspace, &options.wanted(run_emulator))?;
    let mut counts = Counts::default();
    if run_host {
        host::run(options.filter.as_deref(), &mut counts)?;
    }
    if run_emulator {
        emulated::run(workspace, options, &chosen, &mut counts)?;
    }
    ensure!(
        counts.total() > 0,
        "no test fits {:?}",
        options.filter.as_deref().unwrap_or("")
    );
    println!("{counts}");
    Ok(if counts.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is wrong with the declarations, for `cargo xtask check`.
pub fn check_declarations() -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for case in expand::expand(&Declarations::load()?)? {
        if let Err(error) = crate::board::Board::load(&case.board) {
            findings.push(format!("{}: {error:#}", case.name));
        }
    }
    Ok(findings)
}
