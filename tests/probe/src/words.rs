//! What the partition is told by its arguments.

/// The device tree's magic number.
const MAGIC: u32 = 0xd00d_feed;

/// Whether `word` stands anywhere in the device tree at `tree`: it is one that
/// nobody but the arguments has.
pub fn told(tree: u64, word: &str) -> bool {
    let head = tree as *const u32;
    // SAFETY: Pinion puts a tree there, whose first words are a magic number and
    // its size; nothing writes to it.
    let bytes = unsafe {
        if head.read().to_be() != MAGIC {
            return false;
        }
        let size = head.add(1).read().to_be() as usize;
        core::slice::from_raw_parts(tree as *const u8, size)
    };
    bytes
        .windows(word.len())
        .any(|piece| piece == word.as_bytes())
}
