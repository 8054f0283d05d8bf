//! The TCE engine's seams on the machine: memory, frames, PHBs.

use super::passed::{self, Passed};
use super::{Host, host};
use crate::addr::HostAddr;
use crate::boot::{runtime, trace};
use crate::cpu;
use crate::dma::Engine;
use crate::memory::frames::Block;
use crate::memory::ledger::Ledger;
use crate::mmio;
use crate::seam::{
    DmaTable, Interrupts, KillScope, KillStyle, PeId, PhbError, PhbPort, TableFrames, TableLimits,
    TableMemory, TveSelect,
};
use crate::trace::{Noted, Trace};
use core::sync::atomic::{AtomicU32, Ordering};
use spin::Once;

/// The machine's memory and PHBs.
pub struct Platform(());

/// The chip that tables should lie on, plus one; 0 for any.
static NEAR: AtomicU32 = AtomicU32::new(0);

static ENGINE: Once<Engine<Platform>> = Once::new();
static LEDGER: Once<Ledger<Platform>> = Once::new();

/// Makes the engine; `pes` are the numbers of PEs of the PHBs, 0 for those that
/// are left alone.
pub(super) fn init(pes: &[u16]) {
    ENGINE.call_once(|| Engine::new(Platform(()), pes));
    LEDGER.call_once(Ledger::new);
}

/// The engine, once PHBs were taken.
pub fn engine() -> Option<&'static Engine<Platform>> {
    ENGINE.get()
}

/// Who owns which memory, once PHBs were taken.
pub fn ledger() -> Option<&'static Ledger<Platform>> {
    LEDGER.get()
}

/// From now on tables are taken from this chip's memory, where it has some: a
/// preference, for whoever makes a window for a PHB of that chip.
pub fn prefer_chip(chip: Option<u32>) {
    NEAR.store(
        chip.map_or(0, |chip| chip.wrapping_add(1)),
        Ordering::Relaxed,
    );
}

/// The same for the chip of a PE's PHB.
pub fn prefer_chip_of(pe: Option<PeId>) {
    let bridge = pe.and_then(|pe| super::bridges().get(usize::from(pe.phb)));
    prefer_chip(bridge.map(|bridge| bridge.described.chip));
}

fn entry(table: HostAddr, index: usize) -> *mut u64 {
    (table.get() as *mut u64).wrapping_add(index)
}

impl TableMemory for Platform {
    #[inline]
    fn load(&self, table: HostAddr, index: usize) -> u64 {
        // SAFETY: a table from `TableFrames`, and an index inside of it, as the
        // seam promises. Other threads store to it too: never a plain access.
        u64::from_be(unsafe { entry(table, index).read_volatile() })
    }

    #[inline]
    fn store(&self, table: HostAddr, index: usize, value: u64) {
        // SAFETY: as above; one store of eight bytes, as the PHB needs it.
        unsafe { entry(table, index).write_volatile(value.to_be()) }
    }

    #[inline]
    fn barrier(&self) {
        mmio::full_barrier();
    }
}

impl TableFrames for Platform {
    fn allocate(&self, shift: u32) -> Option<HostAddr> {
        let near = NEAR.load(Ordering::Relaxed).checked_sub(1);
        runtime::allocate(shift, near).ok().map(Block::leak)
    }

    fn free(&self, frame: HostAddr, shift: u32) {
        if let Err(error) = runtime::free(Block::unleak(frame, shift)) {
            // The engine gave back what it never got: memory stays lost.
            crate::error!("table at {frame}: {error}");
        }
    }
}

impl Noted for Platform {
    #[inline]
    fn ticks(&self) -> u64 {
        cpu::timebase()
    }

    #[inline]
    fn ring(&self) -> Option<&Trace> {
        trace::own()
    }
}

impl Interrupts for Platform {
    // All of Pinion runs with interrupts masked, but for `cpu::idle`, which
    // holds no lock.
    #[inline]
    fn mask() -> u64 {
        0
    }

    #[inline]
    fn restore(_: u64) {}
}

/// A PE of a PHB that is left alone: the engine knows none.
const NO_PHB: PhbError = PhbError::Firmware(-1);

/// The PHB of a PE and its number there; `None` for a PHB that is left alone.
pub struct KillPort(Option<(&'static Host, u16)>);

impl PhbPort for Platform {
    type KillPort = KillPort;

    fn kill_port(&self, pe: PeId) -> KillPort {
        KillPort(host(pe.phb).map(|host| (host, pe.pe)))
    }

    fn kill_style(&self, pe: PeId) -> KillStyle {
        host(pe.phb).map_or(KillStyle::Pe, |host| host.phb.kill_style())
    }

    fn table_limits(&self, pe: PeId) -> TableLimits {
        let none = TableLimits {
            page_shifts: 0,
            levels: 0,
        };
        host(pe.phb).map_or(none, |host| host.phb.table_limits())
    }

    fn push_writes(&self, pe: PeId) -> Result<(), PhbError> {
        let done = host(pe.phb).ok_or(NO_PHB)?.push_writes(pe.pe);
        passed::tell(pe, Passed::Landed, done)
    }

    #[inline]
    fn kill(&self, port: &KillPort, scope: KillScope) -> Result<(), PhbError> {
        let (host, pe) = port.0.ok_or(NO_PHB)?;
        host.phb.kill(pe, scope)
    }

    #[inline(always)] // As there.
    fn kill_quickly(&self, port: &KillPort) -> bool {
        match port.0 {
            Some((host, pe)) => host.phb.kill_quickly(pe),
            None => false,
        }
    }

    fn freeze(&self, pe: PeId) -> Result<(), PhbError> {
        host(pe.phb).ok_or(NO_PHB)?.freeze(pe.pe)
    }

    fn clear_freeze(&self, pe: PeId) -> Result<(), PhbError> {
        let done = host(pe.phb).ok_or(NO_PHB)?.clear_freeze(pe.pe);
        passed::tell(pe, Passed::Thawed, done)
    }

    fn set_tve(&self, pe: PeId, tve: TveSelect, table: Option<&DmaTable>) -> Result<(), PhbError> {
        let phb = &host(pe.phb).ok_or(NO_PHB)?.phb;
        let done = phb.set_tve(pe.pe, tve, table);
        match table {
            Some(_) => done,
            None => passed::tell(pe, Passed::TveOff, done),
        }
    }

    fn bus_master_off(&self, pe: PeId) -> Result<(), PhbError> {
        let done = host(pe.phb).ok_or(NO_PHB)?.bus_master_off(pe.pe);
        passed::tell(pe, Passed::BusMasterOff, done)
    }

    fn reset_functions(&self, pe: PeId) -> Result<(), PhbError> {
        let done = host(pe.phb).ok_or(NO_PHB)?.reset_functions(pe.pe);
        passed::tell(pe, Passed::Reset, done)
    }
}
