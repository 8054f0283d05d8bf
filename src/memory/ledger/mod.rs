//! The ledger: which partition owns which region, and how many mappings hold it.
//!
//! Ownership and pins are counted per region: one atomic addition for a run of
//! any length. Which frames the pins are for is not stored here: the TCE tables
//! say that exactly.
//!
//! A region changes owner only through its closing gate: [`Ledger::close`]
//! admits no new pin; once the last is gone and the region is quiet (its owner's
//! devices have no posted write on its way: [`Holdings::begin_quieting`]),
//! [`Ledger::reclaim`] succeeds.
//!
//! Pins that a table entry stood for are removed for the proof of a completed
//! kill ([`Killed`](crate::kill::Killed)) only; pins that no entry stands for yet
//! are values that remove themselves ([`Pins`], [`ScatteredPins`], [`RepeatedPins`]).

mod counts;
mod dirty;
mod gate;
mod holdings;
mod index;
mod known;
mod pins;
mod quiet;
mod region;
mod regions;
mod release;
mod run;
mod scattered;

use alloc::sync::Arc;

pub use counts::RegionCounts;
pub use gate::{Gate, GateError, GateState};
pub use holdings::Holdings;
pub use known::{KnownRegion, PagePin};
pub use pins::{PinError, Pins, RepeatedPins};
pub use quiet::Quieting;
pub use region::{Region, RegionInfo, RegionNumber};
pub use release::{Held, Releaser, Tally};
pub use run::{Pages, Place, Scan};
pub use scattered::ScatteredPins;

pub use crate::seam::OwnerId;

use crate::addr::HostAddr;
use crate::memory::sorted::Sorted;
use crate::seam::Interrupts;
use crate::seam::sync::{Lock, LockGuard, Rank};

/// Most regions that one owner can have.
pub const REGIONS_PER_OWNER: usize = 256;

/// Regions start and end at multiples of `1 << FRAME_SHIFT` bytes.
pub const FRAME_SHIFT: u32 = 12;

/// Contiguous host memory that nobody owns any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "memory that is not granted again is lost"]
pub struct FreeMemory {
    /// First address.
    pub start: HostAddr,
    /// Bytes.
    pub bytes: u64,
}

/// Why the ledger did not change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LedgerError {
    /// A region of no bytes.
    #[error("region at {0:#x} has no bytes")]
    Empty(HostAddr),
    /// Not whole frames.
    #[error("region at {start:#x} of {bytes:#x} bytes is not whole 4K frames")]
    Misaligned {
        /// First address.
        start: HostAddr,
        /// Bytes.
        bytes: u64,
    },
    /// The end is beyond 2^64.
    #[error("region at {start:#x} of {bytes:#x} bytes ends beyond 2^64")]
    Overflow {
        /// First address.
        start: HostAddr,
        /// Bytes.
        bytes: u64,
    },
    /// Some of it is owned already.
    #[error("region at {start:#x} overlaps the region at {other:#x} of partition {}", owner.0)]
    Overlap {
        /// First address asked for.
        start: HostAddr,
        /// First address of the region in the way.
        other: HostAddr,
        /// Its owner.
        owner: OwnerId,
    },
    /// A dirty granule is 2^12 to 2^30 bytes.
    #[error("a dirty granule of 2^{0} bytes: 2^12 to 2^30 are possible")]
    Granule(u32),
    /// The owner has the largest number of regions.
    #[error("partition {} has {REGIONS_PER_OWNER} regions already", .0.0)]
    TooManyRegions(OwnerId),
    /// No memory for the dirty map.
    #[error("no memory for a dirty map of {0} bytes")]
    NoMemory(u64),
    /// No memory for the machine's list of regions or owners.
    #[error("no memory for a list of {0} entries")]
    NoRoom(usize),
    /// No region of this owner starts there.
    #[error("no region of this partition starts at {0:#x}")]
    NoRegion(HostAddr),
    /// The region must be closed first.
    #[error("the region at {0:#x} is open")]
    Open(HostAddr),
    /// Mappings hold the region.
    #[error("{pins} mappings hold the region at {start:#x}")]
    Pinned {
        /// First address.
        start: HostAddr,
        /// How many.
        pins: u64,
    },
    /// A device may have posted a write that has not landed.
    #[error("writes to the region at {0:#x} may be on their way")]
    NotQuiet(HostAddr),
    /// Another thread waits for such writes.
    #[error("another thread waits for writes to the region at {0:#x}")]
    Quieting(HostAddr),
    /// The pins of the region did not add up once: it is never given away.
    #[error("the pin count of the region at {0:#x} is broken")]
    Broken(HostAddr),
    /// The number is taken.
    #[error("partition {} exists", .0.0)]
    OwnerExists(OwnerId),
    /// No owner has this number.
    #[error("partition {} does not exist", .0.0)]
    NoOwner(OwnerId),
    /// The owner has regions, or is about to get one.
    #[error("partition {} has memory", .0.0)]
    HasRegions(OwnerId),
    /// Somebody else, a window for instance, refers to the owner's regions.
    #[error("the memory of partition {} is referred to in {others} more places", owner.0)]
    InUse {
        /// The owner.
        owner: OwnerId,
        /// How many others.
        others: usize,
    },
}

