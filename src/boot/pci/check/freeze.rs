//! The self-test's part `freeze`: a PE with an error, marked as its PHB does it.

use super::edu;
use super::expect;
use super::kind::Kind;
use super::mark::{can_mark, mark};
use super::reach::whole_page;
use crate::addr::BusAddr;
use crate::boot::pci::{errors, host, hosts, pe_of, recover};
use crate::console::log;
use crate::console::repeats::QUIET_US;
use crate::cpu;
use crate::pci::GroupKind;
use crate::seam::PeId;
use crate::tce::Access;
use alloc::format;
use alloc::string::String;

const NO_MARKS: &str = "left out: only on emulated machines, and not on POWER8";

/// The self-test's part `freeze`, by name only, as it is reported as an error:
/// marks a PE as the PHB does when it freezes one, which the emulator never
/// does, and recovers it.
pub fn check() -> Result<String, String> {
    let (mut devices, _) = edu::find()?;
    let Some(device) = devices.first_mut() else {
        return Ok("left out: there is no edu".into());
    };
    let host = host(device.pe.phb).ok_or("no such PHB")?;
    if !can_mark(host) {
        return Ok(NO_MARKS.into());
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
    let opened = recover::recover(device.pe)?;
    expect(opened == 1, "its window is not open again")?;
    expect(errors::failed().is_empty(), "it still counts as frozen")?;
    rig.map(first, 1, 1, Access::ReadWrite)?;
    rig.map(second, 0, 1, Access::ReadWrite)?;
    whole_page(device, &rig, first, second)?;
    rig.detach()?;
    rig.close()?;
    Ok("a frozen PE was noticed, reported, stopped, reset, and works again".into())
}

/// The self-test's part `freeze-nobody`: errors of functions that are given to
/// nobody are told once a minute, with the number of those that were not.
pub fn nobody() -> Result<String, String> {
    let Some((_, host)) = hosts().find(|(_, host)| can_mark(host)) else {
        return Ok(NO_MARKS.into());
    };
    let reserved = host.info.reserved().get();
    let one_error = || -> Result<u64, String> {
        let before = log::complaints();
        mark(host, reserved, true, BusAddr::new(0x1000))?;
        errors::serve();
        mark(host, reserved, false, BusAddr::new(0))?;
        expect(errors::failed().is_empty(), "it counts as frozen")?;
        Ok(log::complaints() - before)
    };
    expect(one_error()? > 0, "the first one was not told")?;
    expect(one_error()? + one_error()? == 0, "more than one was told")?;
    cpu::idle::pause_ms(QUIET_US / 1000);
    expect(one_error()? > 0, "the one a minute later was not told")?;
    Ok("of four errors of nobody's functions the first and the last were told".into())
}

/// The self-test's part `freeze-virtual`: a physical function is not reset while
/// a virtual one of it has a window.
pub fn with_virtuals() -> Result<String, String> {
    let mut physical = hosts().flat_map(|(phb, host)| {
        let groups = host.groups.iter();
        groups.filter_map(move |(at, group)| {
            let (_, other) = host.setup().stopped_by(at).next()?;
            let is_device = group.kind == GroupKind::Endpoint;
            let pes = (pe_of(phb, at)?, pe_of(phb, other)?);
            is_device.then_some(pes)
        })
    });
    let Some((physical, virtual_one)) = physical.next() else {
        return Ok("left out: there is no virtual function".into());
    };
    let rig = Kind::LOW.attach(virtual_one, 0)?.ok_or("no memory")?;
    let refused = recover::recover(physical);
    rig.close()?;
    let why = match refused {
        Err(why) => why,
        Ok(_) => return Err("it was reset under its virtual function".into()),
    };
    let pe = |pe: PeId| format!("PE {:03x}", pe.pe);
    recover::recover(physical).map_err(|why| format!("{} alone: {why}", pe(physical)))?;
    Ok(format!("{} with {}: {why}", pe(physical), pe(virtual_one)))
}
