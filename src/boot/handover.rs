//! Devices that an earlier system may have left running.

use super::runtime::OPAL;
use crate::machine::Phb;
use crate::opal::pci::Freeze;
use crate::pci::registers::{capability, sriov};
use crate::{debug, warning};

/// Config space: command register, its bus-master bit, header type, bus numbers.
const COMMAND: u16 = 0x04;
const BUS_MASTER: u32 = 1 << 2;
const HEADER: u16 = 0x0c;
const BUSES: u16 = 0x18;

/// Extended capabilities start here; there are at most so many.
const EXTENDED: u16 = 0x100;
const MAX_EXTENDED: u32 = 960;

/// Where the list of capabilities starts, and the most that there can be.
const LIST: u16 = 0x34;
const MAX_LISTED: u32 = 48;

/// Deepest nesting of bridges that is followed.
const MAX_DEPTH: u32 = 16;

/// Turns bus mastering off on every function below a PHB that answers, bridges
/// last, by the bus numbers that are set: for a PHB that cannot be taken, and
/// before the machine goes to other hands. DMA that survives a kexec would
/// freeze the reserved PE as soon as the IODA tables are reset.
pub fn quiesce(phb: &Phb) {
    let mut scan = Scan {
        phb,
        seen: 0,
        masters: 0,
        failed: 0,
    };
    scan.bus(phb.buses.0, 0);
    debug!(
        "{}: {} functions, bus mastering was on at {}",
        phb.name(),
        scan.seen,
        scan.masters
    );
    if scan.failed > 0 {
        warning!(
            "{}: bus mastering stayed on at {} functions",
            phb.name(),
            scan.failed
        );
    }
}

struct Scan<'a> {
    phb: &'a Phb,
    seen: u32,
    masters: u32,
    failed: u32,
}

impl Scan<'_> {
    fn read(&self, bdfn: u16, offset: u16) -> Option<u32> {
        let value = OPAL.config_read32(self.phb.id, bdfn, offset).ok();
        if value.is_none_or(|value| value == !0) {
            self.end_freeze();
        }
        value
    }

    /// A read of what is not there freezes the PE that its RID belongs to: all
    /// reads after it would look like holes too (skiboot core/pci.c,
    /// pci_check_clear_freeze). Nothing has been given a PE of its own yet.
    fn end_freeze(&self) {
        let Some(reserved) = self.phb.reserved else {
            return;
        };
        if OPAL
            .freeze_status(self.phb.id, reserved as u16)
            .is_ok_and(|status| status.is_frozen())
            && let Err(error) = OPAL.freeze_clear(self.phb.id, reserved as u16, Freeze::Both)
        {
            warning!(
                "{}: {error}: what is behind it may be missed",
                self.phb.name()
            );
        }
    }

    fn bus(&mut self, bus: u8, depth: u32) {
        // The root complex and a PCIe link have one device; behind a bridge to
        // PCI, or inside a switch, there may be 32.
        for device in 0..32u16 {
            let first = u16::from(bus) << 8 | device << 3;
            let Some(id) = self.read(first, 0).filter(|&id| id != !0) else {
                continue;
            };
            let header = self.read(first, HEADER).unwrap_or(0);
            let functions = if header >> 16 & 0x80 != 0 { 8 } else { 1 };
            debug!(
                "{}: {:02x}:{:02x} is {:04x}:{:04x}",
                self.phb.name(),
                bus,
                device,
                id & 0xffff,
                id >> 16
            );
            for function in 0..functions {
                self.function(first | function, bus, depth);
            }
            if depth == 0 && device == 0 && header >> 16 & 0x7f == 1 {
                // A root port is alone on its bus: 31 reads saved.
                break;
            }
        }
    }

    fn is_express(&self, bdfn: u16) -> bool {
        let mut at = self.read(bdfn, LIST).unwrap_or(0) as u16 & 0xfc;
        for _ in 0..MAX_LISTED {
            if at < 0x40 {
                break;
            }
            let word = self.read(bdfn, at).unwrap_or(0);
            if word as u8 == capability::EXPRESS {
                return true;
            }
            at = (word >> 8) as u16 & 0xfc;
        }
        false
    }

    /// Virtual functions master the bus whatever the command register of their
    /// physical one says.
    fn virtuals_off(&mut self, bdfn: u16) {
        // Only PCI Express has configuration space there: others would freeze
        // their PE.
        if !self.is_express(bdfn) {
            return;
        }
        let mut at = EXTENDED;
        for _ in 0..MAX_EXTENDED {
            // POWER8's emulator has no configuration space there.
            let Some(header) = self
                .read(bdfn, at)
                .filter(|it| !matches!(it, 0 | 0xffff_ffff))
            else {
                return;
            };
            if header as u16 == capability::SRIOV {
                break;
            }
            at = (header >> 20) as u16 & 0xffc;
            if at < EXTENDED {
                return;
            }
        }
        let is_it = self
            .read(bdfn, at)
            .is_some_and(|it| it as u16 == capability::SRIOV);
        let at = at + sriov::CONTROL;
        let on = u32::from(sriov::VF_ENABLE | sriov::VF_MEMORY);
        let Some(control) = self.read(bdfn, at).filter(|it| is_it && it & on != 0) else {
            return;
        };
        self.masters += 1;
        let off = (control & !on) as u16;
        let written = OPAL.config_write16(self.phb.id, bdfn, at, off).is_ok();
        let still = self.read(bdfn, at).is_none_or(|now| now & on != 0);
        if !written || still {
            self.failed += 1;
        }
    }

    fn function(&mut self, bdfn: u16, bus: u8, depth: u32) {
        if self.read(bdfn, 0).is_none_or(|id| id == !0) {
            return;
        }
        self.seen += 1;
        let is_bridge = self
            .read(bdfn, HEADER)
            .is_some_and(|header| header >> 16 & 0x7f == 1);
        if is_bridge && depth < MAX_DEPTH {
            let buses = self.read(bdfn, BUSES).unwrap_or(0);
            let (secondary, subordinate) = ((buses >> 8) as u8, (buses >> 16) as u8);
            // Numbers that do not go down the tree would go round in circles.
            if secondary > bus && subordinate >= secondary {
                self.bus(secondary, depth + 1);
            }
        }
        self.virtuals_off(bdfn);
        let command = self.read(bdfn, COMMAND).unwrap_or(0);
        if command & BUS_MASTER == 0 {
            return;
        }
        self.masters += 1;
        let off = (command & !BUS_MASTER) as u16;
        let written = OPAL.config_write16(self.phb.id, bdfn, COMMAND, off).is_ok();
        // The read's completion pushes posted writes of the device ahead.
        let still = self
            .read(bdfn, COMMAND)
            .is_none_or(|now| now == !0 || now & BUS_MASTER != 0);
        if !written || still {
            self.failed += 1;
        }
    }
}
