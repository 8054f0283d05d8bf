//! Interrupts of a device that Pinion drives itself: what the handler leaves on
//! a desk, and how the driver waits for it.

use super::{delivery, register};
use crate::addr::HostAddr;
use crate::drivers::RegisterAccess;
use crate::drivers::edu::release_pin;
use crate::drivers::nvme::mask_pin;
use crate::irq::{Handler, IrqError, Kind, Name, Outcome, Source};
use crate::pci::FunctionId;
use crate::pci::msi::{SourceControl, VectorTable};
use crate::{cpu, mmio};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Devices that are driven at a time.
const DESKS: usize = 16;

/// A sleep is cut into pieces of this length: an emulator's disk takes its own
/// time, whatever the machine's clock says.
const SLICE_MS: u64 = 1;

struct Place {
    taken: AtomicBool,
    count: AtomicU64,
    /// Real address of the registers, for a handler that silences a pin.
    registers: AtomicU64,
}

static PLACES: [Place; DESKS] = [const {
    Place {
        taken: AtomicBool::new(false),
        count: AtomicU64::new(0),
        registers: AtomicU64::new(0),
    }
}; DESKS];

/// Where a device's interrupts are counted. Free again when dropped: its sources
/// are out of use by then.
pub struct Desk(usize);

impl Desk {
    /// A desk for the device whose registers are at `registers`; `None` if all
    /// are taken.
    pub fn take(registers: HostAddr) -> Option<Self> {
        let index = PLACES
            .iter()
            .position(|place| !place.taken.swap(true, Ordering::AcqRel))?;
        let desk = Self(index);
        desk.place().count.store(0, Ordering::Relaxed);
        desk.place()
            .registers
            .store(registers.get(), Ordering::Release);
        Some(desk)
    }

    fn place(&self) -> &'static Place {
        // An index of `take`.
        &PLACES[self.0 % DESKS]
    }

    /// Interrupts so far.
    pub fn count(&self) -> u64 {
        self.place().count.load(Ordering::Acquire)
    }

    /// Lets interrupts in until there are more than `seen`, or time is over.
    /// Nothing may be locked. Returns how many there are.
    pub fn wait(&self, seen: u64, milliseconds: u32) -> u64 {
        let slice = cpu::timebase_hz() * SLICE_MS / 1000;
        for _ in 0..u64::from(milliseconds) / SLICE_MS {
            if self.count() > seen {
                break;
            }
            cpu::idle::sleep(slice);
        }
        self.count()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.place().taken.store(false, Ordering::Release);
    }
}

/// A message came: the driver looks what it is about.
fn message(desk: usize) -> Outcome {
    PLACES[desk % DESKS].count.fetch_add(1, Ordering::AcqRel);
    Outcome::Served
}

/// An NVMe controller holds its pin: it lets go until the driver has looked.
fn nvme_pin(desk: usize) -> Outcome {
    let place = &PLACES[desk % DESKS];
    let base = HostAddr::new(place.registers.load(Ordering::Acquire));
    // SAFETY: the registers are those of the device whose line this is, from
    // `Desk::take` until the source is out of use.
    let mut registers = unsafe { DeviceRegisters::new(base, SILENCING, Order::Little) };
    mask_pin(&mut registers);
    place.count.fetch_add(1, Ordering::AcqRel);
    Outcome::Served
}

/// An edu device holds its pin: it is acknowledged.
fn edu_pin(desk: usize) -> Outcome {
    let place = &PLACES[desk % DESKS];
    let base = HostAddr::new(place.registers.load(Ordering::Acquire));
    // SAFETY: as in `nvme_pin`.
    let mut registers = unsafe { DeviceRegisters::new(base, SILENCING, Order::Big) };
    release_pin(&mut registers);
    place.count.fetch_add(1, Ordering::AcqRel);
    Outcome::Served
}

/// Bytes of registers that hold all that silences a device: both kinds have far
/// more.
const SILENCING: u64 = 0x100;

/// What drives a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineDriver {
    /// An NVMe controller.
    Nvme,
    /// QEMU's edu device.
    Edu,
}

/// The sources of one function at the interrupt controller, for its messages.
pub struct MessageSources<'a> {
    /// Which driver, for a person.
    pub driver: &'static str,
    /// The function.
    pub function: FunctionId,
    /// How they are ended.
    pub kind: Kind,
    /// Where they are counted.
    pub desk: &'a Desk,
}

fn control<T>(
    number: u32,
    what: impl FnOnce(&super::Delivery, Source) -> Result<T, IrqError>,
) -> Result<T, IrqError> {
    let source = Source::new(number).ok_or(IrqError::Number(number))?;
    let delivery = delivery().ok_or(IrqError::NotInUse(source))?;
    what(delivery, source)
}

fn take_into_use(
    number: u32,
    name: Name,
    kind: Kind,
    handler: Handler,
    desk: &Desk,
) -> Result<(), IrqError> {
    let source = Source::new(number).ok_or(IrqError::Number(number))?;
    register(source, name, kind, handler, desk.0)
}

