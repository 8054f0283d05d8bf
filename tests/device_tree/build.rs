//! Makes device trees: what the boards' real ones lack.

use std::collections::BTreeMap;

/// A tree under construction.
#[derive(Default)]
pub struct Builder {
    structure: Vec<u8>,
    strings: Vec<u8>,
    known: BTreeMap<String, u32>,
    reservations: Vec<(u64, u64)>,
}

impl Builder {
    /// A tree whose root has begun, with two cells for addresses and sizes.
    pub fn new() -> Self {
        let mut tree = Self::default();
        tree.begin("");
        tree.cells("#address-cells", &[2]);
        tree.cells("#size-cells", &[2]);
        tree
    }

    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn pad(&mut self) {
        let length = self.structure.len().next_multiple_of(4);
        self.structure.resize(length, 0);
    }

    /// Begins a node.
    pub fn begin(&mut self, name: &str) {
        self.word(1);
        self.structure.extend(name.bytes());
        self.structure.push(0);
        self.pad();
    }

    /// Ends the node that began last.
    pub fn end(&mut self) {
        self.word(2);
    }

    /// A node with what `inside` puts into it.
    pub fn node(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.begin(name);
        inside(self);
        self.end();
    }

    /// A property.
    pub fn bytes(&mut self, name: &str, value: &[u8]) {
        let at = match self.known.get(name) {
            Some(&at) => at,
            None => {
                let at = self.strings.len() as u32;
                self.strings.extend(name.bytes());
                self.strings.push(0);
                self.known.insert(name.to_owned(), at);
                at
            }
        };
        self.word(3);
        self.word(value.len() as u32);
        self.word(at);
        self.structure.extend(value);
        self.pad();
    }

    /// A property of 32-bit cells.
    pub fn cells(&mut self, name: &str, cells: &[u32]) {
        let value: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.bytes(name, &value);
    }

    /// A property of numbers in two cells each.
    pub fn numbers(&mut self, name: &str, numbers: &[u64]) {
        let value: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
        self.bytes(name, &value);
    }

    /// A text property.
    pub fn text(&mut self, name: &str, text: &str) {
        self.bytes(name, &[text.as_bytes(), &[0]].concat());
    }

    /// A memory node.
    pub fn memory(&mut self, start: u64, size: u64) {
        self.node(&format!("memory@{start:x}"), |tree| {
            tree.numbers("reg", &[start, size]);
        });
    }

    /// An entry of the header's list of reserved memory.
    pub fn reserve(&mut self, start: u64, size: u64) {
        self.reservations.push((start, size));
    }

    /// Ends the root; the bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.end();
        self.word(9);
        assemble(&self.reservations, &self.structure, &self.strings)
    }
}

/// A blob of its three blocks.
pub fn assemble(reservations: &[(u64, u64)], structure: &[u8], strings: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    for (start, size) in reservations.iter().chain(&[(0, 0)]) {
        list.extend(start.to_be_bytes());
        list.extend(size.to_be_bytes());
    }
    let structure_at = 40 + list.len();
    let strings_at = structure_at + structure.len();
    let total = strings_at + strings.len();
    let header = [
        0xd00d_feed,
        total as u32,
        structure_at as u32,
        strings_at as u32,
        40,
        17,
        16,
        0,
        strings.len() as u32,
        structure.len() as u32,
    ];
    let mut blob: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
    blob.extend(list);
    blob.extend(structure);
    blob.extend(strings);
    blob
}
