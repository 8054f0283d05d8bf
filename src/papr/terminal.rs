//! A partition's virtual terminal: what it prints, line by line, and what was
//! typed at it.

use alloc::collections::VecDeque;
use arrayvec::ArrayString;

/// Longest line that is kept together.
pub const LINE: usize = 200;

/// Most bytes that wait to be read.
const INPUT: usize = 256;

/// Lines kept for the report of a partition's end: Linux's reason for a panic, and
/// the call trace behind it.
pub const LAST_LINES: usize = 32;

/// Where a terminal is in a control sequence (ECMA-48, 5.4), which is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sequence {
    No,
    /// Behind an escape.
    Escape,
    /// Behind an escape and an opening bracket: parameters, then a last byte.
    Parameters,
}

/// The terminal.
pub struct Terminal {
    line: ArrayString<LINE>,
    sequence: Sequence,
    input: VecDeque<u8>,
    last: VecDeque<ArrayString<LINE>>,
}

impl Default for Terminal {
    fn default() -> Self {
        // Both reserve what they ever take: no allocation in a call.
        Self {
            line: ArrayString::new(),
            sequence: Sequence::No,
            input: VecDeque::with_capacity(INPUT),
            last: VecDeque::with_capacity(LAST_LINES),
        }
    }
}

impl Terminal {
    /// Takes what a partition prints; each line that is complete goes to `say`,
    /// without its end. Control sequences (colours, mostly) are left out, and other
    /// bytes that are not printable ASCII come as a full stop: a partition cannot
    /// steer the console.
    pub fn print(&mut self, bytes: &[u8], mut say: impl FnMut(&str)) {
        for &byte in bytes {
            if self.is_of_a_sequence(byte) {
                continue;
            }
            match byte {
                b'\n' => self.end_line(&mut say),
                b'\r' | 0 => {}
                _ => {
                    let shown = match byte {
                        b'\t' => ' ',
                        0x20..=0x7e => char::from(byte),
                        _ => '.',
                    };
                    if self.line.try_push(shown).is_err() {
                        self.end_line(&mut say);
                        self.line.push(shown);
                    }
                }
            }
        }
    }

    /// A line's end ends a sequence too: one that is never finished hides no more.
    fn is_of_a_sequence(&mut self, byte: u8) -> bool {
        use Sequence::{Escape, No, Parameters};
        let (next, is) = match (self.sequence, byte) {
            (_, 0x1b) => (Escape, true),
            (Escape, b'[') => (Parameters, true),
            (Escape, 0x20..=0x7e) | (Parameters, 0x40..=0x7e) => (No, true),
            (Parameters, 0x20..=0x3f) => (Parameters, true),
            _ => (No, false),
        };
        self.sequence = next;
        is
    }

    fn end_line(&mut self, say: &mut impl FnMut(&str)) {
        say(&self.line);
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(self.line);
        self.line.clear();
    }

    /// What is printed and not yet a line: a prompt.
    pub fn unfinished(&self) -> &str {
        &self.line
    }

    /// The last lines, oldest first, and what is not yet one.
    pub fn last_lines(&self) -> impl Iterator<Item = &str> {
        let unfinished = Some(self.unfinished()).filter(|text| !text.is_empty());
        let lines = self.last.iter().map(|line| line.as_str());
        lines.chain(unfinished)
    }

    /// Types a byte; `false` if nobody reads what was typed before.
    pub fn type_byte(&mut self, byte: u8) -> bool {
        let room = self.input.len() < INPUT;
        if room {
            self.input.push_back(byte);
        }
        room
    }

    /// What was typed, up to the buffer's size.
    pub fn read(&mut self, to: &mut [u8]) -> usize {
        let mut count = 0;
        for slot in to {
            let Some(byte) = self.input.pop_front() else {
                break;
            };
            *slot = byte;
            count += 1;
        }
        count
    }
}
