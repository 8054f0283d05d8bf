//! Text to the partition's terminal.

use crate::call::{PUT_TERM_CHAR, hypervisor};
use core::fmt;

/// The terminal.
pub struct Terminal;

impl fmt::Write for Terminal {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.as_bytes().chunks(16) {
            let mut bytes = [0; 16];
            bytes[..piece.len()].copy_from_slice(piece);
            let word = |half: &[u8]| half.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
            let arguments = [0, piece.len() as u64, word(&bytes[..8]), word(&bytes[8..])];
            while hypervisor(PUT_TERM_CHAR, &arguments).0 == 1 {}
        }
        Ok(())
    }
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    ($($text:tt)*) => {{
        use core::fmt::Write;
        let _ = writeln!($crate::print::Terminal, $($text)*);
    }};
}
