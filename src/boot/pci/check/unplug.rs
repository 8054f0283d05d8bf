//! A device that is taken out while it has live mappings.

use super::kind::Kind;
use super::{edu, expect};
use crate::boot::pci::host;
use crate::boot::{banner, runtime};
use crate::tce::Access;
use crate::{cpu, println, warning};
use alloc::format;
use alloc::string::String;

/// How long somebody has to take it out.
const LIMIT_MS: u64 = 60_000;
const PAUSE_MS: u64 = 10;
/// Pages that it can reach meanwhile; the window's region has two.
const PAGES: u64 = 2;

/// The self-test's part `unplug`, which somebody attends: the first edu gets a
/// window and works in it until it is taken out. Then all that it had comes
/// back as if it had been told to stop.
pub fn check() -> Result<String, String> {
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
    expect(host.find_gone(pe.pe).is_empty(), "it is gone already")?;
    println!("Take {} out within a minute.", device.name);
    let mut waited = 0;
    let gone = loop {
        if let Some(gone) = host.find_gone(pe.pe).first() {
            break *gone;
        }
        if waited > LIMIT_MS {
            rig.detach()?;
            rig.close()?;
            return Err(format!("{} is still there", device.name));
        }
        cpu::wait_ms(PAUSE_MS);
        waited += PAUSE_MS;
    };
    warning!(
        "{gone} ({pe}) was taken out: {PAGES} {} were mapped for it",
        banner::plural(PAGES as usize, "page")
    );
    // Two TVEs off, kills, the table empty, the pins gone, and the memory
    // closed, quiet, and free.
    rig.detach()?;
    rig.close()?;
    let after = runtime::frames().0;
    if after != before {
        return Err(format!("{before} bytes were free before, {after} are now"));
    }
    Ok(format!(
        "{gone} went with {PAGES} pages mapped: all of it came back"
    ))
}
