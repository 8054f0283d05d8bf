//! DMA end to end: QEMU's edu device through the engine's windows, with no
//! shortcut. What is mapped is reached, and nothing else.

use super::edu::{self, Device, holds, put};
use super::expect;
use super::kind::Kind;
use crate::addr::BusAddr;
use crate::boot::pci::device::Buffer;
use crate::boot::pci::{bridges, describe};
use crate::boot::rig::{HIGH, Rig};
use crate::boot::{audit, banner, runtime};
use crate::tce::shape::MAX_LEVELS;
use crate::tce::{Access, PageShift, PageSizes};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Bytes of a refused transfer: the emulator complains about each few of them.
const SMALL: u64 = 16;

type Outcome = Result<String, String>;

/// The self-test's part `edu`.
pub fn check() -> Outcome {
    let (mut devices, left_out) = edu::find()?;
    let before = runtime::frames().0;
    let mut windows = 0;
    let (mut tried, mut too_large) = (PageSizes::NONE, PageSizes::NONE);
    for at in 0..devices.len() {
        // The first shows all kinds of windows, the others one.
        for kind in kinds(&mut devices[at], at == 0)? {
            let (head, tail) = devices.split_at_mut(at);
            let Some((device, tail)) = tail.split_first_mut() else {
                continue;
            };
            let other = head.first_mut().or(tail.first_mut());
            crate::debug!("{}: {kind}", device.name);
            if scenario(device, other, kind)
                .map_err(|why| format!("{}, {kind}: {why}", device.name))?
            {
                windows += 1;
                tried = tried.with(kind.page());
            } else {
                too_large = too_large.with(kind.page());
            }
        }
    }
    let after = runtime::frames().0;
    if after != before {
        return Err(format!("{before} bytes were free before, {after} are now"));
    }
    let mut told = if devices.is_empty() {
        String::from("left out: there is no edu")
    } else {
        format!(
            "{} {}, {windows} {} of {tried} pages: read, write, and nothing beyond what is mapped",
            devices.len(),
            banner::plural(devices.len(), "device"),
            banner::plural(windows, "window")
        )
    };
    if too_large != PageSizes::NONE {
        told.push_str(&format!("; no memory for {too_large}"));
    }
    if left_out > 0 {
        told.push_str(&format!(
            "; {left_out} without a reset of their own left out"
        ));
    }
    Ok(told)
}

/// Kinds of windows to try with a device: all page sizes of its PHB and all
/// levels, or one.
fn kinds(device: &mut Device, all: bool) -> Result<Vec<Kind>, String> {
    let mut kinds = alloc::vec![Kind::LOW];
    if !all {
        return Ok(kinds);
    }
    let bridge = bridges().get(usize::from(device.pe.phb));
    let sizes = describe::page_sizes(bridge.ok_or("no such PHB")?.described);
    let high = reaches_high(device)?;
    if high {
        let pages = PageShift::ALL.into_iter();
        for page in pages.filter(|page| sizes.contains(*page)) {
            kinds.extend((1..=MAX_LEVELS).filter_map(|levels| Kind::high(page, levels)));
        }
    }
    Ok(kinds)
}

/// A piece of a page whose content is checked.
fn piece(rig: &Rig, page: u64, offset: u64, bytes: usize) -> Result<Buffer, String> {
    rig.buffer(page, offset, BusAddr::new(0), bytes)
}

/// Whether the device reaches the 64-bit window. An edu with the emulator's
/// usual mask cuts its addresses down to 28 bits, and then hits the low window.
fn reaches_high(device: &mut Device) -> Result<bool, String> {
    let rig = Kind::LOW.open(device, 0)?.ok_or("no memory")?;
    let bus = rig.last(0);
    rig.map(bus, 0, 1, Access::ReadWrite)?;
    let mut mark = piece(&rig, 0, 0, 4)?;
    put(&mut mark, 1);
    device.read(0, bus, 4)?;
    put(&mut mark, 9);
    device.write(0, BusAddr::new(HIGH | bus.get()), 4)?;
    let high = holds(&mark, 9);
    rig.detach()?;
    rig.close()?;
    Ok(high)
}

/// All that one window must let through, and refuse. `false` if there is no
/// memory for its pages.
fn scenario(device: &mut Device, other: Option<&mut Device>, kind: Kind) -> Result<bool, String> {
    let Some(rig) = kind.open(device, 0)? else {
        return Ok(false);
    };
    let (first, second) = (rig.last(1), rig.last(0));
    // The bus addresses follow each other, the pages do not.
    rig.map(first, 1, 1, Access::ReadWrite)?;
    rig.map(second, 0, 1, Access::ReadWrite)?;
    audit::in_order()?;
    whole_page(device, &rig, first, second)?;
    crossing(device, &rig, second, kind.page())?;
    read_only(device, &rig, first, second)?;
    unmapped(device, &rig, first, second)?;
    // Each of its runs resets the other device: one for each TVE.
    if let Some(other) = other.filter(|_| kind.levels() == 1) {
        strangers(other, &rig, first)?;
    }
    let mut after = piece(&rig, 1, 0, SMALL as usize)?;
    put(&mut after, 0x21);
    // Everything off: nothing gets through any more. The memory is still the
    // test's own, and is looked at before it goes.
    rig.detach()?;
    device.write(0, first, SMALL)?;
    expect(holds(&after, 0x21), "a device wrote after its detach")?;
    rig.close()?;
    Ok(true)
}

