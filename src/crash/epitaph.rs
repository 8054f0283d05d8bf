//! The epitaph: what a crash leaves at the symbol `PINION_EPITAPH`, for whoever
//! reads a memory dump.

use super::Frame;
use core::fmt;

/// First word of a written epitaph.
pub const EPITAPH_MAGIC: u64 = u64::from_be_bytes(*b"EPITAPH1");

/// Bytes of text in it.
pub const TEXT_SIZE: usize = 256;

/// What is left. All words are big-endian in memory, as the image is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Epitaph {
    /// [`EPITAPH_MAGIC`], or 0 while nothing has happened.
    pub magic: u64,
    /// The thread that crashed.
    pub pir: u64,
    /// Timebase at the crash, in ticks.
    pub timebase: u64,
    /// How many crashes there were, those while reporting one included.
    pub crashes: u64,
    /// The registers; all zero for a panic.
    pub frame: Frame,
    /// What was said, ended by a NUL or the end.
    pub text: [u8; TEXT_SIZE],
}

impl Epitaph {
    /// Nothing has happened.
    pub const fn empty() -> Self {
        const ZERO: Frame = Frame {
            abi: [0; 4],
            gpr: [0; 32],
            nip: 0,
            msr: 0,
            ctr: 0,
            lr: 0,
            xer: 0,
            cr: 0,
            vector: 0,
            srr: [0; 2],
            hsrr: [0; 2],
            dar: 0,
            dsisr: 0,
            hdar: 0,
            hdsisr: 0,
            padding: 0,
        };
        Self {
            magic: 0,
            pir: 0,
            timebase: 0,
            crashes: 0,
            frame: ZERO,
            text: [0; TEXT_SIZE],
        }
    }

    /// Writes the text, cut at [`TEXT_SIZE`] bytes.
    pub fn set_text(&mut self, text: fmt::Arguments<'_>) {
        self.text = [0; TEXT_SIZE];
        let mut rest = Rest {
            bytes: &mut self.text,
            used: 0,
        };
        // A text that is cut is still worth having.
        let _ = fmt::write(&mut rest, text);
    }

    /// The text.
    pub fn text(&self) -> &str {
        let end = self
            .text
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(TEXT_SIZE);
        let text = self.text.get(..end).unwrap_or(&[]);
        core::str::from_utf8(text).unwrap_or("?")
    }
}

struct Rest<'a> {
    bytes: &'a mut [u8; TEXT_SIZE],
    used: usize,
}

impl fmt::Write for Rest<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            *self.bytes.get_mut(self.used).ok_or(fmt::Error)? = byte;
            self.used += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_a_short_one_is_whole() {
        let mut epitaph = Epitaph::empty();
        epitaph.set_text(format_args!("{:300}", "x"));
        assert_eq!(epitaph.text().len(), TEXT_SIZE);
        epitaph.set_text(format_args!("short {}", 1));
        assert_eq!(epitaph.text(), "short 1");
    }
}
