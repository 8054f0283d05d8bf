//! Into a partition and back: the only code that runs with a partition's
//! registers, and the only one that touches floating-point and vector ones.
//!
//! Contract of `guest_enter(vcpu, area, ticks, step, context)`:
//!
//! 1. The vCPU is loaded on this thread ([`super::run`]), nobody else uses it,
//!    and `ticks` until the hypervisor decrementer fires are more than 0.
//! 2. MSR is Pinion's, EE=0. A machine check or a system reset between the
//!    first instruction and `hrfid` finds RI=0.
//! 3. At each exit that is more than a quick call, `step(vcpu, vector, context)`
//!    is asked what comes next, with LPIDR, PIDR, LPCR, DEC and MMCR0 as Pinion
//!    has them (HDEC runs on, but interrupts nobody: its LPCR has HDICE=0), and the registers of the vCPU in its [`Vcpu`], but for r14
//!    to r31: the ABI keeps these over the call, so they stay where they are.
//! 4. `step` answers with the ticks until the hypervisor decrementer fires, and
//!    the vCPU goes on; or with 0, and `guest_enter` returns, with r14 to r31 in
//!    the [`Vcpu`] too.
//!
//! Contract of `guest_exit`, the handler of a thread's vectors while a vCPU
//! runs (`cpu::vectors` brings it here):
//!
//! 1. r12 = vector, r13 = area; the partition's r11, r12 and CTR are in the
//!    area, its r13 in HSPRG1. Everything else is the partition's.
//! 2. The first thing is that the vectors are Pinion's own again.
//! 3. A hypervisor call (0xc00) of a kernel goes to `pinion_hcall(vcpu)` with LPIDR, LPCR
//!    and PIDR as the partition has them: no translation there, no wait but for a
//!    kill, and firmware only behind [`super::as_host`]. The ABI keeps r14 to r31,
//!    and nothing in the image uses r13.
//!    It answers what the partition gets in r3, and the vCPU goes on at once (r3 in
//!    its [`Vcpu`] is the call's number still, until the next exit); or
//!    [`CALL_NEEDS_MORE`], and a full exit follows.
//! 4. Back from a call, r0, r11, r12, CTR, XER and CFAR are zero: nothing of
//!    Pinion's is left in a register. What a partition counts goes on counting:
//!    events of a quick call are in its counters.
//! 5. No tlbsync: a vCPU never changes its thread, so that what it invalidates
//!    on the thread alone is complete there.
//!
//! Order of LPIDR, LPCR, PIDR: behind a sync and an isync, so that no access of
//! the one side is done with the other's translation (Power ISA 3.0B, book III,
//! 12.1, table 13). HDEC is set behind LPCR, whose LD says how wide it is.

use super::super::area::*;
use super::super::{msr, spr};
use super::state::{VECTORS_FPSCR, VECTORS_VSCR, Vcpu, Vectors};
use core::arch::global_asm;
use core::ffi::c_void;
use core::mem::offset_of;

// SAFETY: the assembly below has these signatures.
unsafe extern "C" {
    /// See the module's contract.
    pub(super) fn guest_enter(
        vcpu: *mut Vcpu,
        area: *const Area,
        ticks: u64,
        step: extern "C" fn(*mut Vcpu, u64, *mut c_void) -> u64,
        context: *mut c_void,
    );
    /// Where a thread's vectors go on while a vCPU runs.
    pub(super) fn guest_exit();
    /// The same, and no return of Pinion's goes where a partition has trained the
    /// link stack to.
    pub(super) fn guest_exit_forgetting();
    /// Stores FPSCR, VSCR and all vector-scalar registers.
    pub(super) fn guest_store_vectors(to: *mut Vectors);
    /// Loads them.
    pub(super) fn guest_load_vectors(from: *const Vectors);
}

/// What `pinion_hcall` answers if the call is not over.
pub const CALL_NEEDS_MORE: i64 = 0x7fff;

/// Bytes of `guest_enter`'s frame: the ABI's 32, r14 to r31, r13, LPCR, step,
/// context, and the largest time of a decrementer.
const FRAME: usize = 224;

