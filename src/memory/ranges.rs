//! Sets of address ranges: which memory there is, and which of it is taken.

use crate::addr::HostAddr;
use arrayvec::ArrayVec;
use core::fmt;
use thiserror::Error;

/// A range of host addresses: first byte, and the byte behind the last one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Range {
    start: HostAddr,
    end: HostAddr,
}

/// What is wrong with a range, or with adding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RangeError {
    /// Start and size together are beyond 2^64.
    #[error("{size:#x} bytes from {start:#x} reach beyond 2^64")]
    Overflow {
        /// Its start.
        start: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// More separate ranges than the set can hold.
    #[error("more than {0} separate ranges")]
    TooMany(usize),
}

impl Range {
    /// The range of `size` bytes from `start`; it may be empty.
    ///
    /// # Errors
    /// It reaches beyond 2^64.
    pub fn new(start: u64, size: u64) -> Result<Self, RangeError> {
        let start_address = HostAddr::new(start);
        let end = start_address
            .checked_add(size)
            .ok_or(RangeError::Overflow { start, size })?;
        Ok(Self {
            start: start_address,
            end,
        })
    }

    /// First byte.
    pub const fn start(&self) -> HostAddr {
        self.start
    }

    /// The byte behind the last one.
    pub const fn end(&self) -> HostAddr {
        self.end
    }

    /// Size in bytes.
    pub const fn size(&self) -> u64 {
        self.end.get() - self.start.get()
    }

    /// Whether it holds no byte.
    pub const fn is_empty(&self) -> bool {
        self.size() == 0
    }

    /// Whether it holds all of `other`.
    pub fn contains(&self, other: &Range) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The range that holds both, if they touch or overlap.
    fn joined(&self, other: &Range) -> Option<Range> {
        let touch = self.start <= other.end && other.start <= self.end;
        touch.then(|| Range {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        })
    }

    /// The whole blocks of 2^`shift` bytes inside it; possibly empty.
    pub fn whole_blocks(&self, shift: u32) -> Range {
        let low = 1u64 << shift;
        let start = self
            .start
            .get()
            .checked_next_multiple_of(low)
            .unwrap_or(u64::MAX - low + 1);
        let end = self.end.get() & !(low - 1);
        Range {
            start: HostAddr::new(start),
            end: HostAddr::new(end.max(start)),
        }
    }
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start.get(), self.end.get())
    }
}

/// At most `N` ranges, sorted, apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet<const N: usize> {
    ranges: ArrayVec<Range, N>,
}

impl<const N: usize> RangeSet<N> {
    /// The empty set.
    pub const fn new() -> Self {
        Self {
            ranges: ArrayVec::new_const(),
        }
    }

