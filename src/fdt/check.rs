//! The one walk that decides whether a tree is taken.

use super::token::{self, Bad, Token};
use super::{HEADER_SIZE, Tree};
use thiserror::Error;

/// Largest tree that is taken, in bytes. Big machines have some 2 MiB.
pub const MAX_SIZE: usize = 32 << 20;

/// Deepest nesting that is taken; real trees stay below 12.
pub const MAX_DEPTH: usize = 48;

const MAGIC: u32 = 0xd00d_feed;

/// What is wrong with a tree. Offsets are bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FdtError {
    /// Fewer bytes than a header has.
    #[error("device tree: {0} bytes are fewer than a header has")]
    NoHeader(usize),
    /// The first word is not the magic number.
    #[error("device tree: magic number {0:#010x} instead of 0xd00dfeed")]
    Magic(u32),
    /// The header's total size is absurd or larger than what is there.
    #[error("device tree: total size {claimed:#x} where {there:#x} bytes can be read")]
    Size {
        /// What the header says, in bytes.
        claimed: usize,
        /// What can be read, in bytes.
        there: usize,
    },
    /// A version whose layout this reader does not know.
    #[error("device tree: version {0}, compatible down to {1}; 16 or 17 can be read")]
    Version(u32, u32),
    /// A block of the header lies outside the tree or is misaligned.
    #[error("device tree: {block} block at {offset:#x}, {size:#x} bytes, does not lie inside it")]
    Block {
        /// Which block.
        block: &'static str,
        /// Its offset.
        offset: usize,
        /// Its size.
        size: usize,
    },
    /// A token is cut off by the end of the structure block.
    #[error("device tree: cut off inside a token at {0:#x}")]
    Truncated(usize),
    /// A word that is no token.
    #[error("device tree: {value:#x} at {at:#x} is no token")]
    Token {
        /// Its offset.
        at: usize,
        /// Its value.
        value: u32,
    },
    /// A node's name longer than 255 bytes.
    #[error("device tree: the name of the node at {0:#x} does not end")]
    LongName(usize),
    /// The list of reserved memory runs to the end of the tree without its
    /// last, empty entry.
    #[error("device tree: the reserve block at {0:#x} has no end")]
    Reserve(usize),
    /// Nodes nested deeper than [`MAX_DEPTH`].
    #[error("device tree: nodes nested deeper than {MAX_DEPTH} at {0:#x}")]
    Depth(usize),
    /// A property's name lies outside the strings block, or does not end within
    /// 255 bytes.
    #[error("device tree: property at {at:#x}: no name at {name:#x} of the strings")]
    Name {
        /// The property's offset.
        at: usize,
        /// The name's offset in the strings block.
        name: u32,
    },
    /// Tokens in an order that makes no tree: a second root, an end too many,
    /// a property outside a node.
    #[error("device tree: tokens out of order at {0:#x}")]
    Order(usize),
}

pub(super) fn claimed_size(header: &[u8]) -> Result<usize, FdtError> {
    let short = FdtError::NoHeader(header.len());
    let magic = token::be32(header, 0).ok_or(short)?;
    if magic != MAGIC {
        return Err(FdtError::Magic(magic));
    }
    let claimed = token::be32(header, 4).ok_or(short)? as usize;
    if !(HEADER_SIZE..=MAX_SIZE).contains(&claimed) {
        return Err(FdtError::Size {
            claimed,
            there: header.len(),
        });
    }
    Ok(claimed)
}

pub(super) fn check(blob: &[u8]) -> Result<Tree<'_>, FdtError> {
    if blob.len() < HEADER_SIZE {
        return Err(FdtError::NoHeader(blob.len()));
    }
    let size = claimed_size(blob)?;
    let there = blob.len();
    let blob = blob.get(..size).ok_or(FdtError::Size {
        claimed: size,
        there,
    })?;
    let field = |index: usize| token::be32(blob, index * 4).ok_or(FdtError::NoHeader(there));

    let (version, compatible) = (field(5)?, field(6)?);
    if version < 16 || compatible > 17 {
        return Err(FdtError::Version(version, compatible));
    }
    let structure_at = field(2)? as usize;
    // Version 16 does not say how long the structure block is: up to the end.
    let structure_size = match version {
        16 => size.saturating_sub(structure_at),
        _ => field(9)? as usize,
    };
    let structure = block(blob, "structure", structure_at, structure_size, 4)?;
    let strings = block(blob, "strings", field(3)? as usize, field(8)? as usize, 1)?;
    let reserve_at = field(4)? as usize;
    let reserve_size = size.saturating_sub(reserve_at);
    let reservations = block(blob, "reserve", reserve_at, reserve_size, 8)?;
    if !reservations.chunks_exact(16).any(token::is_last_entry) {
        return Err(FdtError::Reserve(reserve_at));
    }
    walk(structure, structure_at, strings)?;
    Ok(Tree {
        structure,
        strings,
        reservations,
        boot_cpu: field(7)?,
        size,
    })
}

fn block<'a>(
    blob: &'a [u8],
    name: &'static str,
    offset: usize,
    size: usize,
    align: usize,
) -> Result<&'a [u8], FdtError> {
    let outside = FdtError::Block {
        block: name,
        offset,
        size,
    };
    if offset < HEADER_SIZE || !offset.is_multiple_of(align) {
        return Err(outside);
    }
    let end = offset.checked_add(size).ok_or(outside)?;
    blob.get(offset..end).ok_or(outside)
}

/// Walks the structure block; `base` is its offset, for the messages.
fn walk(structure: &[u8], base: usize, strings: &[u8]) -> Result<(), FdtError> {
    let (mut at, mut depth, mut roots) = (0, 0, 0);
    loop {
        let (token, next) = token::read(structure, at).map_err(|bad| match bad {
            Bad::Truncated => FdtError::Truncated(base + at),
            Bad::Unknown(value) => FdtError::Token {
                at: base + at,
                value,
            },
            Bad::LongName => FdtError::LongName(base + at),
        })?;
        let misplaced = FdtError::Order(base + at);
        match token {
            Token::Begin(_) => {
                if depth == 0 {
                    roots += 1;
                }
                depth += 1;
                if roots > 1 {
                    return Err(misplaced);
                }
                if depth > MAX_DEPTH {
                    return Err(FdtError::Depth(base + at));
                }
            }
            Token::End if depth == 0 => return Err(misplaced),
            Token::End => depth -= 1,
            Token::Property(_, _) if depth == 0 => return Err(misplaced),
            Token::Property(name, _) => {
                if token::name(strings, name as usize).is_none() {
                    return Err(FdtError::Name {
                        at: base + at,
                        name,
                    });
                }
            }
            Token::Finish if depth == 0 && roots == 1 => return Ok(()),
            Token::Finish => return Err(misplaced),
        }
        at = next;
    }
}

pub(super) fn salvage(blob: &[u8], names: [&str; 2]) -> Option<[u64; 2]> {
    let structure = blob.get(token::be32(blob, 8)? as usize..)?;
    let strings = blob.get(token::be32(blob, 12)? as usize..)?;
    let mut found = [None; 2];
    let mut at = 0;
    while let Ok((token, next)) = token::read(structure, at) {
        at = next;
        let Token::Property(name, value) = token else {
            continue;
        };
        let Some(name) = token::name(strings, name as usize) else {
            continue;
        };
        for (slot, wanted) in found.iter_mut().zip(names) {
            if name == wanted.as_bytes() && value.len() == 8 {
                *slot = token::be64(value, 0);
            }
        }
        if let [Some(first), Some(second)] = found {
            return Some([first, second]);
        }
    }
    None
}
