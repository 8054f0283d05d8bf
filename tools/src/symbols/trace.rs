//! Console output with names added to the lines of a backtrace.

use super::Symbols;

/// A line of a crash dump's backtrace: ` #0 +0x1234`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its number; 0 is where the fault happened, others are return addresses.
    pub number: u32,
    /// Bytes from the image's start.
    pub offset: u64,
}

impl Frame {
    /// Reads a line; anything may stand before the `#` (a time stamp, a level).
    pub fn parse(line: &str) -> Option<Self> {
        let at = line.rfind('#')?;
        let (number, rest) = line[at + 1..].split_once(' ')?;
        let number = number.parse().ok()?;
        let digits = rest.trim().strip_prefix("+0x")?;
        let offset = u64::from_str_radix(digits, 16).ok()?;
        Some(Self { number, offset })
    }

    /// The address to look up: a return address names the instruction after
    /// the call, which may belong to the next line or function.
    pub fn lookup_address(self) -> u64 {
        if self.number == 0 {
            self.offset
        } else {
            self.offset.saturating_sub(4)
        }
    }
}

/// Passes bytes through and appends names to lines that are frames.
pub struct TraceFilter {
    symbols: Option<Symbols>,
    line: Vec<u8>,
}

/// Longer lines are no frames.
const LONGEST_LINE: usize = 512;

impl TraceFilter {
    /// A filter; without symbols everything passes as it is.
    pub fn new(symbols: Option<Symbols>) -> Self {
        Self {
            symbols,
            line: Vec::new(),
        }
    }

    /// The names that it knows.
    pub fn symbols(&self) -> Option<&Symbols> {
        self.symbols.as_ref()
    }

    /// What to show for the next `bytes` of output. Nothing is held back.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                if let Some(names) = self.names() {
                    out.extend(b"  ");
                    out.extend(names.as_bytes());
                }
                self.line.clear();
            } else if self.line.len() < LONGEST_LINE {
                self.line.push(byte);
            }
            out.push(byte);
        }
        out
    }

    fn names(&self) -> Option<String> {
        let symbols = self.symbols.as_ref()?;
        let line = std::str::from_utf8(&self.line).ok()?;
        let frame = Frame::parse(line)?;
        symbols.describe(frame.lookup_address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_from_other_lines() {
        assert_eq!(
            Frame::parse(" #0 +0x1234"),
            Some(Frame {
                number: 0,
                offset: 0x1234
            })
        );
        assert_eq!(
            Frame::parse("[    0.12] #12 +0xabc "),
            Some(Frame {
                number: 12,
                offset: 0xabc
            })
        );
        assert_eq!(Frame::parse("backtrace (image at 0x20010000)"), None);
        assert_eq!(Frame::parse(" #1 0x1234"), None);
        assert_eq!(Frame::parse(" #x +0x1"), None);
    }

    #[test]
    fn a_call_is_looked_up_before_its_return_address() {
        assert_eq!(
            Frame {
                number: 0,
                offset: 0x100
            }
            .lookup_address(),
            0x100
        );
        assert_eq!(
            Frame {
                number: 3,
                offset: 0x100
            }
            .lookup_address(),
            0xfc
        );
    }

    #[test]
    fn without_symbols_bytes_pass_unchanged() {
        let mut filter = TraceFilter::new(None);
        let text = b"prompt> #0 +0x10\r\n\xff\x00";
        assert_eq!(filter.feed(text), text);
    }
}
