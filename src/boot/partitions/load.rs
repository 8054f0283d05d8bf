//! What a partition starts with in its memory: kernel, initrd, device tree.

use super::Plan;
use super::memory::Memory;
use crate::addr::GuestAddr;
use crate::cpu;
use crate::papr::elf::Elf;
use alloc::string::String;

/// Where a partition starts.
pub(super) struct Loaded {
    pub(super) entry: GuestAddr,
    pub(super) tree: GuestAddr,
}

/// What the file asks for: a kernel alone.
pub(super) fn plan(file: &'static [u8], bytes: u64, vcpus: usize) -> Result<Plan, String> {
    let elf = Elf::read(file).map_err(|error| alloc::format!("kernel: {error}"))?;
    elf.plan(bytes)
        .map_err(|error| alloc::format!("kernel: {error}"))?;
    Ok(Plan {
        name: String::new(),
        bytes,
        vcpus,
        kernel: file,
    })
}

/// Copies everything into the partition's memory, which is zero.
pub(super) fn load(plan: &Plan, memory: &Memory) -> Result<Loaded, String> {
    let elf = Elf::read(plan.kernel).map_err(|error| alloc::format!("kernel: {error}"))?;
    let (_, entry) = elf
        .plan(memory.bytes())
        .map_err(|error| alloc::format!("kernel: {error}"))?;
    for segment in elf.segments() {
        let segment = segment.map_err(|error| alloc::format!("kernel: {error}"))?;
        if !memory.write(segment.at, elf.bytes(&segment)) {
            return Err(alloc::format!(
                "kernel: a segment at {} does not fit",
                segment.at
            ));
        }
    }
    cpu::publish_code();
    Ok(Loaded {
        entry,
        tree: GuestAddr::new(0),
    })
}
