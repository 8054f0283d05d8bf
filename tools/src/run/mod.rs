//! `cargo xtask run`: one machine with its console on the terminal.

mod devices;
pub mod linux;

use std::io::{Read, Write, stdin, stdout};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::board::Board;
use crate::cli::RunOptions;
use crate::emulator::machine::{Machine, Output};
use crate::emulator::qemu::Setting;
use crate::emulator::selftest::Watch;
use crate::emulator::terminal::Raw;
use crate::image;
use crate::setup;
use crate::symbols::{Symbols, TraceFilter};
use crate::workspace::Workspace;

/// The exit code after `--timeout`, as timeout(1) has it.
const TIMED_OUT: u8 = 124;

/// Sets up, builds, boots, shows the console; the exit code is the image's verdict.
pub fn command(workspace: &Workspace, options: &RunOptions) -> Result<ExitCode> {
    let board = prepare(workspace, options)?;
    boot(workspace, options, board)
}

/// The same with Linux in two partitions.
pub fn linux(workspace: &Workspace, options: &RunOptions) -> Result<ExitCode> {
    let board = prepare(workspace, options)?;
    let options = linux::prepare(workspace, options)?;
    eprintln!("{}", linux::HINTS);
    boot(workspace, &options, board)
}

/// Installs what is missing and builds the image; the board that is asked for.
fn prepare(workspace: &Workspace, options: &RunOptions) -> Result<Board> {
    let board = Board::load(&options.board)?;
    setup::ensure(
        workspace,
        &setup::Wanted::everything(options.qemu.as_deref()),
    )?;
    image::make(workspace)?;
    Ok(board)
}

fn boot(workspace: &Workspace, options: &RunOptions, board: Board) -> Result<ExitCode> {
    let setting = setting(workspace, options, board)?;
    if let Some(port) = setting.gdb_port {
        eprintln!("QEMU waits for a debugger. In another terminal:");
        eprintln!(
            "  gdb-multiarch -ex 'set architecture powerpc:common64' -ex 'set endian big' \
             -ex 'target remote 127.0.0.1:{port}' -ex 'add-symbol-file {} -o 0x20010000'",
            workspace.debug_image().display()
        );
        eprintln!(
            "(-o is where the image runs: after its crash dump's or banner's \"image at\"; by kexec it differs)"
        );
    }
    eprintln!("{}:\n{}", setting.board.about, setting.typed());
    eprintln!("(Ctrl-C ends the machine)");
    console(workspace, &setting, options)
}

fn setting(workspace: &Workspace, options: &RunOptions, board: Board) -> Result<Setting> {
    let program = options
        .qemu
        .clone()
        .unwrap_or_else(|| PathBuf::from(setup::QEMU_PROGRAM));
    let icount_shift = options.icount.then_some(board.icount_shift);
    let mut setting = Setting::of(&program, board);
    setting.icount_shift = icount_shift;
    setting.memory.clone_from(&options.memory);
    setting.smp.clone_from(&options.smp);
    setting.kernel = Some(workspace.image().to_path_buf());
    setting.initrd.clone_from(&options.bundle);
    setting.append.clone_from(&options.append);
    let devices = devices::Devices::complete(&options.devices);
    devices.make()?;
    setting.drives = devices.drives;
    setting.devices = devices.devices;
    setting.extra.clone_from(&options.extra);
    if options.gdb {
        setting.gdb_port = Some(free_port()?);
    }
    if let Some(bundle) = &options.bundle
        && !bundle.is_file()
    {
        anyhow::bail!("{}: no such file (--bundle)", bundle.display());
    }
    Ok(setting)
}

/// gdb's usual port 1234, or a free one where that is taken.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 1234))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .context("no free port for a debugger")?;
    Ok(listener
        .local_addr()
        .context("no free port for a debugger")?
        .port())
}

fn console(workspace: &Workspace, setting: &Setting, options: &RunOptions) -> Result<ExitCode> {
    // Without symbols the console still works.
    let symbols = Symbols::load(Path::new(workspace.debug_image())).ok();
    let mut filter = TraceFilter::new(symbols);
    let wants_selftest = options
        .append
        .as_ref()
        .is_some_and(|words| words.split_whitespace().any(|word| word == "selftest"));
    let mut watch = Watch::default();
    let end = options
        .timeout
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));

    let mut machine = Machine::start(setting, Stdio::inherit())?;
    let keys = keyboard();
    let terminal = Raw::enter();
    let timed_out = loop {
        if end.is_some_and(|end| Instant::now() >= end) {
            break true;
        }
        while let Ok(bytes) = keys.try_recv() {
            // QEMU may have just ended: its output says so below.
            let _ = machine.write(&bytes);
        }
        match machine.read(Duration::from_millis(20)) {
            Output::Bytes(bytes) => {
                watch.feed(&bytes);
                let mut out = stdout().lock();
                out.write_all(&filter.feed(&bytes))
                    .and_then(|()| out.flush())
                    .context("cannot write")?;
            }
            Output::Quiet => {}
            Output::Closed => break false,
        }
    };
    drop(terminal);
    println!();
    if timed_out {
        machine.kill();
        eprintln!("ended after {} s (--timeout)", options.timeout.unwrap_or(0));
        return Ok(ExitCode::from(TIMED_OUT));
    }
    let status = machine.wait()?;
    if !status.success() {
        eprintln!("the machine stopped with a failure (QEMU: {status})");
        return Ok(ExitCode::FAILURE);
    }
    if !wants_selftest {
        eprintln!("the machine is off");
        return Ok(ExitCode::SUCCESS);
    }
    match watch.verdict() {
        Ok(text) => {
            eprintln!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        Err(text) => {
            eprintln!("error: {text}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Keys as they are typed. Nothing more comes after the end of standard input.
fn keyboard() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(count @ 1..) = stdin().lock().read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}
