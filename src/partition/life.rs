//! The life cycle of a partition: its states, what may be asked of it in each,
//! and what follows.
//!
//! ```text
//!            define          start           pause
//!   absent ---------> stopped -----> running <-----> paused
//!     ^                  ^              |   resume     |
//!     |   destroy        | stop         +------+-------+
//!     +------------ stopping <-----------------+
//!                     |   ^    stop, restart, crash, destroy
//!                     v   |
//!                   stuck, crashed
//! ```
//!
//! Everything that ends a run leads through *stopping*: threads leave the
//! partition, its devices are made quiet, and its memory is zeroed unless it is
//! kept to be looked at after a crash. A device that does not become quiet makes
//! the partition *stuck*: its memory stays its own until a later stop, restart
//! or destroy succeeds.

use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

/// What a partition is when it has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Then {
    /// It can be started.
    Stopped = 0,
    /// The same, and it is started at once.
    Starts = 1,
    /// Its memory is kept as it is, to be looked at.
    Crashed = 2,
    /// It is no more, and all that it had is free.
    Absent = 3,
}

impl Then {
    const fn of(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Stopped,
            1 => Self::Starts,
            2 => Self::Crashed,
            _ => Self::Absent,
        }
    }
}

/// What a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not defined, or destroyed.
    Absent,
    /// Defined: it has its memory, zeroed, and its devices, quiet.
    Stopped,
    /// Its vCPUs run, and its devices may do DMA.
    Running,
    /// Its vCPUs wait; its devices may finish what they were told to do.
    Paused,
    /// It ended by a fault. Its devices are quiet, its memory is kept.
    Crashed,
    /// Its vCPUs leave their threads, its devices are made quiet.
    Stopping(Then),
    /// A device did not become quiet: nothing of the partition was given away.
    Stuck(Then),
}

/// What can be asked of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Give it memory and devices.
    Define,
    /// Let it run from its kernel's entry.
    Start,
    /// Let its vCPUs wait.
    Pause,
    /// Let them go on.
    Resume,
    /// End its run.
    Stop,
    /// End its run and start it again.
    Restart,
    /// End its run by a fault; its memory is kept.
    Crash,
    /// End its run if it runs, and take back all that it has.
    Destroy,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Define,
        Self::Start,
        Self::Pause,
        Self::Resume,
        Self::Stop,
        Self::Restart,
        Self::Crash,
        Self::Destroy,
    ];
}

/// What was asked is not possible in this state; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{verb} is not possible: the partition is {state}")]
pub struct LifeError {
    /// What it is.
    pub state: State,
    /// What was asked.
    pub verb: Verb,
}

/// The partition was not stopping, or for another end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing is to be ended: the partition is {0}")]
pub struct NotStopping(pub State);

impl State {
    /// The state behind `verb`.
    ///
    /// # Errors
    /// It is not possible now.
    pub const fn after(self, verb: Verb) -> Result<Self, LifeError> {
        let state = self;
        Ok(match (state, verb) {
            (Self::Absent, Verb::Define) => Self::Stopped,
            (Self::Stopped, Verb::Start) => Self::Running,
            (Self::Running, Verb::Pause) => Self::Paused,
            (Self::Paused, Verb::Resume) => Self::Running,
            (Self::Running | Self::Paused, Verb::Crash) => Self::Stopping(Then::Crashed),
            (Self::Running | Self::Paused | Self::Crashed | Self::Stuck(_), Verb::Stop) => {
                Self::Stopping(Then::Stopped)
            }
            (Self::Running | Self::Paused | Self::Crashed | Self::Stuck(_), Verb::Restart) => {
                Self::Stopping(Then::Starts)
            }
            (
                Self::Stopped | Self::Running | Self::Paused | Self::Crashed | Self::Stuck(_),
                Verb::Destroy,
            ) => Self::Stopping(Then::Absent),
            _ => return Err(LifeError { state, verb }),
        })
    }

    /// The state behind [`State::Stopping`]: its devices are quiet, and its memory
    /// is zero unless it has crashed; or they are not.
    ///
    /// # Errors
    /// It is not stopping.
    pub const fn settled(self, quiet: bool) -> Result<Self, NotStopping> {
        match (self, quiet) {
            (Self::Stopping(then), false) => Ok(Self::Stuck(then)),
            // It is started from there, and may turn out not to start.
            (Self::Stopping(Then::Stopped | Then::Starts), true) => Ok(Self::Stopped),
            (Self::Stopping(Then::Crashed), true) => Ok(Self::Crashed),
            (Self::Stopping(Then::Absent), true) => Ok(Self::Absent),
            (state, _) => Err(NotStopping(state)),
        }
    }

    /// Whether vCPUs may be on threads: they are, or are leaving.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Stopping(_))
    }

    const fn code(self) -> u8 {
        match self {
            Self::Absent => 0,
            Self::Stopped => 1,
            Self::Running => 2,
            Self::Paused => 3,
            Self::Crashed => 4,
            Self::Stopping(then) => 8 | then as u8,
            Self::Stuck(then) => 16 | then as u8,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            0 => Self::Absent,
            1 => Self::Stopped,
            2 => Self::Running,
            3 => Self::Paused,
            4 => Self::Crashed,
            16.. => Self::Stuck(Then::of(code)),
            _ => Self::Stopping(Then::of(code)),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Absent => "absent",
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Crashed => "crashed",
            Self::Stopping(Then::Stopped) => "stopping",
            Self::Stopping(Then::Starts) => "stopping to start again",
            Self::Stopping(Then::Crashed) => "crashing",
            Self::Stopping(Then::Absent) => "being destroyed",
            Self::Stuck(_) => "stuck: a device does not become quiet",
        })
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Define => "define",
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Crash => "crash",
            Self::Destroy => "destroy",
        })
    }
}

/// The state of one partition, for any number of threads: vCPUs end themselves,
/// people end them, and one of them is first.
#[derive(Debug, Default)]
pub struct Life(AtomicU8);

impl Life {
    /// A partition that is not defined.
    pub const fn new() -> Self {
        Self(AtomicU8::new(State::Absent.code()))
    }

    /// What it is.
    #[inline]
    pub fn state(&self) -> State {
        State::of(self.0.load(Ordering::Acquire))
    }

    /// Does `verb`, and returns the state behind it.
    ///
    /// # Errors
    /// It is not possible in the state that the partition is in.
    pub fn apply(&self, verb: Verb) -> Result<State, LifeError> {
        loop {
            let before = self.state();
            let after = before.after(verb)?;
            if self.change(before, after) {
                return Ok(after);
            }
        }
    }

    /// Ends the stopping for `then`; see [`State::settled`].
    ///
    /// # Errors
    /// It is not stopping for that.
    pub fn settle(&self, then: Then, quiet: bool) -> Result<State, NotStopping> {
        let before = State::Stopping(then);
        let after = before.settled(quiet)?;
        match self.change(before, after) {
            true => Ok(after),
            false => Err(NotStopping(self.state())),
        }
    }

    fn change(&self, before: State, after: State) -> bool {
        let (before, after) = (before.code(), after.code());
        self.0
            .compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}
