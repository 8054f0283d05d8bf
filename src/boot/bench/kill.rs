//! Register accesses of one kill: the driver's own code over registers that
//! count.

use super::rows::Row;
use super::{Asked, told};
use crate::addr::HostAddr;
use crate::boot::pci::{self, check::candidates};
use crate::boot::runtime::{self, OPAL};
use crate::phb::{Mapped, Phb, PhbHardware};
use crate::seam::KillScope;
use alloc::string::String;
use core::cell::Cell;

struct Counting {
    inner: Mapped,
    accesses: Cell<u64>,
}

impl Counting {
    fn count(&self) {
        self.accesses.set(self.accesses.get() + 1);
    }
}

impl PhbHardware for Counting {
    fn load(&self, offset: u64) -> u64 {
        self.count();
        self.inner.load(offset)
    }

    fn store(&self, offset: u64, value: u64) {
        self.count();
        self.inner.store(offset, value);
    }

    fn barrier(&self) {
        self.inner.barrier();
    }

    fn memory16(&self, at: HostAddr) -> u16 {
        self.inner.memory16(at)
    }

    fn memory64(&self, at: HostAddr) -> u64 {
        self.inner.memory64(at)
    }

    fn microseconds(&self) -> u64 {
        self.inner.microseconds()
    }

    fn wait_ms(&self, milliseconds: u64) {
        self.inner.wait_ms(milliseconds);
    }

    fn thread(&self) -> u64 {
        self.inner.thread()
    }
}

/// Counts them, for a PE that nobody uses.
pub fn run(asked: Asked<'_>) -> Result<(), String> {
    let id = "kill-mmio";
    let Some(pe) = candidates::groups().next().filter(|_| asked.has(id)) else {
        return Ok(());
    };
    let bridge = pci::bridges().get(usize::from(pe.phb));
    let Some((bridge, host)) = bridge.and_then(|bridge| Some((bridge, bridge.host()?))) else {
        return Ok(());
    };
    let hardware = Counting {
        // SAFETY: the registers that the PHB's own driver was made with. Nobody
        // else kills meanwhile: benchmarks run alone, at the prompt.
        inner: unsafe { Mapped::new(HostAddr::new(bridge.described.registers)) },
        accesses: Cell::new(0),
    };
    let phb = Phb::new(
        *host.phb.setup(),
        &hardware,
        &OPAL,
        runtime::firmware().gate(),
    );
    phb.kill(pe.pe, KillScope::Pe)
        .map_err(|error| told(id, error))?;
    Row { id, units: 1 }.print(&mut [hardware.accesses.get()]);
    Ok(())
}
