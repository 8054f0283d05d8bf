//! The epitaph: registers and text of the last crash (`src/crash/epitaph.rs`).

use std::fmt::Write as _;

use super::word;

pub const MAGIC: &[u8] = b"EPITAPH1";

/// Offsets of `Epitaph`, in bytes.
const PIR: usize = 0x08;
const TIMEBASE: usize = 0x10;
const CRASHES: usize = 0x18;
const GPR: usize = 0x40;
const NAMED: [(&str, usize); 12] = [
    ("nip", 0x140),
    ("msr", 0x148),
    ("ctr", 0x150),
    ("lr", 0x158),
    ("xer", 0x160),
    ("cr", 0x168),
    ("srr0", 0x178),
    ("srr1", 0x180),
    ("hsrr0", 0x188),
    ("hsrr1", 0x190),
    ("dar", 0x198),
    ("dsisr", 0x1a0),
];
const VECTOR: usize = 0x170;
const TEXT: std::ops::Range<usize> = 0x1c0..0x2c0;

/// Adds the epitaph at the start of `memory` to `text`.
pub fn tell(memory: &[u8], text: &mut String) {
    let Some(said) = memory.get(TEXT) else {
        let _ = writeln!(text, "  cut off: {} bytes of {}", memory.len(), TEXT.end);
        return;
    };
    let at = |offset| word(memory, offset).unwrap_or(0);
    let end = said.iter().position(|&byte| byte == 0);
    let said = String::from_utf8_lossy(said.get(..end.unwrap_or(said.len())).unwrap_or(said));
    let _ = writeln!(text, "  {said}");
    let _ = writeln!(
        text,
        "  thread {:#x}, timebase {:#x}, {} crash(es)",
        at(PIR),
        at(TIMEBASE),
        at(CRASHES)
    );
    if at(VECTOR) == 0 {
        let _ = writeln!(text, "  no registers: a panic or an orderly stop");
        return;
    }
    let _ = writeln!(text, "  interrupt {:#x}", at(VECTOR));
    for four in NAMED.chunks(4) {
        for (name, offset) in four {
            let _ = write!(text, "  {name:<5} {:016x}", at(*offset));
        }
        text.push('\n');
    }
    for row in 0..8 {
        for column in 0..4 {
            let number = row * 4 + column;
            let name = format!("r{number}");
            let _ = write!(text, "  {name:<5} {:016x}", at(GPR + number * 8));
        }
        text.push('\n');
    }
}
