//! A set of small numbers that finds its lowest member in a few steps: words
//! of bits, with a summary word over each 64 of them, and so on to the top.

use core::iter;

/// Words of all levels that a set of numbers below `count` takes.
pub(super) fn words_for(count: usize) -> usize {
    levels(count).sum()
}

/// Words of each level, from the bottom up to the level of one word.
fn levels(count: usize) -> impl Iterator<Item = usize> {
    iter::successors(Some(count.div_ceil(64).max(1)), |&below| {
        (below > 1).then(|| below.div_ceil(64))
    })
}

/// The set; its words live in storage that the caller passes to each call.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitSet {
    /// First word in the storage.
    base: usize,
    /// Numbers below this one may be members.
    count: usize,
}

impl BitSet {
    /// A set of numbers below `count`, in the words from `base` on, which are
    /// zero when it is used first.
    pub(super) const fn new(base: usize, count: usize) -> Self {
        Self { base, count }
    }

    pub(super) fn contains(&self, words: &[u64], number: usize) -> bool {
        number < self.count
            && words
                .get(self.base + number / 64)
                .is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Adds or removes a member; a number beyond the count changes nothing.
    pub(super) fn set(&self, words: &mut [u64], number: usize, member: bool) {
        if number >= self.count {
            return;
        }
        let (mut base, mut index, mut member) = (self.base, number, member);
        for length in levels(self.count) {
            let Some(word) = words.get_mut(base + index / 64) else {
                return;
            };
            let was_empty = *word == 0;
            if member {
                *word |= 1 << (index % 64);
            } else {
                *word &= !(1 << (index % 64));
            }
            let is_empty = *word == 0;
            if was_empty == is_empty {
                return;
            }
            (base, index, member) = (base + length, index / 64, !is_empty);
        }
    }

    /// The lowest member.
    pub(super) fn first(&self, words: &[u64]) -> Option<usize> {
        // From the top word down: eleven levels would be all of 2^64 numbers.
        let mut starts = [0; 11];
        let mut depth = 0;
        let mut start = self.base;
        for length in levels(self.count) {
            *starts.get_mut(depth)? = start;
            (depth, start) = (depth + 1, start + length);
        }
        let mut index = 0;
        for &start in starts.get(..depth)?.iter().rev() {
            let word = *words.get(start + index)?;
            if word == 0 {
                return None;
            }
            index = index * 64 + word.trailing_zeros() as usize;
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_does_what_a_set_does() {
        for count in [1, 63, 64, 65, 4096, 5000, 300_000] {
            let mut words = vec![0; 3 + words_for(count)];
            let (set, mut wanted) = (BitSet::new(3, count), BTreeSet::new());
            let mut random = 12345u64;
            for _ in 0..3000 {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                let number = (random >> 33) as usize % count;
                let member = random >> 20 & 1 == 1;
                set.set(&mut words, number, member);
                if member {
                    wanted.insert(number);
                } else {
                    wanted.remove(&number);
                }
                assert_eq!(set.first(&words), wanted.first().copied());
                assert_eq!(set.contains(&words, number), member);
            }
            assert_eq!(words[..3], [0, 0, 0]);
        }
    }
}
