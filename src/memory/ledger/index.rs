//! Which of many sorted starts an address belongs to, without a search.

use alloc::boxed::Box;
use alloc::vec;

/// Log2 of the number of buckets: four for each region that an owner can have.
const BUCKET_BITS: u32 = 10;

/// The starts that are in one part of the addresses.
#[derive(Clone, Copy, Default)]
struct Bucket {
    /// Starts in the buckets before.
    before: u16,
    /// Starts in this one.
    within: u16,
}

/// The addresses from the first start to the last address, in buckets of one size.
///
/// Regions of like size have a bucket each at least, so that one look tells which
/// it is. Where several start in one bucket, those are searched.
pub(super) struct Index {
    base: u64,
    shift: u32,
    buckets: Box<[Bucket]>,
}

impl Index {
    /// Of no starts. This is the one allocation.
    pub(super) fn new() -> Self {
        Self {
            base: 0,
            shift: 63,
            buckets: vec![Bucket::default(); 1 << BUCKET_BITS].into_boxed_slice(),
        }
    }

    /// Makes it one of `starts`, fewer than 2^16, which are sorted and at or below
    /// `last`.
    pub(super) fn rebuild(&mut self, starts: impl Iterator<Item = u64> + Clone, last: u64) {
        self.base = starts.clone().next().unwrap_or(0);
        let span = last.wrapping_sub(self.base);
        self.shift = (u64::BITS - span.leading_zeros()).saturating_sub(BUCKET_BITS);
        self.buckets.fill(Bucket::default());
        for start in starts {
            let number = self.bucket(start);
            if let Some(bucket) = self.buckets.get_mut(number) {
                bucket.within += 1;
            }
        }
        let mut before = 0;
        for bucket in &mut self.buckets {
            bucket.before = before;
            before += bucket.within;
        }
    }

    #[inline]
    fn bucket(&self, address: u64) -> usize {
        address.wrapping_sub(self.base).wrapping_shr(self.shift) as usize
    }

    /// Number of the last start at or below `address`; any number or `None` if
    /// `address` is not from the first start to the last address. `start` gives the
    /// start with a number.
    #[inline]
    pub(super) fn find(&self, address: u64, start: impl Fn(usize) -> Option<u64>) -> Option<usize> {
        let &Bucket { before, within } = self.buckets.get(self.bucket(address))?;
        let (mut low, mut count) = (usize::from(before), usize::from(within));
        // Of `count` starts from `low` on it is not known whether they are above.
        while count != 0 {
            let half = count / 2;
            let middle = low.wrapping_add(half);
            if start(middle)? <= address {
                low = middle.wrapping_add(1);
                count = count.wrapping_sub(half).wrapping_sub(1);
            } else {
                count = half;
            }
        }
        low.checked_sub(1)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::cell::Cell;
    use std::vec::Vec;

    /// Finds all addresses around `starts`, each the start of 8 addresses; returns
    /// the most looks that one took.
    fn most_looks(starts: &[u64]) -> u32 {
        let last = starts.last().map_or(0, |&start| start + 7);
        let mut index = Index::new();
        index.rebuild(starts.iter().copied(), last);
        let mut most = 0;
        let around = starts.iter().flat_map(|&start| {
            (start.saturating_sub(2)..start.saturating_add(10)).chain([start ^ 1 << 63])
        });
        for address in around.chain([0, u64::MAX]) {
            let looks = Cell::new(0);
            let found = index.find(address, |number| {
                looks.set(looks.get() + 1);
                starts.get(number).copied()
            });
            // As those do who ask: what is found may not hold the address.
            let holds = |&number: &usize| address.wrapping_sub(starts[number]) < 8;
            let naive = starts
                .iter()
                .position(|start| (*start..start + 8).contains(&address));
            assert_eq!(found.filter(holds), naive, "{address:#x} in {starts:x?}");
            most = most.max(looks.get());
        }
        most
    }

    #[test]
    fn f20_a_look_up_looks_at_one_of_many_regions() {
        for count in [0, 1, 2, 3, 16, 255, 256] {
            // They touch, have holes, and are anywhere.
            for (base, step) in [(0, 8), (0, 16), (8, 12), (1 << 40, 1 << 30), (0, 1 << 55)] {
                let starts: Vec<u64> = (0..count).map(|number| base + number * step).collect();
                let looks = most_looks(&starts);
                assert!(looks <= 1, "{looks} looks at {count}, {step:#x} apart");
            }
        }
    }

    #[test]
    fn f20_a_look_up_looks_at_few_of_regions_in_a_heap() {
        // One far away, so that all others are in one bucket.
        let starts: Vec<u64> = (0..255)
            .map(|number| number * 16)
            .chain([1 << 62])
            .collect();
        let looks = most_looks(&starts);
        assert!((2..=8).contains(&looks), "{looks} looks");
        // Heaps at both ends, and one that doubles its distances.
        let starts: Vec<u64> = (0..128)
            .map(|number| number * 8)
            .chain((0..128).map(|number| (1 << 50) + number * 8))
            .collect();
        assert!(most_looks(&starts) <= 8);
        let starts: Vec<u64> = (4..60).map(|log| 1 << log).collect();
        assert!(most_looks(&starts) <= 6);
    }

    #[test]
    fn an_index_is_made_anew() {
        let mut index = Index::new();
        let find = |index: &Index, starts: &[u64], address| {
            index.find(address, |number| starts.get(number).copied())
        };
        assert_eq!(find(&index, &[], 5), None);
        index.rebuild([16, 32].into_iter(), 39);
        assert_eq!(find(&index, &[16, 32], 33), Some(1));
        index.rebuild([16].into_iter(), 23);
        assert_eq!(find(&index, &[16], 17), Some(0));
        index.rebuild([].into_iter(), 0);
        assert_eq!(find(&index, &[], 17), None);
    }
}
