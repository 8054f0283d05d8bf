//! An operation from its first store to the completed kill.

use super::error::DmaError;
use super::pes::PeList;
use super::state::State;
use super::window::{InFlight, Window};
use crate::kill::Killed;
use crate::memory::ledger::RegionCounts;
use crate::seam::sync::{LockGuard, relax};
use crate::seam::{KillScope, PeId, Platform};
use crate::tce::chain::Tables;
use crate::tce::{SlotRange, Stamp, leaf};

/// Entries were changed, and the PHBs may remember what they were. Only
/// [`Operation::settle`] ends this well. When it is dropped otherwise, the
/// window counts as failed and all pins stay.
#[must_use = "pins are kept until the operation is settled"]
pub(super) struct Operation<'w, P: Platform> {
    engine: &'w super::Engine<P>,
    pub(super) window: &'w Window<P>,
    pub(super) range: SlotRange,
    stamp: Option<Stamp>,
    pes: PeList,
    retired: Tables,
    // Live entries in the range may be this operation's: a failure buries them.
    makes: bool,
    // It put new levels into the tree.
    pub(super) linked: bool,
    // It is counted in `State::relinking`.
    relinks: bool,
    // Its kill has to cover indirect entries, of its own or of others.
    kills_levels: bool,
    // `pes` are those that may remember what the entries were.
    sealed: bool,
    settled: bool,
    // Dropped last.
    _in_flight: InFlight<'w>,
}

impl<P: Platform> Window<P> {
    /// Takes the lock and a stamp, when operations are admitted.
    #[inline]
    pub(super) fn lock_with_stamp(&self) -> Result<(LockGuard<'_, State, P>, Stamp), DmaError> {
        loop {
            let mut state = self.state.lock();
            state.admit()?;
            if let Some(stamp) = state.stamps.take() {
                return Ok((state, stamp));
            }
            // 63 threads are in an operation; each ends by itself.
            drop(state);
            relax();
        }
    }
}

impl<'w, P: Platform> Operation<'w, P> {
    /// Begins under the window's lock, before the first store. `stamp` marks
    /// the tombstones it may leave, `makes` says that it stores live entries.
    #[inline]
    pub(super) fn begin(
        engine: &'w super::Engine<P>,
        window: &'w Window<P>,
        range: SlotRange,
        stamp: Option<Stamp>,
        makes: bool,
    ) -> Self {
        let in_flight = window.enter();
        let (pes, retired) = (PeList::new(), Tables::default());
        Self {
            engine,
            window,
            range,
            stamp,
            pes,
            retired,
            makes,
            linked: false,
            relinks: false,
            kills_levels: false,
            sealed: false,
            settled: false,
            _in_flight: in_flight,
        }
    }

    /// One on a page, whose kill was tried and has failed.
    pub(super) fn of_one(
        engine: &'w super::Engine<P>,
        window: &'w Window<P>,
        range: SlotRange,
        stamp: Option<Stamp>,
        in_flight: InFlight<'w>,
    ) -> Self {
        Self {
            engine,
            window,
            range,
            stamp,
            pes: PeList::new(),
            retired: Tables::default(),
            makes: stamp.is_none(),
            linked: false,
            relinks: false,
            kills_levels: false,
            sealed: true,
            settled: false,
            _in_flight: in_flight,
        }
    }

    /// Its kill has failed with `error`.
    pub(super) fn give_up(mut self, error: &DmaError) {
        self.fail(error, None);
    }

    /// All stores are done: what the kill is for. Under the same lock as the
    /// last store, so that a PE attached later has seen them all.
    #[inline]
    pub(super) fn seal(&mut self, state: &mut State) {
        self.pes = state.pes;
        self.sealed = true;
        if !state.retired.is_empty() {
            core::mem::swap(&mut self.retired, &mut state.retired);
        }
        self.relinks = self.linked || !self.retired.is_empty();
        if self.relinks {
            // As many as run in the window: stamps or threads run out first.
            state.relinking = state.relinking.wrapping_add(1);
        }
        self.kills_levels = state.relinking != 0;
    }

