//! The order of a flush, observed: clear, barrier, kill, completion, release,
//! by a spy on the PHB's registers that looks at the TCE and at the ledger.

use super::candidates;
use crate::addr::{BusAddr, HostAddr};
use crate::boot::pci::platform::Platform;
use crate::boot::pci::{Host, SPY, host};
use crate::boot::rig::{Regions, Rig, Wanted, the_engine};
use crate::boot::{audit, runtime};
use crate::debug;
use crate::dma::{DetachMode, Engine};
use crate::memory::ledger::Holdings;
use crate::phb::KillPath;
use crate::seam::{KillStyle, PeId, PhbPort, TableMemory, TveSelect};
use crate::spy::{Event, Operation, Sight, order};
use crate::tce::{Access, PageShift, TableShape, Tce};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

/// The window's size in pages, which is what one table of 4 KiB holds, and the
/// page that is watched.
const PAGES: u64 = 512;
const SLOT: u64 = 16;
const BUS: BusAddr = BusAddr::new(SLOT << 12);

/// Table memory for the window.
const QUOTA: u64 = 1 << 20;

/// Registers that an emulator's trace is compared by: all others are left out
/// of the record.
const TRACED: [u64; 2] = [0x200, 0x210];

/// The self-test's part `flush`, on one device of each PHB. The record is
/// printed as `docs/testing.md` says, with `log=debug`.
pub fn check() -> Result<String, String> {
    let before = runtime::frames().0;
    let (mut phbs, mut operations) = (0, 0);
    for pe in candidates::groups() {
        let host = host(pe.phb).ok_or("no such PHB")?;
        if host.phb.setup().kill == KillPath::Firmware {
            return Ok("left out: firmware kills TCEs, where no spy sees it".into());
        }
        operations += on_phb(host, pe).map_err(|why| format!("PHB {}: {why}", host.info.id()))?;
        phbs += 1;
    }
    let after = runtime::frames().0;
    if after != before {
        return Err(format!("{before} bytes were free before, {after} are now"));
    }
    if phbs == 0 {
        return Ok("left out: there is no device".into());
    }
    Ok(format!(
        "{operations} operations on {phbs} PHBs: clear, barrier, kill, completion, release"
    ))
}

/// A window on one PE, and the page that the spy watches.
struct Watch {
    engine: &'static Engine<Platform>,
    holdings: Arc<Holdings<Platform>>,
    pe: PeId,
    /// A page of the region whose pins count.
    region: HostAddr,
    /// The table, once it is attached.
    table: Option<HostAddr>,
}

impl Watch {
    /// Attaches the window; where its table is.
    fn attached(&self, host: &Host, rig: &Rig) -> Result<HostAddr, String> {
        self.spied("attach", || rig.attach())?;
        let tve = host
            .phb
            .tve(self.pe.pe, TveSelect::Low)
            .map_err(|error| error.to_string())?;
        let table = tve.decode().map_err(|error| error.to_string())?;
        Ok(table.ok_or("the TVE is off after the attach")?.root)
    }

    fn look(&self) -> impl Fn() -> Sight + Send + use<> {
        let (engine, table, region) = (self.engine, self.table, self.region);
        let holdings = Arc::clone(&self.holdings);
        move || Sight {
            // As it lies in memory: one level, so the root holds the entries.
            tce: table.map_or(0, |table| engine.platform().load(table, SLOT as usize)),
            pins: holdings.region_of(region).map_or(0, |region| region.pins),
        }
    }

