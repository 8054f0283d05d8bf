//! `tests/emulator.toml` as it is written. `expand` makes cases of it.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::disks::Disk;
use super::faults::{Fault, Harmless};
use crate::trampoline::Change;

/// Where the tests are declared.
pub const FILE: &str = "tests/emulator.toml";

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declarations {
    /// What holds for each test that says nothing else.
    pub defaults: Defaults,
    /// The tests.
    #[serde(default, rename = "test")]
    pub tests: Vec<Declaration>,
}

/// What holds for each test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Seconds of the host's time.
    pub timeout: u64,
    /// What no test may print.
    #[serde(default)]
    pub never: Vec<String>,
    /// What QEMU may call an error of the guest in any test.
    #[serde(default)]
    pub harmless: Vec<Harmless>,
}

/// One test, on each of its boards and in each of its variants.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The name; board and variant are added to it.
    pub name: String,
    /// One line: what it shows.
    pub about: String,
    /// Boards by name.
    pub boards: Vec<String>,
    /// What all variants share.
    #[serde(flatten)]
    pub common: Settings,
    /// Further copies that differ in some settings.
    #[serde(default)]
    pub variants: Vec<Variant>,
    /// How the machine must end.
    pub ends: Ends,
    /// What happens, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What must not be printed, beside the defaults' list.
    #[serde(default)]
    pub never: Vec<String>,
    /// What may be printed although the defaults forbid it.
    #[serde(default)]
    pub allow: Vec<String>,
}

/// A copy of a test with some settings changed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Added to the test's name.
    pub name: String,
    /// Boards, where the variant is not for all of the test's.
    pub boards: Option<Vec<String>>,
    /// What happens, where it is not what happens in the test.
    pub steps: Option<Vec<Step>>,
    /// What differs.
    #[serde(flatten)]
    pub settings: Settings,
}

/// How the machine is started. An absent setting is the board's own.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
pub struct Settings {
    /// QEMU's -smp.
    pub smp: Option<String>,
    /// QEMU's -m.
    pub memory: Option<String>,
    /// QEMU's -device, each.
    pub devices: Option<Vec<String>>,
    /// Further QEMU arguments, each a word.
    pub qemu: Option<Vec<String>>,
    /// Words for the image.
    pub append: Option<String>,
    /// Time counted in instructions; true unless said otherwise.
    pub icount: Option<bool>,
    /// A reset restarts the machine instead of ending it.
    pub restarts: Option<bool>,
    /// Which serial line the steps see.
    pub console: Option<Console>,
    /// What is booted.
    pub kernel: Option<Kernel>,
    /// What the flash holds.
    pub drive: Option<Drive>,
    /// The initrd: a file, `kexec`, `probe`, or what `bundled::make` takes.
    pub initrd: Option<String>,
    /// A device tree file handed to the firmware.
    pub dtb: Option<String>,
    /// Changes to the tree that firmware hands to the image.
    pub tree: Option<Vec<Change>>,
    /// Seconds of the host's time.
    pub timeout: Option<u64>,
    /// Disks for devices to use.
    pub disks: Option<Vec<Disk>>,
    /// What QEMU must call an error of the guest.
    pub faults: Option<Vec<Fault>>,
    /// Registers of a PHB, by offset: QEMU's trace of writes to them must be
    /// what the image's spy prints.
    pub trace: Option<Vec<u64>>,
}

impl Settings {
    /// These settings where they say something, `base` elsewhere.
    pub fn over(&self, base: &Self) -> Self {
        let (own, base) = (self.clone(), base.clone());
        Self {
            smp: own.smp.or(base.smp),
            memory: own.memory.or(base.memory),
            devices: own.devices.or(base.devices),
            qemu: own.qemu.or(base.qemu),
            append: own.append.or(base.append),
            icount: own.icount.or(base.icount),
            restarts: own.restarts.or(base.restarts),
            console: own.console.or(base.console),
            kernel: own.kernel.or(base.kernel),
            drive: own.drive.or(base.drive),
            initrd: own.initrd.or(base.initrd),
            dtb: own.dtb.or(base.dtb),
            tree: own.tree.or(base.tree),
            timeout: own.timeout.or(base.timeout),
            disks: own.disks.or(base.disks),
            faults: own.faults.or(base.faults),
            trace: own.trace.or(base.trace),
        }
    }
}

/// Which serial line the steps read and type on.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Console {
    /// The only one there is, which firmware uses too.
    #[default]
    Shared,
    /// COM1, which is the image's own; firmware has COM2.
    Com1,
    /// COM2, which is firmware's; COM1 goes into com1.log.
    Com2,
}

/// What is booted.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kernel {
    /// The image.
    #[default]
    Pinion,
    /// Nothing: the flash holds it.
    None,
    /// Debian's ppc64el kernel.
    Linux,
    /// The image behind a program that enters it as kexec-lite does.
    HostileEntry,
}

/// What the flash holds.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Drive {
    /// `target/pinion.pnor`.
    Pnor,
}

/// How the machine must end.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Ends {
    /// Firmware switches it off.
    Poweroff,
    /// It is reset.
    Reset,
    /// It stops with a failure.
    Crash,
    /// It still runs after the last step; the runner ends it.
    Running,
}

/// One thing that happens.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Step {
    /// A line with this text must come; `*` stands for anything within the line.
    Expect(String),
    /// The same, and `*`, of which there is one, stands for a number that is not
    /// larger than this.
    Most(String, u64),
    /// These characters are typed.
    Send(String),
    /// These bytes come over the line, whatever they are.
    Bytes(Vec<u8>),
    /// A command for QEMU, such as `system_powerdown`, with arguments or without.
    Qmp(Qmp),
    /// Seconds that pass.
    Wait(f64),
    /// These texts must be in what `cargo xtask dump` tells of the image's memory.
    Dump(Vec<String>),
    /// The device with this id is gone, without a word to the machine.
    Unplug(String),
    /// The trace of register writes is switched on or off. Without such a step
    /// it is on from the start.
    Trace(bool),
}

/// A command for QEMU.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum Qmp {
    /// Its name alone.
    Plain(String),
    /// Its name and its arguments.
    Full {
        /// The name.
        execute: String,
        /// The arguments.
        arguments: serde_json::Value,
    },
}

impl Declarations {
    /// Reads the file.
    pub fn load() -> Result<Self> {
        let text = std::fs::read_to_string(Path::new(FILE))
            .with_context(|| format!("cannot read {FILE}"))?;
        Self::parse(&text).with_context(|| format!("{FILE} is wrong"))
    }

    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }
}
