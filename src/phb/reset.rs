//! Resets of functions, and what must be as before afterwards.

use super::execute::StepError;
use super::{Config, Phb, PhbFault, PhbHardware};
use crate::opal::pci::{ResetScope, SlotId};
use crate::opal::{OpalError, OpalStatus, RawOpal, Token, Waiter};
use crate::pci::function::Command;
use crate::pci::registers::{self as reg, express};
use crate::pci::topology::{Function, ResetMethod};
use crate::pci::{ConfigAccess, ConfigError, FunctionId, Registers, Topology};
use alloc::vec::Vec;

/// Firmware's resets train a link again at most a few times; after that long
/// nothing comes any more.
pub(super) const SLOT_LIMIT_MS: u64 = 20_000;

/// After a reset of a function (PCI Express 4.0, 6.6.2), and of a bus (6.6.1).
const SETTLE_MS: u64 = 100;
/// How long a function may ask for retries after it.
pub(super) const READY_LIMIT_MS: u64 = 1_000;
pub(super) const READY_PAUSE_MS: u64 = 10;
/// D3hot and back (PCI power management 1.2, 5.4.1).
const POWER_MS: u64 = 10;

/// Bridge control and its bit for the bus below.
const BRIDGE_CONTROL: u16 = 0x3e;
const SECONDARY_RESET: u16 = 1 << 6;
/// Power management control and status, at 4 of its capability.
const POWER_CONTROL: u16 = 4;
const POWER_STATE: u16 = 3;
/// AF control at 4, its FLR bit; AF status at 5.
const AF_CONTROL: u16 = 4;
const AF_FLR: u8 = 1;
const AF_STATUS: u16 = 5;
/// ACS control, at 6 of its capability.
const ACS_CONTROL: u16 = 6;

/// A register that a reset loses and firmware or the scan had set.
struct Saved {
    function: FunctionId,
    offset: u16,
    value: Value,
}

enum Value {
    Two(u16),
    Four(u32),
}

