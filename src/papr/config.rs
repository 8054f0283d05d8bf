//! Configuration space of a function as its partition sees it (PCI Local Bus 3.0,
//! 6.1; PCI Express Base 4.0, 7.5.3).
//!
//! A list of what there is: anything else reads as 0 and takes no write.
//! Base address registers are Pinion's to set, so the partition has copies: they
//! can be sized, and whatever is written to them moves nothing. Of the command
//! register the partition has memory and bus master; its pin stays off. Of the
//! capabilities it sees PCI Express, read only: messages come with interrupts,
//! and power states, resets and payload sizes are Pinion's. So the partition is
//! not told of a function level reset either.
//!
//! A function that is gone, or whose PE is frozen, reads as all ones: all of the
//! view does then, what is known without the function too.

use crate::addr::BusAddr;
use crate::pci::bar::{Bar, BarKind};
use crate::pci::function::Command;
use crate::pci::registers as reg;
use crate::pci::{ConfigAccess, ConfigError, FunctionId};
use crate::seam::sync::{AtomicU32, Ordering};

/// What of the command register is the partition's.
const GIVEN: Command = Command::MEMORY.union(Command::BUS_MASTER);

/// What of the command register it sees.
const SEEN: Command = GIVEN.union(Command::NO_PIN);

/// Status bits in a word with the command register below them.
const STATUS: u32 = 0xffff_0000;
const HAS_CAPABILITIES: u32 = (reg::STATUS_CAPABILITIES as u32) << 16;

/// Bytes of the PCI Express capability of an endpoint: in version 1, and from
/// version 2 on.
const EXPRESS_BYTES: [u16; 2] = [0x14, 0x3c];

/// The pointer to the next capability, in a capability's first word.
const NEXT: u32 = 0x0000_ff00;

/// Configuration space below PCI Express' part.
const HEADER: u16 = 0x40;

/// What a function that is gone or frozen reads as.
const ALL_ONES: u32 = u32::MAX;

/// A base address register of a partition's.
#[derive(Debug, Default)]
struct BarCopy {
    now: AtomicU32,
    /// Bits that can be written.
    address: u32,
    /// Bits below them.
    kind: u32,
}

impl BarCopy {
    fn new(value: u32, address: u32, kind: u32) -> Self {
        Self {
            now: AtomicU32::new(value & address | kind),
            address,
            kind,
        }
    }
}

/// What a view is of.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The function.
    pub function: FunctionId,
    /// Vendor id: a virtual function's own register has none.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// A virtual function: it answers memory without being told to.
    pub is_virtual: bool,
    /// Offset of its PCI Express capability; of a virtual function where its
    /// physical function has it, and it is looked for there.
    pub express: Option<u16>,
}

/// A function's configuration space as its partition sees it.
#[derive(Debug)]
pub struct View {
    of: Identity,
    bars: [BarCopy; 6],
}

impl View {
    /// The view of a function with these memory BARs, as they are set.
    pub fn new(of: Identity, bars: impl IntoIterator<Item = (Bar, BusAddr)>) -> Self {
        let mut view = Self {
            of,
            bars: Default::default(),
        };
        for (bar, at) in bars {
            let (at, address) = (at.get(), !(bar.size - 1));
            let index = usize::from(bar.index);
            if let Some(low) = view.bars.get_mut(index) {
                *low = BarCopy::new(at as u32, address as u32 & !0xf, bar.flags & 0xf);
            }
            if matches!(bar.kind, BarKind::Memory64 { .. })
                && let Some(high) = view.bars.get_mut(index + 1)
            {
                *high = BarCopy::new((at >> 32) as u32, (address >> 32) as u32, 0);
            }
        }
        view
    }

    /// Reads `size` bytes at `offset`: 1, 2 or 4, aligned to themselves.
    ///
    /// # Errors
    /// No such place, or the function does not answer.
    pub fn read<C: ConfigAccess + ?Sized>(
        &self,
        access: &mut C,
        offset: u16,
        size: u32,
    ) -> Result<u32, ConfigError> {
        let bits = self.bits(offset, size)?;
        let word = self.word(access, offset & !3)?;
        // Asked last: if it answers now, the word was its own.
        let word = match access.read32(self.of.function, reg::REVISION_CLASS)? {
            ALL_ONES => ALL_ONES,
            _ => word,
        };
        Ok(word >> shift(offset) & bits)
    }

    /// Writes `size` bytes at `offset`; what is not the partition's to change
    /// stays as it is.
    ///
    /// # Errors
    /// As [`View::read`]; nothing is written to a function that reads as all ones.
    pub fn write<C: ConfigAccess + ?Sized>(
        &self,
        access: &mut C,
        offset: u16,
        size: u32,
        value: u32,
    ) -> Result<(), ConfigError> {
        let bits = self.bits(offset, size)? << shift(offset);
        let value = value << shift(offset) & bits;
        match offset & !3 {
            reg::COMMAND => self.command(access, value, bits),
            at => {
                if let Some(bar) = self.bar(at) {
                    let old = bar.now.load(Ordering::Relaxed);
                    let new = (old & !bits | value) & bar.address | bar.kind;
                    bar.now.store(new, Ordering::Relaxed);
                }
                Ok(())
            }
        }
    }

