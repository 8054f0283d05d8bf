//! One kill for all that wait for it, and the proof that it is complete.

use super::error::DmaError;
use super::window::PeList;
use crate::memory::ledger::OwnerId;
use crate::seam::sync::{AtomicBool, AtomicU64, Lock, Ordering, relax};
use crate::seam::{Interrupts, KillScope, PeId, PhbError, Platform};

/// Proof that a kill of each PE of a window is complete, started after the
/// caller's stores. Only this module makes one; pages and tables that a PHB
/// may have remembered are released for one only.
#[must_use]
pub(super) struct Killed(());

const RUNNING: u64 = 1;
const ONE: u64 = 2;

/// The kills of one PE, numbered from 1.
///
/// The word holds twice the number of the last kill that was started, plus one
/// while it runs. A thread needs any kill that starts after its own barrier:
/// one with a higher number than it reads then. Whoever finds none running
/// starts it, for all who wait.
#[derive(Debug)]
pub(super) struct KillGate {
    word: AtomicU64,
    // A kill failed: the PE is frozen, and nothing more is believed until a
    // forced kill succeeds.
    failed: AtomicBool,
}

impl KillGate {
    pub(super) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Returns when a kill that started later than this call is complete;
    /// `start` starts one and waits for it. A failed one is recorded before
    /// anybody sees that it is over.
    fn pass<E>(&self, start: impl FnOnce() -> Result<(), E>) -> Option<Result<(), E>> {
        // The caller's barrier comes before this load: a kill that is not yet
        // counted here starts after the barrier.
        let needed = self.word.load(Ordering::Acquire) / ONE + 1;
        loop {
            let word = self.word.load(Ordering::Acquire);
            let (started, running) = (word / ONE, word & RUNNING != 0);
            if started > needed || (started == needed && !running) {
                return None;
            }
            if running {
                relax();
                continue;
            }
            let claimed = word + ONE + RUNNING;
            if self
                .word
                .compare_exchange(word, claimed, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                let result = start();
                if result.is_err() {
                    self.failed.store(true, Ordering::Release);
                }
                self.word.store(claimed - RUNNING, Ordering::Release);
                return Some(result);
            }
        }
    }
}

/// What the engine knows of one PE.
pub(super) struct Pe<I: Interrupts> {
    pub(super) gate: KillGate,
    pub(super) usage: Lock<Usage, I>,
}

/// Whose a PE is, and which of its TVEs are taken.
#[derive(Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) owner: Option<OwnerId>,
    pub(super) tves: [bool; 2],
}

impl<I: Interrupts> Pe<I> {
    pub(super) fn new() -> Self {
        Self {
            gate: KillGate::new(),
            usage: Lock::new(Usage::default()),
        }
    }
}

impl<P: Platform> super::Engine<P> {
    /// One kill of each of `pes`, shared with others where possible. Drains the
    /// stores before it. Tries all, and reports the first failure.
    #[inline]
    pub(super) fn kill(&self, pes: &PeList, pages: KillScope) -> Result<Killed, DmaError> {
        self.platform.barrier();
        let mut result = Ok(Killed(()));
        for &pe in pes {
            if let Err(error) = self.kill_one(pe, pages)
                && result.is_ok()
            {
                result = Err(DmaError::Kill { pe, error });
            }
        }
        result
    }

    #[inline]
    fn kill_one(&self, pe: PeId, wanted: KillScope) -> Result<(), PhbError> {
        let Some(known) = self.pe(pe) else {
            return Err(PhbError::TimedOut);
        };
        let scope = self.scope(pe, wanted);
        if known.gate.has_failed() {
            return Err(PhbError::Frozen);
        }
        let result = if let KillScope::Pages { .. } = scope {
            // Covers only its own pages: nobody else can share it.
            let result = self.platform.kill(pe, scope);
            if result.is_err() {
                known.gate.failed.store(true, Ordering::Release);
            }
            Some(result)
        } else {
            known.gate.pass(|| self.started_kill(pe, scope))
        };
        match result {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                self.freeze(pe);
                Err(error)
            }
            None if known.gate.has_failed() => Err(PhbError::Frozen),
            None => Ok(()),
        }
    }

    /// The kill that a thread starts for all who wait: their stores were
    /// observed before this barrier, which carries them to the PHB.
    #[inline]
    fn started_kill(&self, pe: PeId, scope: KillScope) -> Result<(), PhbError> {
        self.platform.barrier();
        self.platform.kill(pe, scope)
    }

    /// A kill of all that `pe` remembers, even if one failed before; success
    /// makes the PE trustworthy again.
    pub(super) fn forced_kill(&self, pe: PeId) -> Result<(), PhbError> {
        let Some(known) = self.pe(pe) else {
            return Err(PhbError::TimedOut);
        };
        self.platform.barrier();
        let scope = self.scope(pe, KillScope::Pe);
        loop {
            // Its own kill: one that somebody else shares may have failed.
            if let Some(result) = known.gate.pass(|| self.started_kill(pe, scope)) {
                if result.is_ok() {
                    known.gate.failed.store(false, Ordering::Release);
                }
                return result;
            }
        }
    }

    fn scope(&self, pe: PeId, wanted: KillScope) -> KillScope {
        use crate::seam::KillStyle;
        match (self.platform.kill_style(pe), wanted) {
            (KillStyle::All, _) => KillScope::All,
            (KillStyle::Pages { limit }, KillScope::Pages { pages, .. }) if pages <= limit => {
                wanted
            }
            _ => KillScope::Pe,
        }
    }

    /// Freezes `pe` after a failure. If even that fails, nothing is released
    /// either way: the pins stay.
    pub(super) fn freeze(&self, pe: PeId) {
        let _ = self.platform.freeze(pe);
    }

    /// The proof for a window that no PE uses, so that no PHB remembers it.
    pub(super) fn no_pe_left(pes: &PeList) -> Option<Killed> {
        pes.is_empty().then_some(Killed(()))
    }
}
