//! A line as a person types it: echo, correction, history, completion.
//!
//! Keys are those of a VT100 and of readline: arrows, Home, End, Delete,
//! Ctrl-A B D E F H K L N P U W, Tab.
#![forbid(unsafe_code)]

mod history;
mod keys;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use arrayvec::ArrayString;
use history::History;
use keys::{Decoder, Key};

/// Longest line in bytes; what is typed beyond rings the bell.
pub const MAX_LINE: usize = 200;

/// A line of text.
pub type Line = ArrayString<MAX_LINE>;

/// What to show for a byte, and whether the line is done.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Nothing to show: part of a key.
    Nothing,
    /// Show this one character at the cursor.
    Echo(char),
    /// Ring the bell: the key does nothing here.
    Bell,
    /// Show the line again: [`LineEditor::so_far`], and the cursor
    /// [`LineEditor::cursor_from_end`] characters left of its end.
    Redraw,
    /// The same on a screen that is cleared first.
    Clear,
    /// Tab: [`LineEditor::complete`] is to be called.
    Complete,
    /// The line is done; the terminal is on a new line.
    Line(Line),
    /// The line was given up (Ctrl-C).
    Abandoned,
}

/// What completion came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Completion<'w> {
    /// No word begins so.
    None,
    /// The line has become longer.
    Longer,
    /// These words begin so, and differ in the next character.
    Several(Vec<&'w str>),
}

/// A line that is being typed, and those before it.
#[derive(Debug, Default)]
pub struct LineEditor {
    line: Line,
    // In bytes, which are characters: only ASCII is taken.
    cursor: usize,
    decoder: Decoder,
    history: History,
}

impl LineEditor {
    /// Takes a byte.
    pub fn take(&mut self, byte: u8) -> Typed {
        match self.decoder.take(byte) {
            None => Typed::Nothing,
            Some(key) => self.press(key),
        }
    }

    fn press(&mut self, key: Key) -> Typed {
        let end = self.line.len();
        match key {
            Key::Character(character) => self.insert(character),
            Key::Enter => self.end(),
            Key::Abandon => {
                self.set("");
                self.history.rewind();
                Typed::Abandoned
            }
            Key::Tab => Typed::Complete,
            Key::Clear => Typed::Clear,
            Key::Left => self.go(self.cursor.checked_sub(1)),
            Key::Right => self.go((self.cursor < end).then_some(self.cursor + 1)),
            Key::Home => self.go(Some(0)),
            Key::End => self.go(Some(end)),
            Key::Backspace => self.cut(self.cursor.saturating_sub(1), self.cursor),
            Key::Delete => self.cut(self.cursor, (self.cursor + 1).min(end)),
            Key::CutToStart => self.cut(0, self.cursor),
            Key::CutToEnd => self.cut(self.cursor, end),
            Key::CutWord => self.cut(self.word_start(), self.cursor),
            Key::Up => self.recall(|history, line| history.older(line)),
            Key::Down => self.recall(|history, _| history.newer()),
            Key::Unknown => Typed::Bell,
        }
    }

    /// The line so far.
    pub fn so_far(&self) -> &str {
        &self.line
    }

    /// How many characters the cursor is left of the line's end.
    pub fn cursor_from_end(&self) -> usize {
        self.line.len() - self.cursor
    }

    /// What is before the cursor: whole words, and the one that is being typed.
    pub fn being_typed(&self) -> (&str, &str) {
        let before = self.before_cursor();
        before.split_at(before.rfind(' ').map_or(0, |space| space + 1))
    }

    /// Completes the word before the cursor from `words`.
    pub fn complete<'w>(&mut self, words: impl Iterator<Item = &'w str>) -> Completion<'w> {
        let begun = copy(self.being_typed().1);
        let fitting: Vec<&str> = words.filter(|word| word.starts_with(&*begun)).collect();
        let Some((first, others)) = fitting.split_first() else {
            return Completion::None;
        };
        let common = others.iter().fold(first.len(), |shared, word| {
            let same = first.bytes().zip(word.bytes());
            same.take_while(|(a, b)| a == b).count().min(shared)
        });
        let more = first.get(begun.len()..common).unwrap_or("");
        let alone = others.is_empty();
        let before = self.line.len();
        for character in more.chars().chain(alone.then_some(' ')) {
            self.insert(character);
        }
        if self.line.len() > before {
            Completion::Longer
        } else {
            Completion::Several(fitting)
        }
    }

    fn end(&mut self) -> Typed {
        let line = core::mem::take(&mut self.line);
        self.cursor = 0;
        self.history.add(&line);
        Typed::Line(line)
    }

    fn insert(&mut self, character: char) -> Typed {
        if self.line.is_full() {
            return Typed::Bell;
        }
        if self.cursor == self.line.len() {
            self.line.push(character);
            self.cursor += 1;
            return Typed::Echo(character);
        }
        let rest = copy(self.after_cursor());
        self.line.truncate(self.cursor);
        self.line.push(character);
        self.line.push_str(&rest);
        self.cursor += 1;
        Typed::Redraw
    }

    /// Takes `from..to` out; the cursor stays before what was behind it.
    fn cut(&mut self, from: usize, to: usize) -> Typed {
        if from == to {
            return Typed::Bell;
        }
        let rest = copy(self.line.get(to..).unwrap_or(""));
        self.line.truncate(from);
        self.line.push_str(&rest);
        self.cursor = from;
        Typed::Redraw
    }

    fn go(&mut self, to: Option<usize>) -> Typed {
        match to {
            Some(to) => {
                self.cursor = to;
                Typed::Redraw
            }
            None => Typed::Bell,
        }
    }

    fn recall(&mut self, which: impl FnOnce(&mut History, &Line) -> Option<Line>) -> Typed {
        match which(&mut self.history, &self.line) {
            Some(line) => {
                self.set(&line);
                Typed::Redraw
            }
            None => Typed::Bell,
        }
    }

    fn set(&mut self, text: &str) {
        self.line = copy(text);
        self.cursor = self.line.len();
    }

    /// Where the word before the cursor begins.
    fn word_start(&self) -> usize {
        let before = self.before_cursor().trim_end();
        before.rfind(' ').map_or(0, |space| space + 1)
    }

    fn before_cursor(&self) -> &str {
        self.line.get(..self.cursor).unwrap_or("")
    }

    fn after_cursor(&self) -> &str {
        self.line.get(self.cursor..).unwrap_or("")
    }
}

/// A part of a line, which fits into one.
fn copy(part: &str) -> Line {
    let mut line = Line::new();
    let _ = line.try_push_str(part);
    line
}
