//! Where a partition's memory lies in the machine's.

use crate::addr::{GuestAddr, HostAddr};
use crate::memory::ledger::REGIONS_PER_OWNER;
use crate::tce::PageShift;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hint::cold_path;

/// One region: contiguous both as the partition sees it and in the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First address, as the partition sees it.
    pub guest: GuestAddr,
    /// First address in the machine.
    pub host: HostAddr,
    /// Bytes.
    pub bytes: u64,
}

impl Piece {
    /// As [`GuestMap::run`], if it is in this piece.
    #[inline]
    fn run(&self, guest: GuestAddr) -> Option<(HostAddr, u64)> {
        let offset = guest.checked_sub(self.guest)?;
        let room = self.bytes.checked_sub(offset).filter(|room| *room != 0)?;
        Some((self.host.checked_add(offset)?, room))
    }
}

/// Why pieces make no map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// An empty piece, or one that ends beyond 2^64.
    #[error("{0:?} has no end")]
    Piece(Piece),
    /// Two pieces share addresses.
    #[error("{0:?} overlaps another")]
    Overlap(Piece),
    /// More pieces than an owner can have regions.
    #[error("{0} regions: at most {REGIONS_PER_OWNER} are possible")]
    TooMany(usize),
}

/// A partition's memory, both ways in O(log n). Without a heap once it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestMap {
    by_guest: Box<[Piece]>,
    by_host: Box<[Piece]>,
}

impl GuestMap {
    /// A map of `pieces`.
    ///
    /// # Errors
    /// The first piece that cannot be.
    pub fn new(pieces: Vec<Piece>) -> Result<Self, MapError> {
        if pieces.len() > REGIONS_PER_OWNER {
            return Err(MapError::TooMany(pieces.len()));
        }
        for piece in &pieces {
            let last = piece.bytes.checked_sub(1);
            let ends = |last| {
                piece.guest.checked_add(last).is_some() && piece.host.checked_add(last).is_some()
            };
            if !last.is_some_and(ends) {
                return Err(MapError::Piece(*piece));
            }
        }
        let mut by_guest = pieces;
        let mut by_host = by_guest.clone();
        by_guest.sort_unstable_by_key(|piece| piece.guest);
        by_host.sort_unstable_by_key(|piece| piece.host);
        let overlap = |pieces: &[Piece], start: fn(&Piece) -> u64| {
            pieces.windows(2).find_map(|pair| match pair {
                [low, high] if start(high) - start(low) < low.bytes => Some(*high),
                _ => None,
            })
        };
        let shared = overlap(&by_guest, |piece| piece.guest.get())
            .or_else(|| overlap(&by_host, |piece| piece.host.get()));
        if let Some(piece) = shared {
            return Err(MapError::Overlap(piece));
        }
        Ok(Self {
            by_guest: by_guest.into_boxed_slice(),
            by_host: by_host.into_boxed_slice(),
        })
    }

    /// The pieces, by the address that the partition sees.
    pub fn pieces(&self) -> &[Piece] {
        &self.by_guest
    }

    /// Whether each whole IO page of the partition is one of the machine: all
    /// pieces begin and end with a page, on both sides.
    pub fn is_made_of(&self, page: PageShift) -> bool {
        let is_whole = |piece: &Piece| {
            piece.guest.is_aligned(page.get())
                && piece.host.is_aligned(page.get())
                && piece.bytes.is_multiple_of(page.bytes())
        };
        self.by_guest.iter().all(is_whole)
    }

    /// Where the `bytes` bytes from `guest` are, if they are in one piece.
    #[inline]
    pub fn host(&self, guest: GuestAddr, bytes: u64) -> Option<HostAddr> {
        let (host, room) = self.run(guest)?;
        (room >= bytes).then_some(host)
    }

    /// Where the byte at `guest` is, and how many bytes from there on are in one
    /// piece.
    #[inline]
    pub fn run(&self, guest: GuestAddr) -> Option<(HostAddr, u64)> {
        self.piece(guest)?.run(guest)
    }

