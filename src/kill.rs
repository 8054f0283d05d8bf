//! One kill for all that wait for it, and the proof that pages and tables are
//! released for: that it is complete.
//!
//! Below the ledger, so that the ledger can ask for the proof. Only this module
//! makes it, for the engine: nobody outside of the crate can.
//!
//! ```compile_fail,E0603
//! use pinion::kill::kill_each;
//! ```
#![forbid(unsafe_code)]

use crate::seam::sync::{AtomicU64, Ordering, relax};
use crate::seam::{KillScope, KillStyle, OwnerId, PeId, PhbError, PhbPort, TableMemory};

/// What a kill is for: one window, over the memory of one owner. Which window is
/// told by the place in memory: it is neither `Copy` nor `Clone`.
#[derive(Debug)]
pub(crate) struct Stake {
    owner: OwnerId,
}

impl Stake {
    /// For a window over the memory of `owner`.
    pub(crate) fn new(owner: OwnerId) -> Self {
        Self { owner }
    }

    /// Whose memory.
    #[inline]
    pub(crate) fn owner(&self) -> OwnerId {
        self.owner
    }
}

/// Proof that a kill of each PE of a window is complete, started after the
/// caller's stores: no PHB uses what they replaced. Pages that an entry stood
/// for, and tables that a PHB may have found, are released for one only, and
/// only those of its window.
#[must_use = "what was replaced can be released now, and not without this"]
pub struct Killed<'w> {
    stake: &'w Stake,
}

impl Killed<'_> {
    /// Whether it is for memory of `owner`.
    #[inline]
    pub(crate) fn is_for(&self, owner: OwnerId) -> bool {
        self.stake.owner == owner
    }

    /// Whether it is for the window that has this stake.
    #[inline]
    pub(crate) fn is_of(&self, stake: &Stake) -> bool {
        core::ptr::eq(self.stake, stake)
    }
}

/// What is known of one PE's kills: how they are done, and which were.
pub struct Killer<P: PhbPort> {
    gate: KillGate,
    style: KillStyle,
    port: P::KillPort,
}

impl<P: PhbPort> Killer<P> {
    /// Of `pe`, without kills so far.
    pub fn new(platform: &P, pe: PeId) -> Self {
        Self {
            gate: KillGate::new(),
            style: platform.kill_style(pe),
            port: platform.kill_port(pe),
        }
    }

    /// Whether a kill is one of the PE, whatever it is wanted for.
    pub(crate) fn is_plain(&self) -> bool {
        self.style == KillStyle::Pe
    }

    /// Which kills were, and whether the PE is to be trusted.
    pub fn gate(&self) -> &KillGate {
        &self.gate
    }

    /// What is wanted, as the PHB of the PE needs it.
    #[inline]
    fn scope(&self, wanted: KillScope) -> KillScope {
        match (self.style, wanted) {
            (KillStyle::All, _) => KillScope::All,
            (KillStyle::Pages { limit }, KillScope::Pages { pages, .. }) if pages <= limit => {
                wanted
            }
            _ => KillScope::Pe,
        }
    }
}

const RUNNING: u64 = 1;
const FAILED: u64 = 2;
const ONE: u64 = 4;

/// The kills of one PE, numbered from 1, and whether the PE is to be trusted.
///
/// The word holds the number of the last kill that has ended, whether the next
/// one runs, and whether anything failed. A thread needs any kill that starts
/// after its own barrier: one with a higher number than that of the last kill
/// that has begun by then. Whoever finds none running starts it, for all who wait.
///
/// All three are in one word: a kill that fails says so in the same store that
/// ends it. `FAILED` stays until [`KillGate::trust`]; while it is set, no
/// shared kill starts and none is believed. A failure takes a number of its
/// own, so that a recovery that began before it cannot erase it.
#[derive(Debug, Default)]
pub struct KillGate {
    word: AtomicU64,
}

