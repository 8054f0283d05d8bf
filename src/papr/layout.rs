//! Where things go in a partition's memory when it starts, and whether they fit:
//! the kernel at the bottom, RTAS and the device tree at the end of what real mode
//! reaches, the initrd below them.

use super::elf::{Elf, ElfError};
use super::tree::RTAS_BYTES;
use crate::addr::GuestAddr;
use alloc::string::{String, ToString};
use thiserror::Error;

/// A file that a partition starts with.
#[derive(Clone, Debug)]
pub struct File<'a> {
    /// Its name, for messages.
    pub name: String,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// Room for the tree, in bytes.
pub const TREE_ROOM: u64 = 64 << 10;

/// Real mode of a partition's start and RTAS reach so far, in bytes.
const REACH: u64 = 512 << 20;

/// What everything but the kernel begins at a multiple of, in bytes.
const UNIT: u64 = 64 << 10;

/// Bytes kept for RTAS.
const RTAS_ROOM: u64 = (RTAS_BYTES as u64).next_multiple_of(UNIT);

/// Why a partition cannot start with its files: the property, what was expected
/// and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// Not even RTAS and the tree fit.
    #[error(
        "memory: expected more than {needed:#x} bytes, which RTAS and the device tree take, found {found:#x}"
    )]
    Memory {
        /// What they take.
        needed: u64,
        /// What there is.
        found: u64,
    },
    /// The file is no kernel, or needs memory that is not there.
    #[error("kernel: \"{name}\": {why}")]
    Kernel {
        /// Name of the file.
        name: String,
        /// What is wrong with it.
        why: ElfError,
    },
    /// The kernel reaches into the tree.
    #[error(
        "kernel: \"{name}\": expected its end below {tree:#x}, where the device tree is, found {top:#x}"
    )]
    OverTree {
        /// Name of the file.
        name: String,
        /// Where the tree begins.
        tree: u64,
        /// Where the kernel ends.
        top: u64,
    },
    /// The initrd would lie over the kernel, or is empty.
    #[error(
        "initrd: \"{name}\": expected 1 to {room:#x} bytes, from the kernel's end at {top:#x} to the device tree at {tree:#x}, found {found:#x}"
    )]
    Initrd {
        /// Name of the file.
        name: String,
        /// Bytes that are free for it.
        room: u64,
        /// Where the kernel ends.
        top: u64,
        /// Where the tree begins.
        tree: u64,
        /// Its own bytes.
        found: u64,
    },
}

/// Where things go.
#[derive(Clone, Debug)]
pub struct Layout<'a> {
    /// The kernel; its segments say where they go.
    pub elf: Elf<'a>,
    /// Where it is entered.
    pub entry: GuestAddr,
    /// RTAS.
    pub rtas: GuestAddr,
    /// The device tree, of [`TREE_ROOM`] bytes at most.
    pub tree: GuestAddr,
    /// First byte of the initrd, and the byte behind it.
    pub initrd: Option<(GuestAddr, GuestAddr)>,
}

