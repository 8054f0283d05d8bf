//! Whose turn it is with a group: calls that change its windows, one at a time,
//! accesses to configuration space, one at a time beside them, and whoever closes
//! it, after whom nobody comes in.

use super::rtas::{BUSY, HARDWARE};
use crate::seam::Interrupts;
use crate::seam::sync::{AtomicU32, Lock, Ordering, Rank, relax};

/// A call changes windows.
const CLAIMED: u32 = 1;
/// The partition has it no more: no new call, no new access.
const CLOSED: u32 = 2;

/// Who may use a group now. Nobody waits for calls that change windows, which
/// take as long as kills and failing PHBs do, but the one who closes it: for one
/// call at most, as closing comes first. Accesses wait for each other only.
pub struct Turns<I> {
    /// [`CLAIMED`] and [`CLOSED`]: in one word, so that no claim comes between
    /// a look at one and a change of the other.
    state: AtomicU32,
    accesses: Lock<(), I>,
}

impl<I: Interrupts> Default for Turns<I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: Interrupts> Turns<I> {
    /// Closed.
    pub fn new() -> Self {
        Self {
            state: AtomicU32::new(CLOSED),
            accesses: Lock::new(Rank::Access, ()),
        }
    }

    /// Calls and accesses may come.
    pub fn open(&self) {
        self.state.fetch_and(!CLOSED, Ordering::Release);
    }

    /// Does `act` unless it is closed, while nobody else does; whoever closes it
    /// waits for the end.
    pub fn keep<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let _access = self.accesses.lock();
        // Acquire: what was done before it was opened.
        let is_open = self.state.load(Ordering::Acquire) & CLOSED == 0;
        is_open.then(act)
    }

    /// A call may change windows, until the result is dropped.
    ///
    /// # Errors
    /// The RTAS status.
    pub fn claim(&self) -> Result<Claim<'_, I>, i32> {
        let claimed = self
            .state
            .compare_exchange(0, CLAIMED, Ordering::Acquire, Ordering::Relaxed);
        match claimed {
            Ok(_) => Ok(Claim(self)),
            Err(CLAIMED) => Err(BUSY),
            Err(_) => Err(HARDWARE),
        }
    }

    /// Closes it, and claims it when those who are inside have gone. It is closed
    /// after the claim too.
    pub fn claim_last(&self) -> Claim<'_, I> {
        self.state.fetch_or(CLOSED, Ordering::Relaxed);
        // An access that comes later finds it closed; one that is inside ends.
        drop(self.accesses.lock());
        // No new claim of a call: another who closes it may be first.
        while self.state.fetch_or(CLAIMED, Ordering::Acquire) & CLAIMED != 0 {
            relax();
        }
        Claim(self)
    }
}

/// The right to change a group's windows.
#[must_use = "the claim ends when this is dropped"]
pub struct Claim<'a, I>(&'a Turns<I>);

impl<I> Drop for Claim<'_, I> {
    fn drop(&mut self) {
        self.0.state.fetch_and(!CLAIMED, Ordering::Release);
    }
}
