//! The model machine under loom.

use std::cell::Cell;
use std::sync::Arc as StdArc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use pinion::addr::HostAddr;
use pinion::seam::{
    DmaTable, Interrupts, KillScope, KillStyle, PeId, PhbError, PhbPort, TableFrames, TableLimits,
    TableMemory, TveSelect,
};
use pinion::sim::{Machine, play_thread};
use pinion::trace::Noted;

/// The model machine, with a point where loom may switch threads at each
/// barrier, kill, allocation, free and DMA.
pub struct Explored {
    machine: StdArc<Machine>,
    switch: AtomicUsize,
    // The thread whose barriers do nothing.
    forgets: Option<u64>,
}

loom::thread_local! {
    // Which thread of the model machine this is: loom runs all on one.
    static ROLE: Cell<u64> = Cell::new(0);
}

fn play() -> u64 {
    let role = ROLE.with(Cell::get);
    play_thread(role);
    role
}

/// A thread of the model machine beside thread 0, which is the test itself.
pub fn spawn<T: 'static>(run: impl FnOnce() -> T + 'static) -> thread::JoinHandle<T> {
    thread::spawn(move || {
        ROLE.with(|role| role.set(1));
        run()
    })
}

impl Explored {
    pub fn new(machine: StdArc<Machine>, forgets: Option<u64>) -> Self {
        Self {
            machine,
            switch: AtomicUsize::new(0),
            forgets,
        }
    }

    fn machine(&self) -> &Machine {
        play();
        &self.machine
    }

    pub fn point(&self) {
        self.switch.fetch_add(1, Ordering::SeqCst);
    }
}

impl TableMemory for Explored {
    fn load(&self, table: HostAddr, index: usize) -> u64 {
        self.machine().load(table, index)
    }
    fn store(&self, table: HostAddr, index: usize, value: u64) {
        self.machine().store(table, index, value);
    }
    fn clear(&self, table: HostAddr, start: usize, entries: usize) {
        self.machine().clear(table, start, entries);
    }
    fn barrier(&self) {
        self.point();
        if Some(play()) != self.forgets {
            self.machine.barrier();
        }
    }
}

impl TableFrames for Explored {
    fn allocate(&self, shift: u32) -> Option<HostAddr> {
        self.point();
        self.machine().allocate(shift)
    }
    fn free(&self, frame: HostAddr, shift: u32) {
        self.point();
        self.machine().free(frame, shift);
    }
}

impl PhbPort for Explored {
    type KillPort = PeId;
    fn kill_port(&self, pe: PeId) -> PeId {
        pe
    }
    fn kill_style(&self, pe: PeId) -> KillStyle {
        self.machine().kill_style(pe)
    }
    fn table_limits(&self, pe: PeId) -> TableLimits {
        self.machine().table_limits(pe)
    }
    fn push_writes(&self, pe: PeId) -> Result<(), PhbError> {
        self.point();
        self.machine().push_writes(pe)
    }
    fn kill(&self, pe: &PeId, scope: KillScope) -> Result<(), PhbError> {
        self.point();
        let result = self.machine().kill(pe, scope);
        self.point();
        result
    }
    fn kill_quickly(&self, pe: &PeId) -> bool {
        self.machine().is_sound() && self.kill(pe, KillScope::Pe).is_ok()
    }
    fn freeze(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine().freeze(pe)
    }
    fn clear_freeze(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine().clear_freeze(pe)
    }
    fn set_tve(&self, pe: PeId, tve: TveSelect, table: Option<&DmaTable>) -> Result<(), PhbError> {
        self.point();
        self.machine().set_tve(pe, tve, table)
    }
    fn bus_master_off(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine().bus_master_off(pe)
    }
    fn reset_functions(&self, pe: PeId) -> Result<(), PhbError> {
        self.machine().reset_functions(pe)
    }
}

impl Noted for Explored {}

impl Interrupts for Explored {
    fn mask() -> u64 {
        play();
        Machine::mask()
    }
    fn restore(state: u64) {
        play();
        Machine::restore(state);
    }
}
