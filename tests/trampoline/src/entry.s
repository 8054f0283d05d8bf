# Entered by firmware as a raw binary: r3 device tree, r8 and r9 OPAL's base and
# entry, MSR = HV and SF only.

    .section .text.start, "ax"
    .globl _start
_start:
    b       start

# A place to stand still: the settings may name it as what is entered.
    .org    0x60
    b       .

# The settings, filled in by the tool.
    .org    0x100
    .quad   0x54524d504c494e45      # so that the tool knows the place
    .quad   0                       # +0x108 what is entered: bytes from _start
    .quad   0                       # +0x110 its size in bytes
    .quad   0                       # +0x118 where it is copied to; 0: stays
    .quad   0                       # +0x120 device tree: bytes from _start; 0: firmware's
    .quad   0                       # +0x128 not 0: as kexec-lite leaves the machine

start:
    bcl     20, 31, 1f
1:  mflr    31
    addi    31, 31, _start - 1b
    ld      30, 0x108(31)
    add     30, 30, 31
    ld      29, 0x110(31)
    ld      28, 0x118(31)
    ld      27, 0x120(31)
    ld      26, 0x128(31)

    cmpdi   27, 0
    beq     2f
    add     3, 31, 27
2:  cmpdi   28, 0
    beq     6f

# Copy, then make the copy visible to instruction fetch.
    addi    10, 29, 7
    srdi    10, 10, 3
    mtctr   10
    li      11, 0
3:  ldx     12, 30, 11
    stdx    12, 28, 11
    addi    11, 11, 8
    bdnz    3b
    li      11, 0
4:  dcbst   28, 11
    addi    11, 11, 128
    cmpld   11, 29
    blt     4b
    sync
    li      11, 0
5:  icbi    28, 11
    addi    11, 11, 128
    cmpld   11, 29
    blt     5b
    sync
    isync
    mr      30, 28

6:  cmpdi   26, 0
    bne     hostile
    mtctr   30
    bctr

# What a kernel and kexec-lite leave behind.
hostile:
# The first 0x100 bytes of the image lie at 0, their first word replaced.
    li      10, 32
    mtctr   10
    li      11, 0
7:  ldx     12, 30, 11
    stdx    12, 0, 11
    addi    11, 11, 8
    bdnz    7b
    lis     10, 0x4800
    stw     10, 0(0)
    sync
    icbi    0, 0
    sync
    isync

# A guest's interrupts little-endian and relocated; on POWER9 and later radix
# translation as well, without a partition table.
    mfspr   10, 318                 # LPCR
    oris    10, 10, 0x0380          # ILE, AIL = 3
    mfpvr   11
    srdi    11, 11, 16
    cmpldi  11, 0x4e                # POWER9
    beq     8f
    cmpldi  11, 0x80                # POWER10
    bne     9f
8:  oris    10, 10, 0x0050          # UPRT, HR
    li      12, 0
    mtspr   464, 12                 # PTCR
    li      12, 0x123
    mtspr   48, 12                  # PIDR
9:  mtspr   318, 10
    isync

# The decrementers are about to run out.
    li      10, 100
    mtspr   22, 10                  # DEC
    mtspr   310, 10                 # HDEC

# Addresses of a kernel that is gone.
    lis     10, -0x4000
    sldi    10, 10, 32
    oris    10, 10, 0x0123
    ori     10, 10, 0x4560
    mtspr   272, 10                 # SPRG0..3
    mtspr   273, 10
    mtspr   274, 10
    mtspr   275, 10
    mtspr   304, 10                 # HSPRG0, 1
    mtspr   305, 10
    mtctr   10
    mtlr    10
    mtxer   10
    mtcr    10

# MSR = SF HV VEC VSX FP ME RI.
    lis     11, -0x7000
    sldi    11, 11, 32
    oris    11, 11, 0x0280
    ori     11, 11, 0x3002
    mtspr   27, 11                  # SRR1
    mtspr   26, 30                  # SRR0
    mr      4, 30
    li      5, 0
    mr      0, 10
    mr      1, 10
    mr      2, 10
    mr      6, 10
    mr      7, 10
    mr      8, 10
    mr      9, 10
    mr      11, 10
    mr      12, 10
    mr      13, 10
    mr      14, 10
    mr      15, 10
    mr      16, 10
    mr      17, 10
    mr      18, 10
    mr      19, 10
    mr      20, 10
    mr      21, 10
    mr      22, 10
    mr      23, 10
    mr      24, 10
    mr      25, 10
    mr      26, 10
    mr      27, 10
    mr      28, 10
    mr      29, 10
    mr      30, 10
    mr      31, 10
    rfid
