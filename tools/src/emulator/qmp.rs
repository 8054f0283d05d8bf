//! QEMU's control socket: commands in, events out.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long QEMU may take to open its socket and to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that has been greeted.
pub struct Control {
    stream: UnixStream,
    messages: Receiver<Value>,
    end: Option<End>,
}

/// Why the machine stopped, as QEMU says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Firmware switched it off.
    PowerOff,
    /// It was reset.
    Reset,
    /// It stopped for a crash.
    Crash,
    /// Something outside ended it.
    Other,
}

impl End {
    fn of_event(message: &Value) -> Option<Self> {
        if message.get("event")?.as_str()? != "SHUTDOWN" {
            return None;
        }
        Some(match message.pointer("/data/reason")?.as_str()? {
            "guest-shutdown" => Self::PowerOff,
            "guest-reset" => Self::Reset,
            "guest-panic" => Self::Crash,
            _ => Self::Other,
        })
    }
}

impl Control {
    /// Connects to the socket at `path` as soon as it is there; `alive` says
    /// whether waiting still makes sense.
    pub fn connect(path: &Path, mut alive: impl FnMut() -> bool) -> Result<Self> {
        let end = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > end || !alive() => {
                    return Err(error)
                        .with_context(|| format!("QEMU's control socket {}", path.display()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let (sender, messages) = mpsc::channel();
        let reader = stream
            .try_clone()
            .context("cannot share the control socket")?;
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines() {
                let Ok(line) = line else { break };
                // QEMU writes one JSON object a line.
                if let Ok(message) = serde_json::from_str(&line)
                    && sender.send(message).is_err()
                {
                    break;
                }
            }
        });
        let mut control = Self {
            stream,
            messages,
            end: None,
        };
        control.execute("qmp_capabilities", None)?;
        Ok(control)
    }

    /// Runs one command and returns what it answers.
    ///
    /// # Errors
    /// QEMU refuses the command, ends, or does not answer.
    pub fn execute(&mut self, command: &str, arguments: Option<Value>) -> Result<Value> {
        let mut message = json!({ "execute": command });
        if let Some(arguments) = arguments {
            message["arguments"] = arguments;
        }
        writeln!(self.stream, "{message}")
            .with_context(|| format!("QEMU takes no command {command}"))?;
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(mut answer) = self.messages.recv_timeout(left) else {
                bail!("QEMU does not answer to {command}");
            };
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                bail!(
                    "QEMU refuses {command}: {}",
                    error["desc"].as_str().unwrap_or("no reason given")
                );
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, message: &Value) {
        // The first reason is the cause; what follows is consequence.
        self.end = self.end.or_else(|| End::of_event(message));
    }

    /// Waits for the connection to close and returns why the machine stopped.
    pub fn last_words(mut self) -> Option<End> {
        while let Ok(message) = self.messages.recv_timeout(Duration::from_secs(5)) {
            self.note(&message);
        }
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_the_end_is_read() {
        let event =
            |reason: &str| json!({"event": "SHUTDOWN", "data": {"guest": true, "reason": reason}});
        assert_eq!(End::of_event(&event("guest-shutdown")), Some(End::PowerOff));
        assert_eq!(End::of_event(&event("guest-reset")), Some(End::Reset));
        assert_eq!(End::of_event(&event("guest-panic")), Some(End::Crash));
        assert_eq!(End::of_event(&event("host-signal")), Some(End::Other));
        assert_eq!(End::of_event(&json!({"event": "STOP"})), None);
    }
}
