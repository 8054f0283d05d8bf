//! What was perhaps meant: the word that takes the fewest slips of the fingers.
#![forbid(unsafe_code)]

use arrayvec::ArrayVec;

/// Longest word that is compared.
const LONGEST: usize = 32;

/// The word of `words` that is nearest to `typed`: one that begins so, or else
/// one that is a slip or two of the fingers away (a letter too many, too few, another,
/// or two exchanged), one for each three letters.
pub fn nearest<'w>(typed: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    if typed.is_empty() || typed.len() > LONGEST {
        return None;
    }
    let most = typed.len().div_ceil(3);
    words
        .filter_map(|word| {
            let slips = if word.starts_with(typed) {
                0
            } else {
                slips(typed.as_bytes(), word.as_bytes())?
            };
            (slips <= most).then_some((slips, word))
        })
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, word)| word)
}

/// How many slips make `b` of `a` (optimal string alignment); `None` for a word
/// that is too long.
fn slips(a: &[u8], b: &[u8]) -> Option<usize> {
    type Row = ArrayVec<usize, { LONGEST + 1 }>;
    if b.len() > LONGEST {
        return None;
    }
    let mut before: Row = Row::new();
    let mut last: Row = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = Row::new();
        row.push(i + 1);
        for (j, &y) in b.iter().enumerate() {
            let other = last.get(j)? + usize::from(x != y);
            let mut best = other.min(last.get(j + 1)? + 1).min(row.get(j)? + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(&y) && b.get(j - 1) == Some(&x) {
                best = best.min(before.get(j - 1)? + 1);
            }
            row.push(best);
        }
        before = core::mem::replace(&mut last, row);
    }
    last.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 6] = ["help", "memory", "machine", "map", "poweroff", "partitions"];

    fn found(typed: &str) -> Option<&'static str> {
        nearest(typed, WORDS.into_iter())
    }

    #[test]
    fn slips_are_counted() {
        for (a, b, count) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "ab", 1),
            ("ab", "abc", 1),
            ("abc", "axc", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(slips(a.as_bytes(), b.as_bytes()), Some(count), "{a} {b}");
        }
    }

    #[test]
    fn what_was_meant_is_found_and_nonsense_is_not() {
        assert_eq!(found("memroy"), Some("memory"));
        assert_eq!(found("hlep"), Some("help"));
        assert_eq!(found("part"), Some("partitions"));
        assert_eq!(found("powerof"), Some("poweroff"));
        assert_eq!(found("mpa"), Some("map"));
        for nonsense in ["", "nonsense", "xyz", &"m".repeat(100), "\u{fffd}\u{fffd}"] {
            assert_eq!(found(nonsense), None, "{nonsense}");
        }
    }
}
