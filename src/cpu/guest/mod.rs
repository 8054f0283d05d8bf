//! Running a partition's vCPU on this thread (POWER9 and later, radix).
//!
//! Two paths lead out of a partition. A hypervisor call that needs nothing but
//! memory is answered with the partition's translation still in place
//! (`pinion_hcall`); everything else is a full exit, which gives the thread back
//! to Pinion: LPID 0, its LPCR, no counter or timer of the partition's.
//!
//! Registers that Pinion does not use, floating-point and vector ones first of
//! all, stay in the thread until another vCPU takes it. They never leak: the
//! next vCPU's are loaded as a whole. r14 to r31 stay until a run ends: what
//! decides at an exit is called from the switch, and keeps them as any function
//! does.

mod flush;
mod state;
mod switch;

pub use flush::{COUNT_CACHE, Cache, DISPLACEMENT, Flushes, set_flushes};
pub use state::{Breakpoints, Vcpu, Vectors};
pub use switch::CALL_NEEDS_MORE;

use super::{Area, msr, spr};
use crate::processor::Generation;
use crate::{mfspr, mtspr};
use core::arch::asm;
use core::ffi::c_void;
use core::num::NonZeroU64;
use core::ptr;
use core::sync::atomic::Ordering;

/// LPCR of a partition (Power ISA 3.0B, book III, 2.2).
pub mod lpcr {
    /// Interrupts come little-endian.
    pub const ILE: u64 = 1 << 25;
    /// Interrupts come with translation on.
    pub const AIL: u64 = 3 << 23;
    /// Default prefetch depth 4.
    const DPFD: u64 = 4 << 52;
    /// The process table is the partition's.
    const UPRT: u64 = 1 << 22;
    /// Radix translation of the host's part.
    const HR: u64 = 1 << 20;
    /// The partition may invalidate translations of its own.
    const GTSE: u64 = 1 << 10;
    /// The decrementers have more than 32 bits.
    const LD: u64 = 1 << 17;
    /// The vCPU is on line.
    const ONL: u64 = 1 << 18;
    /// No hypervisor virtualization interrupt while Pinion runs with it.
    const HEIC: u64 = 1 << 4;
    /// External interrupts are the partition's own: those of a XIVE that it
    /// exploits.
    pub const EXTERNAL: u64 = 1 << 3;
    /// Hypervisor virtualization interrupts are enabled.
    const HVICE: u64 = 1 << 1;
    /// Hypervisor decrementer interrupts are enabled.
    const HDICE: u64 = 1;

    /// What every partition starts with. VPM and EVIRT are off: a partition's
    /// own faults are its own.
    pub const START: u64 = DPFD | UPRT | HR | GTSE | LD | ONL | HEIC | HVICE | HDICE;
}

/// HFSCR: everything but transactional memory (bit 5), which no kernel is told
/// to have, and directed privileged doorbells (bit 10), which would reach other
/// partitions' threads of the same core.
const FACILITIES: u64 = 0x00ff_ffff_ffff_ffff & !(1 << 5) & !(1 << 10);

/// Why a vCPU does not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It made a hypervisor call: number in r3.
    Call,
    /// Its time is over.
    Timer,
    /// An interrupt for Pinion is pending.
    External,
    /// A doorbell from another thread.
    Doorbell,
    /// Firmware has to look after the processor.
    Maintenance,
    /// It accessed what it does not have: its real address, and HDSISR.
    Data {
        /// The address, as the partition sees memory.
        address: u64,
        /// The status.
        status: u64,
        /// Its effective address.
        effective: u64,
    },
    /// It executed from what it does not have: its real address.
    Instruction {
        /// The address, as the partition sees memory.
        address: u64,
    },
    /// An instruction that is illegal, or not a partition's.
    Emulation {
        /// The instruction.
        instruction: u32,
    },
    /// A facility that it may not use; its number.
    Facility(u8),
    /// A machine check. Where it was and SRR1 are in the vCPU's `nip` and `msr`.
    MachineCheck {
        /// DAR: the address that it is about, unless it was a fetch.
        address: u64,
        /// DSISR.
        status: u64,
    },
    /// Somebody calls for help.
    SystemReset,
    /// A vector that is not expected.
    Other(u64),
}

