//! `/ibm,opal/fw-features`: what firmware says about speculation, and what follows
//! from it (skiboot hdata/iohub.c and spira.c write it; Linux
//! `init_fw_feat_flags` reads it the same way).

use crate::fdt::Tree;
use core::fmt;

/// What the processor has and needs against leaks by speculation. The bits are
/// LoPAR's, so that partitions are told just this (H_GET_CPU_CHARACTERISTICS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speculation {
    /// Whether firmware says anything.
    pub is_known: bool,
    /// What there is.
    pub characteristics: u64,
    /// What is wanted.
    pub behaviour: u64,
    /// Each way from the hypervisor into a partition wants its L1 data cache
    /// flushed.
    flushes_at_entry: bool,
}

const FLUSH_ORI30: u64 = 1 << 61;
const FLUSH_TRIG2: u64 = 1 << 60;
const COUNT_CACHE_ASSIST: u64 = 1 << 54;

/// Features and their bits.
const CHARACTERISTICS: [(&str, u64); 7] = [
    ("inst-spec-barrier-ori31,31,0", 1 << 63),
    ("fw-bcctrl-serialized", 1 << 62),
    ("inst-l1d-flush-ori30,30,0", FLUSH_ORI30),
    ("inst-l1d-flush-trig2", FLUSH_TRIG2),
    ("fw-l1d-thread-split", 1 << 59),
    ("fw-count-cache-disabled", 1 << 56),
    ("fw-count-cache-flush-bcctr2,0,0", COUNT_CACHE_ASSIST),
];

const FAVOURS_SECURITY: u64 = 1 << 63;
const FLUSHES_L1D: u64 = 1 << 62;
const HYPERVISOR_FAVOURS_SECURITY: u64 = 1 << 60;
const FLUSHES_COUNT_CACHE: u64 = 1 << 58;
const FLUSHES_LINK_STACK: u64 = 1 << 57;

/// Wanted unless firmware says that it is not.
const UNLESS_DISABLED: [(&str, u64); 3] = [
    ("speculation-policy-favor-security", FAVOURS_SECURITY),
    ("needs-l1d-flush-msr-pr-0-to-1", FLUSHES_L1D),
    ("needs-spec-barrier-for-bound-checks", 1 << 61),
];

/// The same, of the way into a partition.
const AT_ENTRY: &str = "needs-l1d-flush-msr-hv-1-to-0";

/// Only if firmware says so.
const IF_ENABLED: [(&str, u64); 4] = [
    (
        "needs-count-cache-flush-on-context-switch",
        FLUSHES_COUNT_CACHE | FLUSHES_LINK_STACK,
    ),
    ("no-need-l1d-flush-msr-pr-1-to-0", 1 << 56),
    ("no-need-l1d-flush-kernel-on-user-access", 1 << 55),
    ("no-need-store-drain-on-priv-state-switch", 1 << 54),
];

/// How an L1 data cache is emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheFlush {
    /// A store to the register TRIG2.
    Trigger,
    /// `ori 30,30,0`.
    Instruction,
    /// By loads of other lines.
    Displacement,
}

/// How predictions of indirect branches are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchFlush {
    /// One `bcctr 2,0,0`.
    Assisted,
    /// As many as the count cache has entries.
    Software,
}

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mitigations {
    /// Between partitions, and at each entry if [`Mitigations::at_entry`].
    pub cache: Option<CacheFlush>,
    /// The cache is flushed at each entry.
    pub at_entry: bool,
    /// The count cache between partitions, with the link stack, which is flushed at
    /// each exit too.
    pub branches: Option<BranchFlush>,
}

impl Speculation {
    /// What the tree says. Where it says nothing, an emulated machine leaks nothing at
    /// an entry; a real one may.
    pub fn read(tree: &Tree<'_>, is_emulated: bool) -> Self {
        let node = tree.find("/ibm,opal/fw-features");
        let says = |name: &str, word: &str| {
            let feature = node.as_ref().and_then(|features| features.child(name));
            feature.is_some_and(|feature| feature.property(word).is_some())
        };
        let sum = |bits: &[(&str, u64)], is_set: &dyn Fn(&str) -> bool| {
            bits.iter()
                .filter(|(name, _)| is_set(name))
                .fold(0, |sum, (_, bits)| sum | bits)
        };
        let is_enabled = |name: &str| says(name, "enabled");
        let is_wanted = |name: &str| !says(name, "disabled");
        let mut behaviour = sum(&UNLESS_DISABLED, &is_wanted) | sum(&IF_ENABLED, &is_enabled);
        if behaviour & FAVOURS_SECURITY != 0 {
            behaviour |= HYPERVISOR_FAVOURS_SECURITY;
        }
        Self {
            is_known: node.is_some(),
            characteristics: sum(&CHARACTERISTICS, &is_enabled),
            behaviour,
            flushes_at_entry: is_wanted(AT_ENTRY) && (node.is_some() || !is_emulated),
        }
    }

    /// What Pinion does about it.
    pub fn mitigations(&self) -> Mitigations {
        let favours = self.behaviour & FAVOURS_SECURITY != 0;
        let at_entry = favours && self.flushes_at_entry;
        let is_wanted = favours && (self.flushes_at_entry || self.behaviour & FLUSHES_L1D != 0);
        let has = |bit| self.characteristics & bit != 0;
        let how = match () {
            () if has(FLUSH_TRIG2) => CacheFlush::Trigger,
            () if has(FLUSH_ORI30) => CacheFlush::Instruction,
            () => CacheFlush::Displacement,
        };
        let branches = match has(COUNT_CACHE_ASSIST) {
            true => BranchFlush::Assisted,
            false => BranchFlush::Software,
        };
        Mitigations {
            cache: is_wanted.then_some(how),
            at_entry,
            branches: (self.behaviour & FLUSHES_COUNT_CACHE != 0).then_some(branches),
        }
    }
}

impl fmt::Display for Speculation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = self.mitigations();
        match wanted.cache {
            Some(how) => write!(
                f,
                "L1D flushed {} by {}",
                match wanted.at_entry {
                    true => "at each entry of a partition",
                    false => "between partitions",
                },
                match how {
                    CacheFlush::Trigger => "TRIG2",
                    CacheFlush::Instruction => "ori 30,30,0",
                    CacheFlush::Displacement => "displacement",
                }
            )?,
            None => f.write_str("no L1D flush")?,
        }
        match wanted.branches {
            Some(BranchFlush::Assisted) => f.write_str(
                "; link stack flushed at each exit, and count cache between partitions by one bcctr 2,0,0",
            )?,
            Some(BranchFlush::Software) => f.write_str(
                "; link stack flushed at each exit, and count cache between partitions by many bcctr 2,0,0",
            )?,
            None => {}
        }
        f.write_str(match self.is_known {
            true => " (as firmware asks)",
            false => " (firmware says nothing)",
        })
    }
}
