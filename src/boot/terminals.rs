//! Consoles: firmware's terminal, or a 16550 of Pinion's own.

use super::runtime::{self, OPAL};
use crate::addr::HostAddr;
use crate::console::log;
use crate::console::sink::ByteSink;
use crate::fdt::Tree;
use crate::machine::{self, ConsoleChoice, Outline, Uart, UartPath};
use crate::{cpu, mmio, warning};
use core::sync::atomic::{AtomicU32, Ordering};
use spin::{Mutex, Once};
use uart_16550::backend::Backend;
use uart_16550::spec::registers::LSR;
use uart_16550::{BaudRate, Config, Uart16550};

/// Most bytes that firmware takes in one call (skiboot core/console.c).
const MOST_PER_CALL: usize = 0xfff;

/// Firmware's terminal.
pub struct OpalTerminal {
    number: AtomicU32,
}

static OPAL_TERMINAL: OpalTerminal = OpalTerminal {
    number: AtomicU32::new(0),
};

impl ByteSink for OpalTerminal {
    fn write(&self, bytes: &[u8]) -> usize {
        let number = self.number.load(Ordering::Relaxed);
        let part = bytes.get(..bytes.len().min(MOST_PER_CALL)).unwrap_or(bytes);
        // A terminal that fails takes nothing: patience runs out, bytes are
        // counted as lost, and the ring still has them.
        OPAL.console_write(number, part).unwrap_or(0)
    }

    fn flush(&self) -> bool {
        let number = self.number.load(Ordering::Relaxed);
        // Firmware that cannot tell drains its buffer while it polls.
        !matches!(OPAL.console_flush(number), Ok(Some(false)))
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        OPAL.console_read(self.number.load(Ordering::Relaxed), buffer)
            .unwrap_or(0)
    }

    fn name(&self) -> &'static str {
        "firmware's terminal"
    }
}

/// Registers of a 16550, however they are reached.
struct UartRegisters {
    port: u16,
    path: UartPath,
}

impl Backend for UartRegisters {
    // # Safety: as the trait says.
    unsafe fn read(&mut self, register: u8) -> u8 {
        match self.path {
            // SAFETY: the device tree says that a 16550 is there.
            UartPath::Mmio(start) => unsafe {
                mmio::read8(HostAddr::new(start + u64::from(register)))
            },
            // A port that firmware cannot read looks idle and empty.
            UartPath::Lpc { chip } => OPAL
                .lpc_read_io(chip, self.port + u16::from(register))
                .unwrap_or(0),
        }
    }

    // # Safety: as the trait says.
    unsafe fn write(&mut self, register: u8, value: u8) {
        match self.path {
            // SAFETY: the device tree says that a 16550 is there.
            UartPath::Mmio(start) => unsafe {
                mmio::write8(HostAddr::new(start + u64::from(register)), value);
            },
            UartPath::Lpc { chip } => {
                // Nothing can be said about it: this is the console.
                let _ = OPAL.lpc_write_io(chip, self.port + u16::from(register), value);
            }
        }
    }
}

/// A 16550 of Pinion's own.
pub struct UartTerminal {
    uart: Once<Mutex<Uart16550<UartRegisters>>>,
}

static UART_TERMINAL: UartTerminal = UartTerminal { uart: Once::new() };

impl ByteSink for UartTerminal {
    fn write(&self, bytes: &[u8]) -> usize {
        self.uart
            .get()
            .map_or(0, |uart| uart.lock().send_bytes(bytes))
    }

    fn flush(&self) -> bool {
        let idle = |uart: &Mutex<Uart16550<_>>| uart.lock().lsr().contains(LSR::TRANSMITTER_EMPTY);
        self.uart.get().is_none_or(idle)
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        self.uart
            .get()
            .map_or(0, |uart| uart.lock().receive_bytes(buffer))
    }

    fn name(&self) -> &'static str {
        "16550"
    }
}

/// Firmware drains its buffer while it is polled.
fn poll() {
    // Without firmware there is nothing to poll.
    let _ = OPAL.poll_events();
}

const TIME: log::Time = log::Time {
    now: runtime::microseconds,
    poll,
};

/// Output goes to firmware's terminal `number` from now on.
pub fn use_opal(number: u32) {
    OPAL_TERMINAL.number.store(number, Ordering::Relaxed);
    log::set_time(TIME);
    log::set_sink(&OPAL_TERMINAL, true);
}

