//! A partition's memory: where it comes from, who owns it meanwhile, and how it
//! goes back.
//!
//! It is zeroed before it changes its owner, in both directions: nothing of
//! another partition, or of Pinion, comes with it, and nothing stays behind.

use super::manifest::MEMORY_UNIT;
use super::map::{GuestMap, MapError, Piece};
use crate::addr::{GuestAddr, HostAddr};
use crate::dma::{DmaError, Engine};
use crate::memory::frames::MAX_SHIFT;
use crate::memory::ledger::{Holdings, Ledger, LedgerError, OwnerId, REGIONS_PER_OWNER};
use crate::seam::Platform;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Where blocks of memory come from.
pub trait Blocks {
    /// A naturally aligned block of `1 << shift` bytes, of this chip only if one
    /// is given. What is in it is undefined.
    fn allocate(&self, shift: u32, chip: Option<u32>) -> Option<HostAddr>;

    /// Takes a block back.
    fn free(&self, start: HostAddr, shift: u32);

    /// Zeroes memory of blocks that were allocated: at most [`CHUNK`] bytes, a
    /// multiple of 64K. Nobody else uses it.
    fn zero(&self, start: HostAddr, bytes: u64);

    /// Called between two chunks: time for others, as a large partition takes
    /// minutes.
    fn pause(&self) {}
}

/// Bytes that are zeroed at a time: a millisecond or two.
pub const CHUNK: u64 = 16 << 20;

/// Smallest block, as a base-2 logarithm.
const SMALLEST: u32 = MEMORY_UNIT.trailing_zeros();

/// Bytes of a region's dirty map at most, as a base-2 logarithm: they come from
/// the heap.
const DIRTY_MAP_SHIFT: u32 = 16;

/// Why there is no memory for a partition, or why it cannot be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// Not a multiple of 64K, or nothing.
    #[error("{0:#x} bytes of memory: expected a multiple of {MEMORY_UNIT:#x} above 0")]
    Size(u64),
    /// Not enough is free.
    #[error("{missing:#x} of {asked:#x} bytes of memory are not free")]
    NotFree {
        /// Bytes asked for.
        asked: u64,
        /// Bytes that were not found.
        missing: u64,
    },
    /// What is free lies in too many pieces.
    #[error("{0:#x} bytes of memory: what is free lies in more than {REGIONS_PER_OWNER} pieces")]
    Scattered(u64),
    /// The ledger refused.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// Pieces that make no map: a mistake of Pinion's.
    #[error("{0}")]
    Map(#[from] MapError),
    /// Mappings of devices hold it.
    #[error("{pins} mappings of devices hold the memory at {start:#x}")]
    Pinned {
        /// Start of the region.
        start: HostAddr,
        /// How many.
        pins: u64,
    },
    /// What devices have written may be on its way.
    #[error("{0}")]
    NotQuiet(DmaError),
}

/// A naturally aligned block: its start, and its size as a base-2 logarithm.
type Block = (HostAddr, u32);

/// Blocks of `bytes` bytes in all, the largest first, which keeps the address
/// that a partition sees as aligned as the machine's.
fn gather(blocks: &impl Blocks, bytes: u64, chip: Option<u32>) -> Result<Vec<Block>, MemoryError> {
    let mut found = Vec::new();
    let mut left = bytes;
    let mut largest = MAX_SHIFT;
    while left != 0 {
        let shift = left.ilog2().min(largest);
        let error = match blocks.allocate(shift, chip) {
            // Neighbours may join to fewer regions in the end.
            Some(start) if found.len() < 4 * REGIONS_PER_OWNER => {
                found.push((start, shift));
                left -= 1 << shift;
                continue;
            }
            None if shift > SMALLEST => {
                largest = shift - 1;
                continue;
            }
            None => MemoryError::NotFree {
                asked: bytes,
                missing: left,
            },
            Some(start) => {
                blocks.free(start, shift);
                MemoryError::Scattered(bytes)
            }
        };
        give_back(blocks, found);
        return Err(error);
    }
    Ok(found)
}

fn give_back(blocks: &impl Blocks, found: Vec<Block>) {
    for (start, shift) in found {
        blocks.free(start, shift);
    }
}

/// The pieces that blocks make, from the partition's address 0 on: those that
/// follow each other are one.
fn pieces(found: &[Block]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut guest = 0;
    for &(host, shift) in found {
        let bytes = 1u64 << shift;
        match pieces.last_mut() {
            Some(last) if last.host.checked_add(last.bytes) == Some(host) => last.bytes += bytes,
            _ => pieces.push(Piece {
                guest: GuestAddr::new(guest),
                host,
                bytes,
            }),
        }
        guest += bytes;
    }
    pieces
}

/// Memory of one partition: blocks of the machine's, owned by it in the ledger.
///
/// Dropping it loses the memory: it goes back by [`Memory::release`], which can
/// fail, as devices may hold it.
#[must_use = "the memory is lost if this is dropped"]
pub struct Memory<P: Platform> {
    holdings: Arc<Holdings<P>>,
    map: GuestMap,
    blocks: Vec<Block>,
    bytes: u64,
}

