//! One line a test, and the closing line.

use std::fmt;

/// How many tests ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Good.
    pub passed: u64,
    /// Bad.
    pub failed: u64,
    /// Not run.
    pub skipped: u64,
}

impl Counts {
    /// All of them.
    pub fn total(self) -> u64 {
        self.passed + self.failed + self.skipped
    }

    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// The closing line.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// How one test ended.
#[derive(Debug, Clone, Copy)]
pub enum Mark {
    /// Good.
    Ok,
    /// Bad.
    Fail,
    /// Not run.
    Skip,
}

/// One test's line: `ok    name    1.2 s  note`.
pub fn line(mark: Mark, name: &str, seconds: f64, note: &str) -> String {
    let mark = match mark {
        Mark::Ok => "ok",
        Mark::Fail => "FAIL",
        Mark::Skip => "skip",
    };
    format!("{mark:<5} {name:<44} {seconds:>6.1} s  {note}")
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_is_what_other_programs_read() {
        let mut counts = Counts {
            passed: 3,
            failed: 0,
            skipped: 1,
        };
        counts.add(Counts {
            passed: 1,
            failed: 2,
            skipped: 0,
        });
        assert_eq!(counts.to_string(), "4 passed, 2 failed, 1 skipped");
        assert_eq!(counts.total(), 7);
    }
}
