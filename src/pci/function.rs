//! Reading one function: header, capabilities, BARs, and quieting it.

use super::acs;
use super::bar::{self, Bar, BarFault, BarKind, Probe};
use super::capability::{self, Capabilities};
use super::class::ClassCode;
use super::config::{ConfigAccess, ConfigError, Registers};
use super::problem::Fault;
use super::registers as reg;
use super::topology::{Bridge, BusIndex, Function, PrefetchWindow};
use alloc::vec::Vec;
use bitflags::bitflags;

bitflags! {
    /// The command register. Interrupt pins are off unless a plan grants one.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Command: u16 {
        /// Answers IO.
        const IO = 1 << 0;
        /// Answers memory.
        const MEMORY = 1 << 1;
        /// May start transactions: DMA and MSI.
        const BUS_MASTER = 1 << 2;
        /// Reports parity errors.
        const PARITY = 1 << 6;
        /// Reports system errors, which the PHB turns into a freeze.
        const SERR = 1 << 8;
        /// Keeps the interrupt pin quiet.
        const NO_PIN = 1 << 10;
    }
}

impl Command {
    /// What makes a function act: these bits must be as they were written.
    pub const LIVE: Self = Self::IO.union(Self::MEMORY).union(Self::BUS_MASTER);
}

/// Patience with a function that asks for retries: the specification allows a
/// second after reset.
const RETRY_MS: u32 = 20;
const RETRIES: u32 = 60;

/// What reading a function that is there gave.
pub struct Found {
    /// The function.
    pub function: Function,
    /// The header type register.
    pub header: u8,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

/// Reads one function, sizes its BARs and turns its decoding and bus mastering
/// off. `None` if nothing is there.
pub fn read<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    bus: BusIndex,
    config_size: u16,
) -> Result<Option<Found>, Fault> {
    let Some(identity) = identify(registers)? else {
        return Ok(None);
    };
    let header = registers.read8(reg::HEADER_TYPE).map_err(Fault::Config)?;
    let class = registers
        .read32(reg::REVISION_CLASS)
        .map_err(Fault::Config)?;
    let mut found = Found {
        function: Function {
            id: registers.function(),
            bus,
            vendor: identity as u16,
            device: (identity >> 16) as u16,
            revision: class as u8,
            class: ClassCode::from_register(class),
            pin: 0,
            capabilities: Capabilities::default(),
            bars: [None; 6],
            rom: None,
            bridge: None,
            acs: 0,
            virtuals: None,
            usable: true,
        },
        header,
        faults: Vec::new(),
    };
    if let Err(fault) = examine(registers, &mut found, config_size) {
        found.faults.push(fault);
    }
    // It may have been pulled in the middle: no other finding means anything then.
    if registers.read32(reg::VENDOR).map_err(Fault::Config)? == u32::MAX {
        found.faults = alloc::vec![Fault::Gone];
    }
    found.function.usable = !found.faults.iter().any(Fault::is_fatal);
    Ok(Some(found))
}

/// Device and vendor id, once the function has them.
fn identify<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
) -> Result<Option<u32>, Fault> {
    for _ in 0..RETRIES {
        let identity = registers.read32(reg::VENDOR).map_err(Fault::Config)?;
        match identity as u16 {
            // Half-dead bridges answer zeros where nothing is.
            0xffff | 0x0000 => return Ok(None),
            // The reserved vendor id of a configuration retry.
            0x0001 => registers.pause(RETRY_MS),
            _ => return Ok(Some(identity)),
        }
    }
    Err(Fault::StillInitialising {
        milliseconds: RETRIES * RETRY_MS,
    })
}

