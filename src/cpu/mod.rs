//! The processor: entry, interrupts, threads, idling. Only in the image.

mod area;
pub mod counter;
mod entry;
pub mod guest;
pub mod idle;
pub mod msr;
pub mod spr;
pub mod threads;
mod vectors;

pub use area::{Area, ThreadState};
pub use entry::{image_range, start_again};

use crate::processor::Generation;
use crate::{mfspr, mtspr};
use area::INTERRUPT_STACK;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, Ordering};

/// LPCR bits (Power ISA 3.0B, book III, 2.2).
mod lpcr {
    /// Default prefetch depth.
    pub const DPFD: u64 = 4 << 52;
    /// POWER9: a hypervisor virtualization interrupt ends `stop`.
    pub const PECE_HVEE: u64 = 1 << 46;
    /// The decrementer has more than 32 bits (POWER9 and later).
    pub const LD: u64 = 1 << 17;
    /// A directed hypervisor doorbell ends power saving.
    pub const PECEDH: u64 = 1 << 15;
    /// An external interrupt ends power saving.
    pub const PECE0: u64 = 1 << 14;
    /// The decrementer ends power saving.
    pub const PECE1: u64 = 1 << 13;
    /// Hypervisor maintenance and others end power saving.
    pub const PECE2: u64 = 1 << 12;
    /// No external interrupt while Pinion runs, which takes none by that way: a
    /// partition's may be pending (POWER9 and later).
    pub const HEIC: u64 = 1 << 4;
    /// Hypervisor virtualization interrupts are enabled (POWER9 and later).
    pub const HVICE: u64 = 1 << 1;
}

/// Processor version, upper 32 bits zero.
pub fn pvr() -> u32 {
    mfspr!(spr::PVR) as u32
}

/// Physical id of the thread that runs.
pub fn pir() -> u64 {
    mfspr!(spr::PIR) & 0xf_ffff
}

/// Timebase, in ticks.
#[inline]
pub fn timebase() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mftb {}", out(reg) value, options(nomem, nostack)) };
    value
}

/// Ticks of the timebase in a second; 0 until it is known.
static TIMEBASE_HZ: AtomicU32 = AtomicU32::new(0);

/// Sets the timebase's frequency, in hertz.
pub fn set_timebase_hz(hertz: u64) {
    TIMEBASE_HZ.store(u32::try_from(hertz).unwrap_or(u32::MAX), Ordering::Relaxed);
}

/// The timebase's frequency, in hertz.
pub fn timebase_hz() -> u64 {
    match TIMEBASE_HZ.load(Ordering::Relaxed) {
        0 => crate::processor::DEFAULT_TIMEBASE_HZ,
        hertz => u64::from(hertz),
    }
}

/// Spins for this many milliseconds.
pub fn wait_ms(milliseconds: u64) {
    let start = timebase();
    let ticks = timebase_hz() / 1000 * milliseconds;
    while timebase().wrapping_sub(start) < ticks {
        core::hint::spin_loop();
    }
}

/// Interrupt stacks of the boot thread, which needs them before there is an
/// allocator. In the order of [`Area::stacks`].
#[repr(C, align(16))]
struct Stacks(UnsafeCell<MaybeUninit<[[u8; INTERRUPT_STACK as usize]; 3]>>);

// SAFETY: never accessed as a Rust object; assembly uses it as a stack, on one
// thread.
unsafe impl Sync for Stacks {}

static BOOT_STACKS: Stacks = Stacks(UnsafeCell::new(MaybeUninit::uninit()));

#[repr(C)]
struct BootArea(UnsafeCell<MaybeUninit<Area>>);

// SAFETY: initialised once, by the boot thread, before anything reads it; after
// that only its atomics change while it is shared.
unsafe impl Sync for BootArea {}

static BOOT_AREA: BootArea = BootArea(UnsafeCell::new(MaybeUninit::uninit()));

/// Makes interrupts of the boot thread land in Pinion: area, stacks, vectors,
/// LPCR. Called once, first of all.
///
/// # Safety
/// Runs on the boot thread before any other thread is started and before
/// anything else of this module is used.
pub unsafe fn init_boot_thread(generation: Option<Generation>) {
    let low = BOOT_STACKS.0.get() as u64;
    let stack = |index: u64| {
        let low = low + index * INTERRUPT_STACK;
        [low, low + INTERRUPT_STACK]
    };
    let (stack_low, stack_top) = entry::boot_stack_range();
    let area = area::new(
        pir(),
        0,
        [stack_low, stack_top],
        [stack(0), stack(1), stack(2)],
        ThreadState::Running,
    );
    let slot = BOOT_AREA.0.get().cast::<Area>();
    // SAFETY: nothing else refers to the area yet.
    unsafe { slot.write(area) };
    // SAFETY: the area is complete and stays; the stack is hardly used yet.
    unsafe {
        adopt_area(slot);
        plant_canary(stack_low);
    }
    // SAFETY: the stubs find what they need through HSPRG0, which is set; low
    // memory is the payload's once firmware has handed over.
    unsafe { vectors::install_vectors() };
    init_control(generation);
    // SAFETY: vectors, area and stacks are there: a machine check can come.
    unsafe { enable_machine_checks() };
}

