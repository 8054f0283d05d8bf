//! One machine that counts one nanosecond an instruction, and what it prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::lines;
use super::record::{Record, Row};
use crate::board::Board;
use crate::cli::BenchOptions;
use crate::emulator::machine::{Machine, Output};
use crate::emulator::qemu::Setting;
use crate::setup;

/// Devices behind whose PEs operations are measured.
const DEVICES: [&str; 1] = ["edu,bus=pcie.0,dma_mask=0xffffffffffffffff"];

/// Runs the image's benchmark on `board`.
///
/// # Errors
/// The machine does not start, does not end in time, or says that something
/// failed.
pub fn measure(options: &BenchOptions, board: Board, image_bytes: u64) -> Result<Record> {
    let program = options
        .qemu
        .clone()
        .unwrap_or_else(|| PathBuf::from(setup::QEMU_PROGRAM));
    let mut record = Record {
        board: board.name.clone(),
        rustc: rustc_version()?,
        qemu: setup::qemu_version(&program)?.to_string(),
        ..Record::default()
    };
    let mut setting = Setting::of(&program, board);
    setting.icount_shift = Some(0);
    setting.kernel = Some(PathBuf::from("target/pinion.elf"));
    setting.devices = DEVICES.map(str::to_owned).to_vec();
    setting.append = Some("run=bench,poweroff".to_owned());
    let mut machine = Machine::start(&setting, Stdio::inherit())?;
    let end = Instant::now() + Duration::from_secs(options.timeout);
    let mut line = Vec::new();
    let mut done = false;
    let mut console = Vec::new();
    loop {
        match machine.read(Duration::from_millis(100)) {
            Output::Bytes(bytes) => {
                console.extend_from_slice(&bytes);
                for byte in bytes {
                    if byte != b'\n' {
                        line.push(byte);
                        continue;
                    }
                    done |= lines::take(&String::from_utf8_lossy(&line), &mut record)?;
                    line.clear();
                }
            }
            Output::Closed => break,
            Output::Quiet if Instant::now() > end => {
                let log = Path::new("target/bench/console.log");
                std::fs::create_dir_all("target/bench")?;
                std::fs::write(log, &console)?;
                bail!(
                    "the benchmark is not done after {} s; its console is {}",
                    options.timeout,
                    log.display()
                );
            }
            Output::Quiet => {}
        }
    }
    if !done {
        bail!(
            "the machine ended before the benchmark was done:\n{}",
            setting.typed()
        );
    }
    let (expected, counted) = record.calibration;
    if expected == 0 || counted.abs_diff(expected) * 1000 > expected {
        bail!(
            "a loop of {expected} instructions was counted as {counted}: no figure is to be trusted"
        );
    }
    println!("  calibration: a loop of {expected} instructions was counted as {counted}");
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

fn rustc_version() -> Result<String> {
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .context("rustc does not run")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