global_asm!(
    r#"
    .section .guest_switch, "ax"
    .globl guest_enter
guest_enter:
    mflr    0
    std     0, 16(1)
    mfcr    0
    std     0, 8(1)
    stdu    1, -{FRAME}(1)
    std     2, 24(1)
    .irp n, 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    std     \n, 32+(\n-14)*8(1)
    .endr
    std     13, 176(1)
    mfspr   0, {LPCR}
    std     0, 184(1)
    std     6, 192(1)
    std     7, 200(1)
    li      0, -1
    srdi    0, 0, 9                 // as far away as it goes: 2^55 - 1
    std     0, 208(1)
    std     1, {GUEST_STACK}(4)
    std     3, {GUEST}(4)
    .irp n, 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ld      \n, {V_GPR}+\n*8(3)
    .endr

    .globl guest_go_on
guest_go_on:                        // r3 = vCPU, r4 = area, r5 = ticks
    li      0, 0
    mtmsrd  0, 1                    // RI = 0: (H)SRR0/1 are live from here
    ld      6, {GUEST_HANDLER}(4)
    std     6, {HANDLER}(4)
    ld      6, {V_NIP}(3)
    ld      7, {V_MSR}(3)
    mtspr   {HSRR0}, 6
    mtspr   {HSRR1}, 7
    ld      6, {FLUSH}(4)
    cmpdi   6, 0
    bnel    guest_flush_cache
    ld      6, {V_LPID}(3)
    ld      7, {V_LPCR}(3)
    ld      8, {V_PID}(3)
    sync
    isync
    mtspr   {LPIDR}, 6
    mtspr   {LPCR}, 7
    mtspr   {PIDR}, 8
    isync
    mtspr   {HDEC}, 5
    mftb    6
    ld      7, {V_DEC_AT}(3)
    subf    7, 6, 7
    mtspr   {DEC}, 7
    ld      6, {V_SRR}(3)
    ld      7, {V_SRR}+8(3)
    mtspr   {SRR0}, 6
    mtspr   {SRR1}, 7
    ld      6, {V_CTR}(3)
    ld      7, {V_LR}(3)
    mtctr   6
    mtlr    7
    ld      6, {V_XER}(3)
    ld      7, {V_CR}(3)
    mtxer   6
    mtcr    7
    ld      6, {V_MMCR0}(3)
    ld      7, {V_PPR}(3)
    ld      8, {V_CFAR}(3)
    mtspr   {MMCR0}, 6
    mtspr   {PPR}, 7
    mtspr   {CFAR}, 8               // no branch from here on
    .irp n, 0,1,2,4,5,6,7,8,9,10,11,12,13
    ld      \n, {V_GPR}+\n*8(3)
    .endr
    ld      3, {V_GPR}+3*8(3)
    hrfid

    .balign 64
    .globl guest_exit_forgetting
guest_exit_forgetting:
    mflr    11                      // is in the area
    .rept   64
    bl      .+4
    .endr
    mtlr    11
    .balign 64
    .globl guest_exit
guest_exit:
    .long   0x7e0006ac              // eieio 1: the partition's stores forward nothing
    ld      11, {GUEST}(13)
    std     10, {V_GPR}+10*8(11)
    mfcr    10
    std     10, {V_CR}(11)
    ld      10, {HOST_HANDLER}(13)
    std     10, {HANDLER}(13)
    .irp n, 1,2,3,4,5,6,7,8,9
    std     \n, {V_GPR}+\n*8(11)
    .endr
    mflr    3
    cmpldi  12, 0xc00
    std     3, {V_LR}(11)
    bne     2f

    // A call: sc leaves NIP and MSR in SRR0/1.
    mfspr   3, {SRR0}
    mfspr   4, {SRR1}
    andi.   5, 4, {PR}
    std     3, {V_NIP}(11)
    std     4, {V_MSR}(11)
    bne     5f
    ld      1, {GUEST_STACK}(13)
    ld      2, {TOC}(13)
    mfspr   13, {HSPRG1}
    mr      3, 11
    bl      pinion_hcall            // of the same TOC: nothing to restore
    mfspr   12, {HSPRG0}
    cmpdi   3, {MORE}
    ld      11, {GUEST}(12)
    beq     1f
    ld      6, {FLUSH}(12)
    cmpdi   6, 0
    bnel    guest_flush_cache
    ld      8, {GUEST_HANDLER}(12)
    ld      4, {V_NIP}(11)
    ld      5, {V_MSR}(11)
    ld      6, {V_LR}(11)
    ld      7, {V_CR}(11)
    std     8, {HANDLER}(12)
    mtspr   {HSRR0}, 4
    mtspr   {HSRR1}, 5
    mtlr    6
    li      0, 0
    mtcr    7
    mtctr   0
    mtxer   0
    mtspr   {CFAR}, 0               // rfid would set it
    .irp n, 1,2,4,5,6,7,8,9,10
    ld      \n, {V_GPR}+\n*8(11)
    .endr
    li      11, 0
    li      12, 0
    .long   0x7e0006ac              // eieio 1: nor do Pinion's
    hrfid

    // A call that needs more.
1:  std     13, {V_GPR}+13*8(11)
    mr      13, 12
    li      12, 0xc00
    li      0, 0
    std     0, {V_GPR}(11)
    std     0, {V_GPR}+11*8(11)
    std     0, {V_GPR}+12*8(11)
    std     0, {V_CTR}(11)
    std     0, {V_XER}(11)
    std     0, {V_CFAR}(11)
    b       4f

    .macro  keep_rest
    ld      4, {R11}(13)
    ld      5, {R12}(13)
    std     0, {V_GPR}(11)
    std     4, {V_GPR}+11*8(11)
    std     5, {V_GPR}+12*8(11)
    mfspr   3, {HSPRG1}
    ld      4, {CTR}(13)
    mfxer   5
    ld      6, {SAVE_CFAR}(13)
    std     3, {V_GPR}+13*8(11)
    std     4, {V_CTR}(11)
    std     5, {V_XER}(11)
    std     6, {V_CFAR}(11)
    .endm

    // A call of a process, which is no call: it keeps its registers.
5:  keep_rest
    b       4f

    // Anything else.
2:  keep_rest
    cmpldi  12, 0x200
    ble     3f                      // system reset, machine check: SRR0/1
    mfspr   3, {HSRR0}
    mfspr   4, {HSRR1}
    std     3, {V_NIP}(11)
    std     4, {V_MSR}(11)
    b       4f
3:  mfspr   3, {SRR0}
    mfspr   4, {SRR1}
    std     3, {V_NIP}(11)
    std     4, {V_MSR}(11)

4:  mfspr   3, {MMCR0}
    mfspr   4, {PPR}
    std     3, {V_MMCR0}(11)
    std     4, {V_PPR}(11)
    or      2, 2, 2                 // medium priority
    li      5, 1
    sldi    5, 5, 31
    mtspr   {MMCR0}, 5              // frozen: no counter interrupts Pinion
    mfspr   3, {SRR0}
    mfspr   4, {SRR1}
    std     3, {V_SRR}(11)
    std     4, {V_SRR}+8(11)
    mftb    3
    mfspr   4, {DEC}                // sign-extended: LPCR[LD]
    add     3, 3, 4
    mfspr   4, {PIDR}
    std     3, {V_DEC_AT}(11)
    std     4, {V_PID}(11)
    ld      1, {GUEST_STACK}(13)
    ld      2, {TOC}(13)
    ld      5, 184(1)
    li      0, 0
    sync
    isync
    mtspr   {PIDR}, 0
    mtspr   {LPIDR}, 0
    mtspr   {LPCR}, 5
    isync
    ld      6, 208(1)
    mtspr   {DEC}, 6
    li      3, {RI}
    mtmsrd  3, 1
    mr      3, 11
    mr      4, 12
    ld      12, 192(1)
    ld      5, 200(1)
    mtctr   12
    bctrl
    mr      5, 3
    mfspr   4, {HSPRG0}
    cmpdi   5, 0
    ld      3, {GUEST}(4)
    bne     guest_go_on

    .irp n, 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    std     \n, {V_GPR}+\n*8(3)
    ld      \n, 32+(\n-14)*8(1)
    .endr
    ld      13, 176(1)
    ld      0, 208(1)
    mtspr   {HDEC}, 0
    addi    1, 1, {FRAME}
    ld      0, 16(1)
    mtlr    0
    ld      0, 8(1)
    mtcr    0
    blr

    // The assembler does not know these for a target without them: stxvd2x,
    // mffs f0, stfd f0, mfvscr v0, stvx v0 and their counterparts.
    .macro  vectors_on
    mfmsr   5
    lis     6, {VEC_VSX}
    ori     6, 6, {FP}
    or      6, 6, 5
    mtmsrd  6
    isync
    .endm
    .globl guest_store_vectors
guest_store_vectors:
    vectors_on
    mr      4, 3
    .set    n, 0
    .rept   64
    .long   0x7c000798 | (n & 31) << 21 | 4 << 11 | n >> 5
    addi    4, 4, 16
    .set    n, n + 1
    .endr
    .long   0xfc00048e              // mffs f0
    .long   0xd8030000 + {FPSCR}    // stfd f0, FPSCR(r3)
    addi    4, 3, {VSCR}
    .long   0x10000604              // mfvscr v0
    .long   0x7c0021ce              // stvx v0, 0, r4
    mtmsrd  5
    isync
    blr
    .globl guest_load_vectors
guest_load_vectors:
    vectors_on
    .long   0xc8030000 + {FPSCR}    // lfd f0, FPSCR(r3)
    .long   0xfdfe058e | 1 << 25    // mtfsf 0xff, f0, 1, 0
    addi    4, 3, {VSCR}
    .long   0x7c0020ce              // lvx v0, 0, r4
    .long   0x10000644              // mtvscr v0
    .set    n, 0
    .rept   64
    .long   0x7c000698 | (n & 31) << 21 | 3 << 11 | n >> 5
    addi    3, 3, 16
    .set    n, n + 1
    .endr
    mtmsrd  5
    isync
    blr
    .previous
"#,
    FRAME = const FRAME,
    MORE = const CALL_NEEDS_MORE,
    LPCR = const spr::LPCR,
    LPIDR = const spr::LPIDR,
    PIDR = const spr::PIDR,
    PPR = const spr::PPR,
    MMCR0 = const spr::MMCR0,
    HDEC = const spr::HDEC,
    DEC = const spr::DEC,
    CFAR = const spr::CFAR,
    SRR0 = const spr::SRR0,
    SRR1 = const spr::SRR1,
    HSRR0 = const spr::HSRR0,
    HSRR1 = const spr::HSRR1,
    HSPRG0 = const spr::HSPRG0,
    HSPRG1 = const spr::HSPRG1,
    RI = const msr::RI,
    PR = const msr::PR,
    // Upper halves of MSR[VEC] and MSR[VSX], and MSR[FP].
    VEC_VSX = const (msr::VEC | msr::VSX) >> 16,
    FP = const msr::FP,
    GUEST = const AREA_GUEST,
    GUEST_STACK = const AREA_GUEST_STACK,
    HANDLER = const AREA_HANDLER,
    FLUSH = const AREA_FLUSH,
    HOST_HANDLER = const AREA_HOST_HANDLER,
    GUEST_HANDLER = const AREA_GUEST_HANDLER,
    TOC = const AREA_TOC,
    R11 = const AREA_R11,
    R12 = const AREA_R12,
    CTR = const AREA_CTR,
    SAVE_CFAR = const AREA_CFAR,
    V_GPR = const offset_of!(Vcpu, gpr),
    V_NIP = const offset_of!(Vcpu, nip),
    V_MSR = const offset_of!(Vcpu, msr),
    V_CR = const offset_of!(Vcpu, cr),
    V_XER = const offset_of!(Vcpu, xer),
    V_LR = const offset_of!(Vcpu, lr),
    V_CTR = const offset_of!(Vcpu, ctr),
    V_SRR = const offset_of!(Vcpu, srr),
    V_PID = const offset_of!(Vcpu, pid),
    V_PPR = const offset_of!(Vcpu, ppr),
    V_MMCR0 = const offset_of!(Vcpu, mmcr0),
    V_CFAR = const offset_of!(Vcpu, cfar),
    V_DEC_AT = const offset_of!(Vcpu, decrementer_at),
    V_LPID = const offset_of!(Vcpu, lpid),
    V_LPCR = const offset_of!(Vcpu, lpcr),
    FPSCR = const VECTORS_FPSCR,
    VSCR = const VECTORS_VSCR,
);