/// Makes `area` the thread's own.
///
/// # Safety
/// The area is complete, stays for ever and is no other thread's.
unsafe fn adopt_area(area: *mut Area) {
    // SAFETY: HSPRG0 is Pinion's; the stubs expect exactly this in it.
    unsafe { mtspr!(spr::HSPRG0, area) };
}

/// Turns ME and RI on, which only an rfid can do for ME (Power ISA 3.0B, book
/// III, 4.4.4.1). Until here a machine check is a checkstop, as it is between
/// skiboot's own hand-over and its payload's vectors.
///
/// # Safety
/// The thread's vectors, area and stacks are in place.
unsafe fn enable_machine_checks() {
    // SAFETY: goes on behind itself with the same registers.
    unsafe {
        asm!(
            "bcl 20, 31, 2f",
            "2:",
            "mflr 4",
            "addi 4, 4, 3f - 2b",
            "mtspr {HSRR0}, 4",
            "mtspr {HSRR1}, 5",
            "hrfid",
            "3:",
            in("5") msr::HOST,
            out("4") _,
            out("lr") _,
            HSRR0 = const spr::HSRR0,
            HSRR1 = const spr::HSRR1,
            options(nostack)
        )
    }
}

/// Pinion's own LPCR.
const fn control(generation: Option<Generation>) -> u64 {
    let common = lpcr::DPFD | lpcr::PECEDH | lpcr::PECE0 | lpcr::PECE1 | lpcr::PECE2;
    match generation {
        Some(Generation::Power8) => common,
        // An unknown processor is treated as the newest: the bits that it lacks
        // read as zero.
        _ => common | lpcr::LD | lpcr::HEIC | lpcr::HVICE | lpcr::PECE_HVEE,
    }
}

/// Sets LPCR and the timers of the running thread, whatever was in them.
fn init_control(generation: Option<Generation>) {
    let value = control(generation);
    // SAFETY: no translation is on and no partition runs: LPCR governs only
    // timers and what ends power saving. The host is LPID 0. An isync makes
    // the change visible to what follows.
    unsafe {
        mtspr!(spr::LPIDR, 0u64);
        mtspr!(spr::LPCR, value);
        // No counter, doorbell or breakpoint of an earlier system interrupts.
        mtspr!(spr::MMCR0, spr::MMCR0_FREEZE);
        mtspr!(spr::DPDES, 0u64);
        mtspr!(spr::CIABR, 0u64);
        mtspr!(spr::DAWRX0, 0u64);
        if generation.is_none_or(|it| it > Generation::Power9) {
            mtspr!(spr::DAWRX1, 0u64);
        }
        asm!("isync", options(nostack));
    }
    idle::disarm_decrementer();
}

/// The running thread's area.
pub fn area() -> &'static Area {
    let area = mfspr!(spr::HSPRG0) as *const Area;
    // SAFETY: HSPRG0 was set by `adopt_area` before any Rust code that can get
    // here ran on this thread; areas stay for ever. What changes in a shared
    // area is atomic or touched by assembly only.
    unsafe { &*area }
}

/// The boot thread's area.
pub fn boot_area() -> &'static Area {
    // SAFETY: written by `init_boot_thread`, before any other Rust code ran; as
    // in `area`.
    unsafe { (*BOOT_AREA.0.get()).assume_init_ref() }
}

/// Whether the running thread is inside its machine-check handler.
pub fn in_machine_check() -> bool {
    area().in_machine_check()
}

/// Stops the machine for a debugger or the service processor: `attn`, which
/// HID0 has to allow first (POWER8 bit 31, POWER9 and later bit 3).
pub fn attn(generation: Option<Generation>) -> ! {
    let enable = match generation {
        Some(Generation::Power8) => 1u64 << 32,
        _ => 1 << 60,
    };
    let hid0 = mfspr!(spr::HID0) | enable;
    // SAFETY: nothing of Pinion runs on this thread afterwards. The sequence
    // around HID0 is the one of the POWER8 and POWER9 user's manuals.
    unsafe {
        asm!("sync", "mtspr {1}, {0}", "isync", in(reg) hid0, const spr::HID0, options(nostack));
        asm!(".long 0x00000200", options(nostack));
    }
    loop {
        core::hint::spin_loop();
    }
}

/// Takes a system reset that was postponed: goes to its vector as the interrupt
/// does, with SRR0 and SRR1 as if it came here.
pub fn reset_self() -> ! {
    // SAFETY: what is at the vector expects what an interrupt leaves: RI and EE
    // off, SRR0 and SRR1 set; it keeps all other registers, and ends in a report.
    unsafe {
        asm!(
            "bcl 20, 31, 2f",
            "2: mflr 3",
            "mtsrr0 3",
            "mfmsr 4",
            "mtsrr1 4",
            "li 5, 0",
            "mtmsrd 5, 1",
            "ba 0x100",
            options(noreturn)
        )
    }
}

