//! Self-test of NVMe drives: through the engine's windows, with memory of an
//! owner of its own, and told by all kinds of interrupt. What a drive holds in
//! its last page is lost, so it is done on emulated machines only.

use super::device::{Bar, Buffer, Order};
use super::msi::{self, Connection, Place, Way};
use super::platform::{Platform, engine, ledger};
use super::{Host, bridges, describe, hosts, pe_of, windows};
use crate::addr::{BusAddr, HostAddr};
use crate::boot::audit;
use crate::boot::interrupts;
use crate::boot::interrupts::device::Driver;
use crate::boot::runtime;
use crate::dma::iova::IovaAllocator;
use crate::dma::{DetachMode, Quota, Window, WindowConfig};
use crate::drivers::DmaMemory;
use crate::drivers::nvme::{Controller, DATA_SIZE, MEMORY_SIZE, Signal};
use crate::irq::{Name, Snapshot};
use crate::memory::frames::Block;
use crate::memory::ledger::{Holdings, OwnerId};
use crate::pci::{ConfigAccess, FunctionId, FunctionIndex, GroupIndex};
use crate::phb::Config;
use crate::seam::PeId;
use crate::tce::{Access, PageShift, TableShape};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;
use spin::Once;

/// Class code of a drive.
const NVME: u32 = 0x01_0802;

/// Drives that are tested; more of them show nothing new.
const MOST_DRIVES: usize = 8;

/// Who owns the memory of the test.
const OWNER: OwnerId = OwnerId(0xffff_0002);

/// Pages of the three parts of the test's memory: queues, data, and what is
/// unmapped again.
const QUEUES: u64 = MEMORY_SIZE as u64 >> PAGE_SHIFT;
const DATA: u64 = DATA_SIZE as u64 >> PAGE_SHIFT;
const PAGE_SHIFT: u32 = 12;
const MEMORY_SHIFT: u32 = 15;
const _: () = assert!((QUEUES + DATA + 1) << PAGE_SHIFT <= 1 << MEMORY_SHIFT);

/// Where the 64-bit window starts.
const HIGH: u64 = 1 << 59;

/// A drive in a group that can be given a window.
#[derive(Clone, Copy)]
struct Drive {
    phb: u16,
    at: FunctionIndex,
    id: FunctionId,
    group: GroupIndex,
    pe: PeId,
    registers: HostAddr,
    bytes: u64,
}

fn drives() -> Vec<Drive> {
    let mut found = Vec::new();
    for (phb, host) in hosts() {
        for (at, function) in host.topology.iter() {
            let group = host.groups.of(at);
            let Some(pe) = pe_of(phb, group) else {
                continue;
            };
            let is_drive = function.class.get() == NVME && host.plan.is_active(&host.topology, at);
            let mut bars = host.plan.bars_of(at).filter(|it| it.bar.index == 0);
            if let Some(bar) = bars.next().filter(|_| is_drive) {
                found.push(Drive {
                    phb,
                    at,
                    id: function.id,
                    group,
                    pe,
                    registers: bar.host,
                    bytes: bar.bar.size,
                });
            }
        }
    }
    found
}

/// Part `nvme` of the self-test.
pub fn check() -> Result<String, String> {
    let drives = drives();
    if drives.is_empty() {
        return Ok("left out: no NVMe drive".into());
    }
    if !runtime::machine().is_some_and(|machine| machine.is_emulated) {
        return Ok("left out: drives are written to on an emulated machine only".into());
    }
    let mut told = Told::default();
    let mut groups = Vec::new();
    for drive in drives.iter().take(MOST_DRIVES) {
        let place = drive.place();
        let mut test = |base, way| {
            let interrupts = drive.test(base, way);
            let count = told.of(way);
            count.0 += 1;
            count.1 += interrupts.map_err(|why| match way {
                None => format!("{}, polled: {why}", drive.id),
                Some(way) => format!("{} by {way}: {why}", drive.id),
            })?;
            Ok::<(), String>(())
        };
        // A reset resets all of a group, so its first drive is tested in all
        // ways, and of the others that they are reached.
        let is_first = !groups.contains(&drive.pe);
        groups.push(drive.pe);
        if is_first || !place.has(Way::Table) {
            test(0, None)?;
        }
        if place.has(Way::Table) {
            test(HIGH, Some(Way::Table))?;
        }
        if is_first && place.has(Way::Capability) {
            test(0, Some(Way::Capability))?;
        }
        if is_first && place.has_line() {
            test(0, Some(Way::Line))?;
        }
    }
    let all = drives.len().min(MOST_DRIVES);
    Ok(format!(
        "{all} drive(s): data came back, {told}; unmapped memory untouched"
    ))
}

