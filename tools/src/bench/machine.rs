//! One machine that counts one nanosecond an instruction, and what it prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::console;
use super::lines;
use super::partition;
use super::record::{Record, Row};
use crate::board::Board;
use crate::cli::BenchOptions;
use crate::emulator::qemu::Setting;
use crate::setup;
use crate::workspace::Workspace;

/// Devices behind whose PEs operations are measured.
const DEVICES: [&str; 1] = ["edu,bus=pcie.0,dma_mask=0xffffffffffffffff"];

/// Memory for the rows of a million pages.
const LARGE: &str = "8G";

/// Threads and partitions that rows are measured with to see how they grow.
const THREADS: [usize; 2] = [2, 4];
const PARTITIONS: [usize; 2] = [4, 16];

/// The emulator that the options name, or the usual one.
pub fn program(named: Option<&Path>) -> PathBuf {
    named
        .unwrap_or(Path::new(setup::QEMU_PROGRAM))
        .to_path_buf()
}

/// The machine that is measured.
pub fn setting(program: &Path, board: Board) -> Setting {
    let mut setting = Setting::of(program, board);
    setting.icount_shift = Some(0);
    setting.kernel = Some(PathBuf::from("target/pinion.elf"));
    setting.devices = DEVICES.map(str::to_owned).to_vec();
    setting
}

/// The versions that figures hold for: of the compiler and the emulator.
///
/// # Errors
/// One of them does not say.
pub fn versions(options: &BenchOptions) -> Result<(String, String)> {
    let qemu = setup::qemu_version(&program(options.qemu.as_deref()))?.to_string();
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .context("rustc does not run")?;
    let rustc = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok((rustc, qemu))
}

/// A machine of which rows are read.
struct Run {
    setting: Setting,
    /// What the names of its rows end in.
    suffix: String,
}

/// All machines that are needed for the rows of `board`.
fn runs(workspace: &Workspace, options: &BenchOptions, board: &Board) -> Result<Vec<Run>> {
    let plain = setting(&program(options.qemu.as_deref()), board.clone());
    let run = |words: &str, change: &dyn Fn(&mut Setting)| {
        let mut setting = plain.clone();
        setting.append = (!words.is_empty()).then(|| format!("run={words}"));
        change(&mut setting);
        setting
    };
    let mut runs = vec![
        // The start as it is on the board's own memory.
        (run("bench+boot", &|_| ()), String::new()),
        (
            run("bench", &|setting| setting.memory = Some(LARGE.to_owned())),
            String::new(),
        ),
    ];
    for count in THREADS {
        let threads = run("bench+=map-1", &|setting| {
            setting.smp = Some(count.to_string());
        });
        runs.push((threads, format!("-threads-{count}")));
    }
    // POWER8 runs no partitions yet.
    if board.machine != "powernv8" {
        let one = partition::one(workspace, None)?;
        let alone = run("", &|setting| setting.initrd = Some(one.clone()));
        for count in THREADS {
            let mut threads = alone.clone();
            threads.smp = Some(count.to_string());
            runs.push((threads, format!("-threads-{count}")));
        }
        runs.push((alone, String::new()));
        let pair = partition::pair(workspace)?;
        let switched = run("", &|setting| setting.initrd = Some(pair.clone()));
        runs.push((switched, String::new()));
        for count in PARTITIONS {
            let many = partition::many(workspace, count)?;
            let among = run("", &|setting| setting.initrd = Some(many.clone()));
            runs.push((among, format!("-partitions-{count}")));
        }
    }
    let run = |(setting, suffix)| Run { setting, suffix };
    Ok(runs.into_iter().map(run).collect())
}

/// Runs the image's benchmark on `board`.
///
/// # Errors
/// The machine does not start, does not end in time, or says that something
/// failed.
pub fn measure(
    workspace: &Workspace,
    options: &BenchOptions,
    board: &Board,
    image_bytes: u64,
) -> Result<Record> {
    let (rustc, qemu) = versions(options)?;
    let mut record = Record {
        board: board.name.clone(),
        rustc,
        qemu,
        ..Record::default()
    };
    for run in runs(workspace, options, board)? {
        read(&run, options.timeout, &mut record)?;
    }
    let (expected, counted) = record.calibration;
    if expected == 0 || counted.abs_diff(expected) * 1000 > expected {
        bail!(
            "a loop of {expected} instructions was counted as {counted}: no figure is to be trusted"
        );
    }
    println!("  calibration: a loop of {expected} instructions was counted as {counted}");
    record.add(Row {
        id: "image".to_owned(),
        units: 1,
        min: image_bytes,
        median: image_bytes,
        mmio: None,
        opal: None,
    });
    Ok(record)
}

/// Reads what the machine measures until it says that it is done.
fn read(run: &Run, seconds: u64, record: &mut Record) -> Result<()> {
    let take = |line: &str| lines::take(line, &run.suffix, record);
    console::read(&run.setting, Stdio::inherit(), seconds, "console.log", take)
}