    /// The piece that `guest` is in. If it is in none, any or none: who asks looks.
    #[inline]
    pub fn piece(&self, guest: GuestAddr) -> Option<&Piece> {
        match &*self.by_guest {
            [only] => Some(only),
            pieces => {
                // Not in the way of those with one piece.
                cold_path();
                let above = pieces.partition_point(|piece| piece.guest <= guest);
                pieces.get(above.checked_sub(1)?)
            }
        }
    }

    /// How the partition sees the byte at `host`, if it is its own.
    #[inline]
    pub fn guest(&self, host: HostAddr) -> Option<GuestAddr> {
        let above = self.by_host.partition_point(|piece| piece.host <= host);
        let piece = self.by_host.get(above.checked_sub(1)?)?;
        let offset = host.checked_sub(piece.host)?;
        if offset >= piece.bytes {
            return None;
        }
        piece.guest.checked_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(guest: u64, host: u64, bytes: u64) -> Piece {
        Piece {
            guest: GuestAddr::new(guest),
            host: HostAddr::new(host),
            bytes,
        }
    }

    #[test]
    fn both_ways_and_nothing_beyond() {
        let pieces = [piece(0x1000, 0x8000, 0x1000), piece(0, 0x20000, 0x1000)];
        let map = GuestMap::new(pieces.to_vec()).unwrap();
        let host = |guest, bytes| map.host(GuestAddr::new(guest), bytes).map(HostAddr::get);
        assert_eq!(host(0, 0x1000), Some(0x20000));
        assert_eq!(host(0x1800, 0x800), Some(0x8800));
        // Across pieces, behind the end, and the end itself.
        assert_eq!(host(0x800, 0x1000), None);
        assert_eq!(host(0x1800, 0x801), None);
        assert_eq!(host(0x2000, 0), None);
        assert_eq!(host(u64::MAX, 1), None);
        let run = |guest| map.run(GuestAddr::new(guest)).map(|it| (it.0.get(), it.1));
        assert_eq!(run(0x1800), Some((0x8800, 0x800)));
        assert_eq!((run(0x2000), run(u64::MAX)), (None, None));
        let guest = |host| map.guest(HostAddr::new(host)).map(GuestAddr::get);
        assert_eq!(guest(0x8fff), Some(0x1fff));
        assert_eq!(guest(0x20001), Some(1));
        assert_eq!((guest(0x9000), guest(0x7fff)), (None, None));
    }

    #[test]
    fn pages_that_memory_is_made_of() {
        let map = |pieces: &[Piece]| GuestMap::new(pieces.to_vec()).unwrap();
        let made_of = |map: &GuestMap| {
            let all = PageShift::ALL.into_iter();
            all.filter(|&page| map.is_made_of(page)).count()
        };
        let (low, high) = (piece(0, 1 << 30, 1 << 30), piece(1 << 30, 0, 1 << 30));
        assert_eq!(made_of(&map(&[low, high])), 6);
        // 4K, 64K and 2M: each of the three numbers counts.
        for odd in [
            piece(5 << 21, 1 << 31, 1 << 30),
            piece(1 << 30, 5 << 29 | 1 << 21, 1 << 30),
            piece(1 << 30, 1 << 31, 3 << 21),
        ] {
            assert_eq!(made_of(&map(&[piece(0, 1 << 30, 1 << 21), odd])), 3);
        }
        assert_eq!(made_of(&map(&[piece(0, 1 << 30, 0x800)])), 0);
    }

    #[test]
    fn pieces_that_cannot_be_are_refused() {
        let refused = |pieces: &[Piece]| GuestMap::new(pieces.to_vec()).unwrap_err();
        let empty = piece(0, 0, 0);
        assert_eq!(refused(&[empty]), MapError::Piece(empty));
        let long = piece(0, u64::MAX - 1, 3);
        assert_eq!(refused(&[long]), MapError::Piece(long));
        let (low, high) = (piece(0, 0x8000, 0x1001), piece(0x1000, 0, 0x1000));
        assert_eq!(refused(&[high, low]), MapError::Overlap(high));
        let twice = piece(0x5000, 0x8000, 1);
        assert!(matches!(refused(&[low, twice]), MapError::Overlap(_)));
        assert_eq!(refused(&[low; 257]), MapError::TooMany(257));
    }
}
