//! A device that is taken out while it has live mappings.

use super::kind::Kind;
use super::mark::{can_mark, mark};
use super::{edu, expect};
use crate::addr::BusAddr;
use crate::boot::pci::{errors, host, hosts, recover, windows};
use crate::boot::runtime;
use crate::seam::{PeId, TveSelect};
use crate::tce::Access;
use crate::{cpu, println};
use alloc::format;
use alloc::string::{String, ToString};

/// How long somebody has to take it out.
const LIMIT_MS: u64 = 60_000;
const PAUSE_MS: u64 = 10;
/// Pages that it can reach meanwhile; the window's region has two.
const PAGES: u64 = 2;

/// The self-test's part `unplug`, which somebody attends: the first edu gets a
/// window and works in it until it is taken out. What the prompt's loop does
/// about it is all that is done here, and it leaves nothing behind.
pub fn check() -> Result<String, String> {
    with(|_| Ok(()), wait)
}

/// The self-test's part `unplug-frozen`: the same with a PE that an error froze
/// before. Its windows stay until a person asks for `recover`, which says why
/// there is nothing to recover.
pub fn frozen() -> Result<String, String> {
    if !hosts().any(|(_, host)| can_mark(host)) {
        return Ok("left out: only on emulated machines, and not on POWER8".into());
    }
    let freeze = |pe: PeId| {
        let host = host(pe.phb).ok_or("no such PHB")?;
        mark(host, pe.pe, true, BusAddr::new(0))?;
        errors::serve();
        mark(host, pe.pe, false, BusAddr::new(0))?;
        expect(errors::failed() == [pe], "the frozen PE was not noticed")
    };
    let recovered = |pe: PeId| {
        let host = host(pe.phb).ok_or("no such PHB")?;
        until(|| !host.find_gone_behind_freeze(pe.pe).is_empty())?;
        expect(!windows::of(pe).is_empty(), "its windows are closed")?;
        match recover::recover(pe) {
            Ok(_) => Err("it was recovered".into()),
            Err(why) => {
                println!("{why}");
                Ok(())
            }
        }
    };
    with(freeze, recovered)
}

/// `before_it` is done while the first edu works in a window, `after_it` when a person
/// was asked to take it out.
fn with(
    before_it: impl FnOnce(PeId) -> Result<(), String>,
    after_it: impl FnOnce(PeId) -> Result<(), String>,
) -> Result<String, String> {
    let (mut devices, _) = edu::find()?;
    let Some(device) = devices.first_mut() else {
        return Ok("left out: there is no edu".into());
    };
    let pe = device.pe;
    let host = host(pe.phb).ok_or("no such PHB")?;
    let before = runtime::frames().0;
    let rig = Kind::LOW.open(device, 0)?.ok_or("no memory")?;
    for page in 0..PAGES {
        rig.map(rig.last(page), page, 1, Access::ReadWrite)?;
    }
    // The mappings are live: it reads one page and writes the other.
    device.read(0, rig.last(0), 64)?;
    device.write(0, rig.last(1), 64)?;
    let gone = host.find_gone(pe.pe);
    expect(gone.is_empty(), "it is gone already")?;
    let noticed = before_it(pe).and_then(|()| {
        println!("Take {} out within a minute.", device.name);
        after_it(pe)
    });
    let cleaned = noticed.and_then(|()| is_clean(pe));
    rig.close()?;
    cleaned?;
    let after = runtime::frames().0;
    if after != before {
        return Err(format!("{before} bytes were free before, {after} are now"));
    }
    Ok(format!(
        "{} went with {PAGES} pages mapped: all of it came back",
        device.name
    ))
}

/// Until the window is closed, as the prompt's loop looks.
fn wait(pe: PeId) -> Result<(), String> {
    until(|| {
        errors::look_now_and_then();
        windows::of(pe).is_empty()
    })
}

fn until(is_so: impl Fn() -> bool) -> Result<(), String> {
    for _ in 0..LIMIT_MS / PAUSE_MS {
        if is_so() {
            return Ok(());
        }
        cpu::wait_ms(PAUSE_MS);
    }
    Err("it is still there".into())
}

/// Nothing of the PE leads to memory, and it does not count as failed.
fn is_clean(pe: PeId) -> Result<(), String> {
    let host = host(pe.phb).ok_or("no such PHB")?;
    for select in [TveSelect::Low, TveSelect::High] {
        let tve = host.phb.tve(pe.pe, select);
        let tve = tve.map_err(|error| error.to_string())?;
        expect(tve.bits() == 0, "a TVE is not zero")?;
    }
    let status = host.phb.freeze_status(pe.pe);
    let frozen = status.is_ok_and(|status| status.is_frozen());
    expect(!frozen, "the PE is frozen")?;
    expect(!errors::failed().contains(&pe), "the PE counts as failed")
}
