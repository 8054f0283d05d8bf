//! Special-purpose registers of a partition, as a list.

use crate::{get, set};

/// One of them.
pub struct Special {
    /// Its name.
    pub name: &'static str,
    /// The bits that are changed.
    mask: u64,
    /// The bits that are always on.
    always: u64,
    /// An interrupt of the partition's own changes it.
    pub interrupts: bool,
    get: fn() -> u64,
    set: fn(u64),
}

impl Special {
    /// What it holds.
    pub fn read(&self) -> u64 {
        (self.get)()
    }

    /// Sets it to something made of `pattern`, and returns what it takes of that.
    pub fn write(&self, pattern: u64) -> u64 {
        (self.set)(pattern & self.mask | self.always);
        self.read()
    }
}

macro_rules! specials {
    ($list:ident: $($name:ident $number:literal $mask:literal $($always:literal)?,)*) => {
        const $list: &[Special] = &[$(Special {
            name: stringify!($name),
            mask: $mask,
            always: 0 $(| $always)?,
            interrupts: matches!($number, 18 | 19 | 26 | 27 | 274 | 275),
            get: || get!($number),
            set: |value| set!($number, value),
        },)*];
    };
}

// Masks leave out what would make this program's own code do something else:
// counters run, branches by events, interrupts by counters.
specials! { ALL:
    SPRG0 272 0xffff_ffff_ffff_ffff, SPRG1 273 0xffff_ffff_ffff_ffff,
    SPRG2 274 0xffff_ffff_ffff_ffff, SPRG3 275 0xffff_ffff_ffff_ffff,
    SRR0 26 0xffff_ffff_ffff_fffc, SRR1 27 0xffff_ffff_ffff_ffff,
    DAR 19 0xffff_ffff_ffff_ffff, DSISR 18 0xffff_ffff,
    PID 48 0xf_ffff, DSCR 17 0x1ff_ffff, TAR 815 0xffff_ffff_ffff_fffc,
    VRSAVE 256 0xffff_ffff, FSCR 153 0x184, PSPB 159 0xffff_ffff,
    AMR 29 0xffff_ffff_ffff_ffff, IAMR 61 0xffff_ffff_ffff_ffff,
    UAMOR 157 0xffff_ffff_ffff_ffff, PPR 896 0x001c_0000_0000_0000,
    EBBHR 804 0xffff_ffff_ffff_fffc, EBBRR 805 0xffff_ffff_ffff_fffc,
    BESCR 806 0x3_0000_0003,
    MMCR0 795 0x7800_0000 0x8000_0000, MMCR1 798 0xffff_ffff,
    MMCR2 785 0xffff_ffff_ffff_ffff, MMCRA 786 0xffff_ffff,
    PMC1 787 0x7fff_ffff, PMC2 788 0x7fff_ffff, PMC3 789 0x7fff_ffff,
    PMC4 790 0x7fff_ffff, PMC5 791 0x7fff_ffff, PMC6 792 0x7fff_ffff,
    SIAR 796 0xffff_ffff_ffff_ffff, SDAR 797 0xffff_ffff_ffff_ffff,
    SIER 784 0xffff_ffff_ffff_ffff,
}

specials! { POWER9:
    TIDR 144 0xffff,
}

specials! { POWER10:
    MMCR3 754 0xffff_ffff_ffff_ffff, SIER2 752 0xffff_ffff_ffff_ffff,
    SIER3 753 0xffff_ffff_ffff_ffff,
    HASHKEYR 468 0xffff_ffff_ffff_ffff,
}

/// Those of this processor.
pub fn all() -> impl Iterator<Item = &'static Special> {
    let own = if get!(287) >> 16 == 0x4e {
        POWER9
    } else {
        POWER10
    };
    ALL.iter().chain(own)
}

/// Most that a processor has.
pub const MOST: usize = 48;

const _: () = assert!(ALL.len() + POWER10.len() <= MOST && ALL.len() + POWER9.len() <= MOST);
