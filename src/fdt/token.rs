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

pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(word.try_into().ok()?))
}

pub(super) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_be_bytes(word.try_into().ok()?))
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

/// The token at `at` and the offset of the next; padding (NOP) is passed over.
pub(super) fn read(block: &[u8], mut at: usize) -> Result<(Token<'_>, usize), Bad> {
    loop {
        let word = be32(block, at).ok_or(Bad::Truncated)?;
        let body = at + 4;
        return match word {
            1 => {
                let name = name(block, body).ok_or_else(|| {
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
