//! Child processes that never outlive the tool.
//!
//! Each child gets a process group of its own, which is killed when the
//! [`Guarded`] child is dropped, when a signal ends the tool, and (the child
//! itself, by the kernel) when the tool is killed without a chance to clean up.

pub mod signals;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// A running child whose whole process group ends with this value.
pub struct Guarded {
    child: Child,
    group: Pid,
    ended: bool,
}

impl Guarded {
    /// Starts `command`.
    ///
    /// The kernel kills the child when the thread that called this ends, so
    /// the thread must stay until the child is done.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let parent = rustix::process::getpid();
        command.process_group(0);
        let die_with_parent = move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above took effect.
            if rustix::process::getppid() != Some(parent) {
                return Err(rustix::io::Errno::SRCH.into());
            }
            Ok(())
        };
        // SAFETY: between fork and exec only async-signal-safe calls are
        // allowed: the closure makes two plain system calls and allocates
        // nothing.
        unsafe { command.pre_exec(die_with_parent) };
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        let group = Pid::from_child(&child);
        signals::register(group);
        Ok(Self {
            child,
            group,
            ended: false,
        })
    }

    /// The child's standard output, once.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// The child's standard input, once.
    pub fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// The exit status if the child has ended.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        let status = self
            .child
            .try_wait()
            .context("cannot wait for a child process")?;
        if status.is_some() && !self.ended {
            self.ended = true;
            signals::unregister(self.group);
        }
        Ok(status)
    }

    /// Waits at most `limit`; `None` if the child still runs then.
    pub fn wait_timeout(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the whole group and collects the child, if it still runs.
    pub fn kill(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        // The group may be gone: then there is nothing to kill.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
        signals::unregister(self.group);
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a finished command printed.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output, and standard error if it was merged.
    pub stdout: String,
}

/// Runs `command` to its end and returns its standard output; standard error
/// goes where the caller set it. Longer than `limit` is an error.
pub fn capture(command: &mut Command, limit: Duration) -> Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let name = describe(command);
    let mut child = Guarded::spawn(command)?;
    let mut pipe = child
        .take_stdout()
        .context("no pipe from a child process")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    let end = Instant::now() + limit;
    let Ok(bytes) = receiver.recv_timeout(limit) else {
        bail!("{name}: no end within {} s", limit.as_secs());
    };
    let Some(status) = child.wait_timeout(end.saturating_duration_since(Instant::now()))? else {
        bail!("{name}: no end within {} s", limit.as_secs());
    };
    Ok(Output {
        status,
        stdout: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// Runs `command` with everything it prints going to the file `log` and, line
/// by line, to `watch`. Longer than `limit` is an error.
pub fn logged(
    command: &mut Command,
    log: &Path,
    limit: Duration,
    mut watch: impl FnMut(&str),
) -> Result<ExitStatus> {
    use std::io::Write;
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let name = describe(command);
    let (reader, writer) = std::io::pipe().context("no pipe")?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = Guarded::spawn(command)?;
    // The command holds copies of the pipe's write end: drop them, or the
    // reader never sees the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n') {
            let Ok(line) = line else { break };
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                break;
            }
        }
    });
    let end = Instant::now() + limit;
    loop {
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                writeln!(file, "{line}")
                    .with_context(|| format!("cannot write {}", log.display()))?;
                watch(&line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!(
                    "{name}: no end within {} s (see {})",
                    limit.as_secs(),
                    log.display()
                )
            }
        }
    }
    let left = end
        .saturating_duration_since(Instant::now())
        .max(Duration::from_secs(1));
    child
        .wait_timeout(left)?
        .with_context(|| format!("{name}: no end within {} s", limit.as_secs()))
}

/// The command as a person would type it.
pub fn describe(command: &Command) -> String {
    let mut line = quote(&command.get_program().to_string_lossy());
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quote(&argument.to_string_lossy()));
    }
    line
}

/// `word` as a shell reads it back.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The program `name` in the search path, or itself where it names a file.
pub fn find_program(name: &Path) -> Option<std::path::PathBuf> {
    let is_program = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        path.metadata()
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if name.components().count() > 1 {
        return is_program(name).then(|| name.to_path_buf());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|candidate| is_program(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quote("-smp"), "-smp");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn a_child_that_takes_too_long_is_an_error_and_is_gone() {
        let start = Instant::now();
        let error =
            capture(Command::new("sleep").arg("30"), Duration::from_millis(200)).unwrap_err();
        assert!(error.to_string().contains("no end within"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn output_and_status_come_back() {
        let output = capture(
            Command::new("sh").args(["-c", "echo out; exit 3"]),
            Duration::from_secs(10),
        )
        .unwrap();
        assert_eq!(output.stdout, "out\n");
        assert_eq!(output.status.code(), Some(3));
    }

    #[test]
    fn a_log_holds_both_streams() {
        let log = std::env::temp_dir().join(format!("pinion-tools-log-{}", std::process::id()));
        let mut seen = Vec::new();
        let status = logged(
            Command::new("sh").args(["-c", "echo out; echo err >&2"]),
            &log,
            Duration::from_secs(10),
            |line| seen.push(line.to_owned()),
        )
        .unwrap();
        assert!(status.success());
        assert_eq!(seen, ["out", "err"]);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "out\nerr\n");
        std::fs::remove_file(&log).unwrap();
    }
}