    /// The ranges, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = &Range> + Clone {
        self.ranges.iter()
    }

    /// Bytes in all of them.
    pub fn total(&self) -> u64 {
        self.ranges.iter().map(Range::size).sum()
    }

    /// The highest address behind a range; 0 if there is none.
    pub fn top(&self) -> HostAddr {
        self.ranges.last().map_or(HostAddr::new(0), Range::end)
    }

    /// Whether one of the ranges holds all of `range`.
    pub fn contains(&self, range: &Range) -> bool {
        self.ranges.iter().any(|mine| mine.contains(range))
    }

    /// Whether a byte of `range` is in one of the ranges.
    pub fn touches(&self, range: &Range) -> bool {
        let common = |mine: &Range| mine.start < range.end && range.start < mine.end;
        !range.is_empty() && self.ranges.iter().any(common)
    }

    /// Adds a range, joining what it touches.
    ///
    /// # Errors
    /// The set is full; it is as it was.
    pub fn add(&mut self, range: Range) -> Result<(), RangeError> {
        if range.is_empty() {
            return Ok(());
        }
        let first = self.ranges.partition_point(|mine| mine.end < range.start);
        let rest = self.ranges.get(first..).unwrap_or(&[]);
        let mut joined = range;
        let mut touched = 0;
        while let Some(both) = rest.get(touched).and_then(|next| joined.joined(next)) {
            joined = both;
            touched += 1;
        }
        if touched == 0 {
            return self
                .ranges
                .try_insert(first, joined)
                .map_err(|_| RangeError::TooMany(N));
        }
        self.ranges.drain(first + 1..first + touched);
        if let Some(slot) = self.ranges.get_mut(first) {
            *slot = joined;
        }
        Ok(())
    }

    /// Takes a range away, whatever of it is there.
    ///
    /// # Errors
    /// It would leave more pieces than the set can hold; it is as it was.
    pub fn remove(&mut self, range: Range) -> Result<(), RangeError> {
        if range.is_empty() {
            return Ok(());
        }
        let mut left = ArrayVec::new();
        for mine in &self.ranges {
            let below = Range {
                start: mine.start,
                end: mine.end.min(range.start).max(mine.start),
            };
            let above = Range {
                start: mine.start.max(range.end).min(mine.end),
                end: mine.end,
            };
            for piece in [below, above] {
                if !piece.is_empty() {
                    left.try_push(piece).map_err(|_| RangeError::TooMany(N))?;
                }
            }
        }
        self.ranges = left;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u64, u64)]) -> RangeSet<8> {
        let mut set = RangeSet::new();
        for &(start, size) in ranges {
            set.add(Range::new(start, size).unwrap()).unwrap();
        }
        set
    }

    fn pieces(set: &RangeSet<8>) -> Vec<(u64, u64)> {
        set.iter()
            .map(|range| (range.start().get(), range.size()))
            .collect()
    }

    #[test]
    fn touching_and_overlapping_ranges_join() {
        assert_eq!(pieces(&set(&[(0, 10), (20, 10), (10, 10)])), [(0, 30)]);
        assert_eq!(
            pieces(&set(&[(0, 10), (20, 10), (40, 5), (5, 30)])),
            [(0, 35), (40, 5)]
        );
        assert_eq!(pieces(&set(&[(5, 0)])), []);
    }

    #[test]
    fn removing_the_middle_leaves_two_pieces() {
        let mut set = set(&[(0, 100)]);
        set.remove(Range::new(40, 20).unwrap()).unwrap();
        assert_eq!(pieces(&set), [(0, 40), (60, 40)]);
        set.remove(Range::new(0, 1000).unwrap()).unwrap();
        assert_eq!(pieces(&set), []);
    }

    #[test]
    fn ranges_that_only_meet_do_not_touch() {
        let set = set(&[(10, 10), (40, 10)]);
        let touches = |start, size| set.touches(&Range::new(start, size).unwrap());
        assert!(touches(0, 11) && touches(19, 1) && touches(0, 100) && touches(45, 1));
        assert!(!touches(0, 10) && !touches(20, 20) && !touches(50, 5) && !touches(15, 0));
    }

    #[test]
    fn a_full_set_refuses_and_stays_as_it_was() {
        let mut set = set(&[
            (0, 1),
            (2, 1),
            (4, 1),
            (6, 1),
            (8, 1),
            (10, 1),
            (12, 1),
            (14, 9),
        ]);
        let before = set.clone();
        assert_eq!(
            set.add(Range::new(100, 1).unwrap()),
            Err(RangeError::TooMany(8))
        );
        assert_eq!(
            set.remove(Range::new(16, 1).unwrap()),
            Err(RangeError::TooMany(8))
        );
        assert_eq!(set, before);
    }

    #[test]
    fn overflow_is_refused_and_the_last_byte_is_not() {
        assert!(Range::new(u64::MAX, 1).is_err());
        assert!(Range::new(u64::MAX - 1, 1).is_ok());
    }

    #[test]
    fn whole_blocks_shrinks_to_alignment() {
        let range = Range::new(0x1800, 0x3000).unwrap();
        assert_eq!(range.whole_blocks(12), Range::new(0x2000, 0x2000).unwrap());
        assert!(
            Range::new(0x1800, 0x100)
                .unwrap()
                .whole_blocks(12)
                .is_empty()
        );
        assert!(
            Range::new(u64::MAX - 5, 5)
                .unwrap()
                .whole_blocks(12)
                .is_empty()
        );
    }
}
