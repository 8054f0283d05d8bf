//! The seams over the model.

use std::sync::atomic::Ordering;

use super::machine::{Machine, Step, Violation};
use super::phb::PhbKind;
use super::thread;
use crate::addr::HostAddr;
use crate::seam::{
    DmaTable, Interrupts, KillScope, KillStyle, PeId, PhbError, PhbPort, TableFrames, TableLimits,
    TableMemory, TveSelect,
};
use crate::tce::tve::Tve;
use crate::trace::{Noted, Trace};

/// What a freed table is full of: entries that lead to page 0x6666000, which no
/// test owns.
const POISON: u64 = 0x666_6003;

impl Machine {
    /// A call that must not happen under a lock.
    fn slow(&self, step: Step) {
        if thread::is_masked() {
            self.inner().violations.push(Violation::SlowUnderLock(step));
        }
    }

    fn phb_call(&self, step: Step) -> Result<(), PhbError> {
        self.slow(step);
        match self.step(step).fails() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl TableMemory for Machine {
    fn load(&self, table: HostAddr, index: usize) -> u64 {
        let mut inner = self.inner();
        inner.check_table(table, index);
        inner.tables.load(table, index)
    }

    fn store(&self, table: HostAddr, index: usize, value: u64) {
        let mut inner = self.step(Step::Store);
        inner.check_table(table, index);
        inner.tables.store(table, index, value);
    }

    fn clear(&self, table: HostAddr, start: usize, entries: usize) {
        let mut inner = self.step(Step::Store);
        for index in start..start + entries {
            inner.check_table(table, index);
            inner.tables.store(table, index, 0);
        }
    }

    fn barrier(&self) {
        self.step(Step::Barrier).tables.drain();
    }
}

impl TableFrames for Machine {
    fn allocate(&self, shift: u32) -> Option<HostAddr> {
        self.phb_call(Step::Allocate).ok()?;
        let mut inner = self.inner();
        let frame = inner.frames.allocate(shift)?;
        inner.tables.poison(frame, 1 << shift, POISON);
        Some(frame)
    }

    fn free(&self, frame: HostAddr, shift: u32) {
        self.slow(Step::Free);
        let mut inner = self.step(Step::Free);
        if !inner.frames.free(frame, shift) {
            inner.violations.push(Violation::WrongFree(frame));
        }
        let (start, bytes) = (frame.get(), 1 << shift);
        if inner
            .phbs
            .iter()
            .any(|phb| phb.cache.remembers(start, bytes) || phb.has_root_in(start, bytes))
        {
            inner.violations.push(Violation::TableStillKnown(frame));
        }
        inner.tables.poison(frame, bytes, POISON);
    }
}

impl PhbPort for Machine {
    type KillPort = PeId;

    fn kill_port(&self, pe: PeId) -> PeId {
        pe
    }

    fn kill_style(&self, pe: PeId) -> KillStyle {
        match self.inner().phbs[usize::from(pe.phb)].kind() {
            PhbKind::Phb3 => KillStyle::Pages { limit: 8 },
            PhbKind::Phb4 => KillStyle::Pe,
            PhbKind::AllOnly => KillStyle::All,
        }
    }

    fn table_limits(&self, pe: PeId) -> TableLimits {
        self.inner().phbs[usize::from(pe.phb)].limits
    }

    fn push_writes(&self, pe: PeId) -> Result<(), PhbError> {
        self.phb_call(Step::Push)?;
        self.inner().land(pe);
        Ok(())
    }

    fn kill(&self, &pe: &PeId, scope: KillScope) -> Result<(), PhbError> {
        // Late: the cache is as it was for some steps more.
        self.phb_call(Step::Kill)?;
        {
            let mut inner = self.step(Step::Kill);
            let inner = &mut *inner;
            let phb = &mut inner.phbs[usize::from(pe.phb)];
            phb.kills += 1;
            phb.kill(pe.pe, scope, &inner.tables);
        }
        drop(self.step(Step::KillDone));
        Ok(())
    }

    fn kill_quickly(&self, pe: &PeId) -> bool {
        self.is_sound() && self.kill(pe, KillScope::Pe).is_ok()
    }

    fn freeze(&self, pe: PeId) -> Result<(), PhbError> {
        self.phb_call(Step::Freeze)?;
        self.inner().phbs[usize::from(pe.phb)].pes[usize::from(pe.pe)].frozen = true;
        Ok(())
    }

    fn clear_freeze(&self, pe: PeId) -> Result<(), PhbError> {
        self.phb_call(Step::ClearFreeze)?;
        let mut inner = self.inner();
        let state = &mut inner.phbs[usize::from(pe.phb)].pes[usize::from(pe.pe)];
        state.frozen = false;
        state.pest = None;
        Ok(())
    }

    fn set_tve(&self, pe: PeId, tve: TveSelect, table: Option<&DmaTable>) -> Result<(), PhbError> {
        self.phb_call(Step::SetTve)?;
        let mut inner = self.inner();
        let value = table.map_or(Ok(Tve::DISABLED), Tve::new);
        match value {
            Ok(value) => inner.phbs[usize::from(pe.phb)].set_tve(pe.pe, tve, value),
            Err(_) => inner.violations.push(Violation::BadTve(pe)),
        }
        Ok(())
    }

    fn bus_master_off(&self, pe: PeId) -> Result<(), PhbError> {
        self.phb_call(Step::BusMasterOff)?;
        let mut inner = self.inner();
        inner.phbs[usize::from(pe.phb)].pes[usize::from(pe.pe)].bus_master = false;
        // It is read back.
        inner.land(pe);
        Ok(())
    }

    fn reset_functions(&self, pe: PeId) -> Result<(), PhbError> {
        self.phb_call(Step::Reset)?;
        let mut inner = self.inner();
        inner.phbs[usize::from(pe.phb)].pes[usize::from(pe.pe)].bus_master = false;
        inner.land(pe);
        Ok(())
    }
}

impl Noted for Machine {
    /// Each look at the clock is a tick later.
    fn ticks(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn ring(&self) -> Option<&Trace> {
        self.notes.get().map(|ring| &**ring)
    }
}

impl Interrupts for Machine {
    fn mask() -> u64 {
        thread::mask()
    }

    fn restore(state: u64) {
        thread::restore(state);
    }
}
