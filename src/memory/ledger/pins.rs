//! Pins of pages that no table entry stands for yet: values that remove
//! themselves.

use core::iter::Take;

use super::OwnerId;
use super::gate::GateError;
use super::holdings::Holdings;
use super::region::Region;
use super::regions::Regions;
use crate::addr::HostAddr;
use crate::seam::Interrupts;

/// Why pages were not pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PinError {
    /// The page is not wholly in one region of the owner.
    #[error("page {host:#x} is not in a region of partition {}", owner.0)]
    NotOwned {
        /// The first such page.
        host: HostAddr,
        /// Who asked.
        owner: OwnerId,
    },
    /// The region is being taken back.
    #[error("page {host:#x} is in a region that is being taken back")]
    Closing {
        /// The first such page.
        host: HostAddr,
    },
    /// The end is beyond 2^64.
    #[error("{bytes:#x} bytes from {host:#x} end beyond 2^64")]
    Overflow {
        /// First address.
        host: HostAddr,
        /// Bytes.
        bytes: u64,
    },
    /// Its region would have 2^60 pins.
    #[error("{pins} more pins do not fit on page {host:#x}")]
    TooMany {
        /// The first page.
        host: HostAddr,
        /// Pins asked for.
        pins: u64,
    },
}

impl PinError {
    /// The page that it is about.
    pub fn host(&self) -> HostAddr {
        match *self {
            Self::NotOwned { host, .. }
            | Self::Closing { host }
            | Self::Overflow { host, .. }
            | Self::TooMany { host, .. } => host,
        }
    }
}

/// Where pinning stopped.
enum Stop {
    NotOwned(HostAddr),
    Gate(HostAddr, GateError),
}

impl Stop {
    fn at(self, owner: OwnerId) -> PinError {
        match self {
            Self::NotOwned(host) => PinError::NotOwned { host, owner },
            Self::Gate(host, GateError::Closed) => PinError::Closing { host },
            Self::Gate(host, GateError::Overflow(pins)) => PinError::TooMany { host, pins },
        }
    }
}

impl<I: Interrupts> Holdings<I> {
    /// Pins `pages` pages of `1 << page_shift` bytes from `host`: one range
    /// check and one addition for each region that they are in, usually one.
    #[inline]
    pub fn pin(
        &self,
        host: HostAddr,
        pages: u64,
        page_shift: u32,
    ) -> Result<Pins<'_, I>, PinError> {
        let pins = |pages| Pins {
            holdings: self,
            host,
            pages,
            page_shift,
        };
        let regions = self.regions.read();
        if let Some(region) = regions.find(host)
            && let room = region.room(host).wrapping_shr(page_shift)
            && pages.wrapping_sub(1) < room
            && region.gate().pin(pages).is_ok()
        {
            return Ok(pins(pages));
        }
        drop(regions);
        self.pin_parts(pins(0), pages)
    }

    /// As [`Holdings::pin`], of several regions, or to tell what is wrong. The pages
    /// of `pins` are none yet.
    #[cold]
    fn pin_parts<'a>(&'a self, mut pins: Pins<'a, I>, pages: u64) -> Result<Pins<'a, I>, PinError> {
        let Pins {
            host, page_shift, ..
        } = pins;
        let bytes = pages
            .checked_mul(1 << page_shift)
            .ok_or(PinError::Overflow {
                host,
                bytes: u64::MAX,
            })?;
        if bytes == 0 || host.checked_add(bytes - 1).is_none() {
            return Err(PinError::Overflow { host, bytes });
        }
        // The lock is open again before the pins of a failure go.
        let result = pin_pieces(
            &self.regions.read(),
            host,
            pages,
            page_shift,
            &mut pins.pages,
        );
        match result {
            Ok(()) => Ok(pins),
            Err(stop) => Err(stop.at(self.owner())),
        }
    }

    /// Pins the pages that `pages` yields, each of `1 << page_shift` bytes, in any
    /// order: a range check for each, and one addition for each change of region. On
    /// failure, nothing is pinned; the error comes with the number of the page.
    ///
    /// What was pinned is noted nowhere: to undo it, the list is walked again.
    #[inline]
    pub fn pin_each<L: Iterator<Item = HostAddr> + Clone>(
        &self,
        pages: L,
        page_shift: u32,
    ) -> Result<ScatteredPins<'_, I, L>, (usize, PinError)> {
        let result = pin_scattered(&self.regions.read(), pages.clone(), page_shift);
        let (count, stop) = match result {
            Ok(count) => (count, None),
            Err((count, stop)) => (count, Some(stop)),
        };
        let pins = ScatteredPins {
            holdings: self,
            pinned: Some(pages.take(count)),
        };
        match stop {
            None => Ok(pins),
            // The pages before this one lose their pins here.
            Some(stop) => Err((count, stop.at(self.owner()))),
        }
    }
}

