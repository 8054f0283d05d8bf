//! Vector registers and special ones: set to a pattern, read back.

use core::arch::{asm, global_asm};

global_asm!(
    r#"
    .text
    .macro  vectors_on
    mfmsr   5
    lis     6, 0x0280               // VEC, VSX
    ori     6, 6, 0x2000            // FP
    or      6, 6, 5
    mtmsrd  6
    isync
    .endm
    .globl probe_load_vectors
probe_load_vectors:
    vectors_on
    .set    n, 0
    .rept   64
    .long   0x7c000698 | (n & 31) << 21 | 3 << 11 | n >> 5
    addi    3, 3, 16
    .set    n, n + 1
    .endr
    blr
    .globl probe_store_vectors
probe_store_vectors:
    vectors_on
    .set    n, 0
    .rept   64
    .long   0x7c000798 | (n & 31) << 21 | 3 << 11 | n >> 5
    addi    3, 3, 16
    .set    n, n + 1
    .endr
    blr
    // FPSCR at 0(r3), VSCR at 16(r3): lfd f0, mtfsf, lvx v0, mtvscr.
    .globl probe_load_status
probe_load_status:
    vectors_on
    addi    4, 3, 16
    .long   0xc8030000
    .long   0xfdfe058e | 1 << 25
    .long   0x7c0020ce
    .long   0x10000644
    blr
    // mffs f0, stfd f0, mfvscr v0, stvx v0.
    .globl probe_store_status
probe_store_status:
    vectors_on
    addi    4, 3, 16
    .long   0xfc00048e
    .long   0xd8030000
    .long   0x10000604
    .long   0x7c0021ce
    blr
    // Sets everything that a call must keep, makes it, and stores what is there
    // afterwards: r3 = token, r4 = where 24 words go.
    .globl probe_registers
probe_registers:
    mflr    0
    std     0, 16(1)
    mfcr    0
    std     0, 8(1)
    stdu    1, -256(1)
    .irp n, 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    std     \n, 32+(\n-14)*8(1)
    .endr
    std     13, 176(1)
    std     2, 184(1)
    std     4, 192(1)
    .irp n, 13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    li      \n, 0x4000 + \n
    .endr
    li      2, 0x4002
    lis     0, 0x1234
    mtlr    0
    lis     0, 0x0053
    ori     0, 0, 0x6000
    mtcr    0
    li      0, -1
    mtctr   0
    mtxer   0
    sc      1
    std     0, 200(1)
    ld      4, 192(1)
    .irp n, 13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    std     \n, (\n-13)*8(4)
    .endr
    std     2, 19*8(4)
    mflr    0
    std     0, 20*8(4)
    mfcr    0
    std     0, 21*8(4)
    // Volatile: what must be no address of Pinion's.
    ld      0, 200(1)
    std     0, 22*8(4)
    std     11, 23*8(4)
    std     12, 24*8(4)
    mfctr   0
    std     0, 25*8(4)
    .irp n, 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ld      \n, 32+(\n-14)*8(1)
    .endr
    ld      13, 176(1)
    ld      2, 184(1)
    addi    1, 1, 256
    ld      0, 8(1)
    mtcr    0
    ld      0, 16(1)
    mtlr    0
    blr
"#
);

// SAFETY: the assembly above has these signatures.
unsafe extern "C" {
    fn probe_load_vectors(from: *const [u64; 128]);
    fn probe_store_vectors(to: *mut [u64; 128]);
    fn probe_load_status(from: *const Status);
    fn probe_store_status(to: *mut Status);
    fn probe_registers(token: u64, to: *mut [u64; 26]) -> i64;
}

/// Sets all 64 vector-scalar registers.
pub fn load(values: &[u64; 128]) {
    // SAFETY: this program uses the registers nowhere else.
    unsafe { probe_load_vectors(values) }
}

/// Reads them.
pub fn store() -> [u64; 128] {
    let mut values = [0; 128];
    // SAFETY: 128 words.
    unsafe { probe_store_vectors(&mut values) };
    values
}

/// Floating-point and vector status.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Status {
    /// FPSCR.
    pub fpscr: u64,
    padding: u64,
    /// VSCR, in the last word.
    pub vscr: [u64; 2],
}

impl Status {
    /// Of these registers' values.
    pub fn new(fpscr: u64, vscr: u64) -> Self {
        Self {
            fpscr,
            padding: 0,
            vscr: [0, vscr],
        }
    }

    /// Sets both; VSR 0 and VSR 32 are lost.
    pub fn load(&self) {
        // SAFETY: this program uses the registers nowhere else.
        unsafe { probe_load_status(self) }
    }

    /// Reads both; VSR 0 and VSR 32 are lost.
    pub fn store() -> Self {
        let mut status = Self::default();
        // SAFETY: it has its room.
        unsafe { probe_store_status(&mut status) };
        status
    }
}

/// Makes a call with a pattern in all registers; returns what is in them
/// afterwards: r13 to r31, r2, LR, CR, r0, r11, r12, CTR.
pub fn registers(token: u64) -> [u64; 26] {
    let mut values = [0; 26];
    // SAFETY: 26 words.
    unsafe { probe_registers(token, &mut values) };
    values
}

/// Expected in the first 21 words; CR is looked at apart.
pub fn expected_registers() -> [u64; 21] {
    core::array::from_fn(|index| match index {
        0..=18 => 0x400d + index as u64,
        19 => 0x4002,
        _ => 0x1234_0000,
    })
}

/// Timebase.
pub fn timebase() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mftb {}", out(reg) value, options(nomem, nostack)) };
    value
}

/// Reads a special-purpose register.
#[macro_export]
macro_rules! get {
    ($number:expr) => {{
        let value: u64;
        // SAFETY: reading has no effect.
        unsafe { core::arch::asm!("mfspr {}, {}", out(reg) value, const $number, options(nostack)) };
        value
    }};
}

/// Sets one.
#[macro_export]
macro_rules! set {
    ($number:expr, $value:expr) => {
        // SAFETY: registers that govern nothing that this program relies on.
        unsafe {
            core::arch::asm!("mtspr {1}, {0}", in(reg) $value as u64, const $number, options(nostack))
        }
    };
}