impl SourceControl for MessageSources<'_> {
    type Error = IrqError;

    fn register(&self, index: u16, source: u32) -> Result<(), IrqError> {
        let name = Name::Vector {
            driver: self.driver,
            function: self.function,
            vector: index,
        };
        take_into_use(source, name, self.kind, message, self.desk)
    }

    fn unmask(&self, source: u32) -> Result<(), IrqError> {
        if control(source, |delivery, source| delivery.unmask(source))? {
            // It came while it was masked: the driver has to look.
            message(self.desk.0);
        }
        Ok(())
    }

    fn mask(&self, source: u32) -> Result<(), IrqError> {
        control(source, |delivery, source| delivery.mask(source))
    }

    fn unregister(&self, source: u32) -> Result<(), IrqError> {
        control(source, |delivery, source| delivery.unregister(source))
    }
}

/// Takes a line of a bridge into use for a device, and lets it through. `line`
/// is granted to the device's group.
///
/// # Errors
/// What the controller of interrupts says.
pub fn open_line(
    by: LineDriver,
    function: FunctionId,
    line: u8,
    source: u32,
    desk: &Desk,
) -> Result<(), IrqError> {
    let (driver, handler): (_, Handler) = match by {
        LineDriver::Nvme => ("nvme", nvme_pin),
        LineDriver::Edu => ("edu", edu_pin),
    };
    let name = Name::Line {
        driver,
        function,
        line,
    };
    take_into_use(source, name, Kind::Lsi, handler, desk)?;
    let open = control(source, |delivery, source| delivery.unmask(source));
    if open.is_err() {
        let _ = close_line(source);
    }
    open.map(drop)
}

/// Takes a line out of use. The function's pin is quiet already.
///
/// # Errors
/// What the controller of interrupts says: it stays, masked.
pub fn close_line(source: u32) -> Result<(), IrqError> {
    control(source, |delivery, source| delivery.unregister(source))
}

/// Byte order of a device's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As PCI devices have it.
    Little,
    /// As QEMU's edu on a POWER machine.
    Big,
}

/// A device's registers in a BAR.
pub struct DeviceRegisters {
    base: HostAddr,
    size: u64,
    order: Order,
    desk: Option<Desk>,
    seen: u64,
}

impl DeviceRegisters {
    /// `size` bytes of registers from `base` on.
    ///
    /// # Safety
    /// A device answers there, which does no DMA to memory that Rust knows.
    pub unsafe fn new(base: HostAddr, size: u64, order: Order) -> Self {
        Self {
            base,
            size,
            order,
            desk: None,
            seen: 0,
        }
    }

    /// Counts the device's interrupts at this desk from now on.
    pub fn set_desk(&mut self, desk: Option<Desk>) {
        self.seen = desk.as_ref().map_or(0, Desk::count);
        self.desk = desk;
    }

    /// The desk, while there is one.
    pub fn desk(&self) -> Option<&Desk> {
        self.desk.as_ref()
    }

    fn at(&self, offset: u64, bytes: u64) -> Option<HostAddr> {
        let end = offset.checked_add(bytes)?;
        let inside = end <= self.size && offset.is_multiple_of(bytes);
        inside.then(|| self.base.checked_add(offset)).flatten()
    }
}

/// Beyond the BAR all is as on a bus where nobody answers.
impl RegisterAccess for DeviceRegisters {
    fn read32(&mut self, offset: u64) -> u32 {
        // SAFETY: inside of what `new` was promised.
        let read = |at| unsafe { mmio::read32(at) };
        self.at(offset, 4).map_or(u32::MAX, |at| match self.order {
            Order::Little => read(at).swap_bytes(),
            Order::Big => read(at),
        })
    }

    fn read64(&mut self, offset: u64) -> u64 {
        // SAFETY: inside of what `new` was promised.
        let read = |at| unsafe { mmio::read64(at) };
        self.at(offset, 8).map_or(u64::MAX, |at| match self.order {
            Order::Little => read(at).swap_bytes(),
            Order::Big => read(at),
        })
    }

    fn write32(&mut self, offset: u64, value: u32) {
        let value = match self.order {
            Order::Little => value.swap_bytes(),
            Order::Big => value,
        };
        if let Some(at) = self.at(offset, 4) {
            // SAFETY: inside of what `new` was promised.
            unsafe { mmio::write32(at, value) }
        }
    }

    fn write64(&mut self, offset: u64, value: u64) {
        let value = match self.order {
            Order::Little => value.swap_bytes(),
            Order::Big => value,
        };
        if let Some(at) = self.at(offset, 8) {
            // SAFETY: inside of what `new` was promised.
            unsafe { mmio::write64(at, value) }
        }
    }

    fn pause(&mut self, milliseconds: u32) {
        cpu::wait_ms(milliseconds.into());
    }

    fn wait_for_interrupt(&mut self, milliseconds: u32) -> bool {
        let Some(desk) = &self.desk else {
            return false;
        };
        let count = desk.wait(self.seen, milliseconds);
        let came = count > self.seen;
        self.seen = count;
        came
    }
}

/// The table of messages in a BAR.
pub struct MessageWords(DeviceRegisters);

impl MessageWords {
    /// The table whose registers these are, from its first byte on.
    pub fn new(table: DeviceRegisters) -> Self {
        Self(table)
    }
}

impl VectorTable for MessageWords {
    fn read32(&mut self, offset: u32) -> u32 {
        self.0.read32(offset.into())
    }

    fn write32(&mut self, offset: u32, value: u32) {
        self.0.write32(offset.into(), value);
    }
}
