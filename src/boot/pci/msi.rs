//! Interrupts of devices below the machine's PHBs, for Pinion's own drivers:
//! a message by MSI-X or MSI, or the function's line.

use super::vectors::{NoWords, Words, held_by, line_of, table_of, with_pool};
use super::{Bridge, Host, bridges};
use crate::addr::HostAddr;
use crate::boot::interrupts::device::{Desk, Driver, MessageSources, close_line, open_line};
use crate::boot::{interrupts, runtime};
use crate::irq::{Kind, Name, Snapshot};
use crate::opal::Firmware;
use crate::pci::msi::{
    MessageCapability, MessageTable, Sender, VectorTable, Wired, Wiring, set_pin,
};
use crate::pci::{ConfigAccess, FunctionId, FunctionIndex, Registers};
use crate::phb::{Config, Mapped, Phb, Spied};
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::sync::atomic::Ordering;

/// How a function interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By its MSI-X table.
    Table,
    /// By its MSI capability.
    Capability,
    /// By its line.
    Line,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "MSI-X",
            Self::Capability => "MSI",
            Self::Line => "line",
        })
    }
}

/// A function of a PHB that was taken.
#[derive(Clone, Copy)]
pub struct Place {
    /// Index of its PHB in [`bridges`].
    pub phb: u16,
    /// The function.
    pub at: FunctionIndex,
    /// Which driver it has.
    pub driver: Driver,
    /// Where the processor sees the registers that silence its pin.
    pub registers: HostAddr,
}

impl Place {
    fn bridge(&self) -> Result<(&'static Bridge, &'static Host), String> {
        let bridge = bridges().get(usize::from(self.phb));
        let found = bridge.and_then(|bridge| Some((bridge, bridge.host()?)));
        found.ok_or_else(|| format!("PHB {} was not taken", self.phb))
    }

    fn id(&self, host: &Host) -> FunctionId {
        host.topology[self.at].id
    }

    /// What of the ways the function has.
    pub fn has(&self, way: Way) -> bool {
        let Ok((_, host)) = self.bridge() else {
            return false;
        };
        let function = &host.topology[self.at];
        match way {
            Way::Table => function.capabilities.msix.is_some(),
            Way::Capability => function.capabilities.msi.is_some(),
            Way::Line => function.pin != 0,
        }
    }

    fn sender(&self, host: &Host, way: Way) -> Result<(Sender, Option<Words>), String> {
        let function = &host.topology[self.at];
        if way == Way::Table {
            let msix = function.capabilities.msix.ok_or("it has no MSI-X")?;
            let table = MessageTable::new(function.id, msix);
            return Ok((Sender::Table(table), Some(table_of(host, self.at, &msix)?)));
        }
        let msi = function.capabilities.msi.ok_or("it has no MSI")?;
        let capability = MessageCapability::new(msi);
        let capability = capability.ok_or("its MSI capability leaves configuration space")?;
        Ok((Sender::Capability(capability), None))
    }

    /// Whether its line is its group's own.
    pub fn has_line(&self) -> bool {
        self.bridge().is_ok_and(|(_, host)| {
            let lines = &host.plan.lines;
            let granted = lines.grant(&host.topology, &host.groups, self.at);
            granted.is_some()
        })
    }

    /// What is known of a source with the function's name.
    fn source(&self) -> Option<Snapshot> {
        let (_, host) = self.bridge().ok()?;
        let id = self.id(host);
        let is_its = |name: Name| match name {
            Name::Vector { function, .. } | Name::Line { function, .. } => function == id,
            Name::Fixed(_) | Name::Escalation { .. } => false,
        };
        let all = interrupts::delivery()?.snapshot();
        all.into_iter().find(|it| is_its(it.registration.name))
    }

    /// Nothing of the function can interrupt any more, and no vector is its
    /// PE's: as it must be after each [`Connection::disconnect`].
    ///
    /// # Errors
    /// What is left.
    pub fn is_silent(&self) -> Result<(), String> {
        let (_, host) = self.bridge()?;
        let pe = host.plan.group(host.groups.of(self.at)).pe;
        let held = held_by(self.phb, pe.ok_or("its group has no PE")?);
        if held > 0 {
            return Err(format!("its PE still has {held} vectors"));
        }
        if let Some(left) = self.source() {
            return Err(format!("source {} is still in use", left.source));
        }
        let function = &host.topology[self.at];
        let capabilities = &function.capabilities;
        let table = capabilities.msix.map(|it| (it.offset, 1 << 15));
        let capability = capabilities.msi.map(|it| (it.offset, 1));
        let mut config = Config::known(&host.phb);
        for (offset, enable) in table.into_iter().chain(capability) {
            let control = config.read16(function.id, offset + 2).map_err(text)?;
            if control & enable != 0 {
                return Err(format!("messages are still on: {control:#06x}"));
            }
        }
        Ok(())
    }

