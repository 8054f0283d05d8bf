//! Whether a recording is in order.

use super::{Event, Sight};

/// What was done while the spy recorded: to a page whose region had pins from
/// nothing else that changed meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Pages were mapped.
    Map {
        /// How many.
        pages: u64,
    },
    /// Pages were unmapped.
    Unmap {
        /// How many.
        pages: u64,
    },
    /// Pages were replaced by others of the same region.
    Remap {
        /// How many.
        pages: u64,
        /// The watched entry's new value.
        entry: u64,
    },
    /// The window's only PE was detached.
    Detach {
        /// How many pages were mapped.
        pages: u64,
    },
}

/// What is not in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Disorder {
    /// There were more events than room.
    #[error("{0} events were lost")]
    Lost(u64),
    /// Not the number of kills that the operation needs.
    #[error("{found} kills, expected {expected}")]
    Kills {
        /// Stores that start a kill.
        found: u64,
        /// Expected.
        expected: u64,
    },
    /// No barrier before the first kill.
    #[error("no barrier before the kill")]
    NoBarrier,
    /// The entry at the barrier is not what the operation makes of it.
    #[error("TCE {0:#x} at the barrier before the kill")]
    Entry(u64),
    /// The entry changed between barrier and kill, or before the completion.
    #[error("TCE {0:#x} after the barrier")]
    Changed(u64),
    /// No completion after the last kill, or a kill after it.
    #[error("no completion after the last kill")]
    NotDone,
    /// Pins before the completion are not those that the operation must hold.
    #[error("{found:#x} pins before the kill was complete, expected {expected:#x}")]
    Early {
        /// Pins.
        found: u64,
        /// Expected.
        expected: u64,
    },
    /// Pins after the operation.
    #[error("{found:#x} pins after the operation, expected {expected:#x}")]
    After {
        /// Pins.
        found: u64,
        /// Expected.
        expected: u64,
    },
    /// The entry after the operation.
    #[error("TCE {0:#x} after the operation")]
    Left(u64),
}

const RIGHTS: u64 = 3;

/// Checks the order store, barrier, kill, completion, release, with `kills`
/// stores that start a kill. `before` and `after` were seen around the
/// operation.
pub fn order(
    operation: Operation,
    kills: u64,
    before: Sight,
    events: &[Event],
    after: Sight,
) -> Result<(), Disorder> {
    let is_kill = |event: &Event| matches!(event, Event::Write { kill: Some(_), .. });
    let found = events.iter().filter(|event| is_kill(event)).count() as u64;
    if found != kills {
        return Err(Disorder::Kills {
            found,
            expected: kills,
        });
    }
    let first = events.iter().position(is_kill).unwrap_or(events.len());
    let barrier = events[..first].iter().rev().find_map(|event| match event {
        Event::Barrier(sight) => Some(*sight),
        _ => None,
    });
    let barrier = barrier.ok_or(Disorder::NoBarrier)?;
    let last = events.iter().rposition(is_kill).unwrap_or(0);
    let done = events[last..].iter().find_map(|event| match event {
        Event::Done(sight) => Some(*sight),
        _ => None,
    });
    let done = done.ok_or(Disorder::NotDone)?;
    let (held, left) = operation.pins(before.pins);
    if !operation.fits(barrier.tce) {
        return Err(Disorder::Entry(barrier.tce));
    }
    let at_kills = events.iter().filter_map(|event| match event {
        Event::Write { kill, .. } => *kill,
        _ => None,
    });
    for sight in [barrier].into_iter().chain(at_kills).chain([done]) {
        if sight.tce != barrier.tce {
            return Err(Disorder::Changed(sight.tce));
        }
        if sight.pins != held {
            return Err(Disorder::Early {
                found: sight.pins,
                expected: held,
            });
        }
    }
    if after.pins != left {
        return Err(Disorder::After {
            found: after.pins,
            expected: left,
        });
    }
    let clean = match operation {
        Operation::Map { .. } | Operation::Remap { .. } => after.tce == barrier.tce,
        Operation::Unmap { .. } => after.tce == 0,
        // The table is gone.
        Operation::Detach { .. } => true,
    };
    if !clean {
        return Err(Disorder::Left(after.tce));
    }
    Ok(())
}

impl Operation {
    /// Pins to be held until the completion, and to be left after the
    /// operation, of a region that had `before`.
    fn pins(self, before: u64) -> (u64, u64) {
        match self {
            Self::Map { pages } => (before + pages, before + pages),
            Self::Unmap { pages } | Self::Detach { pages } => {
                (before, before.saturating_sub(pages))
            }
            Self::Remap { pages, .. } => (before + pages, before),
        }
    }

    /// Whether the entry may be that at the barrier.
    fn fits(self, tce: u64) -> bool {
        match self {
            Self::Map { .. } => tce & RIGHTS != 0,
            Self::Unmap { .. } => tce & RIGHTS == 0,
            Self::Remap { entry, .. } => tce == entry,
            // The TVE is off: entries are cleared later.
            Self::Detach { .. } => true,
        }
    }
}
