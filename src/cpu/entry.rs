//! The first instructions: of the image, and of each thread it starts.
//!
//! Contract at `_start`, the first byte of the image:
//!
//! 1. Big-endian, MSR\[HV\]=1 and translation off. Everything else of the MSR
//!    is the loader's leftover: skiboot gives HV|SF, kexec also FP, VEC, VSX,
//!    ME, RI. It is replaced.
//! 2. r3 = device tree. skiboot core/init.c sets r8/r9 to OPAL's base and
//!    entry and r6 to "ePAP"; kexec-lite leaves garbage there and in r1 and r2.
//!    r6, r8 and r9 are only handed on, for a tree that cannot be read.
//! 3. The image lies as a whole wherever it was put, at a multiple of 64 KiB
//!    (kexec-tools: 0x2880000 was seen). It has been relocated by nobody, or by
//!    an earlier run of itself at the same place (fast reboot).
//! 4. LPCR, PTCR, HID0, DEC, HDEC and the SLB are leftovers.
//!
//! What stands where in the first 0x100 bytes: kexec-tools copies them to real
//! address 0, replaces word 0, stores a flag at +0x5c and lets secondaries
//! spin at +0x60.
//!
//! Contract at `secondary_entry`, given to OPAL_START_CPU:
//!
//! 1. Big-endian, MSR = HV|SF, r3 = PIR, no stack (skiboot core/cpu.c).
//! 2. `SECONDARY_AREAS` holds the address of a list of [`AreaEntry`], ended by
//!    a zero address; the thread finds its own area by its PIR. A thread that
//!    is not in the list stays where it is.

use super::area::{AREA_STACK_TOP, AreaEntry};
use super::msr;
use core::arch::global_asm;
use core::sync::atomic::AtomicPtr;

/// The areas of the threads that are being started; see the module's contract.
#[unsafe(no_mangle)]
pub(super) static SECONDARY_AREAS: AtomicPtr<AreaEntry> = AtomicPtr::new(core::ptr::null_mut());

// SAFETY: the assembly below has it; it is never called from Rust.
unsafe extern "C" {
    /// Where OPAL_START_CPU sends a thread. Never called from Rust.
    pub(super) fn secondary_entry();
}

/// Bytes of the boot thread's stack.
const BOOT_STACK: usize = 32 * 1024;

