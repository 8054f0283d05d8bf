//! DMA end to end: QEMU's edu device through the engine's windows, with no
//! shortcut. What is mapped is reached, and nothing else.

use super::arena::Arena;
use super::device::{Bar, Buffer, Order};
use super::platform::{Platform, engine, prefer_chip};
use super::{bridges, describe, host, hosts, pe_of, windows};
use crate::addr::BusAddr;
use crate::boot::{banner, runtime};
use crate::dma::{DetachMode, Engine, Quota, Window, WindowConfig};
use crate::drivers::DmaMemory;
use crate::drivers::edu::{Direction, Edu};
use crate::pci::{GroupIndex, GroupKind};
use crate::seam::{PeId, TveSelect};
use crate::tce::{Access, PageShift, TableShape};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// QEMU's edu.
const EDU: (u16, u16) = (0x1234, 0x11e8);

/// Bytes of a refused transfer: the emulator complains about each few of them.
const SMALL: u64 = 16;

/// The 32-bit window ends here: from 2 to 4 GB lie MSIs and the PHB's M32 range.
const LOW_END: u64 = 2 << 30;

/// The 64-bit window starts here: TVE#1.
const HIGH: u64 = 1 << 59;

/// Levels of tables are as small as they can be, so that few pages show many
/// levels.
const LEVEL_SHIFT: u32 = 12;

/// Table memory for a window of the self-test.
const QUOTA: u64 = 16 << 20;

/// An edu, and the group that it is in.
pub(super) struct Device {
    pub(super) name: String,
    pub(super) pe: PeId,
    pub(super) group: GroupIndex,
    edu: Edu<Bar>,
}

type Outcome = Result<String, String>;

/// The self-test's part `edu`.
pub fn edu() -> Outcome {
    let (mut devices, left_out) = find()?;
    let before = runtime::frames().0;
    let mut windows = 0;
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
            "{} {}, {windows} {}: read, write, and nothing beyond what is mapped",
            devices.len(),
            banner::plural(devices.len(), "device"),
            banner::plural(windows, "window")
        )
    };
    if left_out > 0 {
        told.push_str(&format!(
            "; {left_out} without a reset of their own left out"
        ));
    }
    Ok(told)
}

/// One edu of each group that can be assigned, and how many groups cannot.
pub(super) fn find() -> Result<(Vec<Device>, usize), String> {
    let (mut devices, mut left_out) = (Vec::new(), 0);
    for (index, host) in hosts() {
        for (at, group) in host.groups.iter() {
            let is_edu = |it: &&crate::pci::FunctionIndex| {
                let function = &host.topology[**it];
                (function.vendor, function.device) == EDU
                    && host.plan.is_active(&host.topology, **it)
            };
            let Some(function) = group.functions.iter().find(is_edu) else {
                continue;
            };
            if group.kind != GroupKind::Endpoint {
                continue;
            }
            let Some(pe) = pe_of(index, at) else { continue };
            if host.setup().cannot_reset(at).is_some() {
                left_out += 1;
                continue;
            }
            let bar = host
                .plan
                .bars_of(*function)
                .find(|bar| bar.bar.index == 0)
                .ok_or("an edu without its BAR")?;
            // SAFETY: the plan gives these addresses to this function alone, and
            // the function to nobody but this test.
            let registers = unsafe { Bar::new(bar.host, bar.bytes(), Order::Big) };
            let name = host.topology[*function].id.to_string();
            let edu = Edu::new(registers).map_err(|error| format!("{name}: {error}"))?;
            devices.push(Device {
                name,
                pe,
                group: at,
                edu,
            });
        }
    }
    Ok((devices, left_out))
}

/// A kind of window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    tve: TveSelect,
    page: PageShift,
    levels: u32,
}

impl core::fmt::Display for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let bits = match self.tve {
            TveSelect::Low => 32,
            TveSelect::High => 64,
        };
        let levels = self.levels as usize;
        write!(
            f,
            "{bits}-bit window of {} pages, {levels} {}",
            self.page,
            banner::plural(levels, "level")
        )
    }
}

