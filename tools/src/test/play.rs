//! One case played on one machine.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::declaration::{Ends, Qmp, Step};
use super::expand::Case;
use super::transcript::Transcript;
use crate::emulator::machine::{Machine, Output};
use crate::emulator::qemu::Setting;
use crate::emulator::qmp::{Control, End};
use crate::emulator::selftest::Watch;
use crate::symbols::{Symbols, TraceFilter};

/// How a case went.
#[derive(Debug)]
pub struct Played {
    /// `None` for good, or what was wrong.
    pub failure: Option<String>,
    /// The last lines of the console.
    pub tail: Vec<String>,
}

/// Lines of the console that a failure shows.
const TAIL: usize = 25;

/// Starts the machine and plays the steps. Console and logs go into `folder`.
///
/// # Errors
/// The machine cannot be started or talked to; a test that fails is no error.
pub fn play(case: &Case, setting: &Setting, folder: &Path, symbols: &Path) -> Result<Played> {
    let create = |name: &str| {
        let path = folder.join(name);
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))
    };
    let mut player = Player {
        machine: Machine::start(setting, Stdio::from(create("qemu-errors.log")?))?,
        transcript: Transcript::default(),
        filter: TraceFilter::new(Symbols::load(symbols).ok()),
        watch: Watch::default(),
        log: create("console.log")?,
        closed: false,
        end: Instant::now() + Duration::from_secs(case.timeout),
    };
    let mut control = player.machine.control(setting).map_err(|error| {
        let said = std::fs::read_to_string(folder.join("qemu-errors.log")).unwrap_or_default();
        error.context(format!("QEMU does not start: {}", said.trim()))
    })?;
    let mut failure = player.steps(case, &mut control)?;
    if failure.is_none() && case.ends != Ends::Running {
        failure = player.finish(case)?;
    }
    if failure.is_none()
        && case
            .settings
            .append
            .as_ref()
            .is_some_and(|a| a.split_whitespace().any(|w| w == "selftest"))
    {
        failure = player.watch.verdict().err();
    }
    if case.ends == Ends::Running || failure.is_some() {
        let ended = player.closed.then(|| control.last_words()).flatten();
        if let (Some(text), Some(ended)) = (&mut failure, ended) {
            text.push_str(&format!(" (the machine ended: {})", describe(ended)));
        }
        player.machine.kill();
    } else {
        let code = player.machine.wait()?.code();
        let seen = control.last_words();
        let log = setting.log.as_deref();
        let seen = seen.or_else(|| crash_in(&std::fs::read(log?).ok()?));
        failure = verdict(case.ends, seen, code);
    }
    let tail = player
        .transcript
        .tail(TAIL)
        .into_iter()
        .map(str::to_owned)
        .collect();
    Ok(Played { failure, tail })
}

struct Player {
    machine: Machine,
    transcript: Transcript,
    filter: TraceFilter,
    watch: Watch,
    log: File,
    closed: bool,
    end: Instant,
}

impl Player {
    /// Plays the steps; what is wrong is returned.
    fn steps(&mut self, case: &Case, control: &mut Control) -> Result<Option<String>> {
        for step in &case.steps {
            match step {
                Step::Expect(pattern) => {
                    while !self.transcript.expect(pattern) {
                        if self.closed {
                            return Ok(Some(format!("never printed: {pattern:?}")));
                        }
                        if Instant::now() >= self.end {
                            return Ok(Some(format!(
                                "not printed within {} s: {pattern:?}",
                                case.timeout
                            )));
                        }
                        if let Some(bad) = self.pump(case)? {
                            return Ok(Some(bad));
                        }
                    }
                }
                Step::Send(text) => self.machine.write(text.as_bytes())?,
                Step::Qmp(Qmp::Plain(command)) => drop(control.execute(command, None)?),
                Step::Qmp(Qmp::Full { execute, arguments }) => {
                    drop(control.execute(execute, Some(arguments.clone()))?);
                }
                Step::Wait(seconds) => {
                    let until = Instant::now() + Duration::try_from_secs_f64(*seconds)?;
                    while Instant::now() < until && !self.closed {
                        if let Some(bad) = self.pump(case)? {
                            return Ok(Some(bad));
                        }
                    }
                }
            }
        }
        if case.ends == Ends::Running && self.closed {
            return Ok(Some(
                "the machine ended, and was to keep running".to_owned(),
            ));
        }
        Ok(None)
    }

