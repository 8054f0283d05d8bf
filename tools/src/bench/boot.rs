//! `cargo xtask bench boot`: Debian's kernel with one initrd, booted in a
//! partition, on the bare machine, and on QEMU's own pseries machine.

use std::process::{ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::console;
use super::machine::program;
use crate::board::Board;
use crate::cli::BootOptions;
use crate::emulator::qemu::Setting;
use crate::kexec::{self, Linux};
use crate::workspace::Workspace;
use crate::{image, setup};

/// Memory of each kernel, in MiB: the least that a bare machine has.
const MIB: u64 = 1024;

/// What the machine below a partition has.
const MACHINE: &str = "2G";

/// Runs of each, of which the one that took the least of the host's time counts:
/// others use this machine too.
const RUNS: usize = 2;

/// Processors that pseries has, by the board that has the same.
const PROCESSORS: [(&str, &str); 2] = [("powernv9", "power9"), ("powernv10", "power10")];

/// What a boot took.
#[derive(Clone, Copy, Debug, Default)]
struct Boot {
    /// The kernel's own time from its first tick to userspace, in seconds of the
    /// machine's time, 8 ns for an instruction.
    to_userspace: f64,
    /// Of these, idle.
    idle: f64,
    /// The same, to the power-off.
    to_end: f64,
    /// Seconds of the host: to the kernel's first line, to userspace, to the end
    /// of the kernel.
    host: [f64; 3],
}

/// Boots everything and prints the tables.
///
/// # Errors
/// Debian's packages are not to be had, or a machine does not get through.
pub fn command(workspace: &Workspace, options: &BootOptions) -> Result<ExitCode> {
    setup::ensure(
        workspace,
        &setup::Wanted::everything(options.qemu.as_deref()),
    )?;
    image::make(workspace)?;
    let linux = kexec::make(workspace)?;
    for name in &options.boards {
        let Some((_, processor)) = PROCESSORS.iter().find(|(board, _)| board == name) else {
            bail!("no partition runs on {name} yet: try --board powernv9 or powernv10");
        };
        let board = Board::load(name)?;
        println!(
            "{}: booting {RUNS} times each, one vCPU, {MIB} MiB ...",
            board.about
        );
        let settings = settings(options, &board, processor, &linux)?;
        let mut rows: Vec<(&str, Boot)> = Vec::new();
        for (what, setting) in &settings {
            let mut best: Option<Boot> = None;
            for _ in 0..RUNS {
                let boot = boot(setting, options.timeout)
                    .with_context(|| format!("{what}: {}", setting.typed()))?;
                if best.is_none_or(|best| boot.host[2] < best.host[2]) {
                    best = Some(boot);
                }
            }
            rows.push((what, best.unwrap_or_default()));
        }
        print!("{}", table(&rows));
    }
    Ok(ExitCode::SUCCESS)
}

/// The machines, the one with the partition first.
fn settings(
    options: &BootOptions,
    board: &Board,
    processor: &str,
    linux: &Linux,
) -> Result<Vec<(&'static str, Setting)>> {
    let mut plain = Setting::of(&program(options.qemu.as_deref()), board.clone());
    plain.icount_shift = Some(board.icount_shift);
    plain.memory = Some(format!("{MIB}M"));
    let arguments = "console=hvc0";
    let mut partition = plain.clone();
    partition.memory = Some(MACHINE.to_owned());
    partition.kernel = Some("target/pinion.elf".into());
    partition.initrd = Some(kexec::partition(
        &linux.kernel,
        &linux.partition_initrd,
        arguments,
    )?);
    partition.append = Some(format!("run=start+{MIB}"));
    let mut bare = plain;
    bare.kernel = Some(linux.kernel.clone());
    bare.initrd = Some(linux.partition_initrd.clone());
    bare.append = Some(arguments.to_owned());
    let mut pseries = bare.clone();
    // Mitigations that TCG does not have are not to be claimed.
    pseries.board.machine = "pseries,cap-cfpc=broken,cap-ibs=broken,cap-ccf-assist=off".into();
    pseries.extra = ["-cpu", processor, "-vga", "none", "-nodefaults"]
        .map(str::to_owned)
        .to_vec();
    Ok(vec![
        ("partition of Pinion", partition),
        ("bare machine", bare),
        ("QEMU's pseries", pseries),
    ])
}

/// Boots once, up to the kernel's last line.
fn boot(setting: &Setting, seconds: u64) -> Result<Boot> {
    let start = Instant::now();
    let mut found = Boot::default();
    let take = |line: &str| Ok(take(line, start.elapsed().as_secs_f64(), &mut found));
    console::read(setting, Stdio::null(), seconds, "boot.log", take)?;
    Ok(found)
}

/// Takes what a line says; `true` if it is the last one.
fn take(line: &str, host: f64, boot: &mut Boot) -> bool {
    let after = |words: &str| line.split_once(words).map(|(_, rest)| rest);
    let up = |rest: &str| -> Option<(f64, f64)> {
        let mut words = rest.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    if after("Linux version ").is_some() && boot.host[0] == 0.0 {
        boot.host[0] = host;
    } else if let Some((passed, idle)) = after("linux: up ").and_then(up) {
        if boot.to_userspace == 0.0 {
            (boot.to_userspace, boot.idle) = (passed, idle);
            boot.host[1] = host;
        } else {
            boot.to_end = passed;
        }
    } else if after("reboot: Power down").is_some() {
        boot.host[2] = host;
        return true;
    }
    false
}

/// The rows; the last column says how many times as long as on pseries, the last
/// row, it took.
fn table(rows: &[(&str, Boot)]) -> String {
    let mut text = String::from(
        "| | kernel to userspace, machine's s | of these idle | to power-off | host's s to the kernel | to userspace | to power-off | kernel to userspace, of pseries' |\n|---|---|---|---|---|---|---|---|\n",
    );
    let last = rows.last().map_or(0.0, |(_, boot)| boot.to_userspace);
    for (what, boot) in rows {
        let [kernel, userspace, end] = boot.host;
        text.push_str(&format!(
            "| {what} | {:.2} | {:.2} | {:.2} | {kernel:.1} | {userspace:.1} | {end:.1} | {:.3} |\n",
            boot.to_userspace,
            boot.idle,
            boot.to_end,
            boot.to_userspace / last,
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_read() {
        let mut boot = Boot::default();
        let lines = [
            ("[p1] [    0.0] Linux version 6.12", 1.0),
            ("[p1] linux: up 5.25 0.50\r", 2.0),
            ("linux: up 6.00 0.75", 3.0),
        ];
        for (line, host) in lines {
            assert!(!take(line, host, &mut boot));
        }
        assert!(take("[    9.0] reboot: Power down", 4.0, &mut boot));
        assert_eq!(boot.host, [1.0, 2.0, 4.0]);
        assert_eq!(
            (boot.to_userspace, boot.idle, boot.to_end),
            (5.25, 0.5, 6.0)
        );
        let other = Boot {
            to_userspace: 5.0,
            ..boot
        };
        let table = table(&[("a", boot), ("b", other)]);
        assert!(table.contains("| a | 5.25 | 0.50 | 6.00 | 1.0 | 2.0 | 4.0 | 1.050 |"));
    }
}
