//! Self-test of NVMe drives: through the engine's windows, with memory of an
//! owner of its own, and told by all kinds of interrupt. What a drive holds in
//! its last page is lost, so it is done on emulated machines only.

use super::candidates::{self, Candidate};
use super::small::{PAGE_SHIFT, wanted};
use crate::boot::audit;
use crate::boot::interrupts::device::Driver;
use crate::boot::pci::device::{Bar, Buffer, Order};
use crate::boot::pci::msi::{Connection, Place, Way};
use crate::boot::rig::{HIGH, Rig};
use crate::boot::runtime;
use crate::dma::iova::IovaAllocator;
use crate::drivers::DmaMemory;
use crate::drivers::nvme::{Controller, DATA_SIZE, MEMORY_SIZE, Signal};
use crate::tce::Access;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Class code of a drive.
const NVME: u32 = 0x01_0802;

/// Drives that are tested; more of them show nothing new.
const MOST_DRIVES: usize = 8;

/// Pages of the three parts of the test's memory: queues, data, and what is
/// unmapped again.
const QUEUES: u64 = MEMORY_SIZE as u64 >> PAGE_SHIFT;
const DATA: u64 = DATA_SIZE as u64 >> PAGE_SHIFT;
const MEMORY_SHIFT: u32 = 15;
const _: () = assert!((QUEUES + DATA + 1) << PAGE_SHIFT <= 1 << MEMORY_SHIFT);

/// A drive in a group that can be given a window.
#[derive(Clone, Copy)]
pub struct Drive(pub Candidate);

/// All drives that are nobody's.
pub fn drives() -> Vec<Drive> {
    candidates::functions(|function| function.class.get() == NVME)
        .filter(|found| found.resets)
        .map(Drive)
        .collect()
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
                None => format!("{}, polled: {why}", drive.0.id),
                Some(way) => format!("{} by {way}: {why}", drive.0.id),
            })?;
            Ok::<(), String>(())
        };
        // A reset resets all of a group, so its first drive is tested in all
        // ways, and of the others that they are reached.
        let is_first = !groups.contains(&drive.0.pe);
        groups.push(drive.0.pe);
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
            phb: self.0.phb,
            at: self.0.at,
            driver: Driver::Nvme,
            registers: self.0.registers,
        }
    }

    /// Everything with one kind of interrupt, through a window at `base`; then
    /// nothing of it is left.
    fn test(&self, base: u64, way: Option<Way>) -> Result<u64, String> {
        let wanted = wanted(base, MEMORY_SHIFT)?;
        let rig = Rig::started(self.0.pe, self.0.group, &wanted)?.ok_or("no memory")?;
        let tested = self.with_window(&rig, way);
        let closed = rig.close();
        let silent = self.place().is_silent();
        let interrupts = tested?;
        closed.and(silent).map(|()| interrupts)
    }

    /// Returns how often the drive interrupted.
    fn with_window(&self, rig: &Rig, way: Option<Way>) -> Result<u64, String> {
        let connection = way.map(|way| self.place().connect(way)).transpose()?;
        let tested = self.drive(rig, way, connection.as_ref());
        let counted = connection.as_ref().map_or(Ok(0), Connection::counted);
        let gone = connection.map_or(Ok(()), Connection::disconnect);
        tested.and(gone).and(counted)
    }

    fn drive(
        &self,
        rig: &Rig,
        way: Option<Way>,
        connection: Option<&Connection>,
    ) -> Result<(), String> {
        let range = rig.window.range();
        let mut iova = IovaAllocator::new(range.base(), range.bytes(), PAGE_SHIFT).map_err(text)?;
        let mut map = |page, pages| {
            let bus = iova.allocate(pages, 1 << PAGE_SHIFT).map_err(text)?.start();
            rig.map(bus, page, pages, Access::ReadWrite)?;
            rig.buffer(page, 0, bus, (pages << PAGE_SHIFT) as usize)
        };
        let queues = map(0, QUEUES)?;
        let mut data = map(QUEUES, DATA)?;
        let mut other = map(QUEUES + DATA, 1)?;
        let mut bar = self.0.bar(Order::Little).awake();
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
        let tested = self.exercise(rig, &mut controller, &mut data, &mut other);
        let (_, _, stopped) = controller.shut_down();
        tested?;
        stopped.map_err(text)
    }

    fn exercise(
        &self,
        rig: &Rig,
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
        let gone = other.bus();
        rig.unmap(gone, 1)?;
        controller
            .try_unmapped(other, gone, data, block)
            .map_err(text)
    }
}