/// Drives that were tested in each way, and how often they interrupted.
#[derive(Default)]
struct Told {
    polled: (u64, u64),
    table: (u64, u64),
    capability: (u64, u64),
    line: (u64, u64),
}

impl Told {
    fn of(&mut self, way: Option<Way>) -> &mut (u64, u64) {
        match way {
            None => &mut self.polled,
            Some(Way::Table) => &mut self.table,
            Some(Way::Capability) => &mut self.capability,
            Some(Way::Line) => &mut self.line,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} polled", self.polled.0)?;
        let ways = [
            (self.table, Way::Table),
            (self.capability, Way::Capability),
            (self.line, Way::Line),
        ];
        for ((drives, interrupts), way) in ways.iter().filter(|it| it.0.0 > 0) {
            write!(f, ", {drives} by {way} ({interrupts} interrupts)")?;
        }
        Ok(())
    }
}

fn text(error: impl fmt::Display) -> String {
    format!("{error}")
}

impl Drive {
    fn place(&self) -> Place {
        Place {
            phb: self.phb,
            at: self.at,
            driver: Driver::Nvme,
            registers: self.registers,
        }
    }

    /// Everything with one kind of interrupt, through a window at `base`; then
    /// nothing of it is left.
    fn test(&self, base: u64, way: Option<Way>) -> Result<u64, String> {
        let bed = Bed::open(self, base)?;
        let tested = self.with_window(&bed, way);
        let closed = bed.close();
        let silent = self.is_silent();
        let interrupts = tested?;
        closed.and(silent).map(|()| interrupts)
    }

    /// Returns how often the drive interrupted.
    fn with_window(&self, bed: &Bed, way: Option<Way>) -> Result<u64, String> {
        bed.host()?
            .start(self.group)
            .map_err(|(step, error)| format!("{step:?}: {error}"))?;
        let connection = way.map(|way| self.place().connect(way)).transpose()?;
        let tested = self.drive(bed, way, connection.as_ref());
        let counted = connection.as_ref().map_or(Ok(0), |it| self.counted(it));
        let gone = connection.map_or(Ok(()), Connection::disconnect);
        tested.and(gone).and(counted)
    }

    /// Interrupts so far, which must be those that the table of sources shows
    /// under the drive's name.
    fn counted(&self, connection: &Connection) -> Result<u64, String> {
        let count = connection.desk().count().load(Ordering::Relaxed);
        let shown = self.source().map(|it| it.count);
        if count == 0 || shown != Some(count) {
            return Err(format!("{count} interrupts came, {shown:?} are shown"));
        }
        Ok(count)
    }

    /// What is known of a source with the drive's name.
    fn source(&self) -> Option<Snapshot> {
        let is_its = |name: Name| match name {
            Name::Vector { function, .. } | Name::Line { function, .. } => function == self.id,
            Name::Fixed(_) => false,
        };
        let all = interrupts::delivery()?.snapshot();
        all.into_iter().find(|it| is_its(it.registration.name))
    }