/// A forced kill that was complete, for [`KillGate::trust`].
#[derive(Clone, Copy)]
pub struct KillNumber(u64);

/// Why a kill is not to be relied on.
enum Untrusted<E> {
    /// This thread's own kill failed.
    Own(E),
    /// Something failed before, or in another thread.
    Other,
}

impl KillGate {
    /// A PE without kills, to be trusted.
    pub fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
        }
    }

    /// Whether the PE is not to be trusted: a kill failed, or it was frozen.
    pub fn has_failed(&self) -> bool {
        self.word.load(Ordering::Acquire) & FAILED != 0
    }

    /// Records a failure that no kill has recorded.
    pub fn distrust(&self) {
        self.update(|word| (word + ONE) | FAILED);
    }

    /// The PE is thawed and its forced kill `number` was complete: trusts it
    /// again. False if another kill or failure came after that one.
    pub fn trust(&self, number: KillNumber) -> bool {
        let failed = number.0 * ONE + FAILED;
        loop {
            match self.word.compare_exchange(
                failed,
                number.0 * ONE,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                // Claimed: by a kill, or by who will see that all is lost.
                Err(word) if word == failed | RUNNING => relax(),
                Err(word) => return word & FAILED == 0,
            }
        }
    }

    /// Returns when a kill that started later than this call is complete;
    /// `start` starts one and waits for it.
    #[inline]
    fn pass<E>(&self, start: impl Fn() -> Result<(), E>) -> Result<(), Untrusted<E>> {
        // The caller's barrier comes before this load: a kill that is not yet
        // counted here starts after the barrier.
        match self.look_and_claim() {
            Ok(()) => self.end(start()).map_err(Untrusted::Own),
            Err(claim) => self.pass_claimed(claim, start),
        }
    }

    /// Claims the next kill, after the caller's barrier. `Ok` if it is the caller's
    /// and no other will do.
    #[inline]
    fn look_and_claim(&self) -> Result<(), Claim> {
        let seen = self.word.load(Ordering::Relaxed);
        let word = self.claim();
        if word == seen && seen & (FAILED | RUNNING) == 0 {
            Ok(())
        } else {
            Err(Claim { seen, word })
        }
    }

    /// The claim of who has got it: its kill is yet to be complete.
    #[cold]
    fn own_claim(&self) -> Claim {
        // Nobody else ends it, so the number is as it was; a failure shows.
        let seen = self.word.load(Ordering::Acquire) & !RUNNING;
        Claim { seen, word: seen }
    }

    /// The rest of [`KillGate::pass`].
    #[cold]
    fn pass_claimed<E>(
        &self,
        claim: Claim,
        start: impl Fn() -> Result<(), E>,
    ) -> Result<(), Untrusted<E>> {
        let Claim { seen, word } = claim;
        // One that was running may have started before the caller's barrier.
        let needed = (seen / ONE).wrapping_add(1).wrapping_add(seen & RUNNING);
        let (mut word, mut claimed) = (word, word & RUNNING == 0);
        loop {
            let enough = match word {
                _ if word & FAILED != 0 => Some(Err(Untrusted::Other)),
                _ if word / ONE >= needed => Some(Ok(())),
                _ => None,
            };
            match enough {
                Some(answer) => {
                    if claimed {
                        self.word.fetch_sub(RUNNING, Ordering::Release);
                    }
                    return answer;
                }
                None if claimed => return self.end(start()).map_err(Untrusted::Own),
                None => relax(),
            }
            word = self.word.load(Ordering::Acquire);
            if word & (FAILED | RUNNING) == 0 && word / ONE < needed {
                word = self.claim();
                claimed = word & RUNNING == 0;
            }
        }
    }

    /// A kill that nobody shares, since it covers only what this thread asks
    /// for. Its failure is recorded before anybody hears of it.
    #[inline]
    fn alone<E>(&self, start: impl FnOnce() -> Result<(), E>) -> Result<(), Untrusted<E>> {
        if self.has_failed() {
            return Err(Untrusted::Other);
        }
        start().map_err(|error| {
            self.distrust();
            Untrusted::Own(error)
        })
    }

    /// Starts a kill of its own, whatever failed before. `FAILED` stays.
    fn force<E>(&self, start: impl FnOnce() -> Result<(), E>) -> Result<KillNumber, E> {
        loop {
            let word = self.claim();
            if word & RUNNING == 0 {
                let number = KillNumber(word / ONE + 1);
                return self.end(start()).map(|()| number);
            }
            while self.word.load(Ordering::Relaxed) & RUNNING != 0 {
                relax();
            }
        }
    }

    /// The next kill is the caller's, if the word that this returns does not say
    /// that another one runs. By one store, which changes nothing in that case.
    ///
    /// It publishes nothing that others rely on before the kill has ended.
    #[inline]
    fn claim(&self) -> u64 {
        self.word.fetch_or(RUNNING, Ordering::Acquire)
    }

    /// Ends the running kill and records its failure in one store.
    #[inline]
    fn end<E>(&self, result: Result<(), E>) -> Result<(), E> {
        match result {
            Ok(()) => self.end_well(),
            Err(_) => self.update(|word| word.wrapping_add(ONE - RUNNING) | FAILED),
        }
        result
    }

    /// Ends the running kill, which is complete.
    #[inline]
    fn end_well(&self) {
        // It runs, and only this thread ends it. 2^62 kills do not come.
        self.word.fetch_add(ONE - RUNNING, Ordering::Release);
    }

    #[cold]
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