/// Address of `guest_exit`, for a thread's area; of the one that forgets what the
/// partition has trained the link stack to, if it `forgets`.
pub(super) fn exit_address(forgets: bool) -> u64 {
    let exit = match forgets {
        true => switch::guest_exit_forgetting,
        false => switch::guest_exit,
    };
    exit as *const () as u64
}

/// Makes the running thread fit for partitions: where the partition table lies,
/// and which authority bits they may change.
///
/// # Safety
/// The table is naturally aligned, stays for ever, and its entry 0 is Pinion's.
pub unsafe fn prepare_thread(table_register: u64) {
    // SAFETY: the caller answers for the table; nothing is translated by it
    // until a vCPU is entered.
    unsafe {
        mtspr!(spr::PTCR, table_register);
        mtspr!(spr::AMOR, u64::MAX);
        mtspr!(spr::PIDR, 0u64);
        mtspr!(spr::PCR, 0u64);
        asm!("isync", options(nostack));
    }
    flush::prepare(super::area());
}

/// Forgets every translation of a partition, on all threads: behind a change of
/// its entry in the partition table or of its tree (Power ISA 3.0B, book III,
/// 5.10.1: ptesync, tlbie, eieio, tlbsync, ptesync).
pub fn forget_translations(lpid: u64) {
    // IS = 2: all of a partition.
    let all = 2u64 << 10;
    // SAFETY: a translation that is forgotten is looked up again. The words are
    // tlbie RB=r4, RS=r5, RIC=2, R=1, with PRS=0 and PRS=1.
    unsafe {
        asm!(
            "ptesync",
            ".long 0x7c000264 | 5 << 21 | 2 << 18 | 1 << 16 | 4 << 11",
            ".long 0x7c000264 | 5 << 21 | 2 << 18 | 1 << 17 | 1 << 16 | 4 << 11",
            in("4") all,
            in("5") lpid,
            options(nostack)
        );
    }
    if Generation::of_pvr(super::pvr()) == Some(Generation::Power9) {
        // POWER9's errata as Linux knows them (radix_tlb.c, fixup_tlbie_lpid): the
        // tlbie before may miss translations in ERATs unless one of LPID 0 follows
        // (RB=r4, RS=r5, RIC=0, R=1), and stores that wait in a queue unless one of
        // an address does (RB=r6, RS=r7): one that nothing uses, as a 64K page (AP=5).
        let nowhere = ((1u64 << 52) - 1) & !0xfff | 5 << 5;
        // SAFETY: as above.
        unsafe {
            asm!(
                "ptesync",
                ".long 0x7c000264 | 5 << 21 | 1 << 16 | 4 << 11",
                "ptesync",
                ".long 0x7c000264 | 7 << 21 | 1 << 16 | 6 << 11",
                in("4") all,
                in("5") 0u64,
                in("6") nowhere,
                in("7") lpid,
                options(nostack)
            );
        }
    }
    // SAFETY: barriers.
    unsafe {
        asm!("eieio", "tlbsync", "ptesync", options(nostack));
    }
}

/// While this lives, the thread has Pinion's LPIDR, LPCR and PIDR, as behind a
/// full exit: its timers are the partition's still, but nothing comes in between.
#[must_use]
pub struct AsHost(Option<Kept>);

/// LPIDR, LPCR and PIDR; SRR0 and SRR1, which firmware uses and the partition sees
/// behind its call.
type Kept = ([u64; 3], [u64; 2]);