impl Kind {
    pub(super) const LOW: Self = Self {
        tve: TveSelect::Low,
        page: PageShift::K4,
        levels: 1,
    };

    /// As many pages as the table, or the range of addresses, has.
    fn config(self, sizes: crate::tce::PageSizes) -> Result<WindowConfig, String> {
        let shape = TableShape::new(self.page, self.levels, LEVEL_SHIFT)
            .map_err(|error| error.to_string())?;
        let page = self.page.get();
        let (base, most) = match self.tve {
            TveSelect::Low => (0, LOW_END >> page),
            TveSelect::High => (HIGH, 1 << (crate::tce::shape::DMA_BITS - page)),
        };
        Ok(WindowConfig {
            base: BusAddr::new(base),
            pages: most.min(1 << shape.slot_bits()),
            shape,
            sizes,
            limit: 512,
        })
    }
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
    for page in PageShift::ALL {
        for levels in 1..=crate::tce::shape::MAX_LEVELS {
            let fits = TableShape::new(page, levels, LEVEL_SHIFT).is_ok();
            if high && sizes.contains(page) && fits {
                kinds.push(Kind {
                    tve: TveSelect::High,
                    page,
                    levels,
                });
            }
        }
    }
    Ok(kinds)
}

/// A device with a window and memory of its own.
pub(super) struct Live {
    window: Arc<Window<Platform>>,
    arena: Arena,
    pe: PeId,
}

impl Live {
    /// `None` if there is no memory for pages of this size.
    pub(super) fn new(device: &Device, which: usize, kind: Kind) -> Result<Option<Self>, String> {
        let engine = the_engine()?;
        let Some(arena) = Arena::new(which, kind.page.get() + 1)? else {
            return Ok(None);
        };
        let bridge = bridges().get(usize::from(device.pe.phb));
        let described = bridge.ok_or("no such PHB")?.described;
        let config = kind.config(describe::page_sizes(described))?;
        prefer_chip(Some(described.chip));
        let holdings = Arc::clone(&arena.holdings);
        let window = engine
            .create_window(&config, holdings, Arc::new(Quota::new(QUOTA)))
            .map_err(|error| error.to_string())?;
        windows::add(&window);
        let live = Self {
            window,
            arena,
            pe: device.pe,
        };
        engine
            .attach(&live.window, device.pe)
            .map_err(|error| error.to_string())?;
        host(device.pe.phb)
            .ok_or("no such PHB")?
            .start(device.group)
            .map_err(|(step, error)| format!("{step:?}: {error}"))?;
        Ok(Some(live))
    }

    /// The last page but `back` of the window.
    pub(super) fn bus(&self, back: u64) -> BusAddr {
        let range = self.window.range();
        let page = range.shape().page().get();
        BusAddr::new(range.base().get() + ((range.pages() - 1 - back) << page))
    }

    pub(super) fn map(&self, bus: BusAddr, page: u64, access: Access) -> Result<(), String> {
        let shift = self.window.range().shape().page().get();
        let host = self.arena.page(page, shift)?;
        the_engine()?
            .map(&self.window, bus, host, 1, access)
            .map_err(|error| error.to_string())
    }

    fn unmap(&self, bus: BusAddr) -> Result<(), String> {
        let unmapped = the_engine()?
            .unmap(&self.window, bus, 1)
            .map_err(|error| error.to_string())?;
        expect(unmapped == 1, "an unmap found no entry")
    }

    /// Detached with a reset; its TVEs read zero.
    pub(super) fn detach(&self) -> Result<(), String> {
        the_engine()?
            .detach(&self.window, self.pe, DetachMode::Reset)
            .map_err(|error| error.to_string())?;
        let host = host(self.pe.phb).ok_or("no such PHB")?;
        for tve in [TveSelect::Low, TveSelect::High] {
            let value = host
                .phb
                .tve(self.pe.pe, tve)
                .map_err(|error| error.to_string())?;
            expect(value.bits() == 0, "a TVE is not zero after the detach")?;
        }
        Ok(())
    }

