//! Pins of pages that no table entry stands for yet: values that remove
//! themselves.

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
pub(super) enum Stop {
    NotOwned(HostAddr),
    Gate(HostAddr, GateError),
}

impl Stop {
    pub(super) fn at(self, owner: OwnerId) -> PinError {
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

    /// Pins the page of `1 << page_shift` bytes at `host` so many times.
    pub fn pin_repeatedly(
        &self,
        host: HostAddr,
        times: u64,
        page_shift: u32,
    ) -> Result<RepeatedPins<'_, I>, PinError> {
        let regions = self.regions.read();
        let whole = |region: &&Region| region.span(page_shift, 0).has(host.get());
        let stop = match regions.find(host).filter(whole) {
            Some(region) => region
                .gate()
                .pin(times)
                .err()
                .map(|error| Stop::Gate(host, error)),
            None => Some(Stop::NotOwned(host)),
        };
        match stop {
            None => Ok(RepeatedPins {
                holdings: self,
                host,
                times,
            }),
            Some(stop) => Err(stop.at(self.owner())),
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

/// Several pins of one page that no table entries stand for yet: they go when this is
/// dropped, on any path.
#[must_use = "dropping this removes the pins"]
pub struct RepeatedPins<'a, I: Interrupts> {
    holdings: &'a Holdings<I>,
    host: HostAddr,
    times: u64,
}

impl<I: Interrupts> RepeatedPins<'_, I> {
    /// Leaves the pins to the table entries that were stored.
    pub fn keep(mut self) {
        self.times = 0;
    }
}

impl<I: Interrupts> Drop for RepeatedPins<'_, I> {
    fn drop(&mut self) {
        if self.times == 0 {
            return;
        }
        match self.holdings.regions.read().find(self.host) {
            Some(region) => region.gate().unpin(self.times),
            None => debug_assert!(false, "pinned page {:#x} is nobody's", self.host),
        }
    }
}
