//! Interrupt delivery of the running machine.

pub mod check;
pub mod device;

use super::runtime::{self, OPAL, TimebaseWaiter};
use crate::addr::HostAddr;
use crate::cpu::{self, Area};
use crate::irq::icp::Port;
use crate::irq::queue::{QUEUE_SHIFT, Queue};
use crate::irq::table::SlotState;
use crate::irq::xive::{Target, Tima};
use crate::irq::{
    Bus, Handler, Interrupts, IrqError, Kind, Name, Notice, Outcome, Registration, Source,
};
use crate::machine::{FirmwareInterrupt, InterruptController, Machine};
use crate::opal::{EventBits, Firmware, Opal};
use crate::processor::Generation;
use crate::{debug, mmio, println, warning};
use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;

/// The controller's registers, and the running thread.
pub struct Hardware(());

impl Hardware {
    /// # Safety
    /// Whoever gets it (`irq`) accesses only what the device tree and firmware
    /// name as pages of the interrupt controller, and queues that it was given.
    const unsafe fn new() -> Self {
        Self(())
    }
}

macro_rules! forward {
    ($($load:ident, $store:ident, $read:ident, $write:ident, $type:ty;)*) => {
        $(
            fn $load(&self, at: HostAddr) -> $type {
                // SAFETY: see `Hardware::new`.
                unsafe { mmio::$read(at) }
            }
            fn $store(&self, at: HostAddr, value: $type) {
                // SAFETY: see `Hardware::new`.
                unsafe { mmio::$write(at, value) }
            }
        )*
    };
}

impl Bus for Hardware {
    forward! {
        load8, store8, read8, write8, u8;
        load32, store32, read32, write32, u32;
        load64, store64, read64, write64, u64;
    }
    fn load16(&self, at: HostAddr) -> u16 {
        // SAFETY: see `Hardware::new`.
        unsafe { mmio::read16(at) }
    }
    fn load_memory32(&self, at: HostAddr) -> u32 {
        // SAFETY: see `Hardware::new`; the controller writes it, so it is read
        // anew each time.
        unsafe { (at.get() as *const u32).read_volatile() }
    }
    fn barrier(&self) {
        mmio::full_barrier();
    }
    fn running_thread(&self) -> u32 {
        server(cpu::pir())
    }
    fn round(&self) -> u32 {
        cpu::area().windows()
    }
    fn seconds(&self) -> u64 {
        runtime::microseconds() / 1_000_000
    }
}

/// A PIR as an interrupt server number: it has at most 20 bits.
fn server(pir: u64) -> u32 {
    (pir & 0xf_ffff) as u32
}

type Delivery = Interrupts<Hardware, &'static Opal<&'static Firmware, TimebaseWaiter>>;

static DELIVERY: Once<Delivery> = Once::new();

/// Interrupt delivery; `None` where the machine has none that Pinion knows.
pub fn delivery() -> Option<&'static Delivery> {
    DELIVERY.get()
}

/// Takes the controller, lets the boot thread take interrupts of devices, and
/// routes firmware's own to it. `fresh`: firmware itself has started the image,
/// so nobody used the controller before.
pub fn init(machine: &'static Machine, fresh: bool) {
    let Some(controller) = &machine.interrupts else {
        warning!("no interrupt controller that is known: firmware is polled instead");
        return;
    };
    let delivery = match take_controller(controller, fresh) {
        Ok(delivery) => DELIVERY.call_once(|| delivery),
        Err(why) => {
            warning!("interrupts: {why}: firmware is polled instead");
            return;
        }
    };
    delivery.open_thread(true);
    let sources = machine
        .firmware
        .as_ref()
        .map_or(&[][..], |firmware| &firmware.interrupts);
    let mut routed = 0;
    for source in sources {
        match route_firmware_source(delivery, source) {
            Ok(()) => routed += 1,
            Err(error) => warning!("interrupt {:#x} ({}): {error}", source.source, source.name),
        }
    }
    debug!(
        "{routed} of firmware's {} interrupt sources routed to thread {:#x}",
        sources.len(),
        cpu::pir()
    );
}

fn take_controller(controller: &InterruptController, fresh: bool) -> Result<Delivery, String> {
    // SAFETY: `irq` keeps to what is handed to it below, which is the tree's.
    let hardware = unsafe { Hardware::new() };
    match controller {
        InterruptController::Icp(pages) => {
            let ports = pages
                .iter()
                .map(|page| Port::new(page.server, HostAddr::new(page.address)))
                .collect();
            Ok(Interrupts::with_icp(hardware, &OPAL, ports))
        }
        InterruptController::Xive {
            hypervisor_page,
            priorities,
            queue_shifts,
            ..
        } => {
            if !queue_shifts.contains(&QUEUE_SHIFT) {
                return Err(alloc::format!("no queues of 2^{QUEUE_SHIFT} bytes"));
            }
            let block = runtime::allocate(QUEUE_SHIFT, None)
                .map_err(|error| alloc::format!("{error} for a queue"))?;
            let page = block.leak();
            // SAFETY: the block is fresh and never freed. An entry of an earlier
            // use would look like a new one.
            unsafe { (page.get() as *mut u8).write_bytes(0, 1 << QUEUE_SHIFT) };
            mmio::full_barrier();
            let queue = Queue::new(page, QUEUE_SHIFT).ok_or("a queue that is not aligned")?;
            let target = Target {
                server: server(cpu::pir()),
                queue,
            };
            let tima = Tima::new(HostAddr::new(*hypervisor_page));
            let targets = alloc::vec![target];
            // POWER9's firmware starts in the emulation of XICS, which the reset
            // ends (skiboot hw/xive.c, hw/xive2.c).
            let reset = !fresh || runtime::generation() != Some(Generation::Power10);
            Interrupts::with_xive(hardware, &OPAL, tima, priorities - 1, targets, reset)
                .map_err(|error| alloc::format!("{error}"))
        }
    }
}

