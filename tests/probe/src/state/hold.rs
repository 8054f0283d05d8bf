//! All general registers, CR, XER, LR and CTR, set to given values, held for a
//! while, and read back.

use core::arch::global_asm;

/// Words of general registers, and of CR, XER, LR, CTR behind them.
pub const WORDS: usize = 36;
pub const CR: usize = 32;
pub const XER: usize = 33;
pub const LR: usize = 34;
pub const CTR: usize = 35;

// With every register in use memory is reached by absolute addresses: 0x1050 has
// the stack, 0x1060 what goes in, 0x11a0 what comes out (see entry.s).
global_asm!(
    r#"
    .text
    .macro  hold_begin
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
    std     1, 0x1050(0)
    ld      0, 0x1060+32*8(0)
    mtcr    0
    ld      0, 0x1060+33*8(0)
    mtxer   0
    ld      0, 0x1060+34*8(0)
    mtlr    0
    ld      0, 0x1060+35*8(0)
    mtctr   0
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ld      \n, 0x1060+\n*8(0)
    .endr
    .endm
    .macro  hold_end
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    std     \n, 0x11a0+\n*8(0)
    .endr
    mfcr    0
    std     0, 0x11a0+32*8(0)
    mfxer   0
    std     0, 0x11a0+33*8(0)
    mflr    0
    std     0, 0x11a0+34*8(0)
    mfctr   0
    std     0, 0x11a0+35*8(0)
    ld      1, 0x1050(0)
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
    .endm
    .globl probe_hold_low
probe_hold_low:
    hold_begin
1:  addi    4, 4, -1
    cmpdi   0, 4, 0
    bne     0, 1b
    hold_end
    .globl probe_hold_high
probe_hold_high:
    hold_begin
1:  addi    30, 30, -1
    cmpdi   7, 30, 0
    bne     7, 1b
    hold_end
    .globl probe_hold_wild
probe_hold_wild:
    hold_begin
    ld      31, 0(30)
    hold_end
    .globl probe_hold_call
probe_hold_call:
    hold_begin
    sc      1
    hold_end
"#
);

// SAFETY: the assembly above has these signatures, and keeps what the ABI wants
// kept.
unsafe extern "C" {
    fn probe_hold_low();
    fn probe_hold_high();
    fn probe_hold_wild();
    fn probe_hold_call();
}

/// How they are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// r4 is counted down to 0; it and field 0 of CR are used.
    Low,
    /// r30 is; it and field 7 of CR are used.
    High,
    /// A load from the address in r30, where nothing is: the vector leaves it out.
    Wild,
    /// The call whose number is in r3: what is volatile is not kept.
    Call,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Low, Self::High, Self::Wild, Self::Call];

    /// Whether general register `index` is to be the same afterwards.
    pub fn keeps(self, index: usize) -> bool {
        match (self, index) {
            (Self::Low, 4) | (Self::High, 30) => false,
            (Self::Call, 0 | 3..=12 | XER | CTR) => false,
            _ => true,
        }
    }

    /// The bits of CR that are to be the same.
    pub fn kept_cr(self) -> u64 {
        match self {
            Self::Low => 0x0fff_ffff,
            Self::High => 0xffff_fff0,
            Self::Wild => 0xffff_ffff,
            Self::Call => 0x00ff_f000,
        }
    }
}

const IN: *mut [u64; WORDS] = 0x1060 as *mut _;
const OUT: *const [u64; WORDS] = 0x11a0 as *const _;

/// Sets all of them, and returns what they are afterwards. r4 or r30 say how
/// long, or where, or which call, as `kind` has it.
pub fn hold(kind: Kind, values: &[u64; WORDS]) -> [u64; WORDS] {
    // SAFETY: `entry.s` keeps both places free, and nothing else refers to them.
    unsafe {
        IN.write_volatile(*values);
        match kind {
            Kind::Low => probe_hold_low(),
            Kind::High => probe_hold_high(),
            Kind::Wild => probe_hold_wild(),
            Kind::Call => probe_hold_call(),
        }
        OUT.read_volatile()
    }
}