/// Chooses the console by `console=` and what there is.
pub fn choose(machine: &Outline) {
    log::set_time(TIME);
    let terminals = machine
        .firmware
        .as_ref()
        .map_or(&[][..], |firmware| &firmware.terminals);
    let mut own = machine.uarts.iter().filter(|uart| !uart.is_reserved);
    match machine.bootargs.console {
        ConsoleChoice::Opal(number) if terminals.contains(&number) => use_opal(number),
        ConsoleChoice::Uart(number) => match own.nth(number as usize) {
            Some(uart) if use_uart(uart) => {}
            Some(_) => fall_back(terminals, "the 16550 does not answer as one"),
            None => fall_back(terminals, "no such 16550 that firmware leaves alone"),
        },
        ConsoleChoice::Automatic => match (terminals.first(), own.next()) {
            (Some(&number), _) => use_opal(number),
            (None, Some(uart)) if use_uart(uart) => {}
            _ => fall_back(terminals, "the device tree names none"),
        },
        ConsoleChoice::Opal(_) => fall_back(terminals, "firmware has no such terminal"),
    }
}

/// For a machine without firmware: takes a 16550 that MMIO reaches, one that is
/// not reserved first. `false` if there is none.
pub fn use_any_uart(tree: &Tree<'_>) -> bool {
    log::set_time(TIME);
    let mut uarts = machine::uarts(tree);
    uarts.retain(|uart| matches!(uart.path, UartPath::Mmio(_)));
    uarts.sort_by_key(|uart| uart.is_reserved);
    uarts.iter().any(use_uart)
}

fn fall_back(terminals: &[u32], reason: &str) {
    use_opal(terminals.first().copied().unwrap_or(0));
    warning!("console: {reason}; firmware's first terminal is used");
}

/// Sets a 16550 up and takes it; `false` if it is none.
fn use_uart(uart: &Uart) -> bool {
    if !take_uart(uart) {
        return false;
    }
    log::set_sink(&UART_TERMINAL, true);
    true
}

fn take_uart(uart: &Uart) -> bool {
    let registers = UartRegisters {
        port: uart.port,
        path: uart.path,
    };
    // SAFETY: the tree says that the 16550 is there, and firmware leaves it
    // alone or the machine is about to stop.
    let mut port = unsafe { Uart16550::new_with_backend(registers) };
    let baud_rate = BaudRate::from_integer(uart.baud);
    let config = Config {
        frequency: uart.clock_hz,
        baud_rate,
        ..Config::default()
    };
    if !port.check_present() || port.init(config).is_err() {
        return false;
    }
    UART_TERMINAL.uart.call_once(|| Mutex::new(port));
    true
}

/// For the crash path inside a machine-check handler, where firmware must not
/// be entered: a UART that MMIO reaches, even if firmware has reserved it.
pub fn emergency() -> Option<&'static dyn ByteSink> {
    if let Some(uart) = UART_TERMINAL.uart.get() {
        // SAFETY: the machine is about to stop; whoever held the lock goes
        // nowhere.
        unsafe { uart.force_unlock() };
        let by_mmio = matches!(uart.lock().backend().path, UartPath::Mmio(_));
        return by_mmio.then_some(&UART_TERMINAL as &dyn ByteSink);
    }
    let uarts = &runtime::machine()?.uarts;
    let uart = uarts
        .iter()
        .find(|uart| matches!(uart.path, UartPath::Mmio(_)))?;
    take_uart(uart).then_some(&UART_TERMINAL as &dyn ByteSink)
}

/// Whether [`emergency`] would find a UART.
pub fn has_emergency() -> bool {
    let uarts = runtime::machine().map(|machine| machine.uarts.iter());
    let mut paths = uarts.into_iter().flatten().map(|uart| &uart.path);
    paths.any(|path| matches!(path, UartPath::Mmio(_)))
}

/// For the crash path: takes the lock of whoever was sending.
///
/// # Safety
/// The machine is about to stop.
pub unsafe fn break_lock() {
    if let Some(uart) = UART_TERMINAL.uart.get() {
        // SAFETY: handed on to the caller.
        unsafe { uart.force_unlock() };
    }
}

/// Pushes everything out, for at most `milliseconds`.
pub fn drain(milliseconds: u64) {
    let until = cpu::timebase() + cpu::timebase_hz() / 1000 * milliseconds;
    log::flush(|| {
        poll();
        cpu::timebase() < until
    });
}