/// Leaves a machine-check handler for good: goes on in `to` as outside of any
/// interrupt, on the stack for ordinary ones, so that the stack of what was
/// interrupted is still there to be looked at.
///
/// # Safety
/// The thread never goes back to what it was doing.
pub unsafe fn leave_machine_check(to: extern "C" fn() -> !) -> ! {
    let area = area();
    area.leave_machine_check();
    let [[_, top], ..] = area.stacks;
    // SAFETY: handed on to the caller.
    unsafe { continue_in(top, to) }
}

/// Goes on in `to` on the stack with this top, with the MSR that Rust code has.
///
/// # Safety
/// Nothing on the present stack is used any more, and nobody else uses the new
/// one.
unsafe fn continue_in(top: u64, to: extern "C" fn() -> !) -> ! {
    // SAFETY: the caller gives the old stack up; MSR is what Rust code runs
    // with. A back chain of zero ends a backtrace.
    unsafe {
        asm!(
            "mtspr {HSRR0}, 12",
            "mtspr {HSRR1}, 5",
            "mr 1, 4",
            "li 0, 0",
            "stdu 0, -32(1)",
            "hrfid",
            in("4") top,
            in("5") msr::HOST,
            // Where the ABI wants the address of a function that is entered.
            in("12") to as usize,
            HSRR0 = const spr::HSRR0,
            HSRR1 = const spr::HSRR1,
            options(noreturn)
        )
    }
}

/// Bytes at the low end of a stack that must never be written.
const CANARY: u64 = u64::from_be_bytes(*b"STACKEND");

/// Marks the low end of a stack.
///
/// # Safety
/// The word is a stack's lowest, and the stack is not used up to there.
unsafe fn plant_canary(low: u64) {
    // SAFETY: handed on to the caller.
    unsafe { (low as *mut u64).write_volatile(CANARY) };
}

/// Whether the running thread's stack was never used up. With translation off
/// there are no guard pages: this is what there is instead.
pub fn stack_is_sound() -> bool {
    // SAFETY: the lowest word of the thread's own stack.
    unsafe { (area().stack_low.load(Ordering::Relaxed) as *const u64).read_volatile() == CANARY }
}

/// Does what a stack that is used up does to its end, for a test of what
/// follows.
///
/// # Safety
/// The machine is about to stop.
pub unsafe fn spoil_stack() {
    // SAFETY: the lowest word of the thread's own stack, which holds nothing
    // but the mark.
    unsafe { (area().stack_low.load(Ordering::Relaxed) as *mut u64).write_volatile(0) };
}

/// Goes on in `to` on a stack of `size` bytes at `low`; the stack so far is
/// given up.
///
/// # Safety
/// The memory is a multiple of 16 bytes, aligned, and the thread's for ever.
/// Nothing that lies on the old stack is used any more.
pub unsafe fn continue_on_stack(low: u64, size: u64, to: extern "C" fn() -> !) -> ! {
    let area = area();
    area.stack_low.store(low, Ordering::Relaxed);
    area.stack_top.store(low + size, Ordering::Relaxed);
    // SAFETY: the memory is the thread's, and not used yet.
    unsafe {
        plant_canary(low);
        continue_in(low + size, to)
    }
}

/// Bytes of a cache line on all processors since POWER5.
const LINE: u64 = 128;

/// Zeroes memory by whole cache lines.
///
/// # Safety
/// Start and size are multiples of 128 bytes; the memory is nobody else's.
pub unsafe fn clear_memory(start: crate::addr::HostAddr, bytes: u64) {
    let mut at = start.get();
    let end = at + bytes;
    while at < end {
        // SAFETY: handed on to the caller. Real addresses are cacheable.
        unsafe { asm!("dcbz 0, {}", in(reg) at, options(nostack)) };
        at += LINE;
    }
}

/// Makes what was stored visible to instruction fetch. POWER9 and later keep
/// their instruction caches coherent: one icbi, of any line, makes this thread
/// fetch anew (POWER9 user's manual, 4.6.2.2); others fetch anew when they enter
/// a partition, which synchronizes context.
pub fn publish_code() {
    let here = publish_code as *const () as u64;
    // SAFETY: barriers, and an icbi, which changes no memory.
    unsafe { asm!("sync", "icbi 0, {}", "sync", "isync", in(reg) here, options(nostack)) };
}

/// A random number of the processor's own (POWER9 and later: darn).
pub fn random() -> Option<u64> {
    for _ in 0..10 {
        let value: u64;
        // darn r4, 1: 64 conditioned bits; all ones is a failure.
        // SAFETY: changes r4 only.
        unsafe { asm!(".long 0x7c8105e6", out("4") value, options(nomem, nostack)) };
        if value != u64::MAX {
            return Some(value);
        }
    }
    None
}
