//! Whole pages side by side, as a loop over entries knows them.

/// What of an entry is not the address: a page is at least 4 KiB.
const LOW: u64 = 0xfff;

/// Pages side by side whose entries have the same low bits.
///
/// That an entry is one of these is known after a subtraction, a rotation and a
/// comparison: any other bit below the page's number ends up on top of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    // The entry of the first page.
    first: u64,
    pages: u64,
    // How far an entry is rotated, for its page to be the lowest bits.
    left: u32,
}

impl Span {
    /// No page.
    pub const NONE: Self = Self {
        first: 0,
        pages: 0,
        left: 0,
    };

    /// The pages of `1 << shift` bytes, at least 4 KiB, that are wholly in the
    /// `bytes` bytes from `start`, which end at or below 2^64. Their entries have the
    /// low bits of `like`.
    #[inline]
    pub const fn new(start: u64, bytes: u64, shift: u32, like: u64) -> Self {
        let skipped = start.wrapping_neg() & 1u64.wrapping_shl(shift).wrapping_sub(1);
        Self {
            first: start.wrapping_add(skipped) | like & LOW,
            pages: bytes.saturating_sub(skipped).wrapping_shr(shift),
            left: u64::BITS.wrapping_sub(shift),
        }
    }

    /// The entry of the first page.
    #[inline]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// How many there are.
    #[inline]
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Which page `bits` is the entry of; [`Span::pages`] or more if of none.
    #[inline]
    pub const fn number(&self, bits: u64) -> u64 {
        bits.wrapping_sub(self.first).rotate_left(self.left)
    }

    /// Bytes from the first page to the one that `bits` is the entry of.
    #[inline]
    pub const fn distance(&self, bits: u64) -> Option<u64> {
        let distance = bits.wrapping_sub(self.first);
        if distance.rotate_left(self.left) < self.pages {
            Some(distance)
        } else {
            None
        }
    }

    /// Whether `bits` is the entry of one of the pages.
    #[inline]
    pub const fn has(&self, bits: u64) -> bool {
        self.number(bits) < self.pages
    }
}

/// The page that entry `bits` names.
#[inline]
pub const fn page(bits: u64) -> u64 {
    bits & !LOW
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole pages only, aligned, with the same low bits, and none beyond either end.
    #[test]
    fn entries_are_known_by_page_and_low_bits() {
        for (start, bytes, shift) in [
            (0x10000u64, 0x4000u64, 12),
            (0, 0x1000, 12),
            (0x11000, 0x40000, 16),
            (0x11000, 0xf000, 16),
            (0x20000, 0xf000, 16),
            (u64::MAX - 0x3fff, 0x4000, 12),
            (u64::MAX - 0x1fff, 0x2000, 16),
            (1 << 63, 1 << 20, 12),
            (0, 1 << 63, 30),
        ] {
            let size = 1u64 << shift;
            for low in [0u64, 1, 3, 0xfff] {
                let span = Span::new(start, bytes, shift, 0x5000 | low);
                let whole = |page: u64| {
                    page.is_multiple_of(size)
                        && page >= start
                        && bytes >= size
                        && page - start <= bytes - size
                };
                let mut found = 0;
                let middle = start.wrapping_add(bytes / 2) & !(size - 1);
                for at in [start, middle, start.wrapping_add(bytes), 0] {
                    let near = at & !(size - 1);
                    for step in 0..6 {
                        let page = near.wrapping_add(step << shift).wrapping_sub(2 << shift);
                        let has = span.has(page | low);
                        assert_eq!(has, whole(page), "{page:#x} of {bytes:#x} at {start:#x}");
                        assert_eq!(span.distance(page | low).is_some(), has);
                        found += u64::from(has);
                        for other in [low ^ 1, low ^ 2, low ^ 0x800] {
                            assert!(!span.has(page | other), "{page:#x}, {low} and {other}");
                            assert_eq!(span.distance(page | other), None);
                        }
                        if shift > 12 {
                            assert!(!span.has((page | low).wrapping_add(0x1000)));
                        }
                    }
                }
                assert!(found >= span.pages().min(2), "{bytes:#x} at {start:#x}");
                let last = span.pages().wrapping_sub(1);
                for number in [0, last / 2, last] {
                    let bits = span.first().wrapping_add(number.wrapping_shl(shift));
                    assert_eq!(span.has(bits), span.pages() != 0);
                    if span.pages() != 0 {
                        assert_eq!(span.number(bits), number);
                        assert_eq!(span.distance(bits), Some(number << shift));
                        assert!(whole(page(bits) & !(size - 1)));
                    }
                }
            }
        }
        assert!(
            ![0, 1, 0x1000, u64::MAX]
                .iter()
                .any(|&bits| Span::NONE.has(bits))
        );
    }
}
