//! What the partition is told by its arguments.

/// The device tree's magic number.
const MAGIC: u32 = 0xd00d_feed;

/// The device tree at `tree`.
fn bytes(tree: u64) -> &'static [u8] {
    let head = tree as *const u32;
    // SAFETY: Pinion puts a tree there, whose first words are a magic number and
    // its size; nothing writes to it.
    unsafe {
        if head.read().to_be() != MAGIC {
            return &[];
        }
        let size = head.add(1).read().to_be() as usize;
        core::slice::from_raw_parts(tree as *const u8, size)
    }
}

/// What stands behind `word` in the device tree at `tree`: a word that nobody but
/// the arguments has.
fn behind(tree: u64, word: &str) -> Option<&'static [u8]> {
    let bytes = bytes(tree);
    let mut places = bytes.windows(word.len());
    let at = places.position(|piece| piece == word.as_bytes())?;
    bytes.get(at + word.len()..)
}

/// Whether `word` stands in the device tree at `tree`.
pub fn told(tree: u64, word: &str) -> bool {
    behind(tree, word).is_some()
}

/// The number that stands behind `word`.
pub fn number(tree: u64, word: &str) -> Option<u64> {
    let digits = behind(tree, word)?.iter();
    let digits = digits.map_while(|byte| char::from(*byte).to_digit(10));
    digits.fold(None, |number, digit| {
        Some(number.unwrap_or(0) * 10 + u64::from(digit))
    })
}

/// Whether the row `id` is to be measured: `row=ID` asks for one alone.
pub fn asked(tree: u64, id: &str) -> bool {
    let Some(rest) = behind(tree, "row=") else {
        return true;
    };
    let end = rest.iter().position(|byte| *byte <= b' ');
    rest.get(..end.unwrap_or(rest.len())) == Some(id.as_bytes())
}
