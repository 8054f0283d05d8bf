//! Emulator tests: side by side as far as cores allow, one line each.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::artefacts::{Artefacts, linux_partition};
use super::declaration::{Console, Drive, Kernel};
use super::expand::Case;
use super::play::{self, Played};
use super::report::{self, Counts, Mark};
use crate::board::Board;
use crate::cli::TestOptions;
use crate::emulator::qemu::{Serial, Setting};
use crate::setup;
use crate::trampoline::Entry;
use crate::workspace::Workspace;

/// Builds what the cases need and plays them.
pub fn run(
    workspace: &Workspace,
    options: &TestOptions,
    cases: &[Case],
    counts: &mut Counts,
) -> Result<()> {
    let program = options
        .qemu
        .clone()
        .unwrap_or_else(|| PathBuf::from(setup::QEMU_PROGRAM));
    let artefacts = Artefacts::prepare(workspace, cases)?;
    let workers = options
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1);
    println!(
        "emulator tests: {} on QEMU {}, {workers} side by side",
        cases.len(),
        setup::qemu_version(&program)?
    );
    let bar = progress_bar(cases.len());
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        for _ in 0..workers.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let outcome = one(workspace, &artefacts, &program, case);
                    let text = describe(case, start.elapsed().as_secs_f64(), &outcome);
                    let mut counts = results
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    match outcome.verdict {
                        Verdict::Passed => counts.passed += 1,
                        Verdict::Failed { .. } => counts.failed += 1,
                        Verdict::Skipped(_) => counts.skipped += 1,
                    }
                    // Under the lock: lines of two tests do not mix.
                    bar.suspend(|| println!("{text}"));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    counts.add(
        results
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner),
    );
    Ok(())
}

fn progress_bar(count: usize) -> ProgressBar {
    let target = if crate::progress::is_live() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style =
        ProgressStyle::with_template("{spinner} emulator tests {pos}/{len} {wide_bar} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(count as u64), target).with_style(style);
    bar.enable_steady_tick(std::time::Duration::from_millis(250));
    bar
}

enum Verdict {
    Passed,
    Failed { why: String, tail: Vec<String> },
    Skipped(String),
}

struct Outcome {
    verdict: Verdict,
    folder: PathBuf,
    typed: Option<String>,
}

fn one(workspace: &Workspace, artefacts: &Artefacts, program: &Path, case: &Case) -> Outcome {
    let folder = Path::new("target/emulator").join(&case.name);
    let mut outcome = Outcome {
        verdict: Verdict::Passed,
        folder,
        typed: None,
    };
    let setting = match setting(artefacts, program, case, &outcome.folder) {
        Ok(Ok(setting)) => setting,
        Ok(Err(missing)) => {
            outcome.verdict = Verdict::Skipped(missing);
            return outcome;
        }
        Err(error) => {
            outcome.verdict = Verdict::Failed {
                why: format!("{error:#}"),
                tail: Vec::new(),
            };
            return outcome;
        }
    };
    outcome.typed = Some(setting.typed());
    outcome.verdict = match play::play(case, &setting, &outcome.folder, workspace.debug_image()) {
        Ok(Played { failure: None, .. }) => Verdict::Passed,
        Ok(Played {
            failure: Some(why),
            tail,
        }) => Verdict::Failed { why, tail },
        Err(error) => Verdict::Failed {
            why: format!("{error:#}"),
            tail: Vec::new(),
        },
    };
    outcome
}

fn describe(case: &Case, seconds: f64, outcome: &Outcome) -> String {
    match &outcome.verdict {
        Verdict::Passed => report::line(Mark::Ok, &case.name, seconds, ""),
        Verdict::Skipped(why) => report::line(Mark::Skip, &case.name, seconds, why),
        Verdict::Failed { why, tail } => {
            let mut text = report::line(Mark::Fail, &case.name, seconds, why);
            text.push_str(&format!(
                "\n      last lines of {}/console.log:",
                outcome.folder.display()
            ));
            for line in tail {
                text.push_str(&format!("\n      | {line}"));
            }
            text.push_str(&format!("\n      again: cargo xtask test {}", case.name));
            if let Some(typed) = &outcome.typed {
                text.push_str(&format!("\n      plain: {typed}"));
            }
            text
        }
    }
}

/// The machine of a case; the inner error says what is not to be had.
fn setting(
    artefacts: &Artefacts,
    program: &Path,
    case: &Case,
    folder: &Path,
) -> Result<Result<Setting, String>> {
    // Logs of an earlier run must not be taken for this one's.
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let board = Board::load(&case.board)?;
    let wanted = &case.settings;
    let mut setting = Setting::of(program, board);
    setting.icount_shift = wanted
        .icount
        .unwrap_or(true)
        .then_some(setting.board.icount_shift);
    setting.smp.clone_from(&wanted.smp);
    setting.memory.clone_from(&wanted.memory);
    for disk in wanted.disks.iter().flatten() {
        setting.drives.push(disk.make(folder)?);
    }
    setting.devices = wanted.devices.clone().unwrap_or_default();
    setting.trace = wanted.trace.is_some() && !play::switches_trace(case);
    setting.extra = wanted.qemu.clone().unwrap_or_default();
    setting.append.clone_from(&wanted.append);
    setting.restarts = wanted.restarts.unwrap_or(false);
    setting.dtb = wanted.dtb.as_ref().map(PathBuf::from);
    setting.log = Some(folder.join("qemu.log"));
    setting.control = Some(folder.join("qmp.sock"));
    setting.second_serial = match wanted.console.unwrap_or_default() {
        Console::Shared => None,
        Console::Com1 => Some(Serial::First(folder.join("com2.log"))),
        Console::Com2 => Some(Serial::Second(folder.join("com1.log"))),
    };
    setting.kernel = match wanted.kernel.unwrap_or_default() {
        Kernel::None => None,
        Kernel::Pinion => Some(artefacts.image.clone()),
        Kernel::Linux => match &artefacts.linux {
            Ok(linux) => Some(linux.kernel.clone()),
            Err(why) => return Ok(Err(why.clone())),
        },
        Kernel::HostileEntry => None,
    };
    setting.initrd = match wanted.initrd.as_deref() {
        Some("kexec") => match &artefacts.linux {
            Ok(linux) => Some(linux.initrd.clone()),
            Err(why) => return Ok(Err(why.clone())),
        },
        Some(_) if let Some((flavour, arguments)) = linux_partition(case) => {
            match artefacts.linux_partition(flavour, arguments)? {
                Ok(path) => Some(path),
                Err(why) => return Ok(Err(why)),
            }
        }
        Some("probe") => Some(artefacts.probe()?),
        Some(words) => match artefacts.bundled(words, folder)? {
            Ok(Some(path)) => Some(path),
            Ok(None) => Some(PathBuf::from(words)),
            Err(why) => return Ok(Err(why)),
        },
        None => None,
    };
    setting.flash = match wanted.drive {
        Some(Drive::Pnor) => Some(artefacts.flash_copy(folder, setting.board.flash_bytes)?),
        None => None,
    };
    // Last: the tree is that of the machine as it is set up by now.
    let changes = wanted.tree.as_deref().unwrap_or_default();
    if wanted.kernel == Some(Kernel::HostileEntry) {
        setting.kernel = Some(artefacts.entered(Entry::Hostile, changes, &setting, folder)?);
    } else if !changes.is_empty() {
        setting.kernel = Some(artefacts.entered(Entry::Plain, changes, &setting, folder)?);
    }
    Ok(Ok(setting))
}
