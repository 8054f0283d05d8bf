//! Memory and what of it is taken.

use super::MachineError;
use crate::fdt::{Cells, Node, Tree};
use crate::memory::frames::MAX_BYTES;
use crate::memory::ranges::{Range, RangeError, RangeSet};
use arrayvec::ArrayVec;

/// Most separate ranges of memory, and most separate ones that are taken. A
/// machine of sixteen chips has some three of each per chip.
pub const MAX_RANGES: usize = 128;

/// Most memory nodes whose chip is remembered.
const MAX_NODES: usize = 32;

/// Real addresses have at most 56 bits.
const REAL_BITS: u32 = 56;

/// Memory, and what of it is taken.
#[derive(Clone, Debug)]
pub struct MemoryMap {
    /// All memory.
    pub memory: RangeSet<MAX_RANGES>,
    /// What is taken: firmware, /reserved-memory, the memory-reservation
    /// block, the tree itself, the initrd, and what the caller adds.
    pub taken: RangeSet<MAX_RANGES>,
    /// The initrd, where there is one in memory.
    pub initrd: Option<Range>,
    /// An initrd that is not in memory: its cells.
    pub bad_initrd: Option<(u64, u64)>,
    chips: ArrayVec<(Range, u32), MAX_NODES>,
}

impl MemoryMap {
    /// Reads memory and reserved ranges of a tree that lies at `tree_at`. `own`
    /// are the ranges that the image needs for itself.
    ///
    /// # Errors
    /// No memory, or ranges that make no sense. A reservation that cannot be
    /// read is an error too: what it protects must not be overwritten.
    pub fn read(tree: &Tree<'_>, tree_at: u64, own: &[Range]) -> Result<Self, MachineError> {
        let mut map = Self {
            memory: RangeSet::new(),
            taken: RangeSet::new(),
            initrd: None,
            bad_initrd: None,
            chips: ArrayVec::new(),
        };
        let root = tree.root();
        let cells = root.cells();
        for node in root.children().filter(|node| node.base_name() == "memory") {
            map.read_memory(cells, &node)?;
        }
        match map.memory.total() {
            0 => return Err(MachineError::NoMemory),
            total if total > MAX_BYTES => return Err(MachineError::TooMuch(total)),
            _ => {}
        }
        // First what an initrd cannot be in, then the initrd, then what it is
        // often in: loaders reserve it.
        map.take("the tree itself", tree_at, tree.size() as u64)?;
        for range in own {
            map.take("image", range.start().get(), range.size())?;
        }
        if let Some(node) = root.child("ibm,opal") {
            map.read_firmware(&node)?;
        }
        map.read_initrd(tree)?;
        let reserved = root.children();
        for node in reserved.filter(|node| node.base_name() == "reserved-memory") {
            map.read_reserved(&node)?;
        }
        // skiboot core/mem_region.c: pairs of start and size, in two cells each.
        if let Some(list) = root.property("reserved-ranges") {
            let mut numbers = list.numbers();
            while let (Some(start), Some(size)) = (numbers.next(), numbers.next()) {
                map.take("reserved-ranges", start, size)?;
            }
        }
        for (start, size) in tree.reservations() {
            map.take("memory reservation", start, size)?;
        }
        Ok(map)
    }

    fn read_memory(&mut self, cells: Option<Cells>, node: &Node<'_>) -> Result<(), MachineError> {
        // Memory of a GPU or another device, which works only once its driver
        // has trained it (skiboot hw/npu2.c, npu2_create_memory_dn).
        let of_device = node.is_compatible("ibm,coherent-device-memory")
            || node.property("linux,usable-memory").is_some();
        if !node.is_usable() || of_device {
            return Ok(());
        }
        let bad = MachineError::Reg { node: "memory" };
        let regs = cells.and_then(|cells| node.reg_with(cells)).ok_or(bad)?;
        for reg in regs {
            let range = in_node("memory", Range::new(reg.start, reg.size))?;
            if range.end().get() >> REAL_BITS != 0 {
                return Err(MachineError::Beyond(range));
            }
            in_node("memory", self.memory.add(range))?;
            if let Some(chip) = node.u32("ibm,chip-id") {
                // More nodes than are remembered only lose their chip.
                let _ = self.chips.try_push((range, chip));
            }
        }
        Ok(())
    }