impl<P: Platform> Memory<P> {
    /// `bytes` bytes of zeroed memory for a new owner, in the fewest regions:
    /// of `chip` if it has as much, else of any.
    ///
    /// # Errors
    /// Not enough memory, or the ledger refuses. Nothing has changed.
    pub fn allocate(
        blocks: &impl Blocks,
        ledger: &Ledger<P>,
        owner: OwnerId,
        bytes: u64,
        chip: Option<u32>,
    ) -> Result<Self, MemoryError> {
        if bytes == 0 || !bytes.is_multiple_of(MEMORY_UNIT) {
            return Err(MemoryError::Size(bytes));
        }
        let near = chip.map(|chip| gather(blocks, bytes, Some(chip)));
        let found = match near {
            Some(Ok(found)) => found,
            _ => gather(blocks, bytes, None)?,
        };
        let granted = Self::grant(blocks, ledger, owner, &found);
        match granted {
            Ok((holdings, map)) => Ok(Self {
                holdings,
                map,
                blocks: found,
                bytes,
            }),
            Err(error) => {
                give_back(blocks, found);
                Err(error)
            }
        }
    }

    fn grant(
        blocks: &impl Blocks,
        ledger: &Ledger<P>,
        owner: OwnerId,
        found: &[Block],
    ) -> Result<(Arc<Holdings<P>>, GuestMap), MemoryError> {
        let map = GuestMap::new(pieces(found)).map_err(|error| match error {
            MapError::TooMany(_) => MemoryError::Scattered(found.iter().map(|it| 1 << it.1).sum()),
            error => MemoryError::Map(error),
        })?;
        zero(blocks, &map);
        let holdings = ledger.add_owner(owner)?;
        for (done, piece) in map.pieces().iter().enumerate() {
            let granule = granule(piece.bytes);
            if let Err(error) = ledger.grant(&holdings, piece.host, piece.bytes, granule) {
                // Nothing was mapped: what was given comes back at once.
                for piece in map.pieces().get(..done).unwrap_or(&[]) {
                    ledger.close(&holdings, piece.host)?;
                    let _free = ledger.reclaim(&holdings, piece.host)?;
                }
                ledger.remove_owner(&holdings)?;
                return Err(error.into());
            }
        }
        Ok((holdings, map))
    }

    /// Whose regions these are.
    pub fn owner(&self) -> OwnerId {
        self.holdings.owner()
    }

    /// The regions, for windows.
    pub fn holdings(&self) -> &Arc<Holdings<P>> {
        &self.holdings
    }

    /// Where the partition's addresses are in the machine.
    pub fn map(&self) -> &GuestMap {
        &self.map
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the memory ready for another use: no mapping holds it, what the
    /// partition's devices had posted has landed, and then it is zeroed. No vCPU
    /// is in it. It stays the partition's, and open.
    ///
    /// # Errors
    /// Mappings hold some of it, or a device does not answer; it is not zeroed
    /// then.
    pub fn renew(
        &self,
        engine: &Engine<P>,
        ledger: &Ledger<P>,
        blocks: &impl Blocks,
    ) -> Result<(), MemoryError> {
        let quieted = self.quiet(engine, ledger);
        if quieted.is_ok() {
            zero(blocks, &self.map);
        }
        self.open(ledger);
        quieted
    }

    /// Gives all of it back, zeroed, and ends its owner.
    ///
    /// # Errors
    /// As [`Memory::renew`], or somebody refers to the regions: a window that was
    /// not removed. The memory comes back with the error, and stays the
    /// partition's.
    #[allow(
        clippy::result_large_err,
        reason = "the caller gets back what it gave, on a control path"
    )]
    pub fn release(
        self,
        engine: &Engine<P>,
        ledger: &Ledger<P>,
        blocks: &impl Blocks,
    ) -> Result<(), (Self, MemoryError)> {
        let others = Arc::strong_count(&self.holdings) - 1;
        let quieted = match others {
            0 => self.quiet(engine, ledger),
            _ => Err(LedgerError::InUse {
                owner: self.owner(),
                others,
            }
            .into()),
        };
        if let Err(error) = quieted {
            self.open(ledger);
            return Err((self, error));
        }
        zero(blocks, &self.map);
        for piece in self.map.pieces() {
            // All are closed and quiet, so that none is refused.
            match ledger.reclaim(&self.holdings, piece.host) {
                Ok(free) => debug_assert_eq!(free.bytes, piece.bytes),
                Err(error) => return Err((self, error.into())),
            }
        }
        if let Err(error) = ledger.remove_owner(&self.holdings) {
            return Err((self, error.into()));
        }
        give_back(blocks, self.blocks);
        Ok(())
    }

    /// Closes all regions and waits until they are quiet. They stay closed,
    /// unless it fails.
    fn quiet(&self, engine: &Engine<P>, ledger: &Ledger<P>) -> Result<(), MemoryError> {
        for piece in self.map.pieces() {
            let pins = ledger.close(&self.holdings, piece.host)?;
            if pins != 0 {
                let start = piece.host;
                return Err(MemoryError::Pinned { start, pins });
            }
        }
        self.map.pieces().iter().try_for_each(|piece| {
            engine
                .quiet(&self.holdings, piece.host)
                .map_err(MemoryError::NotQuiet)
        })
    }

    fn open(&self, ledger: &Ledger<P>) {
        for piece in self.map.pieces() {
            let opened = ledger.reopen(&self.holdings, piece.host);
            debug_assert!(opened.is_ok(), "{opened:?}");
        }
    }
}

/// Log2 of the bytes of a dirty granule, so that the map stays small.
fn granule(bytes: u64) -> u32 {
    (bytes.ilog2() + 1)
        .saturating_sub(DIRTY_MAP_SHIFT)
        .clamp(SMALLEST, 30)
}

/// Chunk by chunk.
fn zero(blocks: &impl Blocks, map: &GuestMap) {
    for piece in map.pieces() {
        let mut done = 0;
        while done < piece.bytes {
            let bytes = CHUNK.min(piece.bytes - done);
            // A piece ends below 2^64.
            if let Some(at) = piece.host.checked_add(done) {
                blocks.zero(at, bytes);
            }
            blocks.pause();
            done += bytes;
        }
    }
}
