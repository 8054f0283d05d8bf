//! When a source fires so often that it must be silenced.
//!
//! Three kinds of storm, each of which would keep the thread from its work:
//!
//! 1. The handler has nothing to do, [`FRUITLESS`] times in a row: nobody
//!    serves what the source asks for.
//! 2. It fires [`RUN`] times and the thread has not come back to its work in
//!    between: all its time goes into the handler.
//! 3. It is served outside of the handler, and still fires more than
//!    [`LATER_PER_SECOND`] times in a second: the level stays whatever is done.

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Most times in a row that a handler may have nothing to do.
pub const FRUITLESS: u32 = 100;
/// Most times that a source may fire while its thread gets nothing else done.
pub const RUN: u32 = 1000;
/// Most times a second that a source may fire whose handler answers "later". A
/// serial line at 115200 bits a second brings at most 11520 bytes, several at a
/// time.
pub const LATER_PER_SECOND: u32 = 4000;

/// Why a source was silenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storm {
    /// See the module's first kind.
    Fruitless,
    /// See the module's second kind.
    Run,
    /// See the module's third kind.
    Later,
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fruitless => write!(f, "it fired {FRUITLESS} times and nothing was there"),
            Self::Run => write!(f, "it fired {RUN} times and nothing else got done"),
            Self::Later => write!(f, "it fired {LATER_PER_SECOND} times in a second"),
        }
    }
}

/// Watches one source. Used by the thread that the source is routed to.
#[derive(Debug, Default)]
pub struct Watch {
    fruitless: AtomicU32,
    round: AtomicU32,
    run: AtomicU32,
    second: AtomicU64,
    later: AtomicU32,
    blamed: AtomicU32,
}

/// Adds one, and says whether `limit` is passed.
fn passes(counter: &AtomicU32, limit: u32) -> bool {
    let now = counter.load(Ordering::Relaxed).saturating_add(1);
    counter.store(now, Ordering::Relaxed);
    now >= limit
}

impl Watch {
    /// All is calm.
    pub fn reset(&self) {
        self.fruitless.store(0, Ordering::Relaxed);
        self.run.store(0, Ordering::Relaxed);
        self.later.store(0, Ordering::Relaxed);
    }

    /// Remembers for what the source was silenced.
    pub fn blame(&self, storm: Storm) {
        self.blamed.store(storm as u32, Ordering::Relaxed);
    }

    /// For what it was silenced last.
    pub fn blamed(&self) -> Storm {
        let number = self.blamed.load(Ordering::Relaxed);
        let all = [Storm::Fruitless, Storm::Run, Storm::Later];
        let found = all.into_iter().find(|&storm| storm as u32 == number);
        found.unwrap_or(Storm::Fruitless)
    }

    /// The source fired; `round` changes whenever its thread gets to its work.
    pub fn fired(&self, round: u32) -> Option<Storm> {
        if self.round.swap(round, Ordering::Relaxed) != round {
            self.run.store(0, Ordering::Relaxed);
        }
        passes(&self.run, RUN).then_some(Storm::Run)
    }

    /// The handler did something.
    pub fn served(&self) {
        self.fruitless.store(0, Ordering::Relaxed);
    }

    /// The handler had nothing to do.
    pub fn fruitless(&self) -> Option<Storm> {
        passes(&self.fruitless, FRUITLESS).then_some(Storm::Fruitless)
    }

    /// The handler answered "later", in this second since the start.
    pub fn later(&self, second: u64) -> Option<Storm> {
        self.served();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.later.store(0, Ordering::Relaxed);
        }
        passes(&self.later, LATER_PER_SECOND).then_some(Storm::Later)
    }
}
