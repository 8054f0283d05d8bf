//! Memory of an owner of the self-test's own, and how it is given back.

use super::device::Buffer;
use super::platform::{Platform, engine, ledger};
use crate::addr::{BusAddr, HostAddr};
use crate::boot::runtime;
use crate::memory::frames::Block;
use crate::memory::ledger::{Holdings, OwnerId};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use spin::Once;

/// Owners that no partition is: an owner stays in the ledger for ever, so each
/// run uses the same two.
const OWNERS: [OwnerId; 2] = [OwnerId(u32::MAX - 1), OwnerId(u32::MAX)];

static HOLDINGS: [Once<Result<Arc<Holdings<Platform>>, String>>; 2] = [Once::new(), Once::new()];

/// One of the two owners.
fn holdings(which: usize) -> Result<Arc<Holdings<Platform>>, String> {
    let (slot, owner) = HOLDINGS
        .get(which)
        .zip(OWNERS.get(which))
        .ok_or("the self-test has two owners")?;
    let ledger = ledger().ok_or("no ledger")?;
    let made = slot.call_once(|| ledger.add_owner(*owner).map_err(|error| error.to_string()));
    made.clone()
}

/// A region of one of the self-test's owners.
pub struct Arena {
    /// Its owner's regions.
    pub holdings: Arc<Holdings<Platform>>,
    start: HostAddr,
    shift: u32,
}

impl Arena {
    /// `1 << shift` bytes for owner `which`, 0 or 1. `None` if there is no such
    /// block.
    pub fn new(which: usize, shift: u32) -> Result<Option<Self>, String> {
        let holdings = holdings(which)?;
        let ledger = ledger().ok_or("no ledger")?;
        let Ok(block) = runtime::allocate(shift, None) else {
            return Ok(None);
        };
        let start = block.leak();
        // A granule of the largest size keeps the dirty map small.
        let granule = shift.min(30);
        if let Err(error) = ledger.grant(&holdings, start, 1 << shift, granule) {
            drop(runtime::free(Block::unleak(start, shift)));
            return Err(error.to_string());
        }
        Ok(Some(Self {
            holdings,
            start,
            shift,
        }))
    }

    /// The page number `index` of `1 << page` bytes.
    pub fn page(&self, index: u64, page: u32) -> Result<HostAddr, String> {
        let offset = index << page;
        let inside = offset < 1 << self.shift;
        let at = inside.then(|| self.start.checked_add(offset)).flatten();
        at.ok_or_else(|| "a page outside of the self-test's region".into())
    }

    /// `bytes` bytes at `offset` of it, which a device sees at `bus`.
    pub fn buffer(&self, offset: u64, bus: BusAddr, bytes: usize) -> Result<Buffer, String> {
        let end = offset.checked_add(bytes as u64);
        if end.is_none_or(|end| end > 1 << self.shift) {
            return Err("a buffer outside of the self-test's region".into());
        }
        let at = HostAddr::new(self.start.get() + offset);
        // SAFETY: the region is this arena's, and nothing refers to it but by
        // such buffers.
        Ok(unsafe { Buffer::new(at, bus, bytes) })
    }

    /// Gives the memory back: closed, quiet, out of the ledger, to the allocator.
    pub fn give_back(self) -> Result<(), String> {
        let (engine, ledger) = engine().zip(ledger()).ok_or("no engine")?;
        let pins = ledger
            .close(&self.holdings, self.start)
            .map_err(|error| error.to_string())?;
        if pins != 0 {
            return Err(alloc::format!("{pins} pins stay on the self-test's region"));
        }
        engine
            .quiet(&self.holdings, self.start)
            .map_err(|error| error.to_string())?;
        let free = ledger
            .reclaim(&self.holdings, self.start)
            .map_err(|error| error.to_string())?;
        runtime::free(Block::unleak(free.start, self.shift)).map_err(|error| error.to_string())
    }
}
