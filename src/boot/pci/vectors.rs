//! Interrupt sources of PHBs: the vectors of each one, its lines, and the tables of
//! messages of functions.

use super::device::{Bar, Order};
use super::{Bridge, Host, bridges};
use crate::boot::runtime;
use crate::drivers::RegisterAccess;
use crate::pci::capability::Msix;
use crate::pci::msi::{ENTRY, VectorPool, VectorTable};
use crate::pci::{FunctionIndex, PeNumber};
use crate::warning;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use spin::{Mutex, Once};

/// The vectors of each PHB, in the order of [`bridges`]. A lock is held while a
/// function is connected or disconnected, never while anybody waits for an
/// interrupt.
static POOLS: Once<Vec<Mutex<Option<VectorPool>>>> = Once::new();

fn pools() -> &'static [Mutex<Option<VectorPool>>] {
    POOLS.call_once(|| bridges().iter().map(pool_of).map(Mutex::new).collect())
}

fn pool_of(bridge: &Bridge) -> Option<VectorPool> {
    let host = bridge.host()?;
    let range = bridge.described.interrupts.messages?;
    match VectorPool::new(host.info.id(), range, is_firmware) {
        Ok(pool) => Some(pool),
        Err(fault) => {
            warning!("{}: no messages: {fault}", bridge.described.name());
            None
        }
    }
}

/// Whether a source is firmware's own (`opal-interrupts`).
fn is_firmware(source: u32) -> bool {
    let firmware = runtime::machine().and_then(|machine| machine.firmware.as_ref());
    firmware.is_some_and(|it| it.interrupts.iter().any(|own| own.source == source))
}

/// Calls `act` with the vectors of a PHB; `None` if it has none.
pub fn with_pool<T>(index: u16, act: impl FnOnce(&mut VectorPool) -> T) -> Option<T> {
    let mut pool = pools().get(usize::from(index))?.lock();
    Some(act(pool.as_mut()?))
}

/// Vectors of a PHB that a PE has.
pub fn held_by(index: u16, pe: PeNumber) -> u16 {
    with_pool(index, |pool| pool.held_by(pe)).unwrap_or(0)
}

/// Vectors of all PHBs that nobody has.
pub fn free() -> u32 {
    let indices = 0..bridges().len() as u16;
    let all = indices.filter_map(|index| with_pool(index, |pool| u32::from(pool.free())));
    all.sum()
}

/// A table of messages in a BAR.
pub struct Words(Bar);

impl VectorTable for Words {
    fn read32(&mut self, offset: u32) -> u32 {
        self.0.read32(offset.into())
    }

    fn write32(&mut self, offset: u32, value: u32) {
        self.0.write32(offset.into(), value);
    }
}

/// A function without one.
pub struct NoWords;

impl VectorTable for NoWords {
    fn read32(&mut self, _: u32) -> u32 {
        u32::MAX
    }

    fn write32(&mut self, _: u32, _: u32) {}
}

/// The table of messages of a function, which decodes memory while its group is up.
///
/// # Errors
/// It has no place.
pub fn table_of(host: &Host, at: FunctionIndex, msix: &Msix) -> Result<Words, &'static str> {
    let mut bars = host.plan.bars_of(at);
    let bar = bars
        .find(|it| it.bar.index == msix.table_bar)
        .ok_or("the BAR with its table of messages has no place")?;
    let start = bar.host.checked_add(msix.table_offset.into());
    let start = start.ok_or("its table of messages is nowhere")?;
    let bytes = u64::from(msix.vectors) * u64::from(ENTRY);
    // SAFETY: the scan has checked that the table lies in the BAR, and the function
    // decodes it where the plan says, while its group is up.
    Ok(Words(unsafe { Bar::new(start, bytes, Order::Little) }))
}

/// The line of a function that is its group's own, and its source.
///
/// # Errors
/// It has none.
pub fn line_of(bridge: &Bridge, host: &Host, at: FunctionIndex) -> Result<(u8, u32), String> {
    let line = host.plan.lines.grant(&host.topology, &host.groups, at);
    let line = line.ok_or("it has no line of its group's own")?;
    let source = bridge.described.interrupts.lines.get(usize::from(line));
    let source = source
        .copied()
        .flatten()
        .filter(|source| !is_firmware(*source));
    let source = source.ok_or_else(|| format!("the tree names no source for line {line}"))?;
    Ok((line, source))
}