    fn drive(
        &self,
        bed: &Bed,
        way: Option<Way>,
        connection: Option<&Connection>,
    ) -> Result<(), String> {
        let mut iova =
            IovaAllocator::new(bed.window.range().base(), bed.bytes(), PAGE_SHIFT).map_err(text)?;
        let mut map = |page, pages| bed.map(&mut iova, page, pages);
        let queues = map(0, QUEUES)?;
        let mut data = map(QUEUES, DATA)?;
        let mut other = map(QUEUES + DATA, 1)?;
        // SAFETY: the plan gave the drive these registers, and nobody else drives
        // it; its DMA is bounded by its window.
        let bar = unsafe { Bar::new(self.registers, self.bytes, Order::Little) };
        let mut bar = bar.awake();
        if let Some(connection) = connection {
            bar = bar.with_interrupts(connection.desk().count());
        }
        let signal = match way {
            None => Signal::Polled,
            Some(Way::Table) => Signal::TableMessage,
            Some(Way::Capability) => Signal::Message,
            Some(Way::Line) => Signal::Pin,
        };
        let mut controller = Controller::new(bar, queues, signal).map_err(text)?;
        let tested = self.exercise(bed, &mut controller, &mut data, &mut other);
        let (_, _, stopped) = controller.shut_down();
        tested?;
        stopped.map_err(text)
    }

    fn exercise(
        &self,
        bed: &Bed,
        controller: &mut Controller<Bar, Buffer>,
        data: &mut Buffer,
        other: &mut Buffer,
    ) -> Result<(), String> {
        let identity = *controller.identity();
        let page_blocks = (1u64 << PAGE_SHIFT) / u64::from(identity.block_size);
        let block = identity.blocks.checked_sub(page_blocks);
        let block = block.ok_or_else(|| format!("{} blocks are too few", identity.blocks))?;
        // More commands than a queue has entries: it comes round.
        for seed in 0..8 {
            controller
                .write_and_compare(data, block, seed)
                .map_err(text)?;
        }
        // With its vectors given out and its pages mapped.
        audit::in_order()?;
        bed.unmap(other)?;
        let gone = other.bus();
        controller
            .try_unmapped(other, gone, data, block)
            .map_err(text)
    }

    /// Nothing of the drive can interrupt any more, and no vector is its PE's.
    fn is_silent(&self) -> Result<(), String> {
        let host = hosts()
            .find(|(index, _)| *index == self.phb)
            .ok_or("its PHB is gone")?
            .1;
        let pe = host.plan.group(self.group).pe.ok_or("no PE")?;
        let held = msi::held_by(self.phb, pe);
        if held > 0 {
            return Err(format!("its PE still has {held} vectors"));
        }
        if let Some(left) = self.source() {
            return Err(format!("source {} is still in use", left.source));
        }
        let Some(msix) = host.topology[self.at].capabilities.msix else {
            return Ok(());
        };
        let mut config = Config::known(&host.phb);
        let control = config.read16(self.id, msix.offset + 2).map_err(text)?;
        match control >> 15 {
            0 => Ok(()),
            _ => Err(format!("MSI-X is still on: {control:#x}")),
        }
    }
}

impl Place {
    /// Whether its line is its group's own.
    fn has_line(&self) -> bool {
        let host = bridges()
            .get(usize::from(self.phb))
            .and_then(|it| it.host());
        self.has(Way::Line)
            && host.is_some_and(|host| {
                let lines = &host.plan.lines;
                lines.grant(&host.topology, &host.groups, self.at).is_some()
            })
    }
}

/// A window of a drive's PE, and memory that it may map.
struct Bed {
    phb: u16,
    window: Arc<Window<Platform>>,
    holdings: Arc<Holdings<Platform>>,
    memory: HostAddr,
}

/// The test's owner, made once: an owner is never forgotten.
fn owner() -> Result<Arc<Holdings<Platform>>, String> {
    static HOLDINGS: Once<Arc<Holdings<Platform>>> = Once::new();
    let ledger = ledger().ok_or("no ledger")?;
    let made = HOLDINGS.try_call_once(|| ledger.add_owner(OWNER));
    made.cloned().map_err(text)
}

