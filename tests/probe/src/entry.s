// A partition is entered at its ELF's entry in real mode, big-endian, with the
// device tree in r3. The image lies at address 0 and brings its vectors along.
    .section .text.start, "ax"
    .globl _start
_start:
    b       start

// Each vector keeps r3 and r4 in SPRG2 and SPRG3.
    .set    vector, 0x100
    .rept   (0x1000 - 0x100) / 0x80
    .org    vector
    mtspr   274, 3
    mtspr   275, 4
    li      3, vector
    b       common
    .set    vector, vector + 0x80
    .endr

// What came last, for Rust: vector, SRR0, SRR1, DAR, DSISR, timebase, count, CR;
// where an external interrupt is acknowledged, and what that says.
    .org    0x1000
    .globl  last_interrupt
last_interrupt:
    .space  80
// For state/hold.rs: where absolute addresses reach.
    .org    0x1050
    .space  16 + 2 * 40 * 8

common:
    std     3, 0x1000(0)
    mfspr   4, 26
    std     4, 0x1008(0)
    mfspr   4, 27
    std     4, 0x1010(0)
    mfspr   4, 19
    std     4, 0x1018(0)
    mfspr   4, 18
    std     4, 0x1020(0)
    mftb    4
    std     4, 0x1028(0)
    ld      4, 0x1030(0)
    addi    4, 4, 1
    std     4, 0x1030(0)
    mfcr    4
    std     4, 0x1038(0)
    cmpldi  3, 0x900
    beq     2f
    cmpldi  3, 0x500
    beq     4f
    cmpldi  3, 0x400
    beq     5f
    // Anything else is behind an instruction that is left out. Back in
    // privileged real mode, where the test is.
    mfspr   4, 26
    addi    4, 4, 4
    mtspr   26, 4
    mfmsr   4
    mtspr   27, 4
    b       3f
    // Nothing can be fetched there: back to where it was called from.
5:  mflr    4
    mtspr   26, 4
    mfmsr   4
    mtspr   27, 4
    b       3f
4:  ld      4, 0x1040(0)
    lhz     4, 0(4)
    std     4, 0x1048(0)
    b       3f
2:  lis     4, 0x7fff
    mtspr   22, 4
3:  ld      4, 0x1038(0)
    mtcr    4
    mfspr   3, 274
    mfspr   4, 275
    rfid

start:
    mr      31, 3
    bcl     20, 31, base
base:
    mflr    3
    // R_PPC64_RELATIVE: the image is linked and lies at 0.
    ld      4, (a_rela_start - base)(3)
    ld      5, (a_rela_end - base)(3)
1:  cmpld   4, 5
    bge     2f
    ld      7, 0(4)
    ld      8, 16(4)
    std     8, 0(7)
    addi    4, 4, 24
    b       1b
2:  ld      1, (a_stack - base)(3)
    ld      2, (a_toc - base)(3)
    li      0, 0
    stdu    0, -32(1)
    mr      3, 31
    bl      probe_main
    nop
    b       .
    // Linked at 0: an offset is an address.
    .balign 8
a_rela_start:   .quad __rela_start - _start
a_rela_end:     .quad __rela_end - _start
a_stack:        .quad stack_top - _start
a_toc:          .quad .TOC. - _start

    .section .bss.stack, "aw", @nobits
    .balign 16
    .space  65536
stack_top:
    .text