/// Makes the thread Pinion's in the middle of a call by the fast path: before
/// firmware is entered there. Nothing to do anywhere else.
#[inline]
pub fn as_host() -> AsHost {
    let lpid = mfspr!(spr::LPIDR);
    if lpid == 0 {
        return AsHost(None);
    }
    let kept = [lpid, mfspr!(spr::LPCR), mfspr!(spr::PIDR)];
    // SAFETY: no access of the partition's is under way, and SRR0 and SRR1 are
    // saved: a machine check can be recovered from.
    unsafe {
        set_identity([0, super::control(Generation::of_pvr(super::pvr())), 0]);
        asm!("mtmsrd {}, 1", in(reg) msr::RI, options(nostack));
    }
    AsHost(Some((kept, [mfspr!(spr::SRR0), mfspr!(spr::SRR1)])))
}

impl Drop for AsHost {
    #[inline]
    fn drop(&mut self) {
        if let Some((identity, [srr0, srr1])) = self.0 {
            // SAFETY: what the thread had.
            unsafe {
                asm!("mtmsrd {}, 1", in(reg) 0u64, options(nostack));
                mtspr!(spr::SRR0, srr0);
                mtspr!(spr::SRR1, srr1);
                set_identity(identity);
            }
        }
    }
}

/// Sets LPIDR, LPCR and PIDR in the order that `switch` has.
///
/// # Safety
/// Whatever the thread accesses next is to be done with these.
#[cold]
unsafe fn set_identity([lpid, lpcr, pid]: [u64; 3]) {
    // SAFETY: the caller's, who has no access under way behind the sync.
    unsafe {
        asm!("sync", "isync", options(nostack));
        mtspr!(spr::LPIDR, lpid);
        mtspr!(spr::LPCR, lpcr);
        mtspr!(spr::PIDR, pid);
        asm!("isync", options(nostack));
    }
}

/// An interrupt that led out of a partition. What it says is in the thread's
/// registers, and is asked only where it matters: calls come most often.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Raised(NonZeroU64);

impl Raised {
    /// A hypervisor call.
    pub const CALL: Self = Self(NonZeroU64::new(0xc00).unwrap());

    /// Why the vCPU does not run any more.
    #[inline(never)]
    pub fn exit(self) -> Exit {
        match self.0.get() {
            0xc00 => Exit::Call,
            0x980 => Exit::Timer,
            0x500 | 0xea0 => Exit::External,
            0xe80 => Exit::Doorbell,
            0xe60 => Exit::Maintenance,
            // Bits 12 to 51 of the address are in ASDR, the rest in HDAR.
            0xe00 => {
                let effective = mfspr!(spr::HDAR);
                Exit::Data {
                    address: mfspr!(spr::ASDR) & PAGES | effective & !PAGES,
                    status: mfspr!(spr::HDSISR),
                    effective,
                }
            }
            0xe20 => Exit::Instruction {
                address: mfspr!(spr::ASDR) & PAGES,
            },
            0xe40 => Exit::Emulation {
                instruction: mfspr!(spr::HEIR) as u32,
            },
            0xf80 => Exit::Facility((mfspr!(spr::HFSCR) >> 56) as u8),
            0x200 => Exit::MachineCheck {
                address: mfspr!(spr::DAR),
                status: mfspr!(spr::DSISR),
            },
            0x100 => Exit::SystemReset,
            other => Exit::Other(other),
        }
    }
}

/// The page of an address, below the 2^52 that a tree has.
const PAGES: u64 = 0x000f_ffff_ffff_f000;

/// What comes next for a vCPU: ticks of the timebase until [`Exit::Timer`], or 0 to
/// end its run. Asked with `None` before the first entry.
pub trait Next: FnMut(&mut Vcpu, Option<Raised>) -> u64 {}

impl<F: FnMut(&mut Vcpu, Option<Raised>) -> u64> Next for F {}