    fn read_reserved(&mut self, parent: &Node<'_>) -> Result<(), MachineError> {
        let cells = parent.cells();
        for node in parent.children() {
            // Without reg it asks for memory to be chosen; nobody does here.
            if node.property("reg").is_none() {
                continue;
            }
            let bad = MachineError::Reg {
                node: "reserved-memory",
            };
            let regs = cells.and_then(|cells| node.reg_with(cells));
            for reg in regs.ok_or(bad)? {
                self.take("reserved-memory", reg.start, reg.size)?;
            }
        }
        Ok(())
    }

    fn read_firmware(&mut self, node: &Node<'_>) -> Result<(), MachineError> {
        let base = node.number("opal-base-address");
        let size = node.number("opal-runtime-size");
        let entry = node.number("opal-entry-address");
        let Some(base) = base else { return Ok(()) };
        // What cannot be told from free memory must not be handed out.
        let size = size.filter(|&size| {
            let offset = entry.unwrap_or(base).checked_sub(base);
            offset.is_some_and(|offset| offset < size)
        });
        let size = size.ok_or(MachineError::FirmwareSize)?;
        self.take("ibm,opal", base, size)
    }

    /// `linux,initrd-start` and `-end`: two cells from skiboot, one from QEMU
    /// and kexec. kexec-lite may leave those of an earlier kernel behind, so an
    /// initrd that is not in memory, or where the image or firmware is, is none.
    fn read_initrd(&mut self, tree: &Tree<'_>) -> Result<(), MachineError> {
        let Some(chosen) = tree.find("/chosen") else {
            return Ok(());
        };
        let start = chosen.number("linux,initrd-start");
        let end = chosen.number("linux,initrd-end");
        let (Some(start), Some(end)) = (start, end) else {
            return Ok(());
        };
        let range = end
            .checked_sub(start)
            .and_then(|size| Range::new(start, size).ok());
        match range {
            Some(range) if range.is_empty() => {}
            Some(range) if self.memory.contains(&range) && !self.taken.touches(&range) => {
                self.take("initrd", start, range.size())?;
                self.initrd = Some(range);
            }
            _ => self.bad_initrd = Some((start, end)),
        }
        Ok(())
    }

    /// Marks a range as taken. It need not be memory.
    ///
    /// # Errors
    /// It overflows, or is one too many.
    pub fn take(&mut self, node: &'static str, start: u64, size: u64) -> Result<(), MachineError> {
        let range = in_node(node, Range::new(start, size))?;
        in_node(node, self.taken.add(range))
    }

    /// The memory that is not taken.
    ///
    /// # Errors
    /// There is none.
    pub fn free(&self) -> Result<RangeSet<MAX_RANGES>, MachineError> {
        let mut free = self.memory.clone();
        for range in self.taken.iter() {
            in_node("memory", free.remove(*range))?;
        }
        if free.total() == 0 {
            return Err(MachineError::NothingFree(self.memory.total()));
        }
        Ok(free)
    }

    /// The chip that holds all of a range; 0 where the tree does not say.
    pub fn chip_of(&self, range: &Range) -> u32 {
        let holder = self.chips.iter().find(|(whole, _)| whole.contains(range));
        holder.map_or(0, |&(_, chip)| chip)
    }

    /// The memory nodes and their chips, where the tree says which.
    pub fn chips(&self) -> impl Iterator<Item = (&Range, u32)> {
        self.chips.iter().map(|(range, chip)| (range, *chip))
    }
}

fn in_node<T>(node: &'static str, result: Result<T, RangeError>) -> Result<T, MachineError> {
    result.map_err(|error| MachineError::Range { node, error })
}
