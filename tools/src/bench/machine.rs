//! One machine that counts one nanosecond an instruction, and what it prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::lines;
use super::record::{Record, Row};
use crate::board::Board;
use crate::cli::BenchOptions;
use crate::cpio::Archive;
use crate::emulator::machine::{Machine, Output};
use crate::emulator::qemu::Setting;
use crate::workspace::Workspace;
use crate::{image, setup};

/// Devices behind whose PEs operations are measured.
const DEVICES: [&str; 1] = ["edu,bus=pcie.0,dma_mask=0xffffffffffffffff"];

/// The emulator that the options name.
pub fn program(options: &BenchOptions) -> PathBuf {
    let named = options.qemu.clone();
    named.unwrap_or_else(|| PathBuf::from(setup::QEMU_PROGRAM))
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
    let qemu = setup::qemu_version(&program(options))?.to_string();
    Ok((rustc_version()?, qemu))
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
    let (program, board) = (program(options), board.clone());
    let mut bare = setting(&program, board.clone());
    bare.append = Some("run=bench,poweroff".to_owned());
    read(&bare, options.timeout, &mut record)?;
    let (expected, counted) = record.calibration;
    if expected == 0 || counted.abs_diff(expected) * 1000 > expected {
        bail!(
            "a loop of {expected} instructions was counted as {counted}: no figure is to be trusted"
        );
    }
    println!("  calibration: a loop of {expected} instructions was counted as {counted}");
    // POWER8 runs no partitions yet.
    if board.machine != "powernv8" {
        let mut with_partition = setting(&program, board);
        with_partition.initrd = Some(partition(workspace)?);
        with_partition.append = Some("run=start+16".to_owned());
        read(&with_partition, options.timeout, &mut record)?;
    }
    record.rows.push(Row {
        id: "image".to_owned(),
        units: 1,
        min: image_bytes,
        median: image_bytes,
        mmio: None,
        opal: None,
    });
    Ok(record)
}

/// An initrd with the partition that measures calls.
///
/// # Errors
/// It does not build.
pub fn partition(workspace: &Workspace) -> Result<PathBuf> {
    let probe = image::build::cargo(workspace, "pinion-probe", "probe")?;
    let mut archive = Archive::default();
    archive.file("kernel", 0o644, &image::read(&probe)?)?;
    archive.file("bootargs", 0o644, b"probe=cost")?;
    let path = PathBuf::from("target/bench/partition.cpio");
    std::fs::create_dir_all("target/bench")?;
    image::write_if_changed(&path, &archive.finish()?)?;
    Ok(path)
}

/// Reads what the machine measures until it says that it is done.
fn read(setting: &Setting, seconds: u64, record: &mut Record) -> Result<()> {
    let mut machine = Machine::start(setting, Stdio::inherit())?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut line, mut console) = (Vec::new(), Vec::new());
    loop {
        match machine.read(Duration::from_millis(100)) {
            Output::Bytes(bytes) => {
                console.extend_from_slice(&bytes);
                for byte in bytes {
                    if byte != b'\n' {
                        line.push(byte);
                        continue;
                    }
                    if lines::take(&String::from_utf8_lossy(&line), record)? {
                        return Ok(());
                    }
                    line.clear();
                }
            }
            Output::Quiet if Instant::now() <= end => {}
            stopped => {
                let log = Path::new("target/bench/console.log");
                std::fs::create_dir_all("target/bench")?;
                std::fs::write(log, &console)?;
                let why = match stopped {
                    Output::Closed => "the machine ended before the benchmark was done".to_owned(),
                    _ => format!("the benchmark is not done after {seconds} s"),
                };
                bail!(
                    "{why}; its console is {}:\n{}",
                    log.display(),
                    setting.typed()
                );
            }
        }
    }
}

fn rustc_version() -> Result<String> {
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .context("rustc does not run")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
