//! A XIVE source's event state buffer (ESB): two bits, P (fired and not ended)
//! and Q (fired again meanwhile), changed by loads and stores to magic offsets.
//! Offsets and rules: skiboot include/xive-regs.h, doc/xive.rst, hw/xive.c
//! (__xive_source_eoi). All accesses are of 8 bytes.

use super::Bus;
use super::source::{Kind, Source};
use crate::addr::HostAddr;
use crate::opal::XiveIrqInfo;
use bitflags::bitflags;
use thiserror::Error;

/// Store to the trigger page: the source fires.
pub const STORE_TRIGGER: u64 = 0x000;
/// Load: ends a level interrupt; fires again while the level is there.
pub const LOAD_EOI: u64 = 0x000;
/// Store: ends an interrupt and fires again if Q was set.
pub const STORE_EOI: u64 = 0x400;
/// Load: the state, unchanged.
pub const GET: u64 = 0x800;
/// Load: the state before; from now on it is 00.
pub const SET_PQ_00: u64 = 0xc00;
/// Load: the state before; from now on it is 01, off.
pub const SET_PQ_01: u64 = 0xd00;
/// Load: the state before; from now on it is 10, silent but remembering.
pub const SET_PQ_10: u64 = 0xe00;
/// Added to a load's offset: it is done behind earlier stores to the page.
/// Needed where ends are stores (include/xive.h, XIVE2_STORE_EOI_ENABLED).
pub const BEHIND_STORES: u64 = 0x40;

bitflags! {
    /// What firmware says of a source (include/opal-api.h, OPAL_XIVE_IRQ_*).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u64 {
        /// Triggers have a page of their own.
        const TRIGGER_PAGE = 0x01;
        /// Ends by store, of POWER9: never used. Loads could overtake it, and
        /// skiboot has it off (include/xive.h, XIVE_STORE_EOI_ENABLED 0).
        const STORE_EOI = 0x02;
        /// Level.
        const LSI = 0x04;
        /// POWER9 DD1: offsets are shifted.
        const SHIFT_BUG = 0x08;
        /// POWER9 DD1: masking by firmware only.
        const MASK_VIA_FIRMWARE = 0x10;
        /// POWER9 DD1: ends by firmware only.
        const EOI_VIA_FIRMWARE = 0x20;
        /// Ends by store, with loads that can be ordered behind it (POWER10).
        const STORE_EOI_ORDERED = 0x40;
    }
}

/// The two bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// 00: ready to fire.
    Ready,
    /// 01: off; what happens is lost.
    Off,
    /// 10: fired, not ended.
    Pending,
    /// 11: fired, and again before its end.
    Queued,
}

impl State {
    /// From a load's value.
    pub const fn from_load(value: u64) -> Self {
        match value & 3 {
            0 => Self::Ready,
            1 => Self::Off,
            2 => Self::Pending,
            _ => Self::Queued,
        }
    }

    /// The Q bit.
    pub const fn is_queued(self) -> bool {
        matches!(self, Self::Off | Self::Queued)
    }
}

/// Why a source cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EsbError {
    /// A source of the first POWER9 (DD1), which no skiboot of today starts.
    #[error("source {0} needs a way around a defect of POWER9 DD1 (flags {1:#x})")]
    EarlyHardware(Source, u64),
    /// Firmware names no page.
    #[error("source {0} has no page to end it")]
    NoPage(Source),
}

/// A source's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Esb {
    flags: Flags,
    management: HostAddr,
    trigger: Option<HostAddr>,
}

impl Esb {
    /// From what OPAL_XIVE_GET_IRQ_INFO says.
    ///
    /// # Errors
    /// The source cannot be used.
    pub fn new(source: Source, info: &XiveIrqInfo) -> Result<Self, EsbError> {
        let flags = Flags::from_bits_truncate(info.flags);
        let early = Flags::SHIFT_BUG | Flags::MASK_VIA_FIRMWARE | Flags::EOI_VIA_FIRMWARE;
        if flags.intersects(early) {
            return Err(EsbError::EarlyHardware(source, info.flags));
        }
        if info.eoi_page == 0 {
            return Err(EsbError::NoPage(source));
        }
        Ok(Self {
            flags,
            management: HostAddr::new(info.eoi_page),
            trigger: (info.trigger_page != 0).then(|| HostAddr::new(info.trigger_page)),
        })
    }

    /// Level or message.
    pub fn kind(&self) -> Kind {
        if self.flags.contains(Flags::LSI) {
            Kind::Lsi
        } else {
            Kind::Msi
        }
    }

    fn ends_by_store(&self) -> bool {
        self.flags.contains(Flags::STORE_EOI_ORDERED)
    }

    fn load(&self, bus: &impl Bus, offset: u64) -> State {
        let order = if self.ends_by_store() {
            BEHIND_STORES
        } else {
            0
        };
        // A page from firmware and an offset inside of it: nothing wraps.
        let at = self.management.get().wrapping_add(offset | order);
        State::from_load(bus.load64(HostAddr::new(at)))
    }

    /// Turns the source off. Returns the state before.
    pub fn off(&self, bus: &impl Bus) -> State {
        self.load(bus, SET_PQ_01)
    }

    /// Makes the source silent; that it fires is remembered. Returns the state
    /// before: a Q in it is now forgotten by the hardware.
    pub fn hold(&self, bus: &impl Bus) -> State {
        self.load(bus, SET_PQ_10)
    }

    /// Makes the source ready to fire, whatever it has remembered. Returns the
    /// state before.
    pub fn ready(&self, bus: &impl Bus) -> State {
        self.load(bus, SET_PQ_00)
    }

    /// Turns a source on that was off. A level that is there already fires.
    pub fn start(&self, bus: &impl Bus) {
        self.load(bus, SET_PQ_00);
        if self.kind() == Kind::Lsi {
            self.end(bus);
        }
    }

    /// Ends an interrupt; fires again if the source did so meanwhile.
    pub fn end(&self, bus: &impl Bus) {
        // What was done for the device is done before it may fire again.
        bus.barrier();
        if self.ends_by_store() {
            let at = self.management.get().wrapping_add(STORE_EOI);
            bus.store64(HostAddr::new(at), 0);
        } else if self.kind() == Kind::Lsi {
            bus.load64(self.management);
        } else if self.load(bus, SET_PQ_00).is_queued() {
            self.trigger(bus);
        }
    }

    /// Makes the source fire. `false` if software cannot.
    pub fn trigger(&self, bus: &impl Bus) -> bool {
        if let Some(page) = self.trigger {
            bus.barrier();
            bus.store64(page, 0);
        }
        self.trigger.is_some()
    }

    /// The state, unchanged.
    pub fn state(&self, bus: &impl Bus) -> State {
        self.load(bus, GET)
    }
}