/// One kill of each of `pes`, shared with others where possible. Drains the
/// stores before it. Tries all, freezes those that fail, and reports the first.
///
/// `pes` are all that use the window of `stake`, as its lock's holder saw after
/// the last store. Of no PE at all, the proof is that no PHB can remember
/// anything.
#[inline]
pub(crate) fn kill_each<'w, 'g, P: PhbPort + TableMemory + 'g>(
    platform: &P,
    stake: &'w Stake,
    pes: &[PeId],
    wanted: KillScope,
    killer: impl Fn(PeId) -> Option<&'g Killer<P>>,
) -> Result<Killed<'w>, (PeId, PhbError)> {
    // Whoever shares the kill of another thread has passed this before it looks
    // for one. So the kill itself needs no barrier for the stores of others.
    platform.barrier();
    let mut result = Ok(Killed { stake });
    for &pe in pes {
        let killed = match killer(pe) {
            Some(killer) => kill_one(platform, pe, killer, wanted),
            None => Err(PhbError::TimedOut),
        };
        if let Err(error) = killed
            && result.is_ok()
        {
            result = Err((pe, error));
        }
    }
    result
}

/// A kill that is claimed or not, and not complete.
#[must_use = "others may wait for it"]
pub(crate) struct Claim {
    /// What the gate said after the caller's barrier.
    seen: u64,
    /// What it said at the claim: whose that is.
    word: u64,
}

/// [`kill_each`] of the only PE that uses the window of `stake`, behind `killer`,
/// which is plain. What is not done at once, [`Claim::kill`] does.
#[inline(always)] // A call more is a tenth of what one page costs.
pub(crate) fn kill_quickly<'w, P: PhbPort + TableMemory>(
    platform: &P,
    stake: &'w Stake,
    killer: &Killer<P>,
) -> Result<Killed<'w>, Claim> {
    platform.barrier();
    killer.gate.look_and_claim()?;
    if !platform.kill_quickly(&killer.port) {
        return Err(killer.gate.own_claim());
    }
    killer.gate.end_well();
    Ok(Killed { stake })
}