impl Bed {
    fn open(drive: &Drive, base: u64) -> Result<Self, String> {
        let (engine, ledger) = (engine().ok_or("no engine")?, ledger().ok_or("no ledger")?);
        let holdings = owner()?;
        let memory = runtime::allocate(MEMORY_SHIFT, None).map_err(text)?.leak();
        if let Err(error) = ledger.grant(&holdings, memory, 1 << MEMORY_SHIFT, PAGE_SHIFT) {
            runtime::free(Block::unleak(memory, MEMORY_SHIFT)).map_err(text)?;
            return Err(text(error));
        }
        let window = match make_window(drive, base, &holdings) {
            Ok(window) => window,
            Err(why) => {
                give_back(&holdings, memory)?;
                return Err(why);
            }
        };
        windows::add(&window);
        let bed = Self {
            phb: drive.phb,
            window,
            holdings,
            memory,
        };
        match engine.attach(&bed.window, drive.pe) {
            Ok(()) => Ok(bed),
            Err(error) => {
                bed.close()?;
                Err(text(error))
            }
        }
    }

    fn host(&self) -> Result<&'static Host, String> {
        let host = super::host(self.phb);
        host.ok_or_else(|| "its PHB is gone".into())
    }

    fn bytes(&self) -> u64 {
        self.window.range().bytes()
    }

    /// Maps pages of the memory, counted from its start, for both ways.
    fn map(&self, iova: &mut IovaAllocator, page: u64, pages: u64) -> Result<Buffer, String> {
        let engine = engine().ok_or("no engine")?;
        let range = iova.allocate(pages, 1 << PAGE_SHIFT).map_err(text)?;
        let host = self
            .memory
            .checked_add(page << PAGE_SHIFT)
            .ok_or("no page")?;
        engine
            .map(&self.window, range.start(), host, pages, Access::ReadWrite)
            .map_err(text)?;
        let bytes = (pages << PAGE_SHIFT) as usize;
        // SAFETY: part of a block that is the bed's, which outlives what is
        // tested on it; no reference points to it.
        Ok(unsafe { Buffer::new(host, range.start(), bytes) })
    }

    fn unmap(&self, buffer: &Buffer) -> Result<(), String> {
        let engine = engine().ok_or("no engine")?;
        let pages = buffer.size() as u64 >> PAGE_SHIFT;
        let count = engine
            .unmap(&self.window, buffer.bus(), pages)
            .map_err(text)?;
        match count == pages {
            true => Ok(()),
            false => Err(format!("{count} of {pages} pages were mapped")),
        }
    }

    /// Detaches the PE with a reset, removes the window, and gives the memory
    /// back. What fails stays as it is.
    fn close(self) -> Result<(), String> {
        let engine = engine().ok_or("no engine")?;
        engine
            .remove(&self.window, DetachMode::Reset)
            .map_err(text)?;
        windows::forget(&self.window);
        give_back(&self.holdings, self.memory)
    }
}

fn make_window(
    drive: &Drive,
    base: u64,
    holdings: &Arc<Holdings<Platform>>,
) -> Result<Arc<Window<Platform>>, String> {
    let engine = engine().ok_or("no engine")?;
    let bridge = bridges().get(usize::from(drive.phb)).ok_or("no PHB")?;
    let page = PageShift::new(PAGE_SHIFT).map_err(text)?;
    // Low: one level. High: two.
    let (levels, level_shift) = if base == 0 { (1, 16) } else { (2, 12) };
    let shape = TableShape::new(page, levels, level_shift).map_err(text)?;
    let config = WindowConfig {
        base: BusAddr::new(base),
        pages: 1 << 12,
        shape,
        sizes: describe::page_sizes(bridge.described),
        limit: 64,
    };
    let quota = Arc::new(Quota::new(1 << 20));
    engine
        .create_window(&config, Arc::clone(holdings), quota)
        .map_err(text)
}

fn give_back(holdings: &Holdings<Platform>, memory: HostAddr) -> Result<(), String> {
    let (engine, ledger) = (engine().ok_or("no engine")?, ledger().ok_or("no ledger")?);
    ledger.close(holdings, memory).map_err(text)?;
    engine.quiet(holdings, memory).map_err(text)?;
    // The whole block, as it was granted.
    let _free = ledger.reclaim(holdings, memory).map_err(text)?;
    runtime::free(Block::unleak(memory, MEMORY_SHIFT)).map_err(text)
}
