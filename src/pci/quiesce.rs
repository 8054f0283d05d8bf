//! Bus mastering off, everywhere below a PHB: for one that cannot be taken, and
//! before the machine goes to other hands.
//!
//! DMA that survives a kexec would freeze the reserved PE as soon as the IODA
//! tables are reset. Nothing is renumbered, sized or judged here: what a scan
//! would leave alone is quieted too.

use super::address::{Bdfn, FunctionId, PhbId};
use super::capability;
use super::config::{ConfigAccess, ConfigError, Registers};
use super::function::Command;
use super::registers as reg;
use super::sriov;

/// Deepest nesting of bridges that is followed.
const MAX_DEPTH: u32 = 16;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quiesced {
    /// Functions that answered.
    pub seen: u32,
    /// Those that mastered the bus, or whose virtual functions could.
    pub masters: u32,
    /// Those of them that still do, or do not say.
    pub failed: u32,
}

/// Turns bus mastering off on every function below `phb` that answers, and
/// virtual functions as a whole; bridges last, by the bus numbers that are set,
/// from `first_bus` on. `config_size` is 256 or 4096 bytes.
pub fn quiesce<C: ConfigAccess + ?Sized>(
    access: &mut C,
    phb: PhbId,
    first_bus: u8,
    config_size: u16,
) -> Quiesced {
    let mut walk = Walk {
        access,
        phb,
        config_size,
        done: Quiesced::default(),
    };
    walk.bus(first_bus, 0);
    walk.done
}

struct Walk<'a, C: ?Sized> {
    access: &'a mut C,
    phb: PhbId,
    config_size: u16,
    done: Quiesced,
}

impl<C: ConfigAccess + ?Sized> Walk<'_, C> {
    fn registers(&mut self, bdfn: Bdfn) -> Registers<'_, C> {
        Registers::new(&mut *self.access, FunctionId::new(self.phb, bdfn))
    }

    fn bus(&mut self, bus: u8, depth: u32) {
        // The root complex and a PCIe link have one device; behind a bridge to
        // PCI, or inside a switch, there may be 32.
        for device in 0..32u8 {
            let first = Bdfn::on_bus(bus, device << 3);
            let Some(header) = self.header(first) else {
                continue;
            };
            let is_multi = header & reg::HEADER_MULTI_FUNCTION != 0;
            for function in 0..if is_multi { 8 } else { 1 } {
                self.function(Bdfn::on_bus(bus, device << 3 | function), depth);
            }
            if depth == 0 && device == 0 && is_bridge(header) {
                // A root port is alone on its bus: 31 reads saved.
                break;
            }
        }
    }

    /// The header type of a function that answers.
    fn header(&mut self, bdfn: Bdfn) -> Option<u8> {
        let mut registers = self.registers(bdfn);
        registers
            .read32(reg::VENDOR)
            .ok()
            .filter(|id| *id != u32::MAX)?;
        registers.read8(reg::HEADER_TYPE).ok()
    }

    fn function(&mut self, bdfn: Bdfn, depth: u32) {
        let Some(header) = self.header(bdfn) else {
            return;
        };
        self.done.seen += 1;
        if is_bridge(header) && depth < MAX_DEPTH {
            let buses = self.registers(bdfn).read32(reg::BUS_NUMBERS).unwrap_or(0);
            let (secondary, subordinate) = ((buses >> 8) as u8, (buses >> 16) as u8);
            // Numbers that do not go down the tree would go round in circles.
            if secondary > bdfn.bus() && subordinate >= secondary {
                self.bus(secondary, depth + 1);
            }
        }
        let virtuals = self.virtuals_off(bdfn);
        let itself = self.master_off(bdfn);
        for outcome in [virtuals, itself] {
            let (on, failed) = match outcome {
                Ok(Was::Off) => (0, 0),
                Ok(Was::On) => (1, 0),
                Err(_) => (1, 1),
            };
            self.done.masters += on;
            self.done.failed += failed;
        }
    }

    /// Virtual functions master the bus whatever the command register of their
    /// physical one says.
    fn virtuals_off(&mut self, bdfn: Bdfn) -> Result<Was, Stays> {
        let size = self.config_size;
        let mut registers = self.registers(bdfn);
        // A broken list may hide them; what it has before the fault counts.
        let walk = capability::walk(&mut registers, size)?;
        let Some(found) = walk.found.sriov else {
            return Ok(Was::Off);
        };
        let on = registers.read16(found.offset + reg::sriov::CONTROL)?;
        if on & (reg::sriov::VF_ENABLE | reg::sriov::VF_MEMORY) == 0 {
            return Ok(Was::Off);
        }
        match sriov::turn_off(&mut registers, &found) {
            Ok(()) => Ok(Was::On),
            Err(_) => Err(Stays),
        }
    }

    fn master_off(&mut self, bdfn: Bdfn) -> Result<Was, Stays> {
        let mut registers = self.registers(bdfn);
        let master = Command::BUS_MASTER.bits();
        let command = registers.read16(reg::COMMAND)?;
        if command & master == 0 {
            return Ok(Was::Off);
        }
        registers.write16(reg::COMMAND, command & !master)?;
        // The read's completion pushes posted writes of the device ahead.
        match registers.read16(reg::COMMAND)? {
            now if now & master != 0 => Err(Stays),
            _ => Ok(Was::On),
        }
    }
}

/// Whether something mastered the bus that does not any more.
enum Was {
    Off,
    On,
}

/// Something may master the bus still.
struct Stays;

impl From<ConfigError> for Stays {
    fn from(_: ConfigError) -> Self {
        Self
    }
}

const fn is_bridge(header: u8) -> bool {
    header & !reg::HEADER_MULTI_FUNCTION == 1
}
