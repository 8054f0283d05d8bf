//! What follows a command's name: words, each read once as what it is to be.
#![forbid(unsafe_code)]

use crate::addr::BusAddr;
use crate::console::log::Level;
use crate::dma::Liobn;
use core::fmt;

/// What a word can be read as.
pub trait Argument: Sized {
    /// What is expected, for a person: `a number`.
    const EXPECTED: &'static str;

    /// Reads a word.
    fn read(word: &str) -> Option<Self>;
}

/// Why the words behind a command's name are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'l> {
    /// A word is missing: what was expected.
    Missing(&'static str),
    /// A word is not what was expected.
    Wrong {
        /// The word.
        word: &'l str,
        /// What was expected.
        expected: &'static str,
    },
    /// Nothing was expected where this word is.
    TooMany(&'l str),
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(expected) => write!(f, "{expected} is missing"),
            Self::Wrong { word, expected } => write!(f, "{word}: {expected} is expected"),
            Self::TooMany(word) => write!(f, "{word}: nothing more is expected"),
        }
    }
}

/// What became of a command's words.
pub type Outcome<'l> = Result<(), Refusal<'l>>;

/// The words of a line, behind the command's name.
#[derive(Clone, Debug)]
pub struct Arguments<'l> {
    rest: &'l str,
}

impl<'l> Arguments<'l> {
    /// The words of `line`.
    pub fn new(line: &'l str) -> Self {
        Self { rest: line.trim() }
    }

    /// All that is left.
    pub fn rest(self) -> &'l str {
        self.rest
    }

    /// The next word, if there is one.
    pub fn word(&mut self) -> Option<&'l str> {
        let blank = |c: char| c.is_ascii_whitespace();
        let (word, rest) = self.rest.split_once(blank).unwrap_or((self.rest, ""));
        self.rest = rest.trim_start();
        (!word.is_empty()).then_some(word)
    }

    /// The next word.
    ///
    /// # Errors
    /// There is none; `expected` says of what.
    pub fn name(&mut self, expected: &'static str) -> Result<&'l str, Refusal<'l>> {
        self.word().ok_or(Refusal::Missing(expected))
    }

    /// The next word as a `T`, if there is a word.
    ///
    /// # Errors
    /// It is not a `T`.
    pub fn optional<T: Argument>(&mut self) -> Result<Option<T>, Refusal<'l>> {
        let Some(word) = self.word() else {
            return Ok(None);
        };
        let expected = T::EXPECTED;
        T::read(word)
            .map(Some)
            .ok_or(Refusal::Wrong { word, expected })
    }

    /// The next word as a `T`.
    ///
    /// # Errors
    /// There is none, or it is not a `T`.
    pub fn required<T: Argument>(&mut self) -> Result<T, Refusal<'l>> {
        self.optional()?.ok_or(Refusal::Missing(T::EXPECTED))
    }

    /// Nothing is left.
    ///
    /// # Errors
    /// Something is.
    pub fn end(mut self) -> Outcome<'l> {
        self.word()
            .map_or(Ok(()), |word| Err(Refusal::TooMany(word)))
    }
}

/// A number in decimal, or in hexadecimal behind 0x.
fn number(word: &str) -> Option<u64> {
    let (digits, radix) = match word.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (word, 10),
    };
    // `from_str_radix` takes a sign.
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

impl Argument for u64 {
    const EXPECTED: &'static str = "a number (decimal, or hexadecimal behind 0x)";

    fn read(word: &str) -> Option<Self> {
        number(word)
    }
}

impl Argument for u32 {
    const EXPECTED: &'static str = "a number (decimal, or hexadecimal behind 0x) of 32 bits";

    fn read(word: &str) -> Option<Self> {
        number(word)?.try_into().ok()
    }
}

impl Argument for Level {
    const EXPECTED: &'static str = "error, warning, info or debug";

    fn read(word: &str) -> Option<Self> {
        Self::from_name(word)
    }
}

impl Argument for Liobn {
    const EXPECTED: &'static str = "a LIOBN (hexadecimal, as windows shows them)";

    fn read(word: &str) -> Option<Self> {
        hexadecimal(word)?.try_into().ok().map(Self)
    }
}

impl Argument for BusAddr {
    const EXPECTED: &'static str = "a bus address (hexadecimal)";

    fn read(word: &str) -> Option<Self> {
        hexadecimal(word).map(Self::new)
    }
}

/// A hexadecimal number, with or without 0x: what only hexadecimal makes sense of.
fn hexadecimal(word: &str) -> Option<u64> {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_once_and_in_order() {
        let mut words = Arguments::new("  0x10  info ");
        assert_eq!(words.required::<u64>(), Ok(16));
        assert_eq!(words.optional::<Level>(), Ok(Some(Level::Info)));
        assert_eq!(words.optional::<Level>(), Ok(None));
        assert_eq!(words.end(), Ok(()));
    }

    #[test]
    fn a_refusal_says_what_was_expected() {
        let mut words = Arguments::new("x 1 2");
        let wrong = words.required::<u32>().unwrap_err();
        assert!(wrong.to_string().starts_with("x: a number"), "{wrong}");
        assert_eq!(words.required::<u32>(), Ok(1));
        assert_eq!(words.end(), Err(Refusal::TooMany("2")));
        let missing = Arguments::new("").required::<Level>().unwrap_err();
        assert_eq!(
            missing.to_string(),
            "error, warning, info or debug is missing"
        );
    }

    #[test]
    fn numbers_have_no_sign_and_no_end() {
        for word in ["+1", "-1", "0x", "0x+1", "1_0", "", "18446744073709551616"] {
            assert_eq!(u64::read(word), None, "{word}");
        }
        assert_eq!(u64::read("18446744073709551615"), Some(u64::MAX));
        assert_eq!(u32::read("4294967296"), None);
        assert_eq!(Liobn::read("0x80000001"), Some(Liobn(0x8000_0001)));
        assert_eq!(Liobn::read("80000001"), Some(Liobn(0x8000_0001)));
        assert_eq!(BusAddr::read("ffff_"), None);
    }
}