    /// Does something, and prints what the spy saw of it.
    fn spied<T>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T, String>,
    ) -> Result<(Sight, alloc::vec::Vec<Event>, Sight), String> {
        let look = self.look();
        let before = look();
        SPY.arm(self.look());
        let done = work();
        let (events, lost) = SPY.disarm();
        debug!("flush: {name}");
        for event in &events {
            let hidden = match event {
                Event::Write { register, .. } => !TRACED.contains(&(register.get() & 0xfff)),
                Event::Barrier(_) | Event::Done(_) => false,
            };
            if !hidden {
                debug!("{event}");
            }
        }
        done.map_err(|why| format!("{name}: {why}"))?;
        if lost != 0 {
            return Err(format!("{name}: {lost} events were lost"));
        }
        Ok((before, events, look()))
    }

    /// Does an operation and checks its order; `pages` are named by its kill.
    fn ordered<T, E: ToString>(
        &self,
        name: &str,
        operation: Operation,
        pages: Option<u64>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<(), String> {
        // One kill, which on PHB3 is a store for each of a few pages.
        let kills = match (self.engine.platform().kill_style(self.pe), pages) {
            (KillStyle::Pages { limit }, Some(pages)) if pages <= limit => pages,
            _ => 1,
        };
        let (before, events, after) =
            self.spied(name, || work().map_err(|error| error.to_string()))?;
        order(operation, kills, before, &events, after).map_err(|error| format!("{name}: {error}"))
    }
}

/// All operations on one PE; how many there were.
fn on_phb(host: &'static Host, pe: PeId) -> Result<u32, String> {
    let shape = TableShape::new(PageShift::K4, 1, 12).map_err(|error| error.to_string())?;
    let wanted = Wanted {
        owner: 0,
        base: BusAddr::new(0),
        shape,
        pages: PAGES,
        limit: PAGES,
        quota: QUOTA,
        memory: Regions::one(17),
    };
    let rig = Rig::new(pe, &wanted)?.ok_or("no memory")?;
    let mut watch = Watch {
        engine: the_engine()?,
        holdings: Arc::clone(&rig.arena.holdings),
        pe,
        region: rig.arena.page(0, 12)?,
        table: None,
    };
    let done = watch.attached(host, &rig).and_then(|table| {
        watch.table = Some(table);
        operations(&watch, &rig)
    });
    let ended = watch.spied("remove", || rig.close());
    let done = done?;
    ended.map(|_| done)
}

fn operations(watch: &Watch, rig: &Rig) -> Result<u32, String> {
    let (engine, window) = (watch.engine, &*rig.window);
    let page = |number| rig.arena.page(number, 12);
    let first = page(0)?;
    let none = audit::in_order()?;
    watch.ordered("map", Operation::Map { pages: 3 }, Some(3), || {
        engine.map(window, BUS, first, 3, Access::ReadWrite)
    })?;
    expect_live(none + 3)?;
    let entry = Tce::new(page(8)?, Access::Read).ok_or("a misaligned page")?;
    let remap = Operation::Remap {
        pages: 1,
        entry: entry.bits(),
    };
    watch.ordered("remap", remap, Some(1), || {
        engine.remap(window, BUS, &[entry])
    })?;
    watch.ordered("unmap", Operation::Unmap { pages: 3 }, Some(3), || {
        engine.unmap(window, BUS, 3)
    })?;
    watch.ordered(
        "map of many",
        Operation::Map { pages: 20 },
        Some(20),
        || engine.map(window, BUS, first, 20, Access::Read),
    )?;
    watch.ordered(
        "unmap of many",
        Operation::Unmap { pages: 20 },
        Some(20),
        || engine.unmap(window, BUS, 20),
    )?;
    watch.ordered("map of one", Operation::Map { pages: 1 }, Some(1), || {
        engine.map(window, BUS, first, 1, Access::Write)
    })?;
    expect_live(none + 1)?;
    watch.ordered("detach", Operation::Detach { pages: 1 }, None, || {
        engine.detach(window, watch.pe, DetachMode::Reset)
    })?;
    expect_live(none)?;
    Ok(7)
}

/// The audit finds as many live TCEs as are mapped, in tables that it found by
/// itself.
fn expect_live(expected: u64) -> Result<(), String> {
    match audit::in_order()? {
        live if live == expected => Ok(()),
        live => Err(format!("the audit sees {live} live TCEs, not {expected}")),
    }
}
