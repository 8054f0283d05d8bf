//! A line as a person types it: echo, correction, end.
#![forbid(unsafe_code)]

use arrayvec::ArrayString;

/// Longest line in bytes; what is typed beyond rings the bell.
pub const MAX_LINE: usize = 200;

/// What to show for a byte, and whether the line is done.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Show this and go on.
    Echo(ArrayString<8>),
    /// The line is done; the terminal is on a new line.
    Line(ArrayString<MAX_LINE>),
    /// The line was given up (Ctrl-C).
    Abandoned,
}

/// A line that is being typed.
#[derive(Debug, Default)]
pub struct LineEditor {
    line: ArrayString<MAX_LINE>,
    escape: Escape,
}

/// Where in an escape sequence (cursor keys and the like) the bytes are.
#[derive(Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    No,
    Begun,
    Bracket,
}

impl LineEditor {
    /// Takes a byte.
    pub fn take(&mut self, byte: u8) -> Typed {
        let mut echo = ArrayString::new();
        match (&self.escape, byte) {
            (Escape::Begun, b'[' | b'O') => self.escape = Escape::Bracket,
            (Escape::Bracket, b'0'..=b'9' | b';') => {}
            (Escape::Begun | Escape::Bracket, _) => self.escape = Escape::No,
            (Escape::No, 0x1b) => self.escape = Escape::Begun,
            (Escape::No, b'\r' | b'\n') => return Typed::Line(core::mem::take(&mut self.line)),
            (Escape::No, 0x03) => {
                self.line.clear();
                return Typed::Abandoned;
            }
            (Escape::No, 0x08 | 0x7f) => {
                if self.line.pop().is_some() {
                    echo.push_str("\x08 \x08");
                }
            }
            (Escape::No, 0x15) => {
                // The echo of one byte is short: one character at a time.
                self.line.clear();
                echo.push_str("\r\x1b[K");
            }
            (Escape::No, b' '..=b'~') => {
                let shown = match self.line.try_push(char::from(byte)) {
                    Ok(()) => char::from(byte),
                    Err(_) => '\x07',
                };
                echo.push(shown);
            }
            (Escape::No, _) => echo.push('\x07'),
        }
        Typed::Echo(echo)
    }

    /// The line so far.
    pub fn so_far(&self) -> &str {
        &self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> Vec<String> {
        let mut editor = LineEditor::default();
        let lines = bytes.iter().filter_map(|&byte| match editor.take(byte) {
            Typed::Line(line) => Some(line.to_string()),
            _ => None,
        });
        lines.collect()
    }

    #[test]
    fn corrections_cursor_keys_and_junk_leave_a_clean_line() {
        assert_eq!(typed(b"hekp\x7f\x7flp\r"), ["help"]);
        assert_eq!(typed(b"ab\x1b[A\x1b[3~c\n"), ["abc"]);
        assert_eq!(typed(b"wrong\x15right\r"), ["right"]);
        assert_eq!(typed(b"gone\x03kept\r"), ["kept"]);
        assert_eq!(typed(b"\xff\x00ok\r"), ["ok"]);
    }

    #[test]
    fn a_line_has_an_end() {
        let long = [b'x'; MAX_LINE + 5];
        let mut editor = LineEditor::default();
        let bells = long
            .iter()
            .filter(|&&byte| editor.take(byte) == Typed::Echo("\x07".try_into().unwrap()));
        assert_eq!(bells.count(), 5);
        assert_eq!(editor.so_far().len(), MAX_LINE);
    }
}
