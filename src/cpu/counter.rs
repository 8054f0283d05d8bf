//! Counting instructions with PMC6.
//!
//! The emulator counts each instruction exactly. On real hardware PMC6 counts
//! what MMCR1 selects, and this is only an approximation: figures are for the
//! emulator, where they repeat.

use super::spr::{MMCR0, MMCR0_FREEZE};
use core::arch::asm;

/// Performance monitor counter 6 (Power ISA 3.0B, book III, 9.4.1).
const PMC6: u32 = 792;

/// Counts from now on.
pub fn start() {
    // SAFETY: no counter raises an interrupt: PMAE is off.
    unsafe {
        asm!("mtspr {spr}, {value}", spr = const MMCR0, value = in(reg) 0u64, options(nomem, nostack))
    }
}

/// Stops counting.
pub fn stop() {
    // SAFETY: as above.
    unsafe {
        asm!("mtspr {spr}, {value}", spr = const MMCR0, value = in(reg) MMCR0_FREEZE, options(nomem, nostack))
    }
}

/// Instructions so far, modulo 2^32. Not inlined, so that it always costs the
/// same.
#[inline(never)]
pub fn instructions() -> u32 {
    let count: u64;
    // SAFETY: reads a counter. The branch ends the emulator's block: it brings
    // the counter up to date between blocks.
    unsafe {
        asm!("b 2f", "2:", "mfspr {count}, {spr}", count = out(reg) count, spr = const PMC6, options(nostack))
    }
    count as u32
}

/// A loop of `2 * turns + 1` instructions, for calibration; `turns` is at least 1.
#[inline(never)]
pub fn known_loop(turns: u64) {
    // SAFETY: counts down a register.
    unsafe {
        asm!(
            "mtctr {turns}",
            "2: nop",
            "bdnz 2b",
            turns = in(reg) turns,
            out("ctr") _,
            options(nomem, nostack)
        );
    }
}