    /// Connects the function: one message, or its line. Its group is up.
    ///
    /// # Errors
    /// Why it has no interrupt; then nothing of it is left.
    pub fn connect(self, way: Way) -> Result<Connection, String> {
        let (bridge, host) = self.bridge()?;
        let desk = Desk::take(self.registers).ok_or("too many devices have interrupts")?;
        let how = match way {
            Way::Line => How::Line {
                source: self.connect_line(bridge, host, &desk)?,
            },
            _ => How::Messages(self.connect_message(bridge, host, way, &desk)?),
        };
        Ok(Connection {
            place: self,
            how,
            way,
            desk,
        })
    }

    fn connect_line(&self, bridge: &Bridge, host: &Host, desk: &Desk) -> Result<u32, String> {
        let id = self.id(host);
        let (line, source) = line_of(bridge, host, self.at)?;
        open_line(self.driver, id, line, source, desk).map_err(text)?;
        let mut config = Config::known(&host.phb);
        if let Err(error) = set_pin(&mut Registers::new(&mut config, id), true) {
            close_line(source).map_err(text)?;
            return Err(text(error));
        }
        Ok(source)
    }

    fn connect_message(
        &self,
        bridge: &Bridge,
        host: &Host,
        way: Way,
        desk: &Desk,
    ) -> Result<Wired, String> {
        let pe = host.plan.group(host.groups.of(self.at)).pe;
        let pe = pe.ok_or("its group has no PE")?;
        let (sender, _) = self.sender(host, way)?;
        self.with_wiring(bridge, host, way, desk, |wiring| {
            wiring.connect(sender, pe, 1).map_err(text)
        })?
    }

    fn with_wiring<T>(
        &self,
        bridge: &Bridge,
        host: &Host,
        way: Way,
        desk: &Desk,
        what: impl FnOnce(&mut MachineWiring<'_>) -> T,
    ) -> Result<T, String> {
        let function = self.id(host);
        let kind = match bridge.described.interrupts.end_by_firmware {
            true => Kind::Phb3Msi {
                phb: bridge.described.id,
            },
            false => Kind::Msi,
        };
        let sources = MessageSources {
            driver: self.driver,
            function,
            kind,
            desk,
        };
        let (_, words) = self.sender(host, way)?;
        let (mut words, mut none) = (words, NoWords);
        let table: &mut dyn VectorTable = match &mut words {
            Some(words) => words,
            None => &mut none,
        };
        let wired = with_pool(self.phb, |pool| {
            let mut config = Config::known(&host.phb);
            what(&mut Wiring {
                registers: Registers::new(&mut config, function),
                table,
                port: &host.phb,
                sources: &sources,
                pool,
            })
        });
        Ok(wired.ok_or("its PHB has no messages")?)
    }
}

type Hardware = Spied<'static, Mapped>;
type MachineConfig<'a> = Config<'a, 'static, Hardware, &'static Firmware, runtime::TimebaseWaiter>;
type MachinePhb = Phb<'static, Hardware, &'static Firmware, runtime::TimebaseWaiter>;
type MachineWiring<'a> = Wiring<'a, MachineConfig<'a>, MachinePhb, MessageSources<'a>>;

enum How {
    Messages(Wired),
    Line { source: u32 },
}

/// A function that interrupts.
#[must_use = "it interrupts until it is disconnected"]
pub struct Connection {
    place: Place,
    how: How,
    way: Way,
    desk: Desk,
}

impl Connection {
    /// Where its interrupts are counted.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Interrupts so far, which must be as many as are shown under the function's
    /// name.
    ///
    /// # Errors
    /// Both numbers, if they differ or nothing came.
    pub fn counted(&self) -> Result<u64, String> {
        let count = self.desk.count().load(Ordering::Relaxed);
        let shown = self.place.source().map(|it| it.count);
        if count == 0 || shown != Some(count) {
            return Err(format!("{count} interrupts came, {shown:?} are shown"));
        }
        Ok(count)
    }

    /// Ends it: silent at the function and at the interrupt controller, vectors
    /// back with the PHB. `Err` says what did not obey; a function that did not
    /// is cut off all the same.
    ///
    /// # Errors
    /// The function, the PHB or the interrupt controller did not obey. What the
    /// latter two did not give up stays unused.
    pub fn disconnect(self) -> Result<(), String> {
        let (place, desk) = (self.place, &self.desk);
        let (bridge, host) = place.bridge()?;
        match self.how {
            How::Line { source } => {
                let mut config = Config::known(&host.phb);
                let mut registers = Registers::new(&mut config, place.id(host));
                let quiet = set_pin(&mut registers, false);
                close_line(source).map_err(text)?;
                quiet.map_err(text)
            }
            How::Messages(wired) => place.with_wiring(bridge, host, self.way, desk, |wiring| {
                match wiring.disconnect(wired) {
                    Ok(function) => function.map_err(text),
                    Err((error, _)) => Err(text(error)),
                }
            })?,
        }
    }
}

fn text(error: impl fmt::Display) -> String {
    format!("{error}")
}
