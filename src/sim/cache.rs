//! A TCE cache that forgets nothing until it is killed.

use std::collections::HashMap;

use super::rng::Rng;
use super::table_store::TableStore;

/// Bytes of a cache line: 16 entries, invalid ones included.
pub(super) const LINE: u64 = 128;

type Line = [u64; 16];

/// Lines by PE and address.
#[derive(Default)]
pub(super) struct Cache {
    lines: HashMap<(u16, u64), Line>,
}

impl Cache {
    /// The entry at `address`, from the cache if the line is there, however old
    /// it is. A miss fetches the line, and sometimes the next one too.
    pub(super) fn read(
        &mut self,
        pe: u16,
        address: u64,
        memory: &TableStore,
        rng: &mut Rng,
    ) -> u64 {
        let at = address / LINE * LINE;
        if !self.lines.contains_key(&(pe, at)) {
            self.fetch(pe, at, memory);
            if rng.one_in(4) && !(at + LINE).is_multiple_of(4096) {
                self.fetch(pe, at + LINE, memory);
            }
        }
        self.lines[&(pe, at)][((address - at) / 8) as usize]
    }

    fn fetch(&mut self, pe: u16, at: u64, memory: &TableStore) {
        self.lines
            .entry((pe, at))
            .or_insert_with(|| core::array::from_fn(|entry| memory.read(at + entry as u64 * 8)));
    }

    /// Forgets one line.
    pub(super) fn kill_line(&mut self, pe: u16, address: u64) {
        self.lines.remove(&(pe, address / LINE * LINE));
    }

    /// Forgets all lines of a PE.
    pub(super) fn kill_pe(&mut self, pe: u16) {
        self.lines.retain(|&(other, _), _| other != pe);
    }

    /// Forgets everything.
    pub(super) fn kill_all(&mut self) {
        self.lines.clear();
    }

    /// Whether a line of the `bytes` bytes at `start` is remembered.
    pub(super) fn remembers(&self, start: u64, bytes: u64) -> bool {
        self.lines
            .keys()
            .any(|&(_, at)| at >= start && at < start + bytes)
    }
}