/// The machine's regions. Control paths only: hot paths use [`Holdings`].
pub struct Ledger<I: Interrupts> {
    books: Lock<Books, I>,
}

#[derive(Default)]
struct Books {
    owners: Sorted<OwnerId, ()>,
    // Start of a region to its last byte and owner.
    regions: Sorted<HostAddr, (HostAddr, OwnerId)>,
}

impl Books {
    fn exists(&self, owner: OwnerId) -> Result<(), LedgerError> {
        match self.owners.get(&owner) {
            Some(()) => Ok(()),
            None => Err(LedgerError::NoOwner(owner)),
        }
    }

    fn overlap(&self, start: HostAddr, last: HostAddr) -> Option<(HostAddr, OwnerId)> {
        let &(other, (end, owner)) = self.regions.up_to(&last)?;
        (end >= start).then_some((other, owner))
    }
}

impl<I: Interrupts> Default for Ledger<I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: Interrupts> Ledger<I> {
    /// A ledger in which nobody owns anything.
    pub fn new() -> Self {
        Self {
            books: Lock::new(Rank::Books, Books::default()),
        }
    }

    /// A new owner without regions.
    pub fn add_owner(&self, owner: OwnerId) -> Result<Arc<Holdings<I>>, LedgerError> {
        let mut books = self.books_with_room(|books| &mut books.owners)?;
        if books.owners.get(&owner).is_some() {
            return Err(LedgerError::OwnerExists(owner));
        }
        if !books.owners.set(owner, ()) {
            return Err(LedgerError::NoRoom(1));
        }
        drop(books);
        Ok(Arc::new(Holdings::new(owner)))
    }

    /// Ends an owner without regions that nobody else refers to: nothing of it is
    /// left here. Its number is not to be given again, unless each of its PEs was
    /// reset: the engine knows a PE's owner by this number.
    ///
    /// # Errors
    /// It has regions, or a window that is not gone refers to them. Nothing has
    /// changed.
    pub fn remove_owner(&self, holdings: &Arc<Holdings<I>>) -> Result<(), LedgerError> {
        let owner = holdings.owner();
        let mut books = self.books.lock();
        if !holdings.is_empty() {
            return Err(LedgerError::HasRegions(owner));
        }
        let others = Arc::strong_count(holdings) - 1;
        if others != 0 {
            return Err(LedgerError::InUse { owner, others });
        }
        let known = books.owners.remove(&owner);
        known.ok_or(LedgerError::NoOwner(owner))
    }

    /// Owners and regions that there are.
    pub fn counts(&self) -> (usize, usize) {
        let books = self.books.lock();
        (books.owners.len(), books.regions.len())
    }

