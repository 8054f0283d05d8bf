//! A partition's virtual terminal: what it prints, line by line, and what was
//! typed at it.

use alloc::collections::VecDeque;
use arrayvec::ArrayString;

/// Longest line that is kept together.
pub const LINE: usize = 200;

/// Most bytes that wait to be read.
const INPUT: usize = 256;

/// Lines kept for the report of a partition's end.
pub const LAST_LINES: usize = 8;

/// The terminal.
pub struct Terminal {
    line: ArrayString<LINE>,
    input: VecDeque<u8>,
    last: VecDeque<ArrayString<LINE>>,
}

impl Default for Terminal {
    fn default() -> Self {
        // Both reserve what they ever take: no allocation in a call.
        Self {
            line: ArrayString::new(),
            input: VecDeque::with_capacity(INPUT),
            last: VecDeque::with_capacity(LAST_LINES),
        }
    }
}

impl Terminal {
    /// Takes what a partition prints; each line that is complete goes to `say`,
    /// without its end. Bytes that are not printable ASCII come as a full stop:
    /// a partition cannot steer the console.
    pub fn print(&mut self, bytes: &[u8], mut say: impl FnMut(&str)) {
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(&mut say),
                b'\r' | 0 => {}
                _ => {
                    let shown = match byte {
                        b'\t' => ' ',
                        0x20..=0x7e => char::from(byte),
                        // Colours are all that kernels and shells send.
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

    /// The last lines, oldest first.
    pub fn last_lines(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(|line| line.as_str())
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
