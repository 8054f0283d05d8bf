//! One kill for all that wait for it, and the proof that it is complete.

use super::detach::DetachStep;
use super::error::DmaError;
use super::window::PeList;
use crate::memory::ledger::OwnerId;
use crate::seam::sync::{AtomicU64, Lock, Ordering, relax};
use crate::seam::{Interrupts, KillScope, PeId, PhbError, Platform};

/// Proof that a kill of each PE of a window is complete, started after the
/// caller's stores. Only this module makes one; pages and tables that a PHB
/// may have remembered are released for one only.
#[must_use]
pub(super) struct Killed(());

const RUNNING: u64 = 1;
const FAILED: u64 = 2;
const ONE: u64 = 4;

/// The kills of one PE, numbered from 1, and whether the PE is to be trusted.
///
/// The word holds the number of the last kill that was started, whether it
/// runs, and whether anything failed. A thread needs any kill that starts
/// after its own barrier: one with a higher number than it reads then. Whoever
/// finds none running starts it, for all who wait.
///
/// All three are in one word: a kill that fails says so in the same store that
/// ends it. `FAILED` stays until [`KillGate::trust`]; while it is set, no
/// shared kill starts and none is believed. A failure takes a number of its
/// own, so that a recovery that began before it cannot erase it.
#[derive(Debug)]
pub(super) struct KillGate {
    word: AtomicU64,
}

/// A forced kill that was complete, for [`KillGate::trust`].
#[derive(Clone, Copy)]
pub(super) struct KillNumber(u64);

/// Why a kill is not to be relied on.
enum Untrusted<E> {
    /// This thread's own kill failed.
    Own(E),
    /// Something failed before, or in another thread.
    Other,
}

impl KillGate {
    pub(super) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
        }
    }

    /// Whether the PE is not to be trusted: a kill failed, or it was frozen.
    pub(super) fn has_failed(&self) -> bool {
        self.word.load(Ordering::Acquire) & FAILED != 0
    }

    /// Records a failure that no shared kill has recorded.
    fn distrust(&self) {
        self.update(|word| (word + ONE) | FAILED);
    }

    /// The PE is thawed and its forced kill `number` was complete: trusts it
    /// again. False if another kill or failure came after that one.
    fn trust(&self, number: KillNumber) -> bool {
        let failed = number.0 * ONE + FAILED;
        match self.word.compare_exchange(
            failed,
            number.0 * ONE,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => true,
            Err(word) => word & FAILED == 0,
        }
    }

    /// Returns when a kill that started later than this call is complete;
    /// `start` starts one and waits for it.
    #[inline]
    fn pass<E>(&self, start: impl FnOnce() -> Result<(), E>) -> Result<(), Untrusted<E>> {
        // The caller's barrier comes before this load: a kill that is not yet
        // counted here starts after the barrier.
        let needed = self.word.load(Ordering::Acquire) / ONE + 1;
        loop {
            let word = self.word.load(Ordering::Acquire);
            if word & FAILED != 0 {
                return Err(Untrusted::Other);
            }
            let (started, running) = (word / ONE, word & RUNNING != 0);
            if started > needed || (started == needed && !running) {
                return Ok(());
            }
            if running {
                relax();
            } else if self.claim(word) {
                return self.end(start()).map_err(Untrusted::Own);
            }
        }
    }

    /// Starts a kill of its own, whatever failed before. `FAILED` stays.
    fn force<E>(&self, start: impl FnOnce() -> Result<(), E>) -> Result<KillNumber, E> {
        loop {
            let word = self.word.load(Ordering::Acquire);
            if word & RUNNING != 0 {
                relax();
            } else if self.claim(word) {
                let number = KillNumber(word / ONE + 1);
                return self.end(start()).map(|()| number);
            }
        }
    }

    #[inline]
    fn claim(&self, word: u64) -> bool {
        self.word
            .compare_exchange(
                word,
                word + ONE + RUNNING,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Ends the running kill and records its failure in one store.
    #[inline]
    fn end<E>(&self, result: Result<(), E>) -> Result<(), E> {
        let failed = if result.is_err() { FAILED } else { 0 };
        self.update(|word| word & !RUNNING | failed);
        result
    }

    #[inline]
    fn update(&self, next: impl Fn(u64) -> u64) {
        let mut word = self.word.load(Ordering::Relaxed);
        while let Err(now) =
            self.word
                .compare_exchange(word, next(word), Ordering::AcqRel, Ordering::Relaxed)
        {
            word = now;
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
    /// Whose functions may be doing DMA: until they are reset with no TVE on.
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
            self.platform.kill(pe, scope).map_err(Untrusted::Own)
        } else {
            known.gate.pass(|| self.started_kill(pe, scope))
        };
        result.map_err(|failure| match failure {
            Untrusted::Own(error) => {
                self.freeze(pe);
                error
            }
            Untrusted::Other => PhbError::Frozen,
        })
    }

    /// The kill that a thread starts for all who wait: their stores were
    /// observed before this barrier, which carries them to the PHB.
    #[inline]
    fn started_kill(&self, pe: PeId, scope: KillScope) -> Result<(), PhbError> {
        self.platform.barrier();
        self.platform.kill(pe, scope)
    }

    /// A kill of all that `pe` remembers, even if one failed before. The PE is
    /// trusted again only after [`Engine::thaw`](super::Engine::thaw).
    pub(super) fn forced_kill(&self, pe: PeId) -> Result<KillNumber, PhbError> {
        let Some(known) = self.pe(pe) else {
            return Err(PhbError::TimedOut);
        };
        self.platform.barrier();
        let scope = self.scope(pe, KillScope::Pe);
        // Its own kill: one that somebody else shares may have failed.
        known.gate.force(|| self.started_kill(pe, scope))
    }

    /// Clears the freeze of `pe` after its forced kill `number`, and trusts it
    /// again. A failure that came in between needs a kill and a thaw of its own.
    pub(super) fn thaw(
        &self,
        pe: PeId,
        mut number: KillNumber,
    ) -> Result<(), (DetachStep, PhbError)> {
        let Some(known) = self.pe(pe) else {
            return Err((DetachStep::ClearFreeze, PhbError::TimedOut));
        };
        loop {
            self.platform
                .clear_freeze(pe)
                .map_err(|error| (DetachStep::ClearFreeze, error))?;
            if known.gate.trust(number) {
                return Ok(());
            }
            number = self
                .forced_kill(pe)
                .map_err(|error| (DetachStep::Kill, error))?;
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

    /// Freezes `pe` after a failure, and trusts it no more until it is thawed.
    /// If the freeze fails too, nothing is released either way: the pins stay.
    pub(super) fn freeze(&self, pe: PeId) {
        let Some(known) = self.pe(pe) else { return };
        // Before: nobody relies on it. After: a thaw in between does not count.
        known.gate.distrust();
        let _ = self.platform.freeze(pe);
        known.gate.distrust();
    }

    /// The proof for a window that no PE uses, so that no PHB remembers it.
    pub(super) fn no_pe_left(pes: &PeList) -> Option<Killed> {
        pes.is_empty().then_some(Killed(()))
    }
}
