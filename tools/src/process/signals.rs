//! What happens when a signal ends the tool: children and terminal first.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn groups() -> MutexGuard<'static, BTreeSet<i32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a process group that must not outlive the tool.
pub fn register(group: Pid) {
    groups().insert(group.as_raw_nonzero().get());
}

/// Forgets a group that is gone.
pub fn unregister(group: Pid) {
    groups().remove(&group.as_raw_nonzero().get());
}

/// From now on SIGINT (Ctrl-C), SIGTERM and SIGHUP kill every registered group,
/// give the terminal back as it was, and end the tool with 128 + the signal.
pub fn end_children_on_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot handle signals")?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let groups = groups();
            for &group in groups.iter() {
                if let Some(group) = Pid::from_raw(group) {
                    // Gone already: nothing to do.
                    let _ = kill_process_group(group, Signal::KILL);
                }
            }
            crate::emulator::terminal::restore();
            // The lock stays held: no thread can register another child.
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}
