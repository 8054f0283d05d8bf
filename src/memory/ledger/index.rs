//! A guess which of many sorted starts an address belongs to, without a search.

use alloc::boxed::Box;
use core::ops::Range;

/// Log2 of the number of buckets: four for each region that an owner can have.
const BUCKET_BITS: u32 = 10;

const BUCKETS: usize = 1 << BUCKET_BITS;

/// The addresses from the first start to the last address, in buckets of one size:
/// for each the name of the last start at or below its end.
///
/// Regions of like size have a bucket each at least, so that the name is right,
/// but where one ends and another starts in the bucket.
pub(super) struct Index {
    base: u64,
    shift: u32,
    buckets: Box<[u8; BUCKETS]>,
}

impl Index {
    /// Of no starts. This is the one allocation.
    pub(super) fn new() -> Self {
        Self {
            base: 0,
            shift: 0,
            buckets: Box::new([0; BUCKETS]),
        }
    }

    /// Makes it one of starts and their names; the starts are sorted and at or below
    /// `last`.
    pub(super) fn rebuild(&mut self, starts: impl Iterator<Item = (u64, u8)> + Clone, last: u64) {
        let (base, mut before) = starts.clone().next().unwrap_or_default();
        self.base = base;
        self.shift = (u64::BITS - (last - base).leading_zeros()).saturating_sub(BUCKET_BITS);
        let mut filled = 0;
        for (start, name) in starts {
            let first = self.guesses().bucket(start);
            self.fill(filled..first, before);
            (filled, before) = (first, name);
        }
        self.fill(filled..BUCKETS, before);
    }

    fn fill(&mut self, buckets: Range<usize>, name: u8) {
        if let Some(buckets) = self.buckets.get_mut(buckets) {
            buckets.fill(name);
        }
    }

    /// To find addresses.
    #[inline]
    pub(super) fn guesses(&self) -> Guesses<'_> {
        Guesses {
            base: self.base,
            shift: self.shift,
            buckets: &self.buckets,
        }
    }
}

/// What an [`Index`] says. A copy: loops have it in registers.
#[derive(Clone, Copy)]
pub(super) struct Guesses<'i> {
    base: u64,
    shift: u32,
    buckets: &'i [u8; BUCKETS],
}

impl Guesses<'_> {
    #[inline]
    fn bucket(&self, address: u64) -> usize {
        address.wrapping_sub(self.base).wrapping_shr(self.shift) as usize
    }

    /// Name of the start that is most likely the last at or below `address`. If
    /// `address` is from the first start to the last address, it is that or a later
    /// one; if not, it is any or `None`.
    #[inline]
    pub(super) fn guess(&self, address: u64) -> Option<u8> {
        self.buckets.get(self.bucket(address)).copied()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn index(starts: &[u64]) -> Index {
        let mut index = Index::new();
        rebuild(&mut index, starts);
        index
    }

    /// A start's name is its number, from above.
    fn rebuild(index: &mut Index, starts: &[u64]) {
        let last = starts.last().map_or(0, |&start| start + 7);
        index.rebuild(starts.iter().copied().zip((0..=255).rev()), last);
    }

    /// How often of all addresses, those of 8 from each start, the guess is wrong.
    fn wrong(starts: &[u64]) -> usize {
        let index = index(starts);
        let each = starts.iter().zip((0..=255).rev());
        let inside = each.flat_map(|(&start, name)| (0..8).map(move |at| (start + at, name)));
        inside
            .filter(|&(address, name)| {
                let guess = index.guesses().guess(address);
                // It is one that comes later, with a lower name.
                assert!(guess.is_some_and(|guess| guess <= name), "{address:#x}");
                guess != Some(name)
            })
            .count()
    }

    #[test]
    fn f20_a_look_up_of_many_regions_is_one_look() {
        for count in [1, 2, 3, 16, 255, 256] {
            // They touch, have holes, and are anywhere.
            for (base, step) in [(0, 8), (0, 16), (8, 12), (1 << 40, 1 << 30), (0, 1 << 55)] {
                let starts: Vec<u64> = (0..count).map(|number| base + number * step).collect();
                assert_eq!(wrong(&starts), 0, "{count}, {step:#x} apart");
            }
        }
        // Ends of ones are in the buckets where others start.
        let starts: Vec<u64> = (0..256).map(|number| number * 11 + number % 3).collect();
        let wrong = wrong(&starts);
        assert!((1..=256).contains(&wrong), "{wrong} of 2048 wrong");
    }

    #[test]
    fn a_guess_is_a_later_start_where_many_are_in_a_bucket() {
        // One far away, so that all others are in one bucket.
        let starts: Vec<u64> = (0..255)
            .map(|number| number * 16)
            .chain([1 << 62])
            .collect();
        assert_eq!(wrong(&starts), 254 * 8);
        assert_eq!(index(&starts).guesses().guess(3), Some(1));
    }

    #[test]
    fn no_guess_is_made_beyond_the_ends() {
        for starts in [&[16u64, 1 << 20][..], &[1 << 40, (1 << 40) + 16]] {
            let index = index(starts);
            let guess = |address| index.guesses().guess(address);
            assert_eq!(guess(starts[0] - 1), None);
            assert_eq!(guess(starts[0]), Some(255));
            assert_eq!(guess(starts[1]), Some(254));
            assert_eq!(guess(starts[1] << 1), None);
        }
    }

    #[test]
    fn an_index_is_made_anew() {
        let mut index = index(&[16, 32]);
        assert_eq!(index.guesses().guess(33), Some(254));
        rebuild(&mut index, &[16]);
        assert_eq!(index.guesses().guess(17), Some(255));
        assert_eq!(index.guesses().guess(16 + 1024), None);
        rebuild(&mut index, &[]);
        // Whatever it says, no region is there.
        assert_eq!(index.guesses().guess(17), Some(0));
    }
}