    /// Takes output until the machine ends.
    fn finish(&mut self, case: &Case) -> Result<Option<String>> {
        while !self.closed {
            if Instant::now() >= self.end {
                return Ok(Some(format!(
                    "the machine does not end within {} s",
                    case.timeout
                )));
            }
            if let Some(bad) = self.pump(case)? {
                return Ok(Some(bad));
            }
        }
        Ok(None)
    }

    /// Takes what comes within a moment; a forbidden line is returned.
    fn pump(&mut self, case: &Case) -> Result<Option<String>> {
        match self.machine.read(Duration::from_millis(50)) {
            Output::Bytes(bytes) => {
                self.watch.feed(&bytes);
                let shown = self.filter.feed(&bytes);
                self.log
                    .write_all(&shown)
                    .context("cannot write console.log")?;
                self.transcript.feed(&shown);
            }
            Output::Quiet => {}
            Output::Closed => {
                // An unfinished last line counts as complete now.
                self.transcript.feed(b"\n");
                self.closed = true;
            }
        }
        Ok(self
            .transcript
            .forbidden(&case.never)
            .map(|line| format!("must not be printed: {line:?}")))
    }
}

/// A crash that QEMU tells in its log only: while time is counted in
/// instructions it ends, for "Bad icount read", before its control socket does.
fn crash_in(log: &[u8]) -> Option<End> {
    let told = b"Entering checkstop state";
    // The log is full of what devices complain about; this comes last.
    let end = log.get(log.len().saturating_sub(4096)..)?;
    end.windows(told.len())
        .any(|window| window == told)
        .then_some(End::Crash)
}

/// Compares the end with the one that was to come.
fn verdict(wanted: Ends, seen: Option<End>, code: Option<i32>) -> Option<String> {
    let good = match wanted {
        Ends::Poweroff => seen == Some(End::PowerOff) && code == Some(0),
        Ends::Reset => seen == Some(End::Reset),
        Ends::Crash => seen == Some(End::Crash) && code == Some(1),
        Ends::Running => true,
    };
    let seen = seen.map_or("for no reason that QEMU gives", describe);
    (!good)
        .then(|| format!("the machine ended: {seen} (QEMU's status {code:?}); wanted: {wanted:?}"))
}

fn describe(end: End) -> &'static str {
    match end {
        End::PowerOff => "switched off",
        End::Reset => "reset",
        End::Crash => "crashed",
        End::Other => "ended from outside",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wanted_end_is_good() {
        assert_eq!(verdict(Ends::Poweroff, Some(End::PowerOff), Some(0)), None);
        assert!(verdict(Ends::Poweroff, Some(End::Reset), Some(0)).is_some());
        assert!(verdict(Ends::Poweroff, Some(End::Crash), Some(1)).is_some());
        assert!(verdict(Ends::Poweroff, None, Some(0)).is_some());
        assert_eq!(verdict(Ends::Crash, Some(End::Crash), Some(1)), None);
        assert!(verdict(Ends::Crash, Some(End::PowerOff), Some(0)).is_some());
        let told = b"Entering checkstop state: host executed attn\nNIP 0\n";
        assert_eq!(verdict(Ends::Crash, crash_in(told), Some(1)), None);
        assert!(verdict(Ends::Crash, crash_in(b"phb4: no"), Some(1)).is_some());
        assert_eq!(verdict(Ends::Reset, Some(End::Reset), Some(0)), None);
    }
}
