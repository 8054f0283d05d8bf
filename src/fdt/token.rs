//! The tokens of the structure block, read with bounds.

/// One token and what belongs to it.
#[derive(Clone, Copy)]
pub(super) enum Token<'a> {
    /// Begin of a node with this name (for the root, empty).
    Begin(&'a [u8]),
    /// End of the node that began last.
    End,
    /// A property: offset of its name in the strings block, and its value.
    Property(u32, &'a [u8]),
    /// End of the block.
    Finish,
}

/// Why no token could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// The block ends inside a token.
    Truncated,
    /// A value that is no token.
    Unknown(u32),
    /// A node's name longer than [`MAX_NAME`].
    LongName,
}

/// Longest name that is taken, in bytes. Real ones stay below 64; without a
/// limit a tree could be made whose every name takes a walk of megabytes.
pub(super) const MAX_NAME: usize = 255;

#[inline(always)]
pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*word))
}

pub(super) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_be_bytes(*word))
}

/// Whether this is the entry that ends the reserve block.
pub(super) fn is_last_entry(entry: &[u8]) -> bool {
    entry.iter().all(|&byte| byte == 0)
}

/// The bytes from `at` up to a NUL, which must be there within [`MAX_NAME`].
pub(super) fn name(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().take(MAX_NAME + 1).position(|&byte| byte == 0)?;
    rest.get(..end)
}

/// The name of a node at `at`, a multiple of 4, found four bytes at a time:
/// each walk over the tree passes all of them.
#[inline(always)]
fn node_name(block: &[u8], at: usize) -> Option<&[u8]> {
    const ONES: u32 = 0x0101_0101;
    let mut end = at;
    loop {
        let Some(word) = be32(block, end) else {
            return name(block, at);
        };
        // The highest bit of each byte that is 0, and of some above the first.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            break;
        }
        end += 4;
        if end - at > MAX_NAME {
            return None;
        }
    }
    let last = be32(block, end)?.to_be_bytes();
    let extra = last.iter().position(|&byte| byte == 0)?;
    block
        .get(at..end + extra)
        .filter(|name| name.len() <= MAX_NAME)
}

/// The token at `at` and the offset of the next; padding (NOP) is passed over.
#[inline]
pub(super) fn read(block: &[u8], mut at: usize) -> Result<(Token<'_>, usize), Bad> {
    loop {
        let word = be32(block, at).ok_or(Bad::Truncated)?;
        let body = at + 4;
        return match word {
            1 => {
                let name = node_name(block, body).ok_or_else(|| {
                    let rest = block.len().saturating_sub(body);
                    if rest > MAX_NAME {
                        Bad::LongName
                    } else {
                        Bad::Truncated
                    }
                })?;
                let next = pad(body + name.len() + 1);
                Ok((Token::Begin(name), next))
            }
            2 => Ok((Token::End, body)),
            3 => {
                let length = be32(block, body).ok_or(Bad::Truncated)? as usize;
                let name = be32(block, body + 4).ok_or(Bad::Truncated)?;
                let start = body + 8;
                let end = start.checked_add(length).ok_or(Bad::Truncated)?;
                let value = block.get(start..end).ok_or(Bad::Truncated)?;
                Ok((Token::Property(name, value), pad(end)))
            }
            4 => {
                at = body;
                continue;
            }
            9 => Ok((Token::Finish, body)),
            other => Err(Bad::Unknown(other)),
        };
    }
}

/// The next multiple of 4; `at` is within a block, far below overflow.
fn pad(at: usize) -> usize {
    (at + 3) & !3
}
