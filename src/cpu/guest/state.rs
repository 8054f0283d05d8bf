//! A vCPU: what `switch` saves and loads at each exit and entry, and what
//! [`super::run`] changes only when another vCPU takes the thread.

use super::super::{msr, pvr, spr};
use crate::processor::Generation;
use crate::{mfspr, mtspr};
use core::mem::offset_of;

/// Floating-point and vector state.
#[repr(C, align(16))]
pub struct Vectors {
    /// VSR 0 to 63: floating-point registers in the first doublewords of the
    /// first 32, vector registers in the last 32.
    pub registers: [[u64; 2]; 64],
    /// Floating-point status and control.
    pub fpscr: u64,
    padding: u64,
    /// Vector status and control, in the last word.
    pub vscr: [u64; 2],
}

pub(super) const VECTORS_FPSCR: usize = offset_of!(Vectors, fpscr);
pub(super) const VECTORS_VSCR: usize = offset_of!(Vectors, vscr);

/// Registers that Pinion itself does not use: by name, number, value at a
/// vCPU's start.
macro_rules! lazily_switched {
    ($(#[$doc:meta])* $set:ident: $($name:ident = $number:literal,)*) => {
        $(#[$doc])*
        #[derive(Default)]
        #[repr(C)]
        pub(super) struct $set {
            $($name: u64,)*
        }
        impl $set {
            pub(super) fn store(&mut self) {
                $(self.$name = mfspr!($number);)*
            }
            pub(super) fn load(&self) {
                // SAFETY: registers that govern only what a partition does; it
                // set them itself, or they are at their architected start.
                unsafe { $(mtspr!($number, self.$name);)* }
            }
        }
    };
}

lazily_switched! {
    /// What POWER9 and later have (Power ISA 3.0B, book III, 5.4.4).
    Lazy:
    sprg0 = 272, sprg1 = 273, sprg2 = 274, sprg3 = 275,
    dscr = 17, tar = 815, fscr = 153, pspb = 159, vrsave = 256,
    amr = 29, iamr = 61, uamor = 157, dar = 19, dsisr = 18,
    ebbhr = 804, ebbrr = 805, bescr = 806,
    mmcr1 = 798, mmcr2 = 785, mmcra = 786,
    pmc1 = 787, pmc2 = 788, pmc3 = 789, pmc4 = 790, pmc5 = 791, pmc6 = 792,
    siar = 796, sdar = 797, sier = 784,
}

lazily_switched! {
    /// What counts while a vCPU runs, and not while it waits for its turn.
    Counts:
    purr = 309, spurr = 308, vtb = 849, ic = 848,
}

lazily_switched! {
    /// POWER9 alone.
    Lazy9:
    tidr = 144,
}

lazily_switched! {
    /// POWER10 and later (Power ISA 3.1, book III, 5.4.4).
    Lazy10:
    mmcr3 = 754, sier2 = 752, sier3 = 753,
    hashkeyr = 468, hashpkeyr = 469, dexcr = 828,
}

/// Breakpoints, which a partition sets by H_SET_MODE only; none of them is the
/// hypervisor's.
#[derive(Default)]
#[repr(C)]
pub struct Breakpoints {
    /// Instruction breakpoint.
    ciabr: u64,
    /// Data watchpoints and what they watch.
    dawr: [[u64; 2]; 2],
}

impl Breakpoints {
    /// Sets the instruction breakpoint (CIABR) of the vCPU that is loaded on this
    /// thread.
    pub fn set_instruction(&mut self, ciabr: u64) {
        self.ciabr = ciabr;
        self.load(Generation::of_pvr(pvr()));
    }

    /// Sets data watchpoint 0 or 1 (DAWR and DAWRX) of the vCPU that is loaded on
    /// this thread; `false`: there is none.
    pub fn set_data(&mut self, number: usize, address: u64, what: u64) -> bool {
        // A match of POWER9's on memory that is cache-inhibited stops the machine
        // (Linux uses none there either).
        let generation = Generation::of_pvr(pvr());
        let is_safe = generation.is_none_or(|it| it > Generation::Power9);
        match self.dawr.get_mut(number).filter(|_| is_safe) {
            Some(watchpoint) => *watchpoint = [address, what],
            None => return false,
        }
        self.load(generation);
        true
    }

    fn load(&self, generation: Option<Generation>) {
        let [first, second] = self.dawr;
        // SAFETY: what H_SET_MODE let in: nothing that watches the hypervisor.
        unsafe {
            mtspr!(spr::CIABR, self.ciabr);
            mtspr!(spr::DAWR0, first[0]);
            mtspr!(spr::DAWRX0, first[1]);
            // Unknown ones are treated as the newest.
            if generation.is_none_or(|it| it > Generation::Power9) {
                mtspr!(spr::DAWR1, second[0]);
                mtspr!(spr::DAWRX1, second[1]);
            }
        }
    }
}

/// Run latch: the vCPU does something.
const RUN: u64 = 1;

/// What of PSSCR is a partition's (Power ISA 3.0B, book III, 3.3.1): SD, ESL, EC,
/// TR, MTL, RL. PSLL, the deepest level that it may ask for, stays 0.
const PSSCR_GUEST: u64 = 0x70_03ff;

/// A vCPU. The assembly of `switch` knows the layout.
#[repr(C, align(128))]
pub struct Vcpu {
    /// General registers.
    pub gpr: [u64; 32],
    /// Where it goes on.
    pub nip: u64,
    /// Machine state.
    pub msr: u64,
    /// Condition register.
    pub cr: u64,
    /// Fixed-point exception register.
    pub xer: u64,
    /// Link register.
    pub lr: u64,
    /// Count register.
    pub ctr: u64,
    /// SRR0 and SRR1.
    pub srr: [u64; 2],
    /// Process identity.
    pub pid: u64,
    /// Priority.
    pub ppr: u64,
    /// Performance monitor control 0; Pinion freezes the counters.
    pub mmcr0: u64,
    /// Where it came from, for its debugger; 0 behind a call.
    pub cfar: u64,
    /// Timebase at which its decrementer becomes negative.
    pub decrementer_at: u64,
    /// Its partition.
    pub lpid: u64,
    /// LPCR while it runs.
    pub lpcr: u64,
    /// For whoever answers its calls by the fast path; not used here.
    pub context: u64,
    /// Breakpoints of its own.
    pub breakpoints: Breakpoints,
    /// Run latch.
    ctrl: u64,
    /// What it may set of power saving.
    psscr: u64,
    lazy: Lazy,
    counts: Counts,
    lazy9: Lazy9,
    lazy10: Lazy10,
    /// Floating-point and vector registers, while it is not loaded.
    pub vectors: Vectors,
}

/// Medium priority.
const PPR_MEDIUM: u64 = 4 << 50;

impl Vcpu {
    /// A vCPU of `lpid` that starts at `nip` in 64-bit real mode, big-endian,
    /// with all else zero.
    pub fn new(lpid: u64, lpcr: u64, nip: u64) -> Self {
        Self {
            gpr: [0; 32],
            nip,
            msr: msr::SF | msr::ME,
            cr: 0,
            xer: 0,
            lr: 0,
            ctr: 0,
            srr: [0; 2],
            pid: 0,
            ppr: PPR_MEDIUM,
            mmcr0: spr::MMCR0_FREEZE,
            cfar: 0,
            decrementer_at: super::super::timebase() + (1 << 40),
            lpid,
            lpcr,
            context: 0,
            breakpoints: Breakpoints::default(),
            ctrl: RUN,
            psscr: 0,
            lazy: Lazy::default(),
            counts: Counts::default(),
            lazy9: Lazy9::default(),
            lazy10: Lazy10::default(),
            vectors: Vectors {
                registers: [[0; 2]; 64],
                fpscr: 0,
                padding: 0,
                vscr: [0; 2],
            },
        }
    }

    /// Takes the lazily switched registers out of the thread.
    pub(super) fn store_lazy(&mut self) {
        self.lazy.store();
        self.ctrl = mfspr!(spr::CTRL_READ);
        self.psscr = mfspr!(spr::PSSCR) & PSSCR_GUEST;
        match Generation::of_pvr(pvr()) {
            Some(Generation::Power8) => {}
            Some(Generation::Power9) => self.lazy9.store(),
            _ => self.lazy10.store(),
        }
        // SAFETY: the field is that large, and the vCPU is this thread's.
        unsafe { super::switch::guest_store_vectors(&raw mut self.vectors) };
    }

    /// Puts them into the thread.
    pub(super) fn load_lazy(&self) {
        let generation = Generation::of_pvr(pvr());
        self.lazy.load();
        match generation {
            Some(Generation::Power8) => {}
            Some(Generation::Power9) => self.lazy9.load(),
            _ => self.lazy10.load(),
        }
        self.breakpoints.load(generation);
        // SAFETY: the run latch is a hint; PSSCR governs a `stop` only, and
        // Pinion sets it before its own.
        unsafe {
            mtspr!(spr::CTRL_WRITE, self.ctrl);
            mtspr!(spr::PSSCR, self.psscr);
            super::switch::guest_load_vectors(&raw const self.vectors);
        }
    }

    /// Lets what counts its time go on.
    pub(super) fn load_counts(&self) {
        self.counts.load();
    }

    /// Stops what counts its time.
    pub(super) fn store_counts(&mut self) {
        self.counts.store();
    }

    /// Its key for hashes of privileged code, which it cannot set itself (POWER10
    /// and later).
    pub fn set_hash_key(&mut self, key: u64) {
        self.lazy10.hashpkeyr = key;
    }

    /// Lets a data storage interrupt come: its address and status. The vCPU is
    /// loaded on this thread.
    pub fn data_fault(&mut self, address: u64, status: u64) {
        // SAFETY: Pinion does not use them; they are loaded.
        unsafe {
            mtspr!(spr::DAR, address);
            mtspr!(spr::DSISR, status);
        }
        self.interrupt(0x300, 0);
    }

    /// Lets the interrupt `vector` come, as the processor would do it; `flags`
    /// are bits of SRR1 that say more.
    pub fn interrupt(&mut self, vector: u64, flags: u64) {
        self.srr = [self.nip, self.msr & !SRR1_FLAGS | flags];
        let translated = self.msr & msr::IR_DR == msr::IR_DR;
        let relocated = self.lpcr & super::lpcr::AIL == super::lpcr::AIL && translated;
        let little = if self.lpcr & super::lpcr::ILE == 0 {
            0
        } else {
            msr::LE
        };
        self.msr = msr::SF | msr::ME | little | if relocated { msr::IR_DR } else { 0 };
        self.nip = if relocated {
            RELOCATED | vector
        } else {
            vector
        };
    }

    /// Whether an external interrupt would come now.
    pub fn takes_external(&self) -> bool {
        self.msr & msr::EE != 0
    }

    /// Ticks until its decrementer is negative; negative if it is.
    pub fn decrementer(&self) -> i64 {
        self.decrementer_at.wrapping_sub(super::super::timebase()) as i64
    }
}

/// SRR1 bits 33:36 and 42:47: what an interrupt says about itself.
const SRR1_FLAGS: u64 = 0x783f_0000;

/// Where interrupts come with LPCR\[AIL\] = 3.
const RELOCATED: u64 = 0xc000_0000_0000_4000;