fn route_firmware_source(
    delivery: &Delivery,
    told: &'static FirmwareInterrupt,
) -> Result<(), IrqError> {
    let source = Source::new(told.source).ok_or(IrqError::Number(told.source))?;
    let registration = Registration {
        name: Name::Fixed(&told.name),
        kind: if told.is_level { Kind::Lsi } else { Kind::Msi },
        handler: for_firmware,
        data: 0,
    };
    delivery.register(source, registration, server(cpu::pir()))?;
    delivery.unmask(source)?;
    Ok(())
}

/// Firmware is not entered from a handler: `serve` does it.
fn for_firmware(_: usize) -> Outcome {
    Outcome::Later
}

/// Firmware's interrupts that were served.
static SERVED: AtomicU64 = AtomicU64::new(0);

/// Firmware's interrupts that were served so far.
pub fn served() -> u64 {
    SERVED.load(Ordering::Relaxed)
}

/// Serves firmware's interrupts that have fired, and says what a person should
/// know. Returns firmware's pending events.
pub fn serve() -> EventBits {
    let mut events = EventBits::empty();
    let Some(delivery) = delivery() else {
        return events;
    };
    while let Some(source) = delivery.next_waiting() {
        match OPAL.handle_interrupt(source.get()) {
            Ok(more) => events |= more,
            Err(error) => warning!("interrupt {source}: {error}"),
        }
        SERVED.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = delivery.end(source) {
            warning!("interrupt {source}: {error}");
        }
    }
    while let Some(notice) = delivery.next_notice() {
        match notice {
            Notice::Silenced {
                source,
                name,
                storm,
            } => warning!("interrupt {source} ({name}) is masked: {storm}"),
            Notice::Unknown(source) => {
                warning!("interrupt {source} fired, which nobody asked for: it is masked");
            }
        }
    }
    events
}

/// Registers a source of a device, masked, routed to the boot thread; see
/// [`Interrupts::register`].
///
/// # Errors
/// No delivery (as an unknown thread), or what `irq` says.
pub fn register(
    source: Source,
    name: Name,
    kind: Kind,
    handler: Handler,
    data: usize,
) -> Result<(), IrqError> {
    let boot = server(cpu::boot_area().pir());
    let delivery = delivery().ok_or(IrqError::NoThread(boot))?;
    let registration = Registration {
        name,
        kind,
        handler,
        data,
    };
    delivery.register(source, registration, boot)
}

/// From the vectors: takes what is pending; `false` without a known controller,
/// where nobody can end it.
pub fn take() -> bool {
    match delivery() {
        Some(delivery) => {
            delivery.take();
            true
        }
        None => false,
    }
}

/// First work of a thread that was started: nothing but IPIs reaches it.
pub fn open_secondary(_: &'static Area) {
    if let Some(delivery) = delivery() {
        delivery.open_thread(false);
    }
}

/// Before the running thread goes back to firmware.
pub fn close_thread() {
    if let Some(delivery) = delivery() {
        delivery.close_thread();
    }
}

/// Wakes a thread: an IPI on POWER8, where a doorbell reaches only threads of
/// its own core, else a doorbell.
pub fn wake(area: &Area) {
    let sent = delivery().is_some_and(|delivery| delivery.send_ipi(server(area.pir())));
    if !sent {
        cpu::threads::ring_doorbell(area);
    }
}

/// Everything off, and the controller as firmware has it. The other threads are
/// back in firmware.
pub fn shut_down() {
    if let Some(delivery) = delivery()
        && let Err(error) = delivery.shut_down()
    {
        warning!("interrupts: {error}");
    }
}

/// The sources, for a person.
pub fn print() {
    let Some(delivery) = delivery() else {
        println!("Nothing delivers interrupts: firmware is polled.");
        return;
    };
    println!("  source      thread  kind         count  state    name");
    for entry in delivery.snapshot() {
        let state = match entry.state {
            state if state.contains(SlotState::STORM) => "storm",
            state if state.contains(SlotState::MASKED) => "masked",
            state if state.contains(SlotState::HELD) => "serving",
            _ => "on",
        };
        println!(
            "  {:#010x}  {:#06x}  {:<7}  {:>9}  {state:<7}  {}",
            entry.source.get(),
            entry.server,
            entry.registration.kind.name(),
            entry.count,
            entry.registration.name
        );
    }
    println!(
        "Firmware served {}; {} had nothing behind.",
        served(),
        delivery.spurious()
    );
}

/// `interrupts unmask SOURCE`: gives a silenced source another chance.
pub fn unmask(number: u32) {
    let Some(delivery) = delivery() else {
        println!("No interrupts are taken on this machine.");
        return;
    };
    let result = Source::new(number)
        .ok_or(IrqError::Number(number))
        .and_then(|source| delivery.unmask(source));
    if let Err(error) = result {
        println!("{error}");
    }
}
