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
    amr = 29, iamr = 61, uamor = 157,
    ebbhr = 804, ebbrr = 805, bescr = 806,
    purr = 309, spurr = 308, vtb = 849, ic = 848,
    mmcr1 = 798, mmcr2 = 785, mmcra = 786,
    pmc1 = 787, pmc2 = 788, pmc3 = 789, pmc4 = 790, pmc5 = 791, pmc6 = 792,
    siar = 796, sdar = 797, sier = 784,
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

/// Registers that a partition sets by H_SET_MODE only.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Debug {
    /// Instruction breakpoint.
    pub ciabr: u64,
    /// Data watchpoints and what they watch.
    pub dawr: [[u64; 2]; 2],
}

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
    /// Address of the last data fault of its own.
    pub dar: u64,
    /// Status of it.
    pub dsisr: u64,
    /// Process identity.
    pub pid: u64,
    /// Priority.
    pub ppr: u64,
    /// Performance monitor control 0; Pinion freezes the counters.
    pub mmcr0: u64,
    /// Timebase at which its decrementer becomes negative.
    pub decrementer_at: u64,
    /// Its partition.
    pub lpid: u64,
    /// LPCR while it runs.
    pub lpcr: u64,
    /// For whoever answers its calls by the fast path; not used here.
    pub context: u64,
    /// Breakpoint and watchpoints.
    pub debug: Debug,
    pub(super) lazy: Lazy,
    pub(super) lazy9: Lazy9,
    pub(super) lazy10: Lazy10,
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
            dar: 0,
            dsisr: 0,
            pid: 0,
            ppr: PPR_MEDIUM,
            mmcr0: spr::MMCR0_FREEZE,
            decrementer_at: super::super::timebase() + (1 << 40),
            lpid,
            lpcr,
            context: 0,
            debug: Debug::default(),
            lazy: Lazy::default(),
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
        // SAFETY: what H_SET_MODE let in: nothing that watches the hypervisor.
        unsafe {
            mtspr!(spr::CIABR, self.debug.ciabr);
            mtspr!(spr::DAWR0, self.debug.dawr[0][0]);
            mtspr!(spr::DAWRX0, self.debug.dawr[0][1]);
            if generation != Some(Generation::Power9) {
                mtspr!(spr::DAWR1, self.debug.dawr[1][0]);
                mtspr!(spr::DAWRX1, self.debug.dawr[1][1]);
            }
            super::switch::guest_load_vectors(&raw const self.vectors);
        }
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
