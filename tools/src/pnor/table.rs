//! The partition table at the start of the flash.

use anyhow::{Result, ensure};

/// Bytes of a block: the unit of places and sizes in the table.
pub const BLOCK: u32 = 0x1000;

/// Bytes of the header.
const HEADER_BYTES: usize = 48;
/// Bytes of an entry.
const ENTRY_BYTES: usize = 128;
/// Bytes of a name, its closing zero included.
const NAME_BYTES: usize = 16;
/// "PART".
const MAGIC: u32 = 0x5041_5254;
/// The parent of a partition that has none.
const TOP_LEVEL: u32 = u32::MAX;
/// An entry's type: contents.
const TYPE_DATA: u32 = 1;
/// An entry's type: the table itself.
const TYPE_TABLE: u32 = 3;
/// Blocks kept for the table.
const TABLE_BLOCKS: u32 = 1;

/// A partition to be made.
pub struct Partition {
    name: &'static str,
    bytes: u32,
    contents: Vec<u8>,
}

impl Partition {
    /// One that holds `contents`.
    pub fn data(name: &'static str, bytes: u32, contents: Vec<u8>) -> Self {
        Self {
            name,
            bytes,
            contents,
        }
    }

    /// One full of zeros.
    pub fn empty(name: &'static str, bytes: u32) -> Self {
        Self::data(name, bytes, Vec::new())
    }
}

/// Partitions with their places.
pub struct Table {
    blocks: u32,
    entries: Vec<Entry>,
}

struct Entry {
    name: &'static str,
    base: u32,
    blocks: u32,
    actual: u32,
    kind: u32,
    contents: Vec<u8>,
}

impl Table {
    /// Places `partitions` one behind the other in a flash of `blocks` blocks.
    ///
    /// # Errors
    /// One is too small for its contents, or they do not fit.
    pub fn new(blocks: u32, partitions: &[Partition]) -> Result<Self> {
        let mut entries = vec![Entry {
            name: "part",
            base: 0,
            blocks: TABLE_BLOCKS,
            actual: TABLE_BLOCKS * BLOCK,
            kind: TYPE_TABLE,
            contents: Vec::new(),
        }];
        let mut base = TABLE_BLOCKS;
        for partition in partitions {
            let used = partition.contents.len();
            ensure!(
                used as u64 <= u64::from(partition.bytes),
                "{used} bytes do not fit into partition {} of {}",
                partition.name,
                partition.bytes
            );
            ensure!(
                partition.name.len() < NAME_BYTES,
                "the name {} is too long",
                partition.name
            );
            let size = partition.bytes.div_ceil(BLOCK);
            entries.push(Entry {
                name: partition.name,
                base,
                blocks: size,
                actual: if used == 0 {
                    partition.bytes
                } else {
                    used as u32
                },
                kind: TYPE_DATA,
                contents: partition.contents.clone(),
            });
            base += size;
        }
        ensure!(
            base <= blocks,
            "{base} blocks do not fit into a flash of {blocks}"
        );
        let table = Self { blocks, entries };
        ensure!(
            table.bytes().len() <= (TABLE_BLOCKS * BLOCK) as usize,
            "too many partitions"
        );
        Ok(table)
    }

    /// Offset in bytes and contents of each partition that holds something.
    pub fn contents(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let used = self
            .entries
            .iter()
            .filter(|entry| !entry.contents.is_empty());
        used.map(|entry| {
            (
                u64::from(entry.base) * u64::from(BLOCK),
                entry.contents.as_slice(),
            )
        })
    }

    /// The table as it lies in the flash.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let count = self.entries.len() as u32;
        words(
            &mut out,
            &[
                MAGIC,
                1,
                TABLE_BLOCKS,
                ENTRY_BYTES as u32,
                count,
                BLOCK,
                self.blocks,
                0,
                0,
                0,
                0,
            ],
        );
        close(&mut out, 0);
        debug_assert_eq!(out.len(), HEADER_BYTES);
        for (index, entry) in self.entries.iter().enumerate() {
            let start = out.len();
            out.extend(entry.name.as_bytes());
            out.resize(start + NAME_BYTES, 0);
            let id = index as u32 + 1;
            words(
                &mut out,
                &[
                    entry.base,
                    entry.blocks,
                    TOP_LEVEL,
                    id,
                    entry.kind,
                    0,
                    entry.actual,
                ],
            );
            // Reserved and user words: no error correction, no signature.
            out.resize(start + ENTRY_BYTES - 4, 0);
            close(&mut out, start);
        }
        out
    }
}

fn words(out: &mut Vec<u8>, values: &[u32]) {
    for value in values {
        out.extend(value.to_be_bytes());
    }
}

/// Adds the word that makes the exclusive or of all words from `start` zero.
fn close(out: &mut Vec<u8>, start: usize) {
    let sum = sum(&out[start..]);
    out.extend(sum.to_be_bytes());
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks_exact(4)
        .map(|w| u32::from_be_bytes(std::array::from_fn(|i| w[i])))
        .fold(0, |a, b| a ^ b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_table_sums_to_zero() {
        let kernel = Partition::data("BOOTKERNEL", 0x3000, vec![1; 0x2001]);
        let table = Table::new(16, &[Partition::empty("NVRAM", 0x1000), kernel]).unwrap();
        let bytes = table.bytes();
        assert_eq!(bytes.len(), 48 + 3 * 128);
        assert_eq!(sum(&bytes[..48]), 0);
        for entry in bytes[48..].chunks(128) {
            assert_eq!(sum(entry), 0);
        }
        assert_eq!(&bytes[..4], b"PART");
        let entry = &bytes[48 + 2 * 128..];
        assert_eq!(&entry[..11], b"BOOTKERNEL\0");
        assert_eq!(
            &entry[16..24],
            &[0, 0, 0, 2, 0, 0, 0, 3],
            "block 2, 3 blocks"
        );
        assert_eq!(&entry[40..44], &0x2001u32.to_be_bytes());
        assert_eq!(
            table
                .contents()
                .map(|(at, c)| (at, c.len()))
                .collect::<Vec<_>>(),
            [(0x2000, 0x2001)]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |blocks, partition| {
            Table::new(blocks, &[partition])
                .err()
                .map(|e| e.to_string())
                .unwrap()
        };
        assert!(
            refused(16, Partition::data("A", 0x1000, vec![0; 0x1001]))
                .contains("do not fit into partition")
        );
        assert!(refused(2, Partition::empty("A", 0x2000)).contains("do not fit into a flash"));
        assert!(refused(16, Partition::empty("ABCDEFGHIJKLMNOP", 0x1000)).contains("too long"));
    }
}