    /// The window and its memory are given back, after the detach.
    pub(super) fn give_back(self) -> Result<(), String> {
        windows::forget(&self.window);
        the_engine()?
            .remove(&self.window, DetachMode::Reset)
            .map_err(|error| error.to_string())?;
        self.arena.give_back()
    }
}

fn the_engine() -> Result<&'static Engine<Platform>, String> {
    engine().ok_or_else(|| "no engine".into())
}

pub(super) fn expect(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.into()) }
}

/// A piece of a page whose content is checked.
fn piece(live: &Live, page: u64, offset: u64, bytes: usize) -> Result<Buffer, String> {
    let shift = live.window.range().shape().page().get();
    live.arena
        .buffer((page << shift) + offset, BusAddr::new(0), bytes)
}

fn put(piece: &mut Buffer, seed: u8) {
    for index in 0..piece.size() {
        piece.write(index, &[seed.wrapping_add(index as u8)]);
    }
}

fn holds(piece: &Buffer, seed: u8) -> bool {
    (0..piece.size()).all(|index| {
        let mut byte = [0];
        piece.read(index, &mut byte) && byte[0] == seed.wrapping_add(index as u8)
    })
}

impl Device {
    pub(super) fn read(&mut self, offset: u64, bus: BusAddr, count: u64) -> Result<(), String> {
        let way = Direction::FromMemory;
        self.edu
            .transfer(way, offset, bus, count, false)
            .map_err(|error| error.to_string())
    }

    pub(super) fn write(&mut self, offset: u64, bus: BusAddr, count: u64) -> Result<(), String> {
        let way = Direction::ToMemory;
        self.edu
            .transfer(way, offset, bus, count, false)
            .map_err(|error| error.to_string())
    }
}

/// Whether the device reaches the 64-bit window. An edu with the emulator's
/// usual mask cuts its addresses down to 28 bits, and then hits the low window.
fn reaches_high(device: &mut Device) -> Result<bool, String> {
    let live = Live::new(device, 0, Kind::LOW)?.ok_or("no memory")?;
    let bus = live.bus(0);
    live.map(bus, 0, Access::ReadWrite)?;
    let mut mark = piece(&live, 0, 0, 4)?;
    put(&mut mark, 1);
    device.read(0, bus, 4)?;
    put(&mut mark, 9);
    device.write(0, BusAddr::new(HIGH | bus.get()), 4)?;
    let high = holds(&mark, 9);
    live.detach()?;
    live.give_back()?;
    Ok(high)
}

/// All that one window must let through, and refuse. `false` if there is no
/// memory for its pages.
fn scenario(device: &mut Device, other: Option<&mut Device>, kind: Kind) -> Result<bool, String> {
    let Some(live) = Live::new(device, 0, kind)? else {
        return Ok(false);
    };
    let (first, second) = (live.bus(1), live.bus(0));
    // The bus addresses follow each other, the pages do not.
    live.map(first, 1, Access::ReadWrite)?;
    live.map(second, 0, Access::ReadWrite)?;
    crate::boot::audit::in_order()?;
    whole_page(device, &live, first, second)?;
    crossing(device, &live, second, kind.page)?;
    read_only(device, &live, first, second)?;
    unmapped(device, &live, first, second)?;
    // Each of its runs resets the other device: one for each TVE.
    if let Some(other) = other.filter(|_| kind.levels == 1) {
        strangers(other, &live, first)?;
    }
    let mut after = piece(&live, 1, 0, SMALL as usize)?;
    put(&mut after, 0x21);
    // Everything off: nothing gets through any more. The memory is still the
    // test's own, and is looked at before it goes.
    live.detach()?;
    device.write(0, first, SMALL)?;
    expect(holds(&after, 0x21), "a device wrote after its detach")?;
    live.give_back()?;
    Ok(true)
}