/// 4096 bytes from one page to the other, through the device.
pub fn whole_page(
    device: &mut Device,
    rig: &Rig,
    first: BusAddr,
    second: BusAddr,
) -> Result<(), String> {
    let bytes = crate::drivers::edu::BUFFER_SIZE;
    let mut from = piece(rig, 1, 0, bytes as usize)?;
    let mut to = piece(rig, 0, 0, bytes as usize)?;
    put(&mut from, 3);
    put(&mut to, 0x80);
    device.read(0, first, bytes)?;
    device.write(0, second, bytes)?;
    expect(
        holds(&to, 3) && holds(&from, 3),
        "4096 bytes read from one page did not arrive in the other",
    )
}

/// Across the boundary of two pages, both ways.
fn crossing(
    device: &mut Device,
    rig: &Rig,
    second: BusAddr,
    page: PageShift,
) -> Result<(), String> {
    let mut before = piece(rig, 1, page.bytes() - 64, 64)?;
    let mut behind = piece(rig, 0, 0, 64)?;
    put(&mut before, 0x11);
    put(&mut behind, 0x91);
    let bus = BusAddr::new(second.get() - 64);
    device.read(512, bus, 128)?;
    put(&mut before, 0);
    put(&mut behind, 0);
    device.write(512, bus, 128)?;
    expect(
        holds(&before, 0x11) && holds(&behind, 0x91),
        "128 bytes across two pages did not come back",
    )
}

/// A page that is mapped for reading is read and not written.
fn read_only(
    device: &mut Device,
    rig: &Rig,
    first: BusAddr,
    second: BusAddr,
) -> Result<(), String> {
    rig.unmap(second, 1)?;
    rig.map(second, 0, 1, Access::Read)?;
    let mut shown = piece(rig, 0, 0, SMALL as usize)?;
    let mut copy = piece(rig, 1, 0, SMALL as usize)?;
    put(&mut shown, 0x41);
    device.read(0, second, SMALL)?;
    device.write(0, first, SMALL)?;
    expect(holds(&copy, 0x41), "a read-only page was not read")?;
    put(&mut copy, 0x61);
    device.read(0, first, SMALL)?;
    device.write(0, second, SMALL)?;
    expect(holds(&shown, 0x41), "a read-only page was written")
}

/// What was unmapped, and what never was mapped, is reached by neither way.
fn unmapped(device: &mut Device, rig: &Rig, first: BusAddr, second: BusAddr) -> Result<(), String> {
    rig.unmap(second, 1)?;
    let mut secret = piece(rig, 0, 0, SMALL as usize)?;
    let mut copy = piece(rig, 1, 0, SMALL as usize)?;
    put(&mut secret, 0x71);
    put(&mut copy, 0x31);
    device.read(0, first, SMALL)?;
    device.write(0, second, SMALL)?;
    expect(holds(&secret, 0x71), "an unmapped page was written")?;
    device.read(0, second, SMALL)?;
    device.write(0, first, SMALL)?;
    expect(!holds(&copy, 0x71), "an unmapped page was read")?;
    // The window's first page: below the last two in every table of these.
    let never = rig.window.range().base();
    put(&mut copy, 0x51);
    device.write(0, never, SMALL)?;
    expect(
        holds(&secret, 0x71) && holds(&copy, 0x51),
        "an address that was never mapped was written",
    )
}

/// A device of another group, with a window of another owner's, reaches the
/// first one's page by no address: neither its bus address, in either window,
/// nor its host address.
fn strangers(other: &mut Device, rig: &Rig, first: BusAddr) -> Result<(), String> {
    let theirs = Kind::LOW
        .open(other, 1)?
        .ok_or("no memory for the other device")?;
    let own = theirs.last(0);
    theirs.map(own, 0, 1, Access::ReadWrite)?;
    let shift = rig.page_shift();
    let host = rig.arena.page(1, shift)?.get();
    let mut secret = piece(rig, 1, 0, SMALL as usize)?;
    let mut copy = piece(&theirs, 0, 0, SMALL as usize)?;
    for address in [first.get(), first.get() ^ HIGH, host, HIGH | host] {
        // Its own page may have the same bus address: then it gets its own.
        let bus = BusAddr::new(address);
        put(&mut secret, 0x17);
        put(&mut copy, 0xb1);
        other.read(0, own, SMALL)?;
        other.write(0, bus, SMALL)?;
        let wrote = !holds(&secret, 0x17);
        other.read(0, bus, SMALL)?;
        other.write(0, own, SMALL)?;
        if wrote || holds(&copy, 0x17) {
            let what = if wrote { "wrote" } else { "read" };
            return Err(format!(
                "{} {what} a page of another group at {bus}",
                other.name
            ));
        }
    }
    theirs.detach()?;
    theirs.close()
}
