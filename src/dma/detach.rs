//! Detach: a PE stops using a window, and the last one leaves it empty.

use super::error::DmaError;
use super::state::Phase;
use super::unmap::empty_owned;
use super::window::{CHUNK, Window};
use crate::kill::{KillNumber, Killed};
use crate::memory::ledger::RegionCounts;
use crate::seam::sync::LockGuard;
use crate::seam::{KillScope, PeId, PhbError, Platform};
use crate::tce::chain::Tables;
use crate::tce::{Slot, leaf};

/// What a detach does with the PE's functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DetachMode {
    /// Bus mastering off, and a reset: nothing of theirs is on its way to
    /// memory then. For a PE that leaves its partition.
    Reset,
    /// They go on through the PE's other window: for a partition that removes
    /// one of its own windows. A freeze that a stray DMA provokes is its own.
    /// A PE that the engine has frozen after a failure is reset all the same,
    /// and thawed: nothing else would do it. The PE stays the partition's.
    Running,
}

/// The steps of a detach that can fail, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DetachStep {
    /// Bus mastering off, and read back.
    BusMasterOff,
    /// TVE off.
    TveOff,
    /// Kill and DMA sync.
    Kill,
    /// Reset of the functions.
    Reset,
    /// Clearing the freeze that the TVE's going off may have provoked.
    ClearFreeze,
}

impl<P: Platform> super::Engine<P> {
    /// [`Engine::detach`](super::Engine::detach), not noted.
    pub(super) fn do_detach(
        &self,
        window: &Window<P>,
        pe: PeId,
        mode: DetachMode,
    ) -> Result<(), DmaError> {
        let _control = window.control()?;
        if !window.state.lock().pes.contains(&pe) {
            return Err(DmaError::NotAttached(pe));
        }
        self.detach_pe(window, pe, mode)?;
        let state = window.state.lock();
        if state.pes.is_empty() {
            drop(state);
            self.end_use(window)?;
        } else if state.failed.is_some() {
            drop(state);
            self.sweep_if_healthy(window);
        }
        Ok(())
    }

    /// [`Engine::empty`](super::Engine::empty), not noted.
    pub(super) fn do_empty(&self, window: &Window<P>) -> Result<(), DmaError> {
        let _control = window.control()?;
        if let Some(&pe) = window.state.lock().pes.first() {
            return Err(DmaError::Attached(pe));
        }
        self.end_use(window)
    }

    /// Empties a window that no PE uses, for whoever controls it. It is as new
    /// then, even if a removal had failed before, but for that it maps nothing.
    fn end_use(&self, window: &Window<P>) -> Result<(), DmaError> {
        window.state.lock().phase = Phase::Closing;
        window.quiesce();
        let _killed = self.tear_down(window)?;
        window.state.lock().phase = Phase::Detached;
        Ok(())
    }

    /// [`Engine::remove`](super::Engine::remove), not noted.
    pub(super) fn do_remove(&self, window: &Window<P>, mode: DetachMode) -> Result<(), DmaError> {
        let _control = window.control()?;
        let pes = {
            let mut state = window.state.lock();
            state.phase = Phase::Closing;
            state.pes
        };
        for &pe in pes.iter() {
            self.detach_pe(window, pe, mode)?;
        }
        window.quiesce();
        let killed = self.tear_down(window)?;
        let mut state = window.state.lock();
        state.phase = Phase::Removed;
        let root = state.tree.root();
        drop(state);
        self.free_root(window, root, &killed);
        Ok(())
    }

    /// Resets the functions of `pe`, which uses no window, and makes it
    /// nobody's: for a PE that was last detached with [`DetachMode::Running`].
    pub fn release_pe(&self, pe: PeId) -> Result<(), DmaError> {
        let known = self.pe(pe).ok_or(DmaError::UnknownPe(pe))?;
        // Nobody attaches it meanwhile.
        known.usage.lock().reserve(pe)?;
        let result = self
            .bus_master_off(pe)
            .and_then(|()| self.recover_pe(pe))
            .map_err(|(step, error)| {
                self.freeze(pe);
                DmaError::Detach { pe, step, error }
            });
        known.usage.lock().unreserve(result.is_ok());
        result
    }

    fn bus_master_off(&self, pe: PeId) -> Result<(), (DetachStep, PhbError)> {
        self.platform
            .bus_master_off(pe)
            .map_err(|error| (DetachStep::BusMasterOff, error))
    }