impl<H: PhbHardware, F: RawOpal, W: Waiter> Phb<'_, H, F, W> {
    /// Resets a function, waits until it is ready, and gives it back what it
    /// had of payload size, ACS and bus numbers. Its BARs and command register
    /// are lost. Bus mastering is off.
    pub(super) fn reset(
        &self,
        topology: &Topology,
        function: FunctionId,
        method: ResetMethod,
    ) -> Result<(), StepError> {
        let reached = reached(topology, function, method);
        let saved = self.save(&reached)?;
        match method {
            ResetMethod::Express { offset } => {
                self.has_express(function, offset)?;
                self.express(function, offset)
            }
            ResetMethod::Advanced { offset } => self.advanced(function, offset),
            ResetMethod::Power { offset } => {
                return self.power(function, offset, &reached, &saved);
            }
            ResetMethod::Bus => {
                let above = topology
                    .find(function.bdfn)
                    .and_then(|at| topology.above(at))
                    .ok_or(StepError::NoBridge(function))?;
                return self.bus(topology[above].id, &reached, &saved);
            }
        }
        .map_err(StepError::Config)?;
        self.hardware().wait_ms(SETTLE_MS);
        self.come_back(&reached, &saved)
    }

    /// A virtual function's capability is looked for where its physical one has
    /// it: a write elsewhere would reset nothing.
    pub(super) fn has_express(&self, function: FunctionId, offset: u16) -> Result<(), StepError> {
        match Config::known(self).read8(function, offset) {
            Ok(reg::capability::EXPRESS) => Ok(()),
            Ok(_) => Err(StepError::NoExpress { function, offset }),
            Err(error) => Err(StepError::Config(error)),
        }
    }

    /// Function level reset, after its reads are answered.
    fn express(&self, function: FunctionId, offset: u16) -> Result<(), ConfigError> {
        let mut config = Config::known(self);
        let mut registers = Registers::new(&mut config, function);
        for _ in 0..SETTLE_MS / READY_PAUSE_MS {
            let status = registers.read16(offset + express::DEVICE_STATUS)?;
            if status & express::STATUS_TRANSACTIONS_PENDING == 0 {
                break;
            }
            registers.pause(READY_PAUSE_MS as u32);
        }
        let control = registers.read16(offset + express::DEVICE_CONTROL)?;
        registers.write16(
            offset + express::DEVICE_CONTROL,
            control | express::CONTROL_START_FLR,
        )
    }

    fn advanced(&self, function: FunctionId, offset: u16) -> Result<(), ConfigError> {
        let mut config = Config::known(self);
        let mut registers = Registers::new(&mut config, function);
        for _ in 0..SETTLE_MS / READY_PAUSE_MS {
            if registers.read8(offset + AF_STATUS)? & 1 == 0 {
                break;
            }
            registers.pause(READY_PAUSE_MS as u32);
        }
        registers.write8(offset + AF_CONTROL, AF_FLR)
    }

    /// D3hot and back; the function must be seen to go there, as firmware drops
    /// the write for some.
    fn power(
        &self,
        function: FunctionId,
        offset: u16,
        reached: &[&Function],
        saved: &[Saved],
    ) -> Result<(), StepError> {
        let mut config = Config::known(self);
        let mut registers = Registers::new(&mut config, function);
        let at = offset + POWER_CONTROL;
        let mut through = || -> Result<u16, ConfigError> {
            let control = registers.read16(at)? & !POWER_STATE;
            registers.write16(at, control | POWER_STATE)?;
            registers.pause(POWER_MS as u32);
            let read = registers.read16(at)?;
            registers.write16(at, control)?;
            registers.pause(POWER_MS as u32);
            Ok(read)
        };
        let read = through().map_err(StepError::Config)?;
        if read & POWER_STATE != POWER_STATE {
            return Err(StepError::ReadBack {
                function,
                offset: at,
                written: POWER_STATE.into(),
                read: read.into(),
            });
        }
        self.hardware().wait_ms(SETTLE_MS);
        self.come_back(reached, saved)
    }

    /// Everything on the bus below `bridge`: by firmware where it has a slot
    /// there, as it knows how to train the link again, else by the bridge.
    fn bus(
        &self,
        bridge: FunctionId,
        reached: &[&Function],
        saved: &[Saved],
    ) -> Result<(), StepError> {
        let slot = SlotId::below(self.setup().id, bridge.bdfn.rid());
        match self.slot(slot, ResetScope::Hot, SLOT_LIMIT_MS) {
            Ok(()) => {}
            Err(PhbFault::Opal(error)) if is_not_known(&error) => {
                self.secondary(bridge).map_err(StepError::Config)?;
            }
            Err(error) => return Err(StepError::Phb(error)),
        }
        self.hardware().wait_ms(SETTLE_MS);
        self.come_back(reached, saved)
    }

    fn secondary(&self, bridge: FunctionId) -> Result<(), ConfigError> {
        let mut config = Config::known(self);
        let mut registers = Registers::new(&mut config, bridge);
        let control = registers.read16(BRIDGE_CONTROL)?;
        registers.write16(BRIDGE_CONTROL, control | SECONDARY_RESET)?;
        // At least 1 ms (PCI Express 4.0, 7.5.1.3.13).
        registers.pause(2);
        registers.write16(BRIDGE_CONTROL, control & !SECONDARY_RESET)
    }

    /// Drives one of firmware's resets to its end.
    pub(super) fn slot(
        &self,
        slot: SlotId,
        scope: ResetScope,
        limit_ms: u64,
    ) -> Result<(), PhbFault> {
        let mut waited = 0;
        let mut answer = self.call(|opal, _| opal.pci_reset(slot, scope, true))?;
        while let Some(wait) = answer {
            if waited > limit_ms {
                return Err(PhbFault::Opal(OpalError::StillBusy {
                    token: Token::PciPoll,
                    milliseconds: waited,
                }));
            }
            self.hardware().wait_ms(wait);
            waited += wait;
            answer = self.call(|opal, _| opal.pci_poll(slot))?;
        }
        Ok(())
    }

    /// What must be as before. None of it is all ones unless the function does
    /// not answer: written back, that would start a reset and lose buses.
    fn save(&self, functions: &[&Function]) -> Result<Vec<Saved>, StepError> {
        let mut config = Config::known(self);
        let mut saved = Vec::new();
        for it in functions {
            let mut registers = Registers::new(&mut config, it.id);
            let mut two = |offset| {
                let value = registers.read16(offset).map_err(StepError::Config)?;
                if value == u16::MAX {
                    return Err(StepError::Absent(it.id));
                }
                saved.push(Saved {
                    function: it.id,
                    offset,
                    value: Value::Two(value),
                });
                Ok(())
            };
            if let Some(capability) = it.capabilities.express {
                two(capability.offset + express::DEVICE_CONTROL)?;
                two(capability.offset + express::DEVICE_CONTROL_2)?;
            }
            if let Some(capability) = it.capabilities.acs {
                two(capability.offset + ACS_CONTROL)?;
            }
            if it.is_bridge() {
                let value = registers
                    .read32(reg::BUS_NUMBERS)
                    .map_err(StepError::Config)?;
                if value == u32::MAX {
                    return Err(StepError::Absent(it.id));
                }
                saved.push(Saved {
                    function: it.id,
                    offset: reg::BUS_NUMBERS,
                    value: Value::Four(value),
                });
            }
        }
        Ok(saved)
    }

    /// Waits until all answer, quiets them, lets firmware set them up, and writes
    /// back what was saved.
    fn come_back(&self, functions: &[&Function], saved: &[Saved]) -> Result<(), StepError> {
        let mut config = Config::known(self);
        for it in functions {
            // In order of depth: bridges get their bus numbers before what is
            // below them is looked for.
            self.ready(it.id)?;
            self.command(it.id, Command::NO_PIN)?;
            self.set_up_again(it.id)?;
            for saved in saved.iter().filter(|saved| saved.function == it.id) {
                match saved.value {
                    Value::Two(value) => config.write16(it.id, saved.offset, value),
                    Value::Four(value) => config.write32(it.id, saved.offset, value),
                }
                .map_err(StepError::Config)?;
            }
        }
        Ok(())
    }

    /// What firmware sets up in each function that it found, and a reset loses.
    fn set_up_again(&self, function: FunctionId) -> Result<(), StepError> {
        let rid = function.bdfn.rid();
        match self.call(|opal, phb| opal.pci_reinit(phb, rid)) {
            // A function that firmware did not find, or a kind of PHB for which it
            // does not do that: nothing of it was set up.
            Err(error) if !is_not_known(&error) => Err(StepError::Phb(error.into())),
            _ => Ok(()),
        }
    }

    pub(super) fn ready(&self, function: FunctionId) -> Result<(), StepError> {
        let mut waited = 0;
        loop {
            let identity = Config::known(self).read32(function, reg::VENDOR);
            // Reads as absent, or asks for a retry (vendor id 1).
            if identity.is_ok_and(|value| !matches!(value as u16, 0xffff | 0x0001)) {
                return Ok(());
            }
            if waited >= READY_LIMIT_MS {
                return Err(StepError::NotReady {
                    function,
                    milliseconds: waited,
                });
            }
            // That freezes its PE. DMA stays stopped: its windows may be open.
            self.answer_again(function.bdfn)?;
            self.hardware().wait_ms(READY_PAUSE_MS);
            waited += READY_PAUSE_MS;
        }
    }
}

/// Whether firmware does not know what was named, or cannot do it.
fn is_not_known(error: &OpalError) -> bool {
    matches!(error, OpalError::Absent { .. })
        || matches!(
            error.status(),
            Some(OpalStatus::Parameter | OpalStatus::Unsupported)
        )
}

/// The physical functions that a reset reaches, bridges before what is below.
fn reached(topology: &Topology, function: FunctionId, method: ResetMethod) -> Vec<&Function> {
    let Some(at) = topology.find(function.bdfn) else {
        // A virtual function has nothing of its own to save.
        return Vec::new();
    };
    match (method, topology.above(at)) {
        (ResetMethod::Bus, Some(bridge)) => topology
            .below(bridge)
            .map(|at| &topology[at])
            .filter(|it| it.usable)
            .collect(),
        _ => alloc::vec![&topology[at]],
    }
}
