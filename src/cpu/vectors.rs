//! Interrupt vectors: the stubs at real address 0x100 and up, and the way into
//! Rust and back.
//!
//! Contract of a stub (vectors 0x100 to 0x1eff, every 0x20 bytes):
//!
//! 1. Entered with MSR\[HV\]=1, translation off, big-endian (HILE=0), EE=0.
//! 2. HSPRG0 = the thread's [`Area`](super::Area); HSPRG1 is scratch.
//! 3. Works with any r1, r2: it uses the area's stacks. Machine check and
//!    system reset, which no mask keeps out, have stacks of their own.
//! 4. An interrupt on a stack that is in use already goes below what is there,
//!    512 bytes down (the ABI lets a leaf use 288 below its r1).
//!
//! The stubs are copied by assembly, since address 0 is a null pointer to Rust,
//! and only from 0x100 on: below it kexec keeps things.

use super::area::*;
use super::{msr, spr};
use crate::crash::Frame;
use core::arch::global_asm;
use core::mem::{offset_of, size_of};

// SAFETY: the assembly below has these signatures.
unsafe extern "C" {
    /// Copies the stubs to low memory and makes them visible to instruction
    /// fetch. Must run once, before any thread relies on a vector.
    pub(super) fn install_vectors();
    /// Where stubs go on; its address belongs into each area.
    pub(super) fn interrupt_entry();
    /// POWER8's `nap`: returns when a wake-up event has come.
    pub(super) fn nap_until_event(area: *mut Area);
    /// Where [`nap_until_event`] goes on; entered with r1 as it left it.
    pub(super) fn nap_resume();
}

/// Bytes that must be free on a stack for one more frame and its handler.
const ROOM: usize = 3072;