/// Pins region by region; `done` counts the pages.
#[inline]
fn pin_pieces(
    regions: &Regions,
    host: HostAddr,
    pages: u64,
    page_shift: u32,
    done: &mut u64,
) -> Result<(), Stop> {
    while *done < pages {
        let at = HostAddr::new(host.get().wrapping_add(*done << page_shift));
        let region = regions.find(at).ok_or(Stop::NotOwned(at))?;
        // A page that only begins in the region is not owned.
        let here = (pages - *done).min(region.room(at) >> page_shift);
        if here == 0 {
            return Err(Stop::NotOwned(at));
        }
        region
            .gate()
            .pin(here)
            .map_err(|error| Stop::Gate(at, error))?;
        *done += here;
    }
    Ok(())
}

/// Pins of a run of pages that no table entry stands for yet: they go when this
/// is dropped, on any path.
#[must_use = "dropping this removes the pins"]
pub struct Pins<'a, I: Interrupts> {
    holdings: &'a Holdings<I>,
    host: HostAddr,
    pages: u64,
    page_shift: u32,
}

impl<I: Interrupts> Pins<'_, I> {
    /// Leaves the pins to the table entries that were stored.
    #[inline]
    pub fn keep(mut self) {
        self.pages = 0;
    }
}

impl<I: Interrupts> Drop for Pins<'_, I> {
    #[inline]
    fn drop(&mut self) {
        if self.pages != 0 {
            self.holdings
                .unpin_pieces(self.host, self.pages, self.page_shift);
        }
    }
}

/// Pins pages in any order, region by region. Returns how many there were; on
/// failure, how many are pinned, which is the number of the page at fault.
#[inline]
fn pin_scattered(
    regions: &Regions,
    pages: impl Iterator<Item = HostAddr>,
    page_shift: u32,
) -> Result<usize, (usize, Stop)> {
    let page_bytes = 1u64 << page_shift;
    let mut current: Option<&Region> = None;
    // The first page of the run in the current region.
    let (mut first, mut from) = (0, HostAddr::new(0));
    let mut count = 0usize;
    let flush = |region: Option<&Region>, first: usize, count: usize, from: HostAddr| {
        let Some(region) = region else { return Ok(()) };
        let pins = count.wrapping_sub(first) as u64;
        let result = region.gate().pin(pins);
        result.map_err(|error| (first, Stop::Gate(from, error)))
    };
    for host in pages {
        let inside = |region: &&Region| {
            region
                .offset(host)
                .is_some_and(|at| region.bytes().wrapping_sub(at) >= page_bytes)
        };
        if current.filter(inside).is_none() {
            flush(current, first, count, from)?;
            let found = regions.find(host).filter(inside);
            current = Some(found.ok_or((count, Stop::NotOwned(host)))?);
            (first, from) = (count, host);
        }
        count = count.wrapping_add(1);
    }
    flush(current, first, count, from)?;
    Ok(count)
}

/// Pins of pages in any order that no table entries stand for yet: they go when
/// this is dropped, on any path.
#[must_use = "dropping this removes the pins"]
pub struct ScatteredPins<'a, I: Interrupts, L: Iterator<Item = HostAddr>> {
    holdings: &'a Holdings<I>,
    pinned: Option<Take<L>>,
}

impl<I: Interrupts, L: Iterator<Item = HostAddr>> ScatteredPins<'_, I, L> {
    /// Leaves the pins to the table entries that were stored.
    #[inline]
    pub fn keep(mut self) {
        self.pinned = None;
    }
}

impl<I: Interrupts, L: Iterator<Item = HostAddr>> Drop for ScatteredPins<'_, I, L> {
    #[inline]
    fn drop(&mut self) {
        if let Some(pages) = self.pinned.take() {
            self.holdings.unpin_list(pages);
        }
    }
}