    /// Nothing was changed.
    #[inline]
    pub(super) fn cancel(&mut self, state: &mut State) {
        self.give_stamp(state);
        self.settled = true;
    }

    /// The stamp has no tombstone left.
    #[inline]
    pub(super) fn give_stamp(&mut self, state: &mut State) {
        if let Some(stamp) = self.stamp.take() {
            state.stamps.give(stamp);
        }
    }

    /// Kills, and only if that is complete releases: first what `release` does,
    /// then the pins of `replaced` pages, then retired tables. Without any lock
    /// held. If the kill fails, the PE is frozen and everything stays pinned. Once:
    /// by reference, as an operation is too large to be moved for nothing.
    #[inline(always)] // A call more is a tenth of what one page costs.
    pub(super) fn settle(
        &mut self,
        mut replaced: Option<&mut RegionCounts>,
        release: impl FnOnce(&mut Self, &Killed),
    ) -> Result<(), DmaError> {
        if !self.sealed || self.settled {
            debug_assert!(false, "a kill for nobody knows whom");
            self.strand(None, replaced.take());
            return Err(DmaError::WindowClosing);
        }
        match self.engine.kill(self.window, &self.pes, self.scope()) {
            Ok(killed) => {
                if self.relinks {
                    self.window.state.lock().relinking -= 1;
                    self.relinks = false;
                }
                release(self, &killed);
                if let Some(replaced) = replaced {
                    replaced.release(&self.window.holdings, &killed);
                }
                if !self.retired.is_empty() {
                    self.engine
                        .free_retired(self.window, &mut self.retired, &killed);
                }
                debug_assert!(self.stamp.is_none(), "a stamp was not given back");
                self.settled = true;
                Ok(())
            }
            Err(error) => {
                self.fail(&error, replaced);
                Err(error)
            }
        }
    }

    #[cold]
    fn fail(&mut self, error: &DmaError, replaced: Option<&mut RegionCounts>) {
        let pe = match *error {
            DmaError::Kill { pe, .. } => Some(pe),
            _ => None,
        };
        self.strand(pe, replaced);
    }

    /// A kill by page may leave indirect entries in a PHB: only where no level
    /// came or went, in this operation or in one that has yet to kill.
    #[inline]
    fn scope(&self) -> KillScope {
        if !self.kills_levels {
            let (bus, pages) = (
                self.window.range.bus(self.range.first()),
                self.range.pages(),
            );
            KillScope::Pages {
                bus,
                pages,
                page_shift: self.window.page_shift(),
            }
        } else {
            KillScope::Pe
        }
    }

    /// Without a kill: no entry of the operation keeps rights, none loses its
    /// page, and the window admits nothing until recovery.
    #[cold]
    fn strand(&mut self, pe: Option<PeId>, replaced: Option<&mut RegionCounts>) {
        let memory = &self.engine.platform;
        let mut state = self.window.state.lock();
        state.failed = state.failed.or(pe).or(self.pes.first().copied());
        // Nothing is admitted before a kill of the PEs.
        state.relinking -= u32::from(self.relinks);
        self.relinks = false;
        if let Some(stamp) = self.stamp.take() {
            state.stamps.burn(stamp);
        }
        if let Some(replaced) = replaced {
            state.stranded.append(replaced);
        }
        state.retired.append(memory, &mut self.retired);
        if self.makes {
            drop(self.window.sweep(memory, self.range, state, |_, segment| {
                if let Some(at) = segment.leaf {
                    leaf::bury(
                        memory,
                        at.table,
                        at.index,
                        segment.pages as usize,
                        Stamp::STRANDED,
                    );
                }
            }));
        }
        self.settled = true;
    }
}

impl<P: Platform> Drop for Operation<'_, P> {
    #[inline]
    fn drop(&mut self) {
        if !self.settled {
            self.strand(None, None);
        }
    }
}
