//! Memory of an owner of the self-test's own, and how it is given back.

use crate::addr::{BusAddr, HostAddr};
use crate::boot::pci::device::Buffer;
use crate::boot::pci::platform::{Platform, engine, ledger};
use crate::boot::runtime;
use crate::memory::frames::Block;
use crate::memory::ledger::{Holdings, OwnerId};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Once;

/// Owners that no partition is: each run uses the same two.
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

/// What memory an arena has.
#[derive(Clone, Copy, Debug)]
pub struct Regions {
    /// How many regions.
    pub count: u32,
    /// Bytes of each, as a base-2 logarithm.
    pub shift: u32,
    /// A byte of a region's dirty map stands for `1 << granule` bytes.
    pub granule: u32,
}

impl Regions {
    /// One of `1 << shift` bytes, with a dirty map as small as it can be.
    pub const fn one(shift: u32) -> Self {
        let granule = if shift < 30 { shift } else { 30 };
        Self {
            count: 1,
            shift,
            granule,
        }
    }
}

/// Regions of one of the self-test's owners.
pub struct Arena {
    /// Its owner's regions.
    pub holdings: Arc<Holdings<Platform>>,
    /// Where they start, in order; each has `1 << shift` bytes.
    starts: Vec<HostAddr>,
    shift: u32,
}

impl Arena {
    /// Regions for owner `which`, 0 or 1. `None` if there is no memory for them.
    ///
    /// # Errors
    /// What the ledger says; nothing is kept then.
    pub fn new(which: usize, regions: Regions) -> Result<Option<Self>, String> {
        let ledger = ledger().ok_or("no ledger")?;
        let mut arena = Self {
            holdings: holdings(which)?,
            starts: Vec::new(),
            shift: regions.shift,
        };
        let bytes = 1 << regions.shift;
        for _ in 0..regions.count {
            let Ok(block) = runtime::allocate(regions.shift, None) else {
                arena.give_back()?;
                return Ok(None);
            };
            let start = block.leak();
            if let Err(error) = ledger.grant(&arena.holdings, start, bytes, regions.granule) {
                let why = error.to_string();
                drop(runtime::free(Block::unleak(start, regions.shift)));
                arena.give_back()?;
                return Err(why);
            }
            arena.starts.push(start);
        }
        arena.starts.sort_unstable();
        Ok(Some(arena))
    }

    /// Where byte number `offset` of all of it is; regions follow each other.
    fn at(&self, offset: u64) -> Result<HostAddr, String> {
        let region = usize::try_from(offset >> self.shift).ok();
        let start = region.and_then(|region| self.starts.get(region));
        start
            .and_then(|start| start.checked_add(offset & ((1 << self.shift) - 1)))
            .ok_or_else(|| "an address outside of the self-test's memory".into())
    }

    /// The page number `index` of `1 << page` bytes.
    ///
    /// # Errors
    /// It is not inside.
    pub fn page(&self, index: u64, page: u32) -> Result<HostAddr, String> {
        self.at(index << page)
    }

    /// `bytes` bytes at `offset` of one region, which a device sees at `bus`.
    ///
    /// # Errors
    /// They are not inside.
    pub fn buffer(&self, offset: u64, bus: BusAddr, bytes: usize) -> Result<Buffer, String> {
        let at = self.at(offset)?;
        let inside = offset & ((1 << self.shift) - 1);
        if inside + bytes as u64 > 1 << self.shift {
            return Err("a buffer outside of the self-test's memory".into());
        }
        // SAFETY: the region is this arena's, and nothing refers to it but by
        // such buffers.
        Ok(unsafe { Buffer::new(at, bus, bytes) })
    }

    /// Gives the memory back: closed, quiet, out of the ledger, to the allocator.
    ///
    /// # Errors
    /// What the ledger says, or pins that stay; what is left stays the owner's.
    pub fn give_back(self) -> Result<(), String> {
        let (engine, ledger) = engine().zip(ledger()).ok_or("no engine")?;
        for start in &self.starts {
            let pins = ledger
                .close(&self.holdings, *start)
                .map_err(|error| error.to_string())?;
            if pins != 0 {
                return Err(alloc::format!("{pins} pins stay on the self-test's region"));
            }
            engine
                .quiet(&self.holdings, *start)
                .map_err(|error| error.to_string())?;
            let free = ledger
                .reclaim(&self.holdings, *start)
                .map_err(|error| error.to_string())?;
            runtime::free(Block::unleak(free.start, self.shift))
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}