fn examine<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    found: &mut Found,
    config_size: u16,
) -> Result<(), Fault> {
    let kind = found.header & !reg::HEADER_MULTI_FUNCTION;
    if found.header == 0xff {
        return Err(Fault::Gone);
    }
    quiet(registers)?;
    if kind > 1 {
        return Err(Fault::Header(found.header));
    }
    let is_bridge = kind == 1;
    if is_bridge {
        let prefetch = prefetch_window(registers).map_err(Fault::Config)?;
        found.function.bridge = Some(Bridge {
            below: None,
            prefetch,
        });
    }
    let pin = registers.read8(reg::INTERRUPT_PIN).map_err(Fault::Config)?;
    if pin <= 4 {
        found.function.pin = pin;
    } else {
        found.faults.push(Fault::InterruptPin(pin));
    }
    let walk = capability::walk(registers, config_size).map_err(Fault::Config)?;
    found.function.capabilities = walk.found;
    if let Some(fault) = walk.fault {
        found.faults.push(Fault::List(fault));
    }
    read_bars(registers, found, if is_bridge { 2 } else { 6 }).map_err(Fault::Config)?;
    read_rom(registers, found, is_bridge).map_err(Fault::Config)?;
    if let Some(fault) = check_msix(&found.function) {
        found.faults.push(fault);
    }
    if let Some(capability) = found.function.capabilities.acs {
        found.function.acs = acs::enable(registers, &capability).map_err(Fault::Config)?;
    }
    Ok(())
}

/// Decoding, bus mastering and the pin off, and verified.
fn quiet<C: ConfigAccess + ?Sized>(registers: &mut Registers<'_, C>) -> Result<(), Fault> {
    let written = Command::NO_PIN.bits();
    registers
        .write16(reg::COMMAND, written)
        .map_err(Fault::Config)?;
    let read = registers.read16(reg::COMMAND).map_err(Fault::Config)?;
    if read & Command::LIVE.bits() != 0 {
        return Err(Fault::CommandStuck { written, read });
    }
    Ok(())
}

/// What the bridge's prefetchable window can do, found by writing it.
fn prefetch_window<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
) -> Result<PrefetchWindow, ConfigError> {
    let original = registers.read32(reg::PREFETCH_WINDOW)?;
    registers.write32(reg::PREFETCH_WINDOW, 0xfff0_fff0)?;
    let written = registers.read32(reg::PREFETCH_WINDOW)?;
    registers.write32(reg::PREFETCH_WINDOW, original)?;
    Ok(match (written & 0xfff0_fff0, written & 0xf) {
        (0xfff0_fff0, 1) => PrefetchWindow::Bits64,
        (0xfff0_fff0, 0) => PrefetchWindow::Bits32,
        _ => PrefetchWindow::Absent,
    })
}

fn read_bars<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    found: &mut Found,
    count: u8,
) -> Result<(), ConfigError> {
    let mut index = 0;
    while index < count {
        index += match bar::probe(registers, reg::BAR0, index, count)? {
            Probe::Absent => 1,
            Probe::Present(bar, used) => {
                found.function.bars[usize::from(index)] = Some(bar);
                used
            }
            Probe::Faulty(fault, used) => {
                found.faults.push(Fault::Bar { index, fault });
                used
            }
        };
    }
    Ok(())
}

fn read_rom<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    found: &mut Found,
    is_bridge: bool,
) -> Result<(), ConfigError> {
    let offset = if is_bridge {
        reg::BRIDGE_ROM_BAR
    } else {
        reg::ROM_BAR
    };
    match bar::probe_rom(registers, offset)? {
        Probe::Absent => {}
        Probe::Present(rom, _) => found.function.rom = Some(rom),
        Probe::Faulty(fault, _) => found.faults.push(Fault::Bar { index: 6, fault }),
    }
    Ok(())
}

/// The table and the pending bits must lie in a memory BAR of the function:
/// else whoever writes vectors would write into another's registers.
fn check_msix(function: &Function) -> Option<Fault> {
    let msix = function.capabilities.msix?;
    let table = (
        msix.table_bar,
        msix.table_offset,
        u32::from(msix.vectors) * 16,
        "table",
    );
    let pending_bytes = u32::from(msix.vectors).div_ceil(64) * 8;
    let pending = (
        msix.pending_bar,
        msix.pending_offset,
        pending_bytes,
        "pending bits",
    );
    [table, pending]
        .into_iter()
        .find_map(|(index, offset, bytes, what)| {
            let bar: Option<&Bar> = function
                .bars
                .get(usize::from(index))
                .and_then(Option::as_ref);
            let inside = bar.is_some_and(|bar| {
                bar.kind != BarKind::Io && u64::from(offset) + u64::from(bytes) <= bar.size
            });
            let fault = BarFault::MsixOutside {
                what,
                bar: index,
                offset,
                bytes,
            };
            (!inside).then_some(Fault::Bar { index, fault })
        })
}