/// 4096 bytes from one page to the other, through the device.
fn whole_page(
    device: &mut Device,
    live: &Live,
    first: BusAddr,
    second: BusAddr,
) -> Result<(), String> {
    let bytes = crate::drivers::edu::BUFFER_SIZE;
    let mut from = piece(live, 1, 0, bytes as usize)?;
    let mut to = piece(live, 0, 0, bytes as usize)?;
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
    live: &Live,
    second: BusAddr,
    page: PageShift,
) -> Result<(), String> {
    let mut before = piece(live, 1, page.bytes() - 64, 64)?;
    let mut behind = piece(live, 0, 0, 64)?;
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
    live: &Live,
    first: BusAddr,
    second: BusAddr,
) -> Result<(), String> {
    live.unmap(second)?;
    live.map(second, 0, Access::Read)?;
    let mut shown = piece(live, 0, 0, SMALL as usize)?;
    let mut copy = piece(live, 1, 0, SMALL as usize)?;
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
fn unmapped(
    device: &mut Device,
    live: &Live,
    first: BusAddr,
    second: BusAddr,
) -> Result<(), String> {
    live.unmap(second)?;
    let mut secret = piece(live, 0, 0, SMALL as usize)?;
    let mut copy = piece(live, 1, 0, SMALL as usize)?;
    put(&mut secret, 0x71);
    put(&mut copy, 0x31);
    device.read(0, first, SMALL)?;
    device.write(0, second, SMALL)?;
    expect(holds(&secret, 0x71), "an unmapped page was written")?;
    device.read(0, second, SMALL)?;
    device.write(0, first, SMALL)?;
    expect(!holds(&copy, 0x71), "an unmapped page was read")?;
    // The window's first page: below the last two in every table of these.
    let never = live.window.range().base();
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
fn strangers(other: &mut Device, live: &Live, first: BusAddr) -> Result<(), String> {
    let theirs = Live::new(other, 1, Kind::LOW)?.ok_or("no memory for the other device")?;
    let own = theirs.bus(0);
    theirs.map(own, 0, Access::ReadWrite)?;
    let shift = live.window.range().shape().page().get();
    let host = live.arena.page(1, shift)?.get();
    let mut secret = piece(live, 1, 0, SMALL as usize)?;
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
    theirs.give_back()
}

/// The self-test's part `freeze`, by name only, as it is reported as an error:
/// marks a PE as the PHB does when it freezes one, which the emulator never
/// does, and recovers it.
pub fn freeze() -> Outcome {
    let machine = runtime::machine().ok_or("no machine")?;
    let (mut devices, _) = find()?;
    let Some(device) = devices.first_mut().filter(|_| machine.is_emulated) else {
        return Ok("left out: only with an edu on an emulated machine".into());
    };
    let host = host(device.pe.phb).ok_or("no such PHB")?;
    if host.info.generation() == crate::pci::Generation::Phb3 {
        return Ok("left out: the emulator has no PEs' state on POWER8".into());
    }
    let live = Live::new(device, 0, Kind::LOW)?.ok_or("no memory")?;
    let (first, second) = (live.bus(1), live.bus(0));
    live.map(first, 1, Access::ReadWrite)?;
    live.map(second, 0, Access::ReadWrite)?;
    live.unmap(second)?;
    mark(host, device.pe.pe, true, second)?;
    super::errors::serve();
    expect(
        super::errors::failed() == [device.pe],
        "the frozen PE was not noticed",
    )?;
    let status = host.phb.freeze_status(device.pe.pe);
    expect(
        status.is_ok_and(|status| status.state == 3),
        "the PE is not frozen as a whole",
    )?;
    // Noticed once, however often it is looked for.
    super::errors::serve();
    mark(host, device.pe.pe, false, second)?;
    let opened = super::errors::recover(device.pe)?;
    expect(opened == 1, "its window is not open again")?;
    expect(
        super::errors::failed().is_empty(),
        "it still counts as frozen",
    )?;
    live.map(first, 1, Access::ReadWrite)?;
    live.map(second, 0, Access::ReadWrite)?;
    whole_page(device, &live, first, second)?;
    live.detach()?;
    live.give_back()?;
    Ok("a frozen PE was noticed, reported, stopped, reset, and works again".into())
}

/// Sets or ends the marks of an error of a PE: its state inside of the PHB, the
/// vector of PEs with errors, and the record of a page fault in memory.
fn mark(host: &super::Host, pe: u16, on: bool, bus: BusAddr) -> Result<(), String> {
    use crate::phb::IodaTable;
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
