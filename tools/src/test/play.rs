//! One case played on one machine.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::declaration::{Ends, Qmp, Step};
use super::expand::Case;
use super::transcript::Transcript;
use super::{faults, trace};
use crate::dump;
use crate::emulator::machine::{Machine, Output};
use crate::emulator::qemu::{REGISTER_WRITES, Setting};
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

/// Where firmware puts the image that it is given as kernel, and some more
/// (skiboot include/mem-map.h, KERNEL_LOAD_BASE).
const IMAGE_MEMORY: std::ops::Range<u64> = 0x2000_0000..0x2040_0000;

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
        folder,
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
        let seen = control.last_words().or_else(|| checkstop(folder, code));
        failure = verdict(case.ends, seen, code);
    }
    if failure.is_none() {
        failure = afterwards(case, folder, player.transcript.text())?;
    }
    let tail = player
        .transcript
        .tail(TAIL)
        .into_iter()
        .map(str::to_owned)
        .collect();
    Ok(Played { failure, tail })
}

/// Whether the steps say when the trace is on.
pub fn switches_trace(case: &Case) -> bool {
    case.steps.iter().any(|step| matches!(step, Step::Trace(_)))
}

/// Compares what QEMU and the disks show once the machine is gone.
fn afterwards(case: &Case, folder: &Path, console: &str) -> Result<Option<String>> {
    let log = faults::read(&folder.join("qemu.log"))?;
    if let Some(wrong) = case.faults.compare(&log) {
        return Ok(Some(wrong));
    }
    if let Some(registers) = &case.settings.trace
        && let Some(wrong) = trace::compare(registers, &log, console)
    {
        return Ok(Some(wrong));
    }
    for disk in case.settings.disks.iter().flatten() {
        if let Some(wrong) = disk.compare(folder)? {
            return Ok(Some(wrong));
        }
    }
    Ok(None)
}

struct Player<'a> {
    folder: &'a Path,
    machine: Machine,
    transcript: Transcript,
    filter: TraceFilter,
    watch: Watch,
    log: File,
    closed: bool,
    end: Instant,
}

impl Player<'_> {
    /// Plays the steps; what is wrong is returned.
    fn steps(&mut self, case: &Case, control: &mut Control) -> Result<Option<String>> {
        for step in &case.steps {
            match step {
                Step::Expect(pattern) | Step::Most(pattern, _) => {
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
                    if let Step::Most(_, most) = step {
                        let wrong = too_much(self.transcript.matched(), pattern, *most);
                        if wrong.is_some() {
                            return Ok(wrong);
                        }
                    }
                }
                Step::Send(text) => self.machine.write(text.as_bytes())?,
                Step::Bytes(bytes) => self.machine.write(bytes)?,
                Step::Qmp(Qmp::Plain(command)) => drop(control.execute(command, None)?),
                Step::Qmp(Qmp::Full { execute, arguments }) => {
                    drop(control.execute(execute, Some(arguments.clone()))?);
                }
                Step::Dump(texts) => {
                    if let Some(wrong) = self.dump(control, texts)? {
                        return Ok(Some(wrong));
                    }
                }
                Step::Unplug(id) => {
                    // As if it were pulled out: no slot tells the machine, and
                    // device_del would wait until the machine lets go of it.
                    let arguments = json!({
                        "path": format!("/machine/peripheral/{id}"),
                        "property": "realized",
                        "value": false,
                    });
                    // Not while a processor is at registers of another device: QEMU may
                    // take the access for one to nothing as its map changes.
                    drop(control.execute("stop", None)?);
                    drop(control.execute("qom-set", Some(arguments))?);
                    drop(control.execute("cont", None)?);
                }
                Step::Trace(on) => {
                    let arguments = json!({"name": REGISTER_WRITES, "enable": on});
                    drop(control.execute("trace-event-set-state", Some(arguments))?);
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

    /// Saves the memory that firmware put the image into, and reads it.
    fn dump(&self, control: &mut Control, texts: &[String]) -> Result<Option<String>> {
        let file = std::path::absolute(self.folder.join("memory.bin"))?;
        let arguments = json!({
            "val": IMAGE_MEMORY.start,
            "size": IMAGE_MEMORY.end - IMAGE_MEMORY.start,
            "filename": file,
        });
        control.execute("pmemsave", Some(arguments))?;
        let memory =
            std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let Some(told) = dump::tell(&memory, self.filter.symbols()) else {
            return Ok(Some("the memory dump holds nothing of Pinion".to_owned()));
        };
        std::fs::write(self.folder.join("dump.txt"), &told).context("cannot write dump.txt")?;
        let absent = texts.iter().find(|text| !told.contains(text.as_str()));
        Ok(absent.map(|text| format!("not in the memory dump: {text:?}")))
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

/// What is wrong with the number that stands for the `*` in a line.
fn too_much(line: &str, pattern: &str, most: u64) -> Option<String> {
    let number = pattern.split_once('*').and_then(|(head, tail)| {
        let (_, rest) = line.split_once(head)?;
        rest.strip_suffix(tail)?.trim().parse::<u64>().ok()
    });
    match number {
        Some(number) if number <= most => None,
        Some(number) => Some(format!("{number}, and {most} is the most for {pattern:?}")),
        None => Some(format!("no number for {pattern:?}: {line:?}")),
    }
}

/// A crash that QEMU tells nobody about but its log: it ends with status 1,
/// and so it does for errors of its own.
fn checkstop(folder: &Path, code: Option<i32>) -> Option<End> {
    // Bytes: a guest's garbage may be in it.
    let log = std::fs::read(folder.join("qemu.log")).unwrap_or_default();
    let mark = b"Entering checkstop state";
    (code == Some(1) && log.windows(mark.len()).any(|bytes| bytes == mark)).then_some(End::Crash)
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
    fn a_number_has_a_limit() {
        let wrong = |line, most| too_much(line, "banner * us", most);
        assert_eq!(wrong("[  0.1] banner 16000 us", 16000), None);
        assert!(wrong("[  0.1] banner 16001 us", 16000).is_some());
        assert!(wrong("[  0.1] banner soon us", 16000).is_some());
        assert!(too_much("16", "16", 99).is_some(), "no `*`");
    }

    #[test]
    fn only_the_wanted_end_is_good() {
        assert_eq!(verdict(Ends::Poweroff, Some(End::PowerOff), Some(0)), None);
        assert!(verdict(Ends::Poweroff, Some(End::Reset), Some(0)).is_some());
        assert!(verdict(Ends::Poweroff, Some(End::Crash), Some(1)).is_some());
        assert!(verdict(Ends::Poweroff, None, Some(0)).is_some());
        assert_eq!(verdict(Ends::Crash, Some(End::Crash), Some(1)), None);
        assert!(verdict(Ends::Crash, Some(End::PowerOff), Some(0)).is_some());
        assert_eq!(verdict(Ends::Reset, Some(End::Reset), Some(0)), None);
    }
}
