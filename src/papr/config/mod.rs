//! Configuration space of a function as its partition sees it (PCI Local Bus 3.0,
//! 6.1; PCI Express Base 4.0, 7.5.3).
//!
//! A list of what there is: anything else reads as 0 and takes no write.
//! Base address registers are Pinion's to set, so the partition has copies: they
//! can be sized, and whatever is written to them moves nothing. Of the command
//! register the partition has memory and bus master, and the pin of a function
//! whose line it has. Of the capabilities it sees PCI Express, read only: power
//! states, resets and payload sizes are Pinion's, so it is not told of a function
//! level reset either. It sees MSI and MSI-X of a function whose messages it has,
//! and turns them on and off; what is sent, and where, is Pinion's to write
//! (`ibm,change-msi`).
//!
//! A function that is gone, or whose PE is frozen, reads as all ones: all of the
//! view does then, what is known without the function too.

mod capabilities;

use crate::addr::BusAddr;
use crate::pci::bar::{Bar, BarKind};
use crate::pci::function::Command;
use crate::pci::msi::MessageCapability;
use crate::pci::registers as reg;
use crate::pci::{ConfigAccess, ConfigError, FunctionId};
use crate::seam::sync::{AtomicU32, Ordering};
use capabilities::Capabilities;

/// What of the command register is the partition's; the pin only if it has the
/// line.
const GIVEN: Command = Command::MEMORY.union(Command::BUS_MASTER);

/// What of the command register it sees.
const SEEN: Command = GIVEN.union(Command::NO_PIN);

/// Status bits in a word with the command register below them.
const STATUS: u32 = 0xffff_0000;
const HAS_CAPABILITIES: u32 = (reg::STATUS_CAPABILITIES as u32) << 16;

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
    /// Its MSI capability, if the partition has its messages.
    pub msi: Option<MessageCapability>,
    /// Offset of its MSI-X capability, if the partition has its messages.
    pub msix: Option<u16>,
    /// Its pin, 1 to 4, if the partition has its line.
    pub pin: Option<u8>,
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
            at => match self.bar(at) {
                Some(bar) => {
                    let old = bar.now.load(Ordering::Relaxed);
                    let new = (old & !bits | value) & bar.address | bar.kind;
                    bar.now.store(new, Ordering::Relaxed);
                    Ok(())
                }
                None => {
                    let all = Capabilities::new(&self.of, access)?;
                    all.write(&self.of, access, at, (value, bits))
                }
            },
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
        let given = match self.of.pin {
            Some(_) => SEEN,
            None => GIVEN,
        };
        let bits = Command::from_bits_truncate(bits as u16) & given;
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
                let capabilities = match Capabilities::new(&self.of, access)?.first() {
                    0 => 0,
                    _ => HAS_CAPABILITIES,
                };
                raw & STATUS & !HAS_CAPABILITIES | seen | memory | capabilities
            }
            reg::REVISION_CLASS | SUBSYSTEM => raw()?,
            // Without its self-test.
            CACHE_LINE => raw()? & 0x00ff_ffff,
            reg::CAPABILITY_POINTER => Capabilities::new(&self.of, access)?.first().into(),
            INTERRUPT => self.of.pin.map_or(0, |pin| u32::from(pin) << 8),
            _ => match self.bar(at) {
                Some(bar) => bar.now.load(Ordering::Relaxed),
                None => Capabilities::new(&self.of, access)?.word(&self.of, access, at)?,
            },
        })
    }
}

/// Cache line size, latency timer, header type, self-test.
const CACHE_LINE: u16 = 0x0c;
/// Interrupt line, which nobody reads, and pin.
const INTERRUPT: u16 = reg::INTERRUPT_PIN & !3;
/// Subsystem's vendor and its id.
const SUBSYSTEM: u16 = 0x2c;

/// Where a byte is in its word.
const fn shift(offset: u16) -> u32 {
    8 * (offset & 3) as u32
}
