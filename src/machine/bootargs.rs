//! The loader's words in `/chosen/bootargs`.

use super::Warning;
use super::limits::{Warnings, shown};
use crate::fdt::Tree;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// Which console is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsoleChoice {
    /// Firmware's first terminal, or a 16550 that firmware leaves alone.
    #[default]
    Automatic,
    /// `console=opal`, `console=hvcN`: firmware's terminal N.
    Opal(u32),
    /// `console=uart`, `console=ttySN`: the Nth 16550 that firmware leaves
    /// alone.
    Uart(u32),
}

/// What happens behind a crash's last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashAction {
    /// `attn`: stops the machine for a debugger or the service processor; an
    /// emulator that is told so ends with a failure.
    Attn,
    /// Asks firmware for a reboot.
    Reboot,
    /// Stays where it is.
    Halt,
}

/// The words that mean something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootArgs {
    /// `console=`.
    pub console: ConsoleChoice,
    /// `log=error|warning|info|debug`: what goes to the console, as a level 0
    /// to 3.
    pub log_level: Option<u8>,
    /// `crash=attn|reboot|halt`.
    pub crash: Option<CrashAction>,
    /// `selftest`: run it, then power off. `selftest=NAME` runs one part.
    pub selftest: Option<String>,
    /// `provoke=NAME`: after the start, do what must be survived or reported.
    pub provoke: Option<String>,
    /// `run=COMMAND,COMMAND`: commands of the console to run at the start.
    pub run: Vec<String>,
    /// `threads=N`: start at most so many.
    pub threads: Option<u32>,
    /// `tce-kill=opal`: TCEs are invalidated by firmware, where it can.
    pub kill_by_firmware: bool,
    /// `sriov=N`: each function that can has so many virtual ones.
    pub virtuals: u16,
}

/// A word that means nothing, or not what it stands behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    word: String,
    expected: &'static str,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{}\" is not understood and left out; {}",
            self.word, self.expected
        )
    }
}

const WORDS: &str = "there are console=, log=, crash=, selftest, selftest=, provoke=, run=, threads=, tce-kill=, sriov=";

/// Longest bootargs that are read, in bytes.
pub const MAX_BOOTARGS: usize = 4096;

/// The words of `/chosen/bootargs`.
pub(super) fn read(tree: &Tree<'_>, warnings: &mut Warnings) -> BootArgs {
    let chosen = tree.find("/chosen");
    let text = chosen.and_then(|chosen| chosen.text("bootargs"));
    let mut text = text.unwrap_or("");
    if text.len() > MAX_BOOTARGS {
        warnings.push(Warning::LongBootArgs(MAX_BOOTARGS));
        // Up to the last word that is whole.
        let head = text.get(..text.floor_char_boundary(MAX_BOOTARGS));
        text = head
            .and_then(|head| head.rsplit_once(' '))
            .map_or("", |(words, _)| words);
    }
    let (arguments, unknown) = BootArgs::parse(text);
    for word in unknown {
        warnings.push(Warning::BootArg(word));
    }
    arguments
}

impl BootArgs {
    /// Parses the words; what is not understood comes back beside.
    pub fn parse(text: &str) -> (Self, Vec<Unknown>) {
        let mut arguments = Self::default();
        let mut unknown = Vec::new();
        for word in text.split_ascii_whitespace() {
            if let Err(expected) = arguments.take(word) {
                unknown.push(Unknown {
                    word: shown(word),
                    expected,
                });
            }
        }
        (arguments, unknown)
    }

    fn take(&mut self, word: &str) -> Result<(), &'static str> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match (name, value) {
            ("console", Some(value)) => self.console = console(value)?,
            ("log", Some(value)) => {
                let names = ["error", "warning", "info", "debug"];
                let level = names.iter().position(|&name| name == value);
                let level = level.ok_or("log= takes error, warning, info or debug")?;
                self.log_level = Some(level as u8);
            }
            ("crash", Some("attn")) => self.crash = Some(CrashAction::Attn),
            ("crash", Some("reboot")) => self.crash = Some(CrashAction::Reboot),
            ("crash", Some("halt")) => self.crash = Some(CrashAction::Halt),
            ("crash", _) => return Err("crash= takes attn, reboot or halt"),
            ("selftest", value) => self.selftest = Some(value.unwrap_or("all").to_string()),
            ("provoke", Some(value)) => self.provoke = Some(value.to_string()),
            ("run", Some(value)) => {
                self.run
                    .extend(value.split(',').map(|command| command.replace('+', " ")));
            }
            ("threads", Some(value)) => {
                let count = value.parse().ok().filter(|&count| count > 0);
                self.threads = Some(count.ok_or("threads= takes a number from 1 on")?);
            }
            ("tce-kill", Some("opal")) => self.kill_by_firmware = true,
            ("tce-kill", Some("register")) => self.kill_by_firmware = false,
            ("tce-kill", _) => return Err("tce-kill= takes opal or register"),
            ("sriov", Some(value)) => {
                let count = value.parse().ok();
                self.virtuals = count.ok_or("sriov= takes a number of virtual functions")?;
            }
            _ => return Err(WORDS),
        }
        Ok(())
    }
}

fn console(value: &str) -> Result<ConsoleChoice, &'static str> {
    let expected = "console= takes opal, hvc0, hvc1, …, uart, ttyS0, ttyS1, …";
    // Linux people write ttyS0,115200: the speed is firmware's.
    let name = value.split(',').next().unwrap_or(value);
    let number = |prefix: &str| {
        let digits = name.strip_prefix(prefix)?;
        digits.parse().ok()
    };
    match name {
        "opal" => Ok(ConsoleChoice::Opal(0)),
        "uart" => Ok(ConsoleChoice::Uart(0)),
        _ => number("hvc")
            .map(ConsoleChoice::Opal)
            .or_else(|| number("ttyS").map(ConsoleChoice::Uart))
            .ok_or(expected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_and_others_come_back() {
        let (arguments, unknown) =
            BootArgs::parse("console=ttyS1,115200 log=debug quiet crash=halt selftest threads=0");
        assert_eq!(arguments.console, ConsoleChoice::Uart(1));
        assert_eq!(arguments.log_level, Some(3));
        assert_eq!(arguments.crash, Some(CrashAction::Halt));
        assert_eq!(arguments.selftest.as_deref(), Some("all"));
        assert_eq!(arguments.threads, None);
        let told: Vec<String> = unknown.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2);
        assert!(told[0].starts_with("\"quiet\" is not understood"));
        assert!(told[1].contains("threads= takes a number"));
    }

    #[test]
    fn consoles_have_the_names_that_linux_gives_them() {
        let choice = |text| BootArgs::parse(text).0.console;
        assert_eq!(choice("console=hvc1"), ConsoleChoice::Opal(1));
        assert_eq!(choice("console=uart"), ConsoleChoice::Uart(0));
        assert_eq!(choice("console=vga"), ConsoleChoice::Automatic);
    }

    #[test]
    fn commands_are_split_and_plus_is_a_space() {
        let (arguments, unknown) = BootArgs::parse("run=machine,log+debug,poweroff");
        assert_eq!(arguments.run, ["machine", "log debug", "poweroff"]);
        assert!(unknown.is_empty());
    }
}
