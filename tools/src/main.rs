//! The tool behind `cargo xtask`: set-up, build, run, test, checks.
//!
//! One folder per concept; `cli` says what the commands are and this file
//! says which folder answers which command.

mod bench;
mod board;
mod bundle;
mod check;
mod cli;
mod cpio;
mod dump;
mod emulator;
mod image;
mod kexec;
mod pnor;
mod process;
mod progress;
mod run;
mod setup;
mod symbols;
mod test;
mod trampoline;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use cli::{Command, RunTarget};
use workspace::Workspace;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: cli::Cli) -> Result<ExitCode> {
    let workspace = Workspace::enter()?;
    process::signals::end_children_on_signals()?;
    match cli.command {
        Command::Setup(options) => {
            setup::ensure(&workspace, &options.wanted())?;
            println!("set-up complete: nothing is missing");
            Ok(ExitCode::SUCCESS)
        }
        Command::Image => {
            setup::ensure(&workspace, &setup::Wanted::for_image())?;
            image::command(&workspace)
        }
        Command::Run {
            target: Some(RunTarget::Linux(options)),
            ..
        } => run::linux(&workspace, &options.absolute()),
        Command::Run {
            target: None,
            options,
        } => run::command(&workspace, &options.absolute()),
        Command::Test(options) => test::command(&workspace, &options),
        Command::Check => check::command(&workspace),
        Command::Symbolize(options) => symbols::command(&workspace, &options),
        Command::Dump(options) => dump::command(&workspace, &options.absolute()),
        Command::Bench { target, options } => bench::command(&workspace, target, &options),
        Command::Bundle {
            manifest,
            output,
            files,
        } => {
            setup::ensure(&workspace, &setup::Wanted::everything(None))?;
            bundle::command(&manifest, &output, &files)
        }
    }
}
