//! The manifest: which partitions there are to be, as a device tree
//! (`docs/partitions.md`).
//!
//! A partition with anything wrong in its node is left out with all the
//! reasons; the others stay. What of an absurd manifest is kept is limited.

mod device;
mod problem;
mod read;

pub use device::{BadDevice, DeviceName};
pub use problem::{Expected, Problem};

use crate::fdt::{FdtError, Tree};
use alloc::string::String;
use alloc::vec::Vec;

/// `compatible` of the root node.
pub const COMPATIBLE: &str = "pinion,manifest-v1";

/// Most partitions.
pub const MAX_PARTITIONS: usize = 64;

/// Most partitions that are remembered as left out; the others are counted.
pub const MAX_LEFT_OUT: usize = 64;

/// Most reasons that are kept for one partition.
pub const MAX_REASONS: usize = 8;

/// Longest name of a partition, in characters.
pub const MAX_NAME: usize = 31;

/// Longest `bootargs`, in bytes: what Linux's command line holds on POWER,
/// without its NUL.
pub const MAX_BOOTARGS: usize = 2047;

/// Most entries of `devices`.
pub const MAX_DEVICES: usize = 32;

/// A partition's memory is a multiple of this many bytes: the largest page
/// that a guest's kernel is built for.
pub const MEMORY_UNIT: u64 = 64 << 10;

/// Table memory is counted in units of this many bytes.
pub const TABLE_UNIT: u64 = 4 << 10;

/// What there is to be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory that partitions can have.
    pub memory: u64,
    /// Hardware threads that partitions can have.
    pub threads: u32,
}

/// What a partition is to be. Its values are checked, each by itself and
/// against [`Limits`]; whether all of them fit together is seen when they are
/// defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Letters, digits, `-` and `_`; unique.
    pub name: String,
    /// Bytes, a multiple of [`MEMORY_UNIT`], at least one.
    pub memory: u64,
    /// Virtual processors, at least 1.
    pub cpus: u32,
    /// File with the kernel; without one the partition can be defined, but not
    /// started.
    pub kernel: Option<String>,
    /// File with the initrd.
    pub initrd: Option<String>,
    /// Its kernel's command line.
    pub bootargs: String,
    /// Its devices, as the manifest names them.
    pub devices: Vec<DeviceName>,
    /// Bytes of table memory that its windows may use, a multiple of
    /// [`TABLE_UNIT`].
    pub dma_limit: u64,
    /// Start it without being told to.
    pub autostart: bool,
    /// Its threads may be shared with other partitions that allow it too.
    pub share: bool,
}

/// A partition that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its node's name, made fit to be shown.
    pub node: String,
    /// At most [`MAX_REASONS`].
    pub reasons: Vec<Problem>,
}

/// A manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// What can be built, in the manifest's order; at most [`MAX_PARTITIONS`].
    pub partitions: Vec<Wanted>,
    /// What cannot.
    pub left_out: Vec<LeftOut>,
    /// Partitions that cannot be built either, beyond [`MAX_LEFT_OUT`].
    pub more: usize,
}

/// Why there is no manifest at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The blob is no device tree, or damaged.
    #[error("the manifest is no sound device tree: {0}")]
    Tree(#[from] FdtError),
    /// The root is not one of a manifest.
    #[error("/: compatible: expected \"{COMPATIBLE}\"")]
    NotAManifest,
}

impl Manifest {
    /// Reads a compiled manifest. `has_file` says whether the bundle has a file
    /// of this name.
    ///
    /// # Errors
    /// The blob is no manifest. What is wrong with one partition is in
    /// [`Manifest::left_out`].
    pub fn read(
        blob: &[u8],
        limits: &Limits,
        has_file: impl Fn(&str) -> bool,
    ) -> Result<Self, ManifestError> {
        let tree = Tree::check(blob)?;
        read::read(tree, limits, &has_file)
    }
}

/// A text of the manifest as it can be shown: a line at most, without control
/// characters, which would reach the terminal.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 64;
    let clean = |letter: char| if letter.is_control() { '?' } else { letter };
    let mut out: String = text.chars().take(MOST).map(clean).collect();
    if text.chars().nth(MOST).is_some() {
        out.push_str("...");
    }
    out
}