global_asm!(
    r#"
    .section .text.start, "ax"
    .globl _start
_start:
    b       1f
    .org    _start + 0x5c
    .long   0
    b       .                       // +0x60: kexec's secondaries
    .org    _start + 0x100
1:
    mr      31, 3
    mr      29, 6
    mr      28, 8
    mr      27, 9
    li      0, 0
    mtmsrd  0, 1                    // EE = RI = 0 until there are vectors
    bcl     20, 31, 2f
2:  mflr    30
    addi    30, 30, _start - 2b     // r30 = where the image lies

    // The MSR can only be replaced as a whole, ME included, by an rfid.
    addi    4, 30, 3f - _start
    mtspr   {HSRR0}, 4
    ld      5, (msr_early - _start)(30)
    mtspr   {HSRR1}, 5
    hrfid
3:
    // No surprise from a timer that was left running.
    lis     4, 0x7fff
    ori     4, 4, 0xffff
    mtspr   {DEC}, 4
    mtspr   {HDEC}, 4

    ld      4, (bss_start - _start)(30)
    ld      5, (bss_end - _start)(30)
    add     4, 4, 30
    add     5, 5, 30
    subf    5, 4, 5
    srdi    5, 5, 5                 // .bss is a multiple of 32 bytes
    mtctr   5
    li      0, 0
4:  std     0, 0(4)
    std     0, 8(4)
    std     0, 16(4)
    std     0, 24(4)
    addi    4, 4, 32
    bdnz    4b

    // R_PPC64_RELATIVE (22): *(load + offset) = load + addend. Running it
    // again over an image that has been relocated gives the same.
    ld      4, (rela_start - _start)(30)
    ld      5, (rela_end - _start)(30)
    add     4, 4, 30
    add     5, 5, 30
5:  cmpld   4, 5
    bge     7f
    ld      6, 8(4)
    cmpdi   6, 22
    bne     6f
    ld      7, 0(4)
    ld      8, 16(4)
    add     8, 8, 30
    stdx    8, 7, 30
6:  addi    4, 4, 24
    b       5b
7:
    // Data stores became code or pointers: nothing may be prefetched.
    sync
    isync
    ld      2, (toc - _start)(30)
    add     2, 2, 30
    ld      1, (boot_stack_top - _start)(30)
    add     1, 1, 30
    li      0, 0
    stdu    0, -96(1)               // a back chain that ends
    std     31, 32(1)               // LoaderRegisters
    std     29, 40(1)
    std     28, 48(1)
    std     27, 56(1)
    addi    3, 1, 32
    ld      12, (rust_entry - _start)(30)
    add     12, 12, 30
    mtctr   12
    bctrl
    b       .

    .balign 8
msr_early:      .quad {EARLY}
msr_value:      .quad {MSR}
bss_start:      .quad __bss_start - _start
bss_end:        .quad __bss_end - _start
rela_start:     .quad __rela_start - _start
rela_end:       .quad __rela_end - _start
toc:            .quad .TOC. - _start
boot_stack_top: .quad boot_stack + {BOOT_STACK} - _start
rust_entry:     .quad pinion_start - _start
areas:          .quad SECONDARY_AREAS - _start
rust_secondary: .quad pinion_secondary_start - _start

    .globl secondary_entry
secondary_entry:
    bcl     20, 31, 1f
1:  mflr    30
    addi    30, 30, _start - 1b
    mr      31, 3
    ld      4, (areas - _start)(30)
    ldx     4, 4, 30
2:  ld      5, 8(4)
    cmpdi   5, 0
    beq     4f
    ld      6, 0(4)
    cmpd    6, 31
    beq     3f
    addi    4, 4, 16
    b       2b
3:  mtspr   {HSPRG0}, 5             // before a machine check can come
    addi    4, 30, 5f - _start
    mtspr   {HSRR0}, 4
    ld      6, (msr_value - _start)(30)
    mtspr   {HSRR1}, 6
    hrfid
4:  or      1, 1, 1                 // lowest priority
    b       4b
5:  ld      2, (toc - _start)(30)
    add     2, 2, 30
    ld      1, {AREA_STACK_TOP}(5)
    li      0, 0
    stdu    0, -32(1)
    mr      3, 5
    ld      12, (rust_secondary - _start)(30)
    add     12, 12, 30
    mtctr   12
    bctrl
    b       .

    .section .bss.boot_stack, "aw", @nobits
    .balign 16
    .globl boot_stack
boot_stack:
    .space  {BOOT_STACK}
"#,
    HSRR0 = const super::spr::HSRR0,
    HSRR1 = const super::spr::HSRR1,
    DEC = const super::spr::DEC,
    HDEC = const super::spr::HDEC,
    MSR = const msr::HOST,
    EARLY = const msr::EARLY,
    HSPRG0 = const super::spr::HSPRG0,
    BOOT_STACK = const BOOT_STACK,
    AREA_STACK_TOP = const AREA_STACK_TOP,
);

// SAFETY: symbols of the assembly above and of the linker script; only their
// addresses are used.
unsafe extern "C" {
    static _start: u8;
    static boot_stack: u8;
    static __image_end: u8;
}

/// Where the image lies: its first byte, and the first byte behind it.
pub fn image_range() -> (u64, u64) {
    (&raw const _start as u64, &raw const __image_end as u64)
}

/// Runs the image again from its first instruction, in place, as a fast reboot
/// of firmware does: nothing of this run is kept.
///
/// # Safety
/// No other thread and no device uses memory of this image any more; `tree` is
/// the device tree.
pub unsafe fn start_again(tree: u64) -> ! {
    let start = &raw const _start as u64;
    // SAFETY: handed on to the caller; `_start` relies on no register but r3.
    unsafe {
        core::arch::asm!(
            "mtctr {start}",
            "mr 3, {tree}",
            "li 6, 0",
            "li 8, 0",
            "li 9, 0",
            "bctr",
            start = in(reg) start,
            tree = in(reg) tree,
            options(noreturn)
        )
    }
}

/// Top of the boot thread's stack and its size, in bytes.
pub(super) fn boot_stack_range() -> (u64, u64) {
    let low = &raw const boot_stack as u64;
    (low, low + BOOT_STACK as u64)
}