    /// The books, when `list` of them has room for another entry. Memory is taken
    /// and given back without the lock.
    fn books_with_room<K: Ord + Copy, V>(
        &self,
        list: impl Fn(&mut Books) -> &mut Sorted<K, V>,
    ) -> Result<LockGuard<'_, Books, I>, LedgerError> {
        loop {
            let mut books = self.books.lock();
            let Some(wanted) = list(&mut books).wants() else {
                return Ok(books);
            };
            drop(books);
            let room = Sorted::room(wanted).ok_or(LedgerError::NoRoom(wanted))?;
            let old = list(&mut self.books.lock()).exchange(room);
            drop(old);
        }
    }

    /// Gives `bytes` at `start` to the owner of `holdings`. Its dirty map has a
    /// byte for each `1 << granule` bytes.
    pub fn grant(
        &self,
        holdings: &Holdings<I>,
        start: HostAddr,
        bytes: u64,
        granule: u32,
    ) -> Result<(), LedgerError> {
        let region = Arc::new(Region::new(start, bytes, granule)?);
        let (start, last) = (region.start(), region.last());
        let mut books = self.books_with_room(|books| &mut books.regions)?;
        books.exists(holdings.owner())?;
        if let Some((other, owner)) = books.overlap(start, last) {
            return Err(LedgerError::Overlap {
                start,
                other,
                owner,
            });
        }
        if holdings.is_full() {
            return Err(LedgerError::TooManyRegions(holdings.owner()));
        }
        if !books.regions.set(start, (last, holdings.owner())) {
            return Err(LedgerError::NoRoom(1));
        }
        holdings.insert(region).inspect_err(|_| {
            books.regions.remove(&start);
        })
    }

    /// Closes the gate of the region at `start`: no new pin is admitted. Returns
    /// how many mappings still hold it.
    pub fn close(&self, holdings: &Holdings<I>, start: HostAddr) -> Result<u64, LedgerError> {
        holdings.with_region(start, |region| region.gate().close())
    }

    /// Opens the gate again.
    pub fn reopen(&self, holdings: &Holdings<I>, start: HostAddr) -> Result<(), LedgerError> {
        if holdings.with_region(start, |region| region.gate().reopen())? {
            Ok(())
        } else {
            Err(LedgerError::Quieting(start))
        }
    }

    /// Takes a closed, quiet region back that no mapping holds.
    pub fn reclaim(
        &self,
        holdings: &Holdings<I>,
        start: HostAddr,
    ) -> Result<FreeMemory, LedgerError> {
        let region = {
            let mut books = self.books.lock();
            let region = holdings.remove(start)?;
            books.regions.remove(&start);
            region
        };
        // Its dirty map goes to the heap without the lock.
        Ok(FreeMemory {
            start,
            bytes: region.bytes(),
        })
    }

    /// Moves a closed, quiet region that no mapping holds from one owner to another,
    /// open, with no page dirty. Nothing changes if that fails.
    pub fn transfer(
        &self,
        from: &Holdings<I>,
        to: &Holdings<I>,
        start: HostAddr,
    ) -> Result<(), LedgerError> {
        let region = {
            let mut books = self.books.lock();
            books.exists(to.owner())?;
            if to.is_full() {
                return Err(LedgerError::TooManyRegions(to.owner()));
            }
            let region = from.remove(start)?;
            to.expect();
            // The entry is there: it changes in place.
            let changed = books.regions.set(start, (region.last(), to.owner()));
            debug_assert!(changed, "region {start:#x} was in no book");
            region
        };
        // Nobody else knows the region now. Its map may be long: without a lock.
        let renewed = Arc::new(region.renewed());
        let _books = self.books.lock();
        to.insert_expected(renewed)
    }

    /// Who owns the byte at `host`, and the last byte from there on that has the
    /// same owner, or none, by the same region.
    pub fn owner_up_to(&self, host: HostAddr) -> (Option<OwnerId>, HostAddr) {
        let books = self.books.lock();
        if let Some(&(_, (last, owner))) = books.regions.up_to(&host)
            && last >= host
        {
            return (Some(owner), last);
        }
        // Regions start at whole frames, so there is a byte below the next.
        let next = books.regions.after(&host);
        let last = next.and_then(|(start, _)| start.get().checked_sub(1));
        (None, HostAddr::new(last.unwrap_or(u64::MAX)))
    }

    /// Who owns the byte at `host`.
    pub fn owner_of(&self, host: HostAddr) -> Option<OwnerId> {
        self.books
            .lock()
            .overlap(host, host)
            .map(|(_, owner)| owner)
    }
}
