//! Interrupts of a device that Pinion drives itself: the handler counts them on a
//! desk, where the driver waits for them.

use super::{delivery, register};
use crate::addr::HostAddr;
use crate::boot::pci::device::{Bar, Order};
use crate::drivers::edu::release_pin;
use crate::drivers::nvme::mask_pin;
use crate::irq::{Handler, IrqError, Kind, Name, Outcome, Source};
use crate::pci::FunctionId;
use crate::pci::msi::SourceControl;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Devices that are driven at a time.
const DESKS: usize = 16;

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
    pub fn count(&self) -> &'static AtomicU64 {
        &self.place().count
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
    let mut registers = unsafe { Bar::new(base, SILENCING, Order::Little) };
    mask_pin(&mut registers);
    place.count.fetch_add(1, Ordering::AcqRel);
    Outcome::Served
}

/// An edu device holds its pin: it is acknowledged.
fn edu_pin(desk: usize) -> Outcome {
    let place = &PLACES[desk % DESKS];
    let base = HostAddr::new(place.registers.load(Ordering::Acquire));
    // SAFETY: as in `nvme_pin`.
    let mut registers = unsafe { Bar::new(base, SILENCING, Order::Big) };
    release_pin(&mut registers);
    place.count.fetch_add(1, Ordering::AcqRel);
    Outcome::Served
}

/// Bytes of registers that hold all that silences a device: both kinds have far
/// more.
const SILENCING: u64 = 0x100;

/// Which driver a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// An NVMe controller.
    Nvme,
    /// QEMU's edu device.
    Edu,
}

/// The sources of one function at the interrupt controller, for its messages.
pub struct MessageSources<'a> {
    /// Which driver, for a person.
    pub driver: Driver,
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
            driver: self.driver.name(),
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

impl Driver {
    const fn name(self) -> &'static str {
        match self {
            Self::Nvme => "nvme",
            Self::Edu => "edu",
        }
    }
}

/// Takes a line of a bridge into use for a device, and lets it through. `line`
/// is granted to the device's group.
///
/// # Errors
/// What the controller of interrupts says.
pub fn open_line(
    by: Driver,
    function: FunctionId,
    line: u8,
    source: u32,
    desk: &Desk,
) -> Result<(), IrqError> {
    let handler: Handler = match by {
        Driver::Nvme => nvme_pin,
        Driver::Edu => edu_pin,
    };
    let name = Name::Line {
        driver: by.name(),
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
