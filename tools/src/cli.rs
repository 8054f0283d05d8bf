//! The commands and their options.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::setup::Wanted;

/// Builds, runs and tests Pinion. Each command installs what it misses first.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot the image in QEMU and show its console (Ctrl-C ends it)
    #[command(args_conflicts_with_subcommands = true)]
    Run {
        /// Something other than the plain image.
        #[command(subcommand)]
        target: Option<RunTarget>,
        /// How to boot it.
        #[command(flatten)]
        options: RunOptions,
    },
    /// Run the tests: on this machine, then on emulated boards
    Test(TestOptions),
    /// Check formatting, lints, layers, unsafe code, instructions of the image
    Check,
    /// Build target/pinion.elf and print its sizes
    Image,
    /// Install what is missing: rust-src, QEMU, dtc
    Setup(SetupOptions),
    /// Turn addresses of a crash into function names and lines
    Symbolize(SymbolizeOptions),
    /// Tell what a crash left in a memory dump
    Dump(DumpOptions),
    /// Count what operations cost, beside budgets and Linux
    #[command(args_conflicts_with_subcommands = true)]
    Bench {
        /// Something other than operations.
        #[command(subcommand)]
        target: Option<BenchTarget>,
        /// What to measure, and what for.
        #[command(flatten)]
        options: BenchOptions,
    },
    /// Make an initrd from a manifest and the files that it names
    Bundle {
        /// The manifest, device tree source
        manifest: PathBuf,
        /// Where the bundle goes
        #[arg(short, long)]
        output: PathBuf,
        /// Take a file that the manifest names from elsewhere (repeatable)
        #[arg(long = "file", value_name = "NAME=PATH")]
        files: Vec<String>,
    },
}

/// What `run` can boot beside the plain image.
#[derive(Debug, Subcommand)]
pub enum RunTarget {
    /// Debian's ppc64el kernel in two partitions, each with a shell
    Linux(Box<RunOptions>),
}

/// What `bench` can measure beside operations.
#[derive(Debug, Subcommand)]
pub enum BenchTarget {
    /// Boot Debian's kernel in a partition, on the bare machine, on QEMU's pseries
    Boot(BootOptions),
}

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// Board, one of boards/*.toml
    #[arg(long, default_value = "powernv9")]
    pub board: String,
    /// Threads, as QEMU's -smp takes them (4,threads=4)
    #[arg(long)]
    pub smp: Option<String>,
    /// Memory, as QEMU's -m takes it (2G); at least 1G
    #[arg(long)]
    pub memory: Option<String>,
    /// Initrd to hand over: a bundle of manifest, kernels, initrds
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// One more device, as QEMU's -device takes it (repeatable); an nvme
    /// without drive= gets a disk, target/run/nvmeN.img
    #[arg(long = "device", value_name = "QEMU-ARG")]
    pub devices: Vec<String>,
    /// Further arguments of QEMU's.
    #[arg(skip)]
    pub extra: Vec<String>,
    /// Words for the image (bootargs)
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// End after this many seconds, with exit code 124
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// QEMU to use instead of qemu-system-ppc64
    #[arg(long, value_name = "PROGRAM")]
    pub qemu: Option<PathBuf>,
    /// Wait for a debugger before the first instruction
    #[arg(long)]
    pub gdb: bool,
    /// Count time in instructions: repeatable, idle time passes at once
    #[arg(long)]
    pub icount: bool,
}

impl RunOptions {
    /// Paths made absolute by the caller's directory.
    pub fn absolute(mut self) -> Self {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        self.bundle = self.bundle.map(absolute);
        self
    }
}

/// Options of `test`.
#[derive(Debug, Args)]
pub struct TestOptions {
    /// Only tests on this machine
    #[arg(long, conflicts_with = "emulator")]
    pub host: bool,
    /// Only tests on emulated boards
    #[arg(long)]
    pub emulator: bool,
    /// Print the names of emulator tests and end
    #[arg(long)]
    pub list: bool,
    /// Emulators side by side; as many as there are cores unless given
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// QEMU to use instead of qemu-system-ppc64
    #[arg(long, value_name = "PROGRAM")]
    pub qemu: Option<PathBuf>,
    /// Only tests whose names hold this
    pub filter: Option<String>,
}

impl TestOptions {
    /// What must be installed.
    pub fn wanted(&self, emulator: bool) -> Wanted {
        if emulator {
            Wanted::everything(self.qemu.as_deref())
        } else {
            Wanted::nothing()
        }
    }
}

/// Options of `setup`.
#[derive(Debug, Args)]
pub struct SetupOptions {
    /// QEMU to use instead of qemu-system-ppc64
    #[arg(long, value_name = "PROGRAM")]
    pub qemu: Option<PathBuf>,
}

impl SetupOptions {
    /// Everything any command needs.
    pub fn wanted(&self) -> Wanted {
        Wanted::everything(self.qemu.as_deref())
    }
}

/// Options of `symbolize`.
#[derive(Debug, Args)]
pub struct SymbolizeOptions {
    /// Where the image was loaded, as the crash dump says (image at ...)
    #[arg(long, value_parser = parse_address, default_value = "0")]
    pub base: u64,
    /// Addresses, hexadecimal; a leading + counts from the image's start.
    /// None: lines of a crash dump are read from standard input
    #[arg(allow_hyphen_values = true)]
    pub addresses: Vec<String>,
}

/// Options of `bench`.
#[derive(Debug, Args)]
pub struct BenchOptions {
    /// Board, one of boards/*.toml (repeatable)
    #[arg(long = "board", value_name = "BOARD", default_values_t = [String::from("powernv9")])]
    pub boards: Vec<String>,
    /// Fail on what is over its budget or over what is recorded
    #[arg(long)]
    pub check: bool,
    /// Record the figures and make docs/performance.md of them
    #[arg(long)]
    pub record: bool,
    /// Show which functions the instructions of this row are in, instead of
    /// measuring all (repeatable)
    #[arg(long, value_name = "ROW")]
    pub profile: Vec<String>,
    /// Give up after so many seconds a board
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub timeout: u64,
    /// QEMU to use instead of qemu-system-ppc64
    #[arg(long, value_name = "PROGRAM")]
    pub qemu: Option<PathBuf>,
}

/// Options of `bench boot`.
#[derive(Debug, Args)]
pub struct BootOptions {
    /// Board, powernv9 or powernv10 (repeatable)
    #[arg(long = "board", value_name = "BOARD", default_values_t = [String::from("powernv9"), String::from("powernv10")])]
    pub boards: Vec<String>,
    /// Give up after so many seconds a boot
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub timeout: u64,
    /// QEMU to use instead of qemu-system-ppc64
    #[arg(long, value_name = "PROGRAM")]
    pub qemu: Option<PathBuf>,
}

/// Options of `dump`.
#[derive(Debug, Args)]
pub struct DumpOptions {
    /// Memory as a file, such as QEMU's pmemsave writes
    pub file: PathBuf,
}

impl DumpOptions {
    /// Paths made absolute by the caller's directory.
    pub fn absolute(self) -> Self {
        let file = std::path::absolute(&self.file).unwrap_or(self.file);
        Self { file }
    }
}

/// Reads a hexadecimal number with or without 0x.
pub fn parse_address(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|error| format!("{text}: {error}"))
}