impl<'a> Layout<'a> {
    /// Places these files in `bytes` of memory.
    ///
    /// # Errors
    /// What is no kernel, or does not fit.
    pub fn new(
        kernel: &File<'a>,
        initrd: Option<&File<'_>>,
        bytes: u64,
    ) -> Result<Self, LayoutError> {
        let needed = RTAS_ROOM + TREE_ROOM;
        if bytes <= needed {
            let found = bytes;
            return Err(LayoutError::Memory { needed, found });
        }
        let rtas = bytes.min(REACH) - RTAS_ROOM;
        let tree = rtas - TREE_ROOM;
        let refused = |why| LayoutError::Kernel {
            name: kernel.name.clone(),
            why,
        };
        let elf = Elf::read(kernel.bytes).map_err(refused)?;
        let (top, entry) = elf.plan(bytes).map_err(refused)?;
        if top > tree {
            let name = kernel.name.clone();
            return Err(LayoutError::OverTree { name, tree, top });
        }
        let initrd = match initrd {
            Some(file) => {
                // As far up as it goes: kernels move themselves to the bottom.
                let found = file.bytes.len() as u64;
                let room = (tree & !(UNIT - 1)).saturating_sub(top.next_multiple_of(UNIT));
                if found == 0 || found > room {
                    return Err(LayoutError::Initrd {
                        name: file.name.to_string(),
                        room,
                        top,
                        tree,
                        found,
                    });
                }
                let start = (tree - found) & !(UNIT - 1);
                Some((GuestAddr::new(start), GuestAddr::new(start + found)))
            }
            None => None,
        };
        Ok(Self {
            elf,
            entry,
            rtas: GuestAddr::new(rtas),
            tree: GuestAddr::new(tree),
            initrd,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::papr::elf::tests::file;

    const MIB: u64 = 1 << 20;

    fn named(name: &str, bytes: &'static [u8]) -> File<'static> {
        File {
            name: name.into(),
            bytes,
        }
    }

    /// A kernel that takes memory from 0x1000 to `end`.
    fn kernel(end: u64) -> File<'static> {
        let mut bytes = file(false);
        bytes[64 + 40..64 + 48].copy_from_slice(&(end - 0x1000).to_be_bytes());
        named("vmlinux", bytes.leak())
    }

    fn initrd(bytes: u64) -> File<'static> {
        named("rd", vec![0; bytes as usize].leak())
    }

    #[test]
    fn nothing_lies_over_anything_else() {
        for bytes in [3 * UNIT, MIB, 511 * MIB, 512 * MIB, 513 * MIB, 4096 * MIB] {
            for size in [1, 0xfff, UNIT, UNIT + 1] {
                for end in [0x2000, 0xffff, 0x1_0000, 0x1_0001] {
                    let Ok(it) = Layout::new(&kernel(end), Some(&initrd(size)), bytes) else {
                        assert!(bytes < MIB, "{bytes:#x} {size:#x} {end:#x}");
                        continue;
                    };
                    let (start, stop) = it.initrd.unwrap();
                    assert_eq!(stop.get() - start.get(), size);
                    assert!(end <= start.get() && start.get().is_multiple_of(UNIT));
                    assert!(stop <= it.tree && it.tree.get() + TREE_ROOM <= it.rtas.get());
                    assert!(it.rtas.get() + u64::from(RTAS_BYTES) <= bytes.min(REACH));
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_numbers() {
        let text = |end, initrd: Option<&File<'_>>, bytes| {
            let refused = Layout::new(&kernel(end), initrd, bytes);
            refused.err().map(|why| why.to_string())
        };
        assert_eq!(
            text(0x2000, None, 2 * UNIT).unwrap(),
            "memory: expected more than 0x20000 bytes, which RTAS and the device tree take, found 0x20000"
        );
        assert_eq!(text(0x2000, None, 3 * UNIT), None);
        assert_eq!(text(MIB - 2 * UNIT, None, MIB), None);
        assert_eq!(
            text(MIB - 2 * UNIT + 1, None, MIB).unwrap(),
            "kernel: \"vmlinux\": expected its end below 0xe0000, where the device tree is, found 0xe0001"
        );
        assert_eq!(
            text(MIB + 1, None, MIB).unwrap(),
            "kernel: \"vmlinux\": expected segments below the memory's end at 0x100000, found one up to 0x100001"
        );
        // Beyond what real mode reaches.
        let far = text(512 * MIB, None, 1024 * MIB).unwrap();
        assert!(far.ends_with("found 0x20000000"), "{far}");
        let room = MIB - 3 * UNIT;
        assert_eq!(text(0x2000, Some(&initrd(room)), MIB), None);
        assert_eq!(
            text(0x2000, Some(&initrd(room + 1)), MIB).unwrap(),
            "initrd: \"rd\": expected 1 to 0xd0000 bytes, from the kernel's end at 0x2000 to the device tree at 0xe0000, found 0xd0001"
        );
        assert!(text(0x2000, Some(&initrd(0)), MIB).is_some());
        // No room at all.
        assert!(text(MIB - 2 * UNIT, Some(&initrd(1)), MIB).is_some());
    }
}
