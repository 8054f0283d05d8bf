//! Pins of pages that no table entry stands for yet: values that remove
//! themselves.

use super::OwnerId;
use super::gate::GateError;
use super::holdings::Holdings;
use super::region::Region;
use super::regions::Regions;
use crate::addr::HostAddr;
use crate::memory::span::{self, Span};
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

    /// Pins the page of each of `entries` that has one, each of `1 << page_shift` bytes,
    /// in any order: a range check for each, and one addition for each change of
    /// region. An entry that is 0 has none. On failure, nothing is pinned; the error
    /// comes with the number of the entry. A page that is not aligned is nobody's.
    ///
    /// What was pinned is noted nowhere: to undo it, the list is walked again.
    #[inline]
    pub fn pin_each<'a, T: Copy + Into<u64>>(
        &'a self,
        entries: &'a [T],
        page_shift: u32,
    ) -> Result<ScatteredPins<'a, I, T>, (usize, PinError)> {
        let result = pin_scattered(&self.regions.read(), entries, page_shift);
        match result {
            Ok(pages) => Ok(ScatteredPins {
                holdings: self,
                pages,
                pinned: entries,
            }),
            Err((number, stop)) => {
                // The pages before this one lose their pins.
                self.unpin_list(entries.get(..number).unwrap_or(&[]));
                Err((number, stop.at(self.owner())))
            }
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

/// Pins the pages of entries in any order, region by region. Returns how many there
/// were; on failure, the number of the entry at fault: the pages before are pinned.
#[inline]
fn pin_scattered<T: Copy + Into<u64>>(
    regions: &Regions,
    entries: &[T],
    page_shift: u32,
) -> Result<usize, (usize, Stop)> {
    let mut run = PinRun::default();
    let mut pages = entries.len();
    // In the region of the one before, and with the same rights.
    let mut span = Span::NONE;
    let mut number = 0;
    while let Some(&entry) = entries.get(number) {
        let bits = entry.into();
        if span.has(bits) {
            let rest = entries.get(number..).unwrap_or(&[]);
            number = number.wrapping_add(how_many(rest, span));
            continue;
        }
        if bits == 0 {
            run.others = run.others.wrapping_add(1);
            pages = pages.wrapping_sub(1);
            number = number.wrapping_add(1);
            continue;
        }
        let host = HostAddr::new(span::page(bits));
        let region = match run.region.filter(|region| region.offset(host).is_some()) {
            Some(region) => region,
            None => {
                run.pin(number)?;
                let found = regions.find(host);
                let region = found.ok_or((number, Stop::NotOwned(host)))?;
                run = PinRun {
                    region: Some(region),
                    first: number,
                    from: host,
                    others: 0,
                };
                region
            }
        };
        span = region.span(page_shift, bits);
        if !span.has(bits) {
            // What came before it in the region is not pinned yet.
            run.pin(number)?;
            return Err((number, Stop::NotOwned(host)));
        }
        number = number.wrapping_add(1);
    }
    run.pin(entries.len())?;
    Ok(pages)
}

/// How many of `entries` are of `span` before the first that is not.
#[inline]
fn how_many<T: Copy + Into<u64>>(entries: &[T], span: Span) -> usize {
    let is_other = |&entry: &T| !span.has(entry.into());
    let (groups, _) = entries.as_chunks::<8>();
    let mut number = 0usize;
    for group in groups {
        for (lane, entry) in group.iter().enumerate() {
            if is_other(entry) {
                return number.wrapping_add(lane);
            }
        }
        number = number.wrapping_add(group.len());
    }
    let rest = entries.get(number..).unwrap_or(&[]);
    number.wrapping_add(rest.iter().position(is_other).unwrap_or(rest.len()))
}

/// Consecutive entries of one region, which are not pinned yet.
#[derive(Default)]
struct PinRun<'r> {
    region: Option<&'r Region>,
    // Number of the first.
    first: usize,
    from: HostAddr,
    // Those without a page.
    others: usize,
}

impl PinRun<'_> {
    /// Pins their pages: those before entry `end`.
    #[inline]
    fn pin(&self, end: usize) -> Result<(), (usize, Stop)> {
        let pins = end.wrapping_sub(self.first).wrapping_sub(self.others) as u64;
        match self.region {
            Some(region) if pins != 0 => {
                let result = region.gate().pin(pins);
                result.map_err(|error| (self.first, Stop::Gate(self.from, error)))
            }
            _ => Ok(()),
        }
    }
}

/// Pins of the pages of entries in any order that are in no table yet: they go when
/// this is dropped, on any path.
#[must_use = "dropping this removes the pins"]
pub struct ScatteredPins<'a, I: Interrupts, T: Copy + Into<u64>> {
    holdings: &'a Holdings<I>,
    pages: usize,
    pinned: &'a [T],
}

impl<I: Interrupts, T: Copy + Into<u64>> ScatteredPins<'_, I, T> {
    /// How many pages are pinned.
    #[inline]
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Leaves the pins to the table entries that were stored.
    #[inline]
    pub fn keep(mut self) {
        self.pinned = &[];
    }
}

impl<I: Interrupts, T: Copy + Into<u64>> Drop for ScatteredPins<'_, I, T> {
    #[inline]
    fn drop(&mut self) {
        if !self.pinned.is_empty() {
            self.holdings.unpin_list(self.pinned);
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