/// Runs a vCPU on this thread until `next` says that it is enough. While `next`
/// is asked, the vCPU is loaded, and its `gpr[14..]` are not those that it has.
///
/// # Safety
/// The thread is prepared. The vCPU's partition has its entry in the partition
/// table, leading to a tree over memory that is the partition's; the vCPU runs
/// nowhere else, nobody else refers to it, and it stays where it is until
/// [`unload`] on this thread, which `next` does not do.
pub unsafe fn run<F: Next>(vcpu: *mut Vcpu, mut next: F) {
    let area = super::area();
    if area.loaded.load(Ordering::Relaxed) != vcpu as u64 {
        // SAFETY: handed on to the caller.
        unsafe { load(area, vcpu) };
    }
    // SAFETY: nobody else refers to it.
    let ticks = next(unsafe { &mut *vcpu }, None);
    if ticks == 0 {
        return;
    }
    let context = (&raw mut next).cast();
    // SAFETY: as the contract of `guest_enter` asks for; `step` gets the `next`
    // that it is made for.
    unsafe {
        (*vcpu).load_counts();
        switch::guest_enter(vcpu, area, ticks, step::<F>, context);
        (*vcpu).store_counts();
    }
}

/// What [`switch::guest_enter`] asks at each exit.
extern "C" fn step<F: Next>(vcpu: *mut Vcpu, vector: u64, next: *mut c_void) -> u64 {
    // SAFETY: what `run` handed to `guest_enter`, which runs it still: nobody else
    // refers to either.
    let (vcpu, next) = unsafe { (&mut *vcpu, &mut *next.cast::<F>()) };
    next(vcpu, NonZeroU64::new(vector).map(Raised))
}

/// Makes the thread a vCPU's.
///
/// # Safety
/// As [`run`].
#[inline(never)]
unsafe fn load(area: &Area, vcpu: *mut Vcpu) {
    put_back(area);
    // SAFETY: the caller answers for the vCPU.
    let lpid = unsafe { (*vcpu).lpid };
    if area.last.swap(lpid, Ordering::Relaxed) != lpid {
        flush::between_partitions();
    }
    // SAFETY: the caller answers for the vCPU, and HFSCR governs partitions
    // only.
    unsafe {
        (*vcpu).load_lazy();
        mtspr!(spr::HFSCR, FACILITIES);
    }
    area.loaded.store(vcpu as u64, Ordering::Relaxed);
}

/// Takes what this thread has of a vCPU's registers back into it, for good: the
/// LPID may be another partition's then.
pub fn unload() {
    let area = super::area();
    put_back(area);
    area.last.store(0, Ordering::Relaxed);
}

fn put_back(area: &Area) {
    let vcpu = area.loaded.swap(0, Ordering::Relaxed) as *mut Vcpu;
    if vcpu.is_null() {
        return;
    }
    // SAFETY: `run`'s caller keeps a vCPU in place while it is loaded.
    unsafe {
        (*vcpu).store_lazy();
        // A radix partition may have filled segment entries all the same.
        asm!("slbmte {0}, {0}", "slbmte {0}, {1}", "slbmte {0}, {2}", "slbmte {0}, {3}",
            in(reg) 0u64, in(reg) 1u64, in(reg) 2u64, in(reg) 3u64, options(nostack));
        // What it copied and has not pasted (cpabort), and the branches that it
        // took (clrbhrb): words, as the assembler does not know them.
        asm!(".long 0x7c00068c", ".long 0x7c00035c", options(nostack));
        // No breakpoint of a partition's stays, and no level of power saving.
        mtspr!(spr::CIABR, 0u64);
        mtspr!(spr::DAWRX0, 0u64);
        if Generation::of_pvr(super::pvr()).is_none_or(|it| it > Generation::Power9) {
            mtspr!(spr::DAWRX1, 0u64);
        }
        mtspr!(spr::PSSCR, 0u64);
    }
}

/// The vCPU that this thread has loaded.
pub fn loaded() -> *mut Vcpu {
    ptr::with_exposed_provenance_mut(super::area().loaded.load(Ordering::Relaxed) as usize)
}
