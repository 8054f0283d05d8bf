//! A running machine: its serial line in both directions, and its end.

use std::io::{Read, Write};
use std::process::{ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result};

use super::qemu::Setting;
use super::qmp::Control;
use crate::process::Guarded;

/// A started QEMU; it ends when this is dropped.
pub struct Machine {
    child: Guarded,
    output: Receiver<Vec<u8>>,
    input: ChildStdin,
}

/// What came from the serial line.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Some bytes.
    Bytes(Vec<u8>),
    /// Nothing within the time asked for.
    Quiet,
    /// QEMU has closed its end: the machine is gone.
    Closed,
}

impl Machine {
    /// Starts the machine. QEMU's own complaints go to `errors`.
    pub fn start(setting: &Setting, errors: Stdio) -> Result<Self> {
        let mut command = setting.command();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut child = Guarded::spawn(&mut command)?;
        let input = child.take_stdin().context("QEMU has no standard input")?;
        let mut pipe = child.take_stdout().context("QEMU has no standard output")?;
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            output,
            input,
        })
    }

    /// Connects to the control socket that `setting` names.
    pub fn control(&mut self, setting: &Setting) -> Result<Control> {
        let path = setting
            .control
            .as_deref()
            .context("the machine has no control socket")?;
        let child = &mut self.child;
        Control::connect(path, || matches!(child.try_wait(), Ok(None)))
    }

    /// Waits at most `limit` for output.
    pub fn read(&mut self, limit: Duration) -> Output {
        match self.output.recv_timeout(limit) {
            Ok(bytes) => Output::Bytes(bytes),
            Err(RecvTimeoutError::Timeout) => Output::Quiet,
            Err(RecvTimeoutError::Disconnected) => Output::Closed,
        }
    }

    /// Types `bytes` on the serial line.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.input
            .write_all(bytes)
            .and_then(|()| self.input.flush())
            .context("QEMU takes no more input")
    }

    /// Waits for QEMU's end after its output has closed.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.child
            .wait_timeout(Duration::from_secs(10))?
            .context("QEMU closed its output but does not end")
    }

    /// Ends QEMU now.
    pub fn kill(&mut self) {
        self.child.kill();
    }
}
