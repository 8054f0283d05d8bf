//! Attach: a PE gets to use a window.

use super::error::DmaError;
use super::kill::Usage;
use super::state::Phase;
use super::window::Window;
use crate::seam::{PeId, Platform, TveSelect};

const fn index(tve: TveSelect) -> usize {
    match tve {
        TveSelect::Low => 0,
        TveSelect::High => 1,
    }
}

impl Usage {
    fn claim(&mut self, pe: PeId, window: &Window<impl Platform>) -> Result<(), DmaError> {
        let (owner, tve) = (window.owner(), window.range.tve());
        if let Some(other) = self.owner.filter(|&other| other != owner) {
            return Err(DmaError::PeOwned { pe, owner: other });
        }
        if self.tves[index(tve)] {
            return Err(DmaError::TveInUse { pe, tve });
        }
        self.owner = Some(owner);
        self.tves[index(tve)] = true;
        Ok(())
    }

    /// Takes both TVEs of a PE that has none in use.
    pub(super) fn reserve(&mut self, pe: PeId) -> Result<(), DmaError> {
        for tve in [TveSelect::Low, TveSelect::High] {
            if self.tves[index(tve)] {
                return Err(DmaError::TveInUse { pe, tve });
            }
        }
        self.tves = [true; 2];
        Ok(())
    }

    /// Ends [`Usage::reserve`]; the PE is nobody's if its functions are `reset`.
    pub(super) fn unreserve(&mut self, reset: bool) {
        self.tves = [false; 2];
        if reset {
            self.owner = None;
        }
    }

    /// The TVE is off. The PE is nobody's only if its functions are `reset`:
    /// otherwise they may still do DMA for their owner.
    pub(super) fn release(&mut self, tve: TveSelect, reset: bool) {
        self.tves[index(tve)] = false;
        if reset && self.tves == [false; 2] {
            self.owner = None;
        }
    }
}

impl<P: Platform> super::Engine<P> {
    /// [`Engine::attach`](super::Engine::attach), not noted.
    pub(super) fn do_attach(&self, window: &Window<P>, pe: PeId) -> Result<(), DmaError> {
        let known = self.pe(pe).ok_or(DmaError::UnknownPe(pe))?;
        self.check_shape(window, pe)?;
        let _control = window.control()?;
        if known.gate().has_failed() {
            return Err(DmaError::Frozen(pe));
        }
        let table = {
            let state = window.state.lock();
            state.admit_pe()?;
            if state.pes.contains(&pe) {
                return Err(DmaError::Attached(pe));
            }
            if state.pes.is_full() {
                return Err(DmaError::TooManyPes(pe));
            }
            window.table(&state.tree)
        };
        known.usage.lock().claim(pe, window)?;
        // Cannot be full: attaches are one at a time.
        let _fits = window.state.lock().pes.push(pe);
        let tve = window.range.tve();
        // Its barrier carries what other threads have stored before, under the
        // window's lock: the PE finds nothing older.
        let enabled = self
            .forced_kill(pe)
            .and_then(|_| self.platform.set_tve(pe, tve, Some(&table)));
        let Err(error) = enabled else {
            window.state.lock().phase = Phase::Open;
            return Ok(());
        };
        let off = self
            .platform
            .set_tve(pe, tve, None)
            .and_then(|()| self.forced_kill(pe))
            .is_ok();
        if off {
            window.leave(pe);
        }
        if off && (!known.gate().has_failed() || self.recover_pe(pe).is_ok()) {
            known.usage.lock().release(tve, false);
        } else {
            // The TVE may be on: the PE stays in the list, for a detach.
            window.rejoin(pe);
            self.freeze(pe);
        }
        Err(DmaError::Attach { pe, error })
    }

    /// The PHB of `pe` can walk the window's table.
    fn check_shape(&self, window: &Window<P>, pe: PeId) -> Result<(), DmaError> {
        let (shape, limits) = (window.range.shape(), self.platform.table_limits(pe));
        if limits.page_shifts >> shape.page().get() & 1 == 0 {
            let page = shape.page();
            return Err(DmaError::PePageSize { pe, page });
        }
        if shape.levels() > limits.levels {
            return Err(DmaError::PeLevels {
                pe,
                levels: shape.levels(),
                most: limits.levels,
            });
        }
        Ok(())
    }
}

impl<P: Platform> Window<P> {
    /// `pe` uses the window no more: its TVE is off and its kill complete. When
    /// this returns, no operation kills it any more. For whoever controls the
    /// window.
    pub(super) fn leave(&self, pe: PeId) {
        self.state.lock().pes.remove(pe);
        self.outlast();
    }

    /// Takes back [`Window::leave`], if that was called.
    pub(super) fn rejoin(&self, pe: PeId) {
        let mut state = self.state.lock();
        if !state.pes.contains(&pe) {
            // It has had its place until now, and nobody else attaches.
            let _fits = state.pes.push(pe);
        }
    }
}