global_asm!(
    r#"
    .section .text.vectors, "ax"
    .balign 64
vectors:
    .set    vector, 0x100
    .rept   (0x1f00 - 0x100) / 0x20
    mtspr   {HSPRG1}, 13
    mfspr   13, {HSPRG0}
    std     12, {R12}(13)
    mfspr   12, {CFAR}              // before a branch changes it
    std     12, {SAVE_CFAR}(13)
    li      12, vector
    b       vectors + 0x1e00
    nop
    .set    vector, vector + 0x20
    .endr
    // real address 0x1f00
    std     11, {R11}(13)
    mfctr   11
    std     11, {CTR}(13)
    ld      11, {HANDLER}(13)
    mtctr   11
    bctr
vectors_end:

    .globl install_vectors
install_vectors:
    mflr    0
    bcl     20, 31, 1f
1:  mflr    4
    mtlr    0
    addi    4, 4, vectors - 1b - 8
    li      5, 0x100 - 8
    li      6, (vectors_end - vectors) / 8
    mtctr   6
2:  ldu     7, 8(4)
    stdu    7, 8(5)
    bdnz    2b
    // Power ISA book II, 4.3.1: make stores visible to instruction fetch.
    li      5, 0
3:  dcbst   0, 5
    addi    5, 5, 128
    cmpldi  5, 0x2000
    blt     3b
    sync
    li      5, 0
4:  icbi    0, 5
    addi    5, 5, 128
    cmpldi  5, 0x2000
    blt     4b
    sync
    isync
    blr

    .globl interrupt_entry
interrupt_entry:                    // r12 = vector, r13 = area
    std     10, {R10}(13)
    mfcr    10
    std     10, {CR}(13)
    li      11, {STACKS}
    cmpldi  12, 0x200
    bne     1f
    li      11, {STACKS} + 16
1:  cmpldi  12, 0x100
    bne     2f
    li      11, {STACKS} + 32
2:  add     11, 11, 13
    ld      10, 0(11)
    ld      11, 8(11)
    addi    10, 10, {ROOM}
    cmpld   1, 10
    blt     3f
    cmpld   1, 11
    bge     3f
    addi    11, 1, -512
    clrrdi  11, 11, 4
3:  addi    11, 11, -{FRAME}
    std     1, 0(11)                // back chain
    std     0, {GPR}+0*8(11)
    std     1, {GPR}+1*8(11)
    mr      1, 11
    std     2, {GPR}+2*8(1)
    std     3, {GPR}+3*8(1)
    std     4, {GPR}+4*8(1)
    std     5, {GPR}+5*8(1)
    std     6, {GPR}+6*8(1)
    std     7, {GPR}+7*8(1)
    std     8, {GPR}+8*8(1)
    std     9, {GPR}+9*8(1)
    ld      3, {R10}(13)
    ld      4, {R11}(13)
    ld      5, {R12}(13)
    mfspr   6, {HSPRG1}
    std     3, {GPR}+10*8(1)
    std     4, {GPR}+11*8(1)
    std     5, {GPR}+12*8(1)
    std     6, {GPR}+13*8(1)
    std     14, {GPR}+14*8(1)
    std     15, {GPR}+15*8(1)
    std     16, {GPR}+16*8(1)
    std     17, {GPR}+17*8(1)
    std     18, {GPR}+18*8(1)
    std     19, {GPR}+19*8(1)
    std     20, {GPR}+20*8(1)
    std     21, {GPR}+21*8(1)
    std     22, {GPR}+22*8(1)
    std     23, {GPR}+23*8(1)
    std     24, {GPR}+24*8(1)
    std     25, {GPR}+25*8(1)
    std     26, {GPR}+26*8(1)
    std     27, {GPR}+27*8(1)
    std     28, {GPR}+28*8(1)
    std     29, {GPR}+29*8(1)
    std     30, {GPR}+30*8(1)
    std     31, {GPR}+31*8(1)
    ld      3, {CTR}(13)
    ld      4, {CR}(13)
    mflr    5
    mfxer   6
    std     3, {F_CTR}(1)
    std     4, {F_CR}(1)
    std     5, {F_LR}(1)
    std     6, {F_XER}(1)
    std     12, {F_VECTOR}(1)
    mfspr   3, {SRR0}
    mfspr   4, {SRR1}
    mfspr   5, {HSRR0}
    mfspr   6, {HSRR1}
    std     3, {F_SRR}(1)
    std     4, {F_SRR}+8(1)
    std     5, {F_HSRR}(1)
    std     6, {F_HSRR}+8(1)
    mfspr   3, {DAR}
    mfspr   4, {DSISR}
    mfspr   5, {HDAR}
    mfspr   6, {HDSISR}
    std     3, {F_DAR}(1)
    std     4, {F_DAR}+8(1)
    std     5, {F_HDAR}(1)
    std     6, {F_HDAR}+8(1)
    ld      2, {TOC}(13)
    li      3, {RI}
    mtmsrd  3, 1                    // what follows can be interrupted again
    mr      3, 1
    bl      pinion_interrupt        // r3: 0 = back by SRR, 1 = by HSRR
    nop
    li      4, 0
    mtmsrd  4, 1                    // RI = 0: SRR0/1 are live from here
    cmpdi   3, 0
    ld      4, {F_NIP}(1)
    ld      5, {F_NIP}+8(1)
    beq     4f
    mtspr   {HSRR0}, 4
    mtspr   {HSRR1}, 5
    b       5f
4:  mtspr   {SRR0}, 4
    mtspr   {SRR1}, 5
5:  ld      4, {F_CTR}(1)
    ld      5, {F_LR}(1)
    ld      6, {F_XER}(1)
    ld      7, {F_CR}(1)
    mtctr   4
    mtlr    5
    mtxer   6
    // The way back is chosen by CR0, which is then the interrupted code's:
    // so there are two ways from here.
    bne     6f
    mtcr    7
    .irp n, 0,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ld      \n, {GPR}+\n*8(1)
    .endr
    ld      1, {GPR}+1*8(1)
    rfid
6:  mtcr    7
    .irp n, 0,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ld      \n, {GPR}+\n*8(1)
    .endr
    ld      1, {GPR}+1*8(1)
    hrfid

    // nap loses no state that software sees, but a deeper state may have been
    // asked for by a sibling: what the ABI preserves is kept on the stack.
    .globl nap_until_event
nap_until_event:
    mflr    0
    std     0, 16(1)
    mfcr    0
    std     0, 8(1)
    stdu    1, -192(1)
    std     2, 24(1)
    .irp n, 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    std     \n, 32+(\n-14)*8(1)
    .endr
    std     13, 176(1)
    std     1, {NAP_STACK}(3)
    // The store must be done before the thread sleeps (POWER8 user's manual).
    ptesync
    ld      0, {NAP_STACK}(3)
1:  cmpd    0, 0
    bne     1b
    nap
    b       .
    .globl nap_resume
nap_resume:
    .irp n, 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ld      \n, 32+(\n-14)*8(1)
    .endr
    ld      13, 176(1)
    ld      2, 24(1)
    addi    1, 1, 192
    ld      0, 8(1)
    mtcr    0
    ld      0, 16(1)
    mtlr    0
    blr
    .previous
"#,
    HSPRG0 = const spr::HSPRG0,
    HSPRG1 = const spr::HSPRG1,
    SRR0 = const spr::SRR0,
    SRR1 = const spr::SRR1,
    HSRR0 = const spr::HSRR0,
    HSRR1 = const spr::HSRR1,
    DAR = const spr::DAR,
    DSISR = const spr::DSISR,
    HDAR = const spr::HDAR,
    HDSISR = const spr::HDSISR,
    RI = const msr::RI,
    ROOM = const ROOM,
    FRAME = const size_of::<Frame>(),
    R10 = const AREA_R10,
    R11 = const AREA_R11,
    R12 = const AREA_R12,
    CR = const AREA_CR,
    CTR = const AREA_CTR,
    CFAR = const spr::CFAR,
    SAVE_CFAR = const AREA_CFAR,
    HANDLER = const AREA_HANDLER,
    STACKS = const AREA_STACKS,
    TOC = const AREA_TOC,
    NAP_STACK = const AREA_NAP_STACK,
    GPR = const offset_of!(Frame, gpr),
    F_NIP = const offset_of!(Frame, nip),
    F_CTR = const offset_of!(Frame, ctr),
    F_LR = const offset_of!(Frame, lr),
    F_XER = const offset_of!(Frame, xer),
    F_CR = const offset_of!(Frame, cr),
    F_VECTOR = const offset_of!(Frame, vector),
    F_SRR = const offset_of!(Frame, srr),
    F_HSRR = const offset_of!(Frame, hsrr),
    F_DAR = const offset_of!(Frame, dar),
    F_HDAR = const offset_of!(Frame, hdar),
);
