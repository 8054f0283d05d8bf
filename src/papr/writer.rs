//! A writer of flattened device trees (Devicetree Specification 0.4, chapter 5).
//! Names may be longer than the 31 characters that the specification allows:
//! IBM's `ibm,processor-radix-AP-encodings` has 32, which is why `vm-fdt`, and
//! crates that keep to the letter, do not do here.

use alloc::vec::Vec;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;

/// Bytes of the header.
const HEADER: usize = 40;

/// A tree that is being written.
#[derive(Default)]
pub(super) struct Writer {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Writer {
    fn word(&mut self, value: u32) {
        self.structure.extend(value.to_be_bytes());
    }

    fn pad(&mut self) {
        let size = self.structure.len().next_multiple_of(4);
        self.structure.resize(size, 0);
    }

    /// A node with what `inside` writes into it.
    pub(super) fn node<E>(
        &mut self,
        name: &str,
        inside: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.word(BEGIN_NODE);
        self.structure.extend(name.bytes());
        self.structure.push(0);
        self.pad();
        inside(self)?;
        self.word(END_NODE);
        Ok(())
    }

    /// A property of the node that is open, before its first child.
    pub(super) fn bytes(&mut self, name: &str, value: &[u8]) {
        let offset = self.string(name);
        self.word(PROPERTY);
        self.word(value.len() as u32);
        self.word(offset);
        self.structure.extend(value);
        self.pad();
    }

    /// Texts, each with its zero.
    pub(super) fn texts(&mut self, name: &str, texts: &[&str]) {
        let mut value = Vec::new();
        for text in texts {
            value.extend(text.bytes());
            value.push(0);
        }
        self.bytes(name, &value);
    }

    /// Cells of four bytes.
    pub(super) fn cells(&mut self, name: &str, cells: &[u32]) {
        let value: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.bytes(name, &value);
    }

    /// Numbers of eight bytes.
    pub(super) fn numbers(&mut self, name: &str, numbers: &[u64]) {
        let value: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect();
        self.bytes(name, &value);
    }

    /// Where a name is; names are kept once.
    fn string(&mut self, name: &str) -> u32 {
        let mut offset = 0;
        for known in self.strings.split(|&byte| byte == 0) {
            if known == name.as_bytes() && !known.is_empty() {
                return offset as u32;
            }
            offset += known.len() + 1;
        }
        let offset = self.strings.len();
        self.strings.extend(name.bytes());
        self.strings.push(0);
        offset as u32
    }

    /// The tree, with one range of memory that is reserved.
    pub(super) fn finish(mut self, (start, bytes): (u64, u64)) -> Vec<u8> {
        self.word(END);
        let reserved = HEADER;
        let structure = reserved + 32;
        let strings = structure + self.structure.len();
        let total = strings + self.strings.len();
        let header = [
            0xd00d_feed,
            total,
            structure,
            strings,
            reserved,
            17,
            16,
            0,
            self.strings.len(),
            self.structure.len(),
        ];
        let mut out = Vec::with_capacity(total);
        out.extend(header.iter().flat_map(|&word| (word as u32).to_be_bytes()));
        out.extend(
            [start, bytes, 0, 0]
                .iter()
                .flat_map(|word| word.to_be_bytes()),
        );
        out.extend(self.structure);
        out.extend(self.strings);
        out
    }
}
