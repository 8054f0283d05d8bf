//! What of a tree is kept: a damaged or absurd one may hold megabytes of
//! anything, and the heap is small.

use super::Warning;
use alloc::string::String;
use alloc::vec::Vec;

/// Most warnings that are kept; the last one then counts the rest.
const MAX_WARNINGS: usize = 32;

/// Longest text that is kept of the tree, in characters.
const MAX_TEXT: usize = 96;

/// Warnings, as many as a person reads.
#[derive(Default)]
pub(super) struct Warnings {
    list: Vec<Warning>,
    more: usize,
}

impl Warnings {
    pub(super) fn push(&mut self, warning: Warning) {
        if self.list.len() < MAX_WARNINGS {
            self.list.push(warning);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn into_list(mut self) -> Vec<Warning> {
        if self.more > 0 {
            self.list.push(Warning::More(self.more));
        }
        self.list
    }
}

/// A text of the tree as it can be shown: without control characters, which
/// would reach the terminal, and not longer than a line.
pub(super) fn shown(text: &str) -> String {
    let clean = |letter: char| if letter.is_control() { '?' } else { letter };
    let mut out: String = text.chars().take(MAX_TEXT).map(clean).collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        out.push_str("...");
    }
    out
}

/// A text of the tree as it can be shown; one that is absent or empty is
/// "unknown".
pub(super) fn shown_or_unknown(text: Option<&str>) -> String {
    shown(text.filter(|text| !text.is_empty()).unwrap_or("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_and_harmless() {
        assert_eq!(shown("fine"), "fine");
        assert_eq!(shown("a\x1b[2J\nb"), "a?[2J?b");
        let long = shown(&"\u{e4}".repeat(500));
        assert_eq!(long.chars().count(), MAX_TEXT + 3);
    }

    #[test]
    fn the_last_warning_counts_those_left_out() {
        let mut warnings = Warnings::default();
        (0..40).for_each(|pir| warnings.push(Warning::BootThread(pir)));
        let list = warnings.into_list();
        assert_eq!(list.len(), MAX_WARNINGS + 1);
        assert_eq!(list.last(), Some(&Warning::More(8)));
    }
}
