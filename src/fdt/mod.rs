//! A reader of flattened device trees (Devicetree Specification 0.4, chapter
//! 5) that a damaged tree cannot hurt: [`Tree::check`] walks every token once,
//! and what is read afterwards stays inside what was checked. It never panics,
//! allocates nothing and copies nothing.
#![forbid(unsafe_code)]

mod check;
mod node;
mod token;

pub use check::{FdtError, MAX_DEPTH, MAX_SIZE};
pub use node::{Cells, Children, Descendants, Node, Properties, Property, Reg};

/// Size of the fixed header, in bytes.
pub const HEADER_SIZE: usize = 40;

/// A device tree that has passed [`Tree::check`].
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    reservations: &'a [u8],
    boot_cpu: u32,
    size: usize,
}

impl<'a> Tree<'a> {
    /// The total size that a header claims, in bytes, before anything else is
    /// looked at: what a caller needs to know how much to hand to `check`.
    ///
    /// # Errors
    /// A wrong magic number, a size below the header's or above [`MAX_SIZE`].
    pub fn claimed_size(header: &[u8]) -> Result<usize, FdtError> {
        check::claimed_size(header)
    }

    /// Checks a whole tree and takes it.
    ///
    /// # Errors
    /// The first thing that is wrong with it, with its offset and value.
    pub fn check(blob: &'a [u8]) -> Result<Self, FdtError> {
        check::check(blob)
    }

    /// Looks for two numbers, of these names, in a tree that [`Tree::check`]
    /// refused, up to the place where it makes no sense any more. For a last
    /// word about the damage, and nothing else.
    pub fn salvage(blob: &[u8], names: [&str; 2]) -> Option<[u64; 2]> {
        check::salvage(blob, names)
    }

    /// Total size in bytes, as the header says.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Physical id (PIR) of the thread that boots, from the header.
    pub fn boot_cpu(&self) -> u32 {
        self.boot_cpu
    }

    /// The root node.
    pub fn root(&self) -> Node<'a> {
        Node::root(*self)
    }

    /// The node at an absolute path such as `/chosen`; a name without a unit
    /// address also finds `name@unit`.
    pub fn find(&self, path: &str) -> Option<Node<'a>> {
        let mut node = self.root();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            node = node.child(part)?;
        }
        Some(node)
    }

    /// The reserve entries of the header: start and size in bytes.
    pub fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.reservations.chunks_exact(16).map_while(|entry| {
            let pair = (token::be64(entry, 0)?, token::be64(entry, 8)?);
            (pair != (0, 0)).then_some(pair)
        })
    }
}
