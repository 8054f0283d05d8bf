//! What would be told again and again, told seldom.

use alloc::vec::Vec;

/// The least time between two lines of a kind, in microseconds.
pub const QUIET_US: u64 = 60_000_000;

/// Lines by kind: when each was told last, and how often it came since.
#[derive(Debug)]
pub struct Repeats<K>(Vec<Told<K>>);

#[derive(Debug)]
struct Told<K> {
    kind: K,
    /// Microseconds.
    last: u64,
    more: u32,
}

impl<K> Default for Repeats<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq> Repeats<K> {
    /// A line of `kind` could be told, at `now` in microseconds. If it is to be:
    /// how many were not, since the one before. Allocates for a new kind.
    pub fn tell(&mut self, kind: K, now: u64) -> Option<u32> {
        let Some(told) = self.0.iter_mut().find(|told| told.kind == kind) else {
            let (last, more) = (now, 0);
            self.0.push(Told { kind, last, more });
            return Some(0);
        };
        if now.wrapping_sub(told.last) < QUIET_US {
            told.more = told.more.saturating_add(1);
            return None;
        }
        told.last = now;
        Some(core::mem::take(&mut told.more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_minute_with_the_number_of_the_others() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.tell('a', 5), Some(0));
        // One a second, as PHBs are looked at.
        for second in 1..60 {
            assert_eq!(repeats.tell('a', 5 + second * 1_000_000), None);
        }
        assert_eq!(repeats.tell('a', 5 + QUIET_US - 1), None);
        assert_eq!(repeats.tell('a', 5 + QUIET_US), Some(60));
        // The minute begins anew, and so does the count.
        assert_eq!(repeats.tell('a', 6 + QUIET_US), None);
        assert_eq!(repeats.tell('a', 5 + 3 * QUIET_US), Some(1));
        assert_eq!(repeats.tell('a', 5 + 4 * QUIET_US), Some(0));
    }

    #[test]
    fn kinds_do_not_silence_each_other() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.tell((0, 'a'), 0), Some(0));
        assert_eq!(repeats.tell((1, 'a'), 1), Some(0));
        assert_eq!(repeats.tell((0, 'b'), 2), Some(0));
        assert_eq!(repeats.tell((1, 'a'), 3), None);
        assert_eq!(repeats.tell((1, 'a'), 1 + QUIET_US), Some(1));
    }
}