impl Claim {
    /// Ends what [`kill_quickly`] has begun, of the same PE for the same window.
    #[cold]
    pub(crate) fn kill<'w, P: PhbPort>(
        self,
        platform: &P,
        stake: &'w Stake,
        pe: PeId,
        killer: &Killer<P>,
    ) -> Result<Killed<'w>, PhbError> {
        let kill = || platform.kill(&killer.port, KillScope::Pe);
        match killer.gate.pass_claimed(self, kill) {
            Ok(()) => Ok(Killed { stake }),
            Err(failure) => Err(failed(platform, pe, &killer.gate, failure)),
        }
    }
}

#[inline]
fn kill_one<P: PhbPort>(
    platform: &P,
    pe: PeId,
    killer: &Killer<P>,
    wanted: KillScope,
) -> Result<(), PhbError> {
    let scope = killer.scope(wanted);
    let kill = || platform.kill(&killer.port, scope);
    let result = match scope {
        KillScope::Pages { .. } => killer.gate.alone(kill),
        KillScope::Pe | KillScope::All => killer.gate.pass(kill),
    };
    result.map_err(|failure| failed(platform, pe, &killer.gate, failure))
}

/// The end of a kill that is not to be relied on.
#[cold]
fn failed(
    platform: &impl PhbPort,
    pe: PeId,
    gate: &KillGate,
    failure: Untrusted<PhbError>,
) -> PhbError {
    match failure {
        Untrusted::Own(error) => {
            freeze(platform, pe, gate);
            error
        }
        Untrusted::Other => PhbError::Frozen,
    }
}

/// A kill of all that `pe` remembers, even if one failed before. Drains the
/// stores before it: those too that other threads made under a lock which this
/// one has held since. The PE is trusted again only by [`KillGate::trust`].
pub(crate) fn forced_kill<P: PhbPort + TableMemory>(
    platform: &P,
    killer: &Killer<P>,
) -> Result<KillNumber, PhbError> {
    platform.barrier();
    let scope = killer.scope(KillScope::Pe);
    // Its own kill: one that somebody else shares may have failed.
    killer.gate.force(|| platform.kill(&killer.port, scope))
}

/// Freezes `pe` after a failure, and trusts it no more until it is thawed. If
/// the freeze fails too, nothing is released either way: the pins stay.
pub(crate) fn freeze(platform: &impl PhbPort, pe: PeId, gate: &KillGate) {
    // Before: nobody relies on it. After: a thaw in between does not count.
    gate.distrust();
    let _ = platform.freeze(pe);
    gate.distrust();
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_kill_of_its_own_records_its_failure_itself() {
        let gate = KillGate::new();
        assert!(gate.alone(|| Ok::<_, ()>(())).is_ok() && !gate.has_failed());
        assert!(matches!(gate.alone(|| Err(7)), Err(Untrusted::Own(7))));
        assert!(gate.has_failed());
        // Nothing is tried from now on, and a kill that is shared neither.
        let never = || -> Result<(), ()> { panic!("a kill was started") };
        assert!(matches!(gate.alone(never), Err(Untrusted::Other)));
        assert!(matches!(gate.pass(never), Err(Untrusted::Other)));
    }

    #[test]
    fn a_proof_is_for_one_window_and_one_owner() {
        let (mine, other) = (Stake::new(OwnerId(1)), Stake::new(OwnerId(1)));
        let killed = Killed { stake: &mine };
        assert!(killed.is_of(&mine) && !killed.is_of(&other));
        assert!(killed.is_for(OwnerId(1)) && !killed.is_for(OwnerId(2)));
    }

    #[test]
    fn trust_comes_back_for_a_kill_that_nothing_followed() {
        let gate = KillGate::new();
        gate.distrust();
        let old = gate.force(|| Ok::<_, ()>(())).ok().unwrap();
        gate.distrust();
        assert!(!gate.trust(old) && gate.has_failed());
        let new = gate.force(|| Ok::<_, ()>(())).ok().unwrap();
        assert!(gate.trust(new) && !gate.has_failed());
        // Also if nothing was trusted before.
        for _ in 0..3 {
            assert!(gate.force(|| Err(())).is_err() && gate.has_failed());
        }
    }
}
