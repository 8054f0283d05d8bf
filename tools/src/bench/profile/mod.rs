//! `cargo xtask bench --profile ROW`: which functions the instructions of an
//! operation are in, by QEMU's log of each executed instruction.

mod log;
mod store;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::budget::Budgets;
use super::{machine, partition};
use crate::board::Board;
use crate::cli::BenchOptions;
use crate::emulator::machine::{Machine, Output};
use crate::emulator::qemu::Setting;
use crate::emulator::qmp::Control;
use crate::image;
use crate::setup;
use crate::symbols::Symbols;
use crate::workspace::Workspace;
use log::{Calls, Counted, Executed};
pub use store::{Profile, Profiles};

/// Rounds of a row that the image counts (`src/boot/bench/rows.rs`).
const ROUNDS: usize = 7;

/// Rows that a partition measures, call by call.
const CALLS: [&str; 5] = [
    "null-hcall",
    "full-exit",
    "h-put-tce",
    "h-put-tce-unmap",
    "h-get-tce",
];

/// Where the machine's files go.
const FOLDER: &str = "target/bench/profile";

/// Profiles `row` on `board`.
pub fn measure(
    workspace: &Workspace,
    options: &BenchOptions,
    board: &Board,
    row: &str,
) -> Result<Profile> {
    let symbols = Symbols::load(workspace.debug_image())?;
    let is_call = CALLS.contains(&row);
    let program = machine::program(options.qemu.as_deref());
    std::fs::create_dir_all(FOLDER)?;
    let in_folder = |name: &str| PathBuf::from(FOLDER).join(name);
    let (trace, socket) = (in_folder("exec.log"), in_folder("control"));
    for old in [&trace, &socket] {
        // From the run before; it need not be there.
        let _ = std::fs::remove_file(old);
    }
    let mut setting = machine::setting(&program, board.clone());
    setting.control = Some(socket);
    setting.log = Some(trace.clone());
    // The image's code and, for calls, the vectors. Firmware is not of interest.
    let vectors = if is_call {
        "0xc00+0x20,0x1f00+0x20,"
    } else {
        ""
    };
    setting.extra = vec!["-dfilter".into(), format!("{vectors}{IMAGE:#x}+{ROOM:#x}")];
    if is_call {
        setting.initrd = Some(partition::one(workspace, Some(row))?);
    }
    println!("{row}: {}", crate::process::describe(&setting.command()));
    let mut session = Session::start(&setting, options.timeout)?;
    let base = session.boot()?;
    session.monitor("one-insn-per-tb on")?;
    session.monitor("log exec,nochain")?;
    match is_call {
        false => {
            session
                .machine
                .write(format!("bench ={row}\r").as_bytes())?;
            let said = session.until("bench: done")?;
            ensure!(
                said.contains(&format!("bench: row id={row} ")),
                "the image has no row {row}"
            );
        }
        true => {
            session.machine.write(b"start p1\r")?;
            session.until("bench: done")?;
        }
    }
    session.monitor("log none")?;
    drop(session);
    let executed = match is_call {
        false => counted(&trace, base, &symbols)?,
        true => called(&trace)?,
    };
    std::fs::remove_file(&trace)?;
    Ok(Profile::new(row, &executed, |address| {
        match address.checked_sub(base) {
            Some(offset) => symbols.own_function(offset),
            None => Some("interrupt vector".to_owned()),
        }
    }))
}

/// Where firmware loads the image, and how far the room for it reaches.
const IMAGE: u64 = 0x2000_0000;
const ROOM: u64 = 0x1000_0000;

fn counted(trace: &Path, base: u64, symbols: &Symbols) -> Result<Executed> {
    let counter = "pinion::cpu::counter::instructions";
    let entry = symbols
        .address_of(counter)
        .with_context(|| format!("the image has no {counter}"))?;
    let mut counted = Counted::new(base + entry);
    each_line(trace, |address, _| counted.take(address))?;
    let mut operations = counted.operations;
    let rounds = operations.split_off(operations.len().saturating_sub(ROUNDS));
    log::median(rounds).context("QEMU's log has no operation")
}

/// The row's own call: all others, which print or put back, are few.
fn called(trace: &Path) -> Result<Executed> {
    let mut calls = Calls::default();
    each_line(trace, |address, hypervisor| calls.take(address, hypervisor))?;
    log::usual(calls.operations).context("QEMU's log has no call")
}

fn each_line(trace: &Path, mut what: impl FnMut(u64, bool)) -> Result<()> {
    let file = std::fs::File::open(trace)
        .with_context(|| format!("QEMU has written no {}", trace.display()))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line that has no end was cut: it is not read.
        let count = reader.by_ref().take(1 << 16).read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(());
        }
        if let Some((address, hypervisor)) = std::str::from_utf8(&line).ok().and_then(log::parse) {
            what(address, hypervisor);
        }
    }
}

/// A machine at its prompt.
struct Session {
    machine: Machine,
    control: Control,
    end: Instant,
}

impl Session {
    fn start(setting: &Setting, seconds: u64) -> Result<Self> {
        let mut machine = Machine::start(setting, Stdio::inherit())?;
        let control = machine.control(setting)?;
        let end = Instant::now() + Duration::from_secs(seconds);
        Ok(Self {
            machine,
            control,
            end,
        })
    }

    /// Waits for the prompt; where the image lies, as firmware said.
    fn boot(&mut self) -> Result<u64> {
        let said = self.until("pinion> ")?;
        let place = "INIT: Starting kernel at 0x";
        let digits = said.split(place).nth(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_hexdigit());
            &rest[..end.unwrap_or(rest.len())]
        });
        let digits = digits.context("firmware does not say where the image is")?;
        Ok(u64::from_str_radix(digits, 16)?)
    }

    /// Reads until `text` was printed; all that was.
    fn until(&mut self, text: &str) -> Result<String> {
        let mut said = Vec::new();
        loop {
            match self.machine.read(Duration::from_millis(100)) {
                Output::Bytes(bytes) => said.extend(bytes),
                Output::Closed => bail!("the machine ended before it printed {text:?}"),
                Output::Quiet if Instant::now() > self.end => bail!("{text:?} was not printed"),
                Output::Quiet => {}
            }
            let all = String::from_utf8_lossy(&said);
            if all.contains(text) {
                return Ok(all.into_owned());
            }
        }
    }

    /// A command of QEMU's own monitor.
    fn monitor(&mut self, command: &str) -> Result<()> {
        let arguments = json!({ "command-line": command });
        let answer = self
            .control
            .execute("human-monitor-command", Some(arguments))?;
        match answer.as_str() {
            Some("") => Ok(()),
            answer => bail!("QEMU's monitor says to {command}: {answer:?}"),
        }
    }
}

/// Profiles each row that the options name, shows and keeps them.
pub fn command(workspace: &Workspace, options: &BenchOptions) -> Result<()> {
    setup::ensure(
        workspace,
        &setup::Wanted::everything(options.qemu.as_deref()),
    )?;
    image::make(workspace)?;
    let (rustc, qemu) = machine::versions(options)?;
    for name in &options.boards {
        let board = Board::load(name)?;
        let mut all = Profiles::load_for(name, &rustc, &qemu)?;
        for row in &options.profile {
            let profile = measure(workspace, options, &board, row)?;
            println!("{}", profile.table());
            all.put(profile);
        }
        if options.record {
            all.save()?;
        }
    }
    if options.record {
        super::page::write(&Budgets::load()?)?;
    }
    Ok(())
}
