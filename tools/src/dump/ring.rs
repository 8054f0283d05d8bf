//! A ring of text: the log (`src/console/ring.rs`).

use std::fmt::Write as _;

use super::word;
use crate::symbols::{Frame, Symbols};

pub const MAGIC: &[u8] = b"PINIONLG";

/// Offsets of `Ring`, in bytes.
const CAPACITY: usize = 0x08;
const WRITTEN: usize = 0x10;
const BYTES: usize = 0x18;

/// Largest ring that is believed.
const MOST: u64 = 1 << 24;

/// Adds the ring at the start of `memory` to `text`, oldest line first.
pub fn tell(memory: &[u8], symbols: Option<&Symbols>, text: &mut String) {
    let (Some(capacity), Some(written)) = (word(memory, CAPACITY), word(memory, WRITTEN)) else {
        let _ = writeln!(text, "  cut off");
        return;
    };
    if capacity == 0 || capacity > MOST {
        let _ = writeln!(text, "  not a log: it would hold {capacity:#x} bytes");
        return;
    }
    let size = capacity as usize;
    let Some(bytes) = memory.get(BYTES..BYTES + size) else {
        let _ = writeln!(
            text,
            "  cut off: {} bytes of {}",
            memory.len(),
            BYTES + size
        );
        return;
    };
    let next = (written % capacity) as usize;
    let (newer, older) = bytes.split_at(next);
    let lost = written.saturating_sub(capacity);
    let held = if lost > 0 {
        // The oldest line has lost its beginning.
        let whole = [older, newer].concat();
        let start = whole
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        whole.get(start..).unwrap_or(&[]).to_vec()
    } else {
        newer.to_vec()
    };
    let _ = writeln!(text, "  {written} bytes written, {lost} no longer held");
    for line in String::from_utf8_lossy(&held).lines() {
        let frame = Frame::parse(line).zip(symbols);
        let name = frame.and_then(|(frame, symbols)| symbols.describe(frame.lookup_address()));
        let (gap, name) = name.map_or(("", String::new()), |name| ("  ", name));
        let _ = writeln!(text, "  | {}{gap}{name}", shown(line));
    }
}

/// Without what moves a terminal's cursor.
fn shown(line: &str) -> String {
    line.chars()
        .map(|character| {
            if character.is_control() {
                '?'
            } else {
                character
            }
        })
        .collect()
}
