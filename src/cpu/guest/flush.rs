//! What a partition could find out by speculation is taken out of the thread: its
//! L1 data cache, the count cache, the link stack. What is needed, firmware says
//! (`machine::Speculation`); what each costs where is in `docs/decisions.md`.

use super::super::area::AREA_DISPLACEMENT;
use super::super::{Area, spr};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

/// How the L1 data cache is flushed; the assembly knows the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Cache {
    /// `mtspr TRIG2`.
    Trigger = 1,
    /// `ori 30,30,0`.
    Instruction = 2,
    /// By loading this much other memory: [`DISPLACEMENT`] bytes at an address.
    Displacement = 3,
}

/// Bytes that displace all of an L1 data cache: twice the 32 KiB that POWER9's and
/// POWER10's have.
pub const DISPLACEMENT: u64 = 64 << 10;

/// What is flushed.
#[derive(Clone, Copy, Debug)]
pub struct Flushes {
    /// The cache, when another partition takes the thread.
    pub cache: Option<Cache>,
    /// The cache at each entry too.
    pub at_entry: bool,
    /// The link stack at each exit, and count cache, when another partition takes the
    /// thread: by
    /// this many `bcctr 2,0,0`, of which there are 1 with the hardware's help and
    /// [`COUNT_CACHE`] without.
    pub branches: Option<usize>,
    /// Address of [`DISPLACEMENT`] bytes that nobody writes to.
    pub displacement: u64,
}

/// Entries of a count cache, and some (Linux: 278).
pub const COUNT_CACHE: usize = 278;

/// [`Cache`] between partitions, and at entry; 0 for none.
static CACHE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// `bcctr` between partitions.
static BRANCHES: AtomicU64 = AtomicU64::new(0);
static MEMORY: AtomicU64 = AtomicU64::new(0);

/// Sets what is flushed from now on.
pub fn set_flushes(what: &Flushes) {
    let cache = what.cache.map_or(0, |it| it as u64);
    let at_entry = if what.at_entry { cache } else { 0 };
    MEMORY.store(what.displacement, Ordering::Relaxed);
    CACHE[0].store(cache, Ordering::Relaxed);
    CACHE[1].store(at_entry, Ordering::Relaxed);
    BRANCHES.store(what.branches.unwrap_or(0) as u64, Ordering::Relaxed);
}

/// Makes this thread flush at each entry and exit as [`set_flushes`] says.
pub(super) fn prepare(area: &Area) {
    area.displacement
        .store(MEMORY.load(Ordering::Relaxed), Ordering::Relaxed);
    area.flush
        .store(CACHE[1].load(Ordering::Relaxed), Ordering::Relaxed);
    let forgets = BRANCHES.load(Ordering::Relaxed) != 0;
    area.handlers[1].store(super::exit_address(forgets), Ordering::Relaxed);
}

/// Another partition takes the thread.
pub(super) fn between_partitions() {
    let branches = BRANCHES.load(Ordering::Relaxed);
    if branches != 0 {
        // SAFETY: changes predictions only.
        unsafe { guest_flush_branches(branches) };
    }
    let cache = CACHE[0].load(Ordering::Relaxed);
    if cache != 0 {
        // SAFETY: reads memory that was set aside, and changes no other.
        unsafe { guest_flush_cache_now(cache) };
    }
}

// SAFETY: the assembly below has these signatures.
unsafe extern "C" {
    fn guest_flush_branches(count: u64);
    fn guest_flush_cache_now(how: u64);
}

global_asm!(
    r#"
    .section .guest_switch, "ax"
    // r6 = how: flushes the cache, changes r6, r7, r8, CTR, CR0, and what the
    // caller has in LR. r3 is the answer to a call. A speculation barrier first.
    .globl guest_flush_cache
guest_flush_cache:
    ori     31, 31, 0
    cmpldi  6, 2
    bgt     2f
    beq     1f
    li      6, 0
    mtspr   {TRIG2}, 6
    blr
1:  ori     30, 30, 0
    blr
2:  mfspr   7, {HSPRG0}
    ld      7, {DISPLACEMENT}(7)
    li      6, {LINES}
    mtctr   6
    sync
3:  ld      8, 0(7)
    addi    7, 7, 128
    bdnz    3b
    blr

    .globl guest_flush_cache_now
guest_flush_cache_now:              // r3 = how
    mr      6, 3
    b       guest_flush_cache

    // The link stack by as many calls as it has entries, the count cache by
    // bcctr 2,0,0, which goes on behind itself.
    .globl guest_flush_branches
guest_flush_branches:               // r3 = count
    mflr    9
    .rept   64
    bl      .+4
    .endr
    mtlr    9
    li      9, 0x7fff
    cmpldi  3, 1
    mtctr   9
    bne     4f
    .long   0x4c400420
    blr
    .balign 32
4:  .rept   {COUNT_CACHE}
    .long   0x4c400420
    .balign 32
    .endr
    blr
    .previous
"#,
    TRIG2 = const spr::TRIG2,
    HSPRG0 = const spr::HSPRG0,
    LINES = const DISPLACEMENT / 128,
    DISPLACEMENT = const AREA_DISPLACEMENT,
    COUNT_CACHE = const COUNT_CACHE,
);