    /// As many ones as an access has bits.
    fn bits(&self, offset: u16, size: u32) -> Result<u32, ConfigError> {
        let (1 | 2 | 4) = size else {
            return Err(self.nowhere(offset));
        };
        if u32::from(offset).is_multiple_of(size) && offset < 0x1000 {
            Ok(u32::MAX >> (32 - 8 * size))
        } else {
            Err(self.nowhere(offset))
        }
    }

    fn nowhere(&self, offset: u16) -> ConfigError {
        ConfigError::Offset {
            function: self.of.function,
            offset,
        }
    }

    fn bar(&self, at: u16) -> Option<&BarCopy> {
        let index = at.checked_sub(reg::BAR0)? / 4;
        self.bars.get(usize::from(index))
    }

    fn command<C: ConfigAccess + ?Sized>(
        &self,
        access: &mut C,
        value: u32,
        bits: u32,
    ) -> Result<(), ConfigError> {
        let bits = Command::from_bits_truncate(bits as u16) & GIVEN;
        if bits.is_empty() {
            return Ok(());
        }
        let function = self.of.function;
        let old = access.read16(function, reg::COMMAND)?;
        if old == u16::MAX {
            return Err(ConfigError::Silent {
                function,
                offset: reg::COMMAND,
            });
        }
        let old = Command::from_bits_retain(old);
        let wanted = Command::from_bits_truncate(value as u16) & bits;
        let new = (old - bits) | wanted;
        access.write16(function, reg::COMMAND, new.bits())
    }

    /// The word at `at`, a multiple of 4.
    fn word<C: ConfigAccess + ?Sized>(&self, access: &mut C, at: u16) -> Result<u32, ConfigError> {
        let function = self.of.function;
        let mut raw = || access.read32(function, at);
        Ok(match at {
            reg::VENDOR => u32::from(self.of.device) << 16 | u32::from(self.of.vendor),
            reg::COMMAND => {
                let raw = raw()?;
                let seen = u32::from((Command::from_bits_truncate(raw as u16) & SEEN).bits());
                let memory = match self.of.is_virtual {
                    true => u32::from(Command::MEMORY.bits()),
                    false => 0,
                };
                let capabilities = self.capability(access)?.map_or(0, |_| HAS_CAPABILITIES);
                raw & STATUS & !HAS_CAPABILITIES | seen | memory | capabilities
            }
            reg::REVISION_CLASS | SUBSYSTEM => raw()?,
            // Without its self-test.
            CACHE_LINE => raw()? & 0x00ff_ffff,
            reg::CAPABILITY_POINTER => self.capability(access)?.map_or(0, u32::from),
            _ => match self.bar(at) {
                Some(bar) => bar.now.load(Ordering::Relaxed),
                None => self.express(access, at)?,
            },
        })
    }

    fn express<C: ConfigAccess + ?Sized>(
        &self,
        access: &mut C,
        at: u16,
    ) -> Result<u32, ConfigError> {
        let [least, most] = EXPRESS_BYTES;
        let start = self.of.express.unwrap_or(u16::MAX);
        let inside = at.checked_sub(start).filter(|inside| *inside < most);
        let Some(inside) = inside.filter(|_| at < reg::EXTENDED) else {
            return Ok(0);
        };
        if self.capability(access)?.is_none() {
            return Ok(0);
        }
        if inside >= least {
            let flags = access.read16(self.of.function, at - inside + reg::express::FLAGS)?;
            if flags & 0xf < 2 {
                return Ok(0);
            }
        }
        let word = access.read32(self.of.function, at)?;
        Ok(match inside {
            // The last capability.
            0 => word & !NEXT,
            reg::express::DEVICE_CAPABILITY => word & !reg::express::DEVICE_FLR,
            _ => word,
        })
    }

    /// Where its PCI Express capability is.
    fn capability<C: ConfigAccess + ?Sized>(
        &self,
        access: &mut C,
    ) -> Result<Option<u16>, ConfigError> {
        let Some(start) = self.of.express.filter(|start| *start >= HEADER) else {
            return Ok(None);
        };
        let is_there = !self.of.is_virtual
            || access.read8(self.of.function, start)? == reg::capability::EXPRESS;
        Ok(is_there.then_some(start))
    }
}

/// Cache line size, latency timer, header type, self-test.
const CACHE_LINE: u16 = 0x0c;
/// Subsystem's vendor and its id.
const SUBSYSTEM: u16 = 0x2c;

/// Where a byte is in its word.
const fn shift(offset: u16) -> u32 {
    8 * (offset & 3) as u32
}
