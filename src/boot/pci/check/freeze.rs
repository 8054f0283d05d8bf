//! The self-test's part `freeze`: a PE with an error, marked as its PHB does it.

use super::edu;
use super::expect;
use super::kind::Kind;
use super::reach::whole_page;
use crate::addr::BusAddr;
use crate::boot::pci::{Host, errors, host};
use crate::boot::runtime;
use crate::phb::IodaTable;
use crate::tce::Access;
use alloc::string::String;

/// The self-test's part `freeze`, by name only, as it is reported as an error:
/// marks a PE as the PHB does when it freezes one, which the emulator never
/// does, and recovers it.
pub fn check() -> Result<String, String> {
    let machine = runtime::machine().ok_or("no machine")?;
    let (mut devices, _) = edu::find()?;
    let Some(device) = devices.first_mut().filter(|_| machine.is_emulated) else {
        return Ok("left out: only with an edu on an emulated machine".into());
    };
    let host = host(device.pe.phb).ok_or("no such PHB")?;
    if host.info.generation() == crate::pci::Generation::Phb3 {
        return Ok("left out: the emulator has no PEs' state on POWER8".into());
    }
    let rig = Kind::LOW.open(device, 0)?.ok_or("no memory")?;
    let (first, second) = (rig.last(1), rig.last(0));
    rig.map(first, 1, 1, Access::ReadWrite)?;
    rig.map(second, 0, 1, Access::ReadWrite)?;
    rig.unmap(second, 1)?;
    mark(host, device.pe.pe, true, second)?;
    errors::serve();
    expect(
        errors::failed() == [device.pe],
        "the frozen PE was not noticed",
    )?;
    let status = host.phb.freeze_status(device.pe.pe);
    expect(
        status.is_ok_and(|status| status.state == 3),
        "the PE is not frozen as a whole",
    )?;
    // Noticed once, however often it is looked for.
    errors::serve();
    mark(host, device.pe.pe, false, second)?;
    let opened = errors::recover(device.pe)?;
    expect(opened == 1, "its window is not open again")?;
    expect(errors::failed().is_empty(), "it still counts as frozen")?;
    rig.map(first, 1, 1, Access::ReadWrite)?;
    rig.map(second, 0, 1, Access::ReadWrite)?;
    whole_page(device, &rig, first, second)?;
    rig.detach()?;
    rig.close()?;
    Ok("a frozen PE was noticed, reported, stopped, reset, and works again".into())
}

/// Sets or ends the marks of an error of a PE: its state inside of the PHB, the
/// vector of PEs with errors, and the record of a page fault in memory.
fn mark(host: &Host, pe: u16, on: bool, bus: BusAddr) -> Result<(), String> {
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
