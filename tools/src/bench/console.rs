//! What a machine prints, line by line.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::emulator::machine::{Machine, Output};
use crate::emulator::qemu::Setting;

/// Starts a machine and gives each line of its console to `take`, until that says
/// that it was the last one. A console that ends before, or after `seconds`, is left
/// in `target/bench` as `log`.
pub fn read(
    setting: &Setting,
    errors: Stdio,
    seconds: u64,
    log: &str,
    mut take: impl FnMut(&str) -> Result<bool>,
) -> Result<()> {
    let mut machine = Machine::start(setting, errors)?;
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
                    if take(&String::from_utf8_lossy(&line))? {
                        return Ok(());
                    }
                    line.clear();
                }
            }
            Output::Quiet if Instant::now() <= end => {}
            stopped => {
                let log = Path::new("target/bench").join(log);
                std::fs::create_dir_all("target/bench")?;
                std::fs::write(&log, &console)?;
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