    fn detach_pe(&self, window: &Window<P>, pe: PeId, mode: DetachMode) -> Result<(), DmaError> {
        let known = self.pe(pe).ok_or(DmaError::UnknownPe(pe))?;
        let reset = mode == DetachMode::Reset;
        let cut = || -> Result<KillNumber, (DetachStep, PhbError)> {
            let at = |step| move |error| (step, error);
            if reset {
                self.bus_master_off(pe)?;
            }
            self.platform
                .set_tve(pe, window.range.tve(), None)
                .map_err(at(DetachStep::TveOff))?;
            self.forced_kill(pe).map_err(at(DetachStep::Kill))
        };
        let clean = |number| -> Result<(), (DetachStep, PhbError)> {
            if reset || known.gate().has_failed() {
                self.platform
                    .reset_functions(pe)
                    .map_err(|error| (DetachStep::Reset, error))?;
                self.thaw(pe, number)?;
            }
            Ok(())
        };
        let result = cut().and_then(|number| {
            window.leave(pe);
            clean(number).inspect_err(|_| window.rejoin(pe))
        });
        result.map_err(|(step, error)| {
            self.freeze(pe);
            DmaError::Detach { pe, step, error }
        })?;
        known.usage.lock().release(window.range.tve(), reset);
        Ok(())
    }

    /// Clears the table of a window that no PE uses and no operation is in.
    fn tear_down<'w>(&self, window: &'w Window<P>) -> Result<Killed<'w>, DmaError> {
        let memory = &self.platform;
        let range = window.range.all();
        let mut counts = RegionCounts::new();
        let state = window.state.lock();
        // Attaching is the caller's to prevent: it has claimed the window.
        debug_assert!(state.pes.is_empty(), "{:?}", state.pes);
        let pes = state.pes;
        drop(state);
        let killed = self.kill(window, &pes, KillScope::Pe)?;
        drop(
            window.sweep(memory, range, window.state.lock(), |_, segment| {
                let Some(at) = segment.leaf else { return };
                let held = window.holdings.hold();
                let mut tally = held.tally(window.page_shift(), &mut counts);
                empty_owned(memory, &at, segment.pages, |bits| bits != 0, &mut tally);
            }),
        );
        self.verify_zero(window, &mut counts)?;
        let mut state = window.state.lock();
        counts.append(&mut state.stranded);
        state.stamps.renew();
        state.failed = None;
        drop(state);
        // Cleared, verified: now the pages go.
        counts.release(&window.holdings, &killed);
        self.free_levels(window, &killed);
        Ok(killed)
    }

    /// Reads the whole table back. If an entry is there, all pins stay.
    fn verify_zero(&self, window: &Window<P>, counts: &mut RegionCounts) -> Result<(), DmaError> {
        let memory = &self.platform;
        memory.barrier();
        let mut wrong = None;
        let mut state: LockGuard<'_, _, P> = window.sweep(
            memory,
            window.range.all(),
            window.state.lock(),
            |_, segment| {
                let Some(at) = segment.leaf else { return };
                let found = leaf::first_used(memory, at.table, at.index, segment.pages as usize);
                if let (Some(index), None) = (found, wrong) {
                    let slot = segment.first.get() + (index - at.index) as u64;
                    wrong = Some((Slot::new(slot), memory.load(at.table, index)));
                }
            },
        );
        let Some((slot, bits)) = wrong else {
            return Ok(());
        };
        state.stranded.append(counts);
        let bus = window.range.bus(slot);
        state.phase = Phase::Corrupt { bus, bits };
        Err(DmaError::NotZero { bus, bits })
    }

    /// Frees all levels below the root, whose leaves are empty.
    fn free_levels(&self, window: &Window<P>, killed: &Killed) {
        let memory = &self.platform;
        let mut tables = Tables::default();
        {
            let mut state = window.state.lock();
            state.forget_empty();
            core::mem::swap(&mut tables, &mut state.retired);
        }
        let mut at = Some(Slot::new(0));
        while let Some(from) = at {
            let state = window.state.lock();
            at = state.tree.dismantle(memory, from, CHUNK, &mut tables);
        }
        self.free_retired(window, &mut tables, killed);
    }

    /// After the failed PE has gone: if no other has failed, the window works
    /// again.
    fn sweep_if_healthy(&self, window: &Window<P>) {
        let pes = window.state.lock().pes;
        if pes
            .iter()
            .all(|&pe| self.pe(pe).is_some_and(|known| !known.gate().has_failed()))
        {
            window.quiesce();
            if let Ok(killed) = self.kill(window, &pes, KillScope::Pe) {
                self.release_stranded(window, &killed);
            }
        }
    }
}
