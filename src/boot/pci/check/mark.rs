//! Marks of errors as PHBs make them, which the emulator's never do.

use crate::addr::BusAddr;
use crate::boot::pci::Host;
use crate::boot::runtime;
use crate::pci::Generation;
use crate::phb::IodaTable;
use alloc::string::String;

/// Whether a PHB's PEs can be marked: an emulated one's that has their state.
pub fn can_mark(host: &Host) -> bool {
    runtime::machine().is_some_and(|machine| machine.is_emulated)
        && host.info.generation() != Generation::Phb3
}

/// Sets or ends the marks of an error of a PE: its state inside of the PHB, the
/// vector of PEs with errors, and the record of a page fault in memory.
///
/// # Errors
/// The PHB has no such record.
pub fn mark(host: &Host, pe: u16, on: bool, bus: BusAddr) -> Result<(), String> {
    let at = host.phb.setup().pest.ok_or("the PHB has no PEST")?;
    let at = at.get() + u64::from(pe) * 16;
    let fault = 1u64 << 45 | 0x0100 << 16;
    for (at, value) in [(at, fault), (at + 8, bus.get())] {
        let value = if on { value } else { 0 };
        // SAFETY: the PE's own entry of a table that only the PHB writes, and
        // the emulated one does not.
        unsafe { (at as *mut u64).write_volatile(value.to_be()) };
    }
    host.phb.with_tables(|tables| {
        let bit = 1 << (63 - pe % 64);
        let before = tables.read(IodaTable::Peev, pe / 64);
        let after = if on { before | bit } else { before & !bit };
        tables.write(IodaTable::Peev, pe / 64, after);
        if on {
            tables.write(IodaTable::PestA, pe, 1 << 63);
            tables.write(IodaTable::PestB, pe, 1 << 63);
        }
    });
    Ok(())
}
