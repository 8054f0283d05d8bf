//! How often each kind of operation took how long.

use super::entry::Kind;
use core::fmt;

/// Rows, of which [`Kind::ALL`] are used.
pub const KINDS: usize = 16;

/// Buckets: the first is 0 and 1 ticks, number n is 2^n to 2^(n+1) - 1, the last
/// is the rest.
pub const BUCKETS: usize = 32;

/// The bucket of so many ticks.
#[inline]
pub const fn bucket(ticks: u64) -> usize {
    let log = (ticks | 1).ilog2() as usize;
    if log < BUCKETS { log } else { BUCKETS - 1 }
}

/// Counts of all kinds, of one thread or of several.
#[derive(Clone, Debug)]
pub struct Costs {
    /// By kind and bucket.
    pub counts: [[u64; BUCKETS]; KINDS],
    /// Those that failed, by kind; they are counted above too.
    pub failed: [u64; KINDS],
}

impl Costs {
    /// Nothing was done.
    pub const NONE: Self = Self {
        counts: [[0; BUCKETS]; KINDS],
        failed: [0; KINDS],
    };

    /// What is known of one kind.
    pub fn of(&self, kind: Kind) -> Cost<'_> {
        let number = kind as usize;
        Cost {
            kind,
            buckets: self.counts.get(number).unwrap_or(&[0; BUCKETS]),
            failed: self.failed.get(number).copied().unwrap_or(0),
        }
    }
}

/// What operations of one kind cost.
pub struct Cost<'c> {
    kind: Kind,
    buckets: &'c [u64; BUCKETS],
    failed: u64,
}

impl Cost<'_> {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// Ticks that `percent` of them did not reach; `None` if there were none, or
    /// these are in the last bucket.
    pub fn below(&self, percent: u64) -> Option<u64> {
        let all = self.count();
        let wanted = (u128::from(all) * u128::from(percent)).div_ceil(100);
        let mut seen = 0u128;
        let mut buckets = self.buckets.iter().enumerate();
        let (bucket, _) = buckets.find(|&(_, &count)| {
            seen += u128::from(count);
            count != 0 && seen >= wanted
        })?;
        (bucket + 1 < BUCKETS).then(|| 2 << bucket)
    }
}

/// What stands above rows of costs.
pub const HEADING: &str = "  what          count   failed     half <    99 % <     all <";

/// A row of [`HEADING`]'s columns.
impl fmt::Display for Cost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {:<8}  {:>9}  {:>7}",
            self.kind.name(),
            self.count(),
            self.failed
        )?;
        for percent in [50, 99, 100] {
            match self.below(percent) {
                _ if self.count() == 0 => f.write_str("         -")?,
                Some(ticks) => write!(f, "  {ticks:>8}")?,
                None => f.write_str("   endless")?,
            }
        }
        Ok(())
    }
}

/// Widest bar.
const BAR: u64 = 50;

/// The rows of a histogram.
pub struct Histogram<'c>(pub Cost<'c>);

impl fmt::Display for Histogram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buckets = self.0.buckets;
        let used = |&(_, &count): &(usize, &u64)| count != 0;
        let mut all = buckets.iter().enumerate();
        let Some((first, _)) = all.clone().find(used) else {
            return f.write_str("  none\n");
        };
        let last = all.rfind(used).map_or(first, |(last, _)| last);
        let most = buckets.iter().max().copied().unwrap_or(1).max(1);
        f.write_str("            ticks      count\n")?;
        for (bucket, &count) in buckets.iter().enumerate().take(last + 1).skip(first) {
            let from = if bucket == 0 { 0 } else { 1u64 << bucket };
            if bucket + 1 == BUCKETS {
                write!(f, "  {from:>8} and more  {count:>9}  ")?;
            } else {
                let to = (2u64 << bucket) - 1;
                write!(f, "  {from:>7}..{to:<8}  {count:>9}  ")?;
            }
            let bar = u128::from(count) * u128::from(BAR);
            for _ in 0..bar.div_ceil(u128::from(most)) {
                f.write_str("#")?;
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}
