//! What a partition starts with in its memory: kernel, initrd, device tree.

use super::Plan;
use super::memory::Space;
use crate::addr::GuestAddr;
use crate::boot::start;
use crate::cpu;
use crate::papr::bridge::Bridge;
use crate::papr::elf::Elf;
use crate::papr::tree::{self, RTAS_BYTES, Spec};
use crate::papr::{archive, rtas};
use alloc::string::{String, ToString};

/// Where a partition starts.
pub(super) struct Loaded {
    pub(super) entry: GuestAddr,
    pub(super) tree: GuestAddr,
}

/// What the file asks for: a kernel alone, or an archive with `kernel`, and
/// perhaps `initrd` and `bootargs`.
pub(super) fn plan(file: &'static [u8], bytes: u64, vcpus: usize) -> Result<Plan, String> {
    let kernel = archive::find(file, "kernel").unwrap_or(file);
    let bootargs = archive::find(file, "bootargs").unwrap_or(&[]);
    let bootargs =
        core::str::from_utf8(bootargs).map_err(|error| alloc::format!("bootargs: {error}"))?;
    if bootargs.len() > MAX_BOOTARGS {
        return Err(alloc::format!(
            "bootargs: {} bytes are more than the {MAX_BOOTARGS} that kernels take",
            bootargs.len()
        ));
    }
    check(kernel, bytes)?;
    Ok(Plan {
        name: String::new(),
        bytes,
        vcpus,
        kernel: Some(kernel),
        initrd: archive::find(file, "initrd"),
        bootargs: bootargs.trim().to_string(),
    })
}

/// Longest arguments: Linux's COMMAND_LINE_SIZE on this processor.
const MAX_BOOTARGS: usize = 2047;

/// End of the kernel, and its entry.
fn check(kernel: &[u8], bytes: u64) -> Result<(u64, GuestAddr), String> {
    Elf::read(kernel)
        .and_then(|elf| elf.plan(bytes))
        .map_err(|error| alloc::format!("kernel: {error}"))
}

/// Real mode of a partition's start and RTAS reach so far.
const REACH: u64 = 512 << 20;

/// Room for the tree.
const TREE_ROOM: u64 = 64 << 10;

/// Where things go: kernel from 0 on, RTAS and tree at the end of what is in
/// reach, the initrd below them.
struct Places {
    rtas: u64,
    tree: u64,
    initrd: Option<(u64, u64)>,
}

fn places(top: u64, bytes: u64, initrd: Option<&[u8]>) -> Result<Places, String> {
    let end = bytes.min(REACH);
    let rtas = end - u64::from(RTAS_BYTES).next_multiple_of(1 << 16);
    let tree = rtas - TREE_ROOM;
    let mut lowest = tree;
    let initrd = match initrd {
        Some(file) => {
            let size = file.len() as u64;
            let start = tree.checked_sub(size).ok_or_else(|| {
                alloc::format!("initrd: {size:#x} bytes do not fit into {bytes:#x}")
            })?;
            lowest = start & !0xffff;
            Some((lowest, lowest + size))
        }
        None => None,
    };
    if lowest < top {
        return Err(alloc::format!(
            "kernel and initrd overlap: the kernel ends at {top:#x}, and what is behind it starts at {lowest:#x}"
        ));
    }
    Ok(Places { rtas, tree, initrd })
}

/// Copies everything into the partition's memory, which is zero.
pub(super) fn load(
    plan: &Plan,
    memory: &Space,
    lpid: u64,
    exploits: bool,
    bridges: &[Bridge],
) -> Result<Loaded, String> {
    let kernel = plan.kernel.ok_or("it has no kernel")?;
    let (top, entry) = check(kernel, memory.bytes())?;
    let places = places(top, memory.bytes(), plan.initrd)?;
    let elf = Elf::read(kernel).map_err(|error| alloc::format!("kernel: {error}"))?;
    for segment in elf.segments() {
        let segment = segment.map_err(|error| alloc::format!("kernel: {error}"))?;
        put(memory, segment.at.get(), elf.bytes(&segment))?;
    }
    if let (Some((start, _)), Some(file)) = (places.initrd, plan.initrd) {
        put(memory, start, file)?;
    }
    for (address, word) in (places.rtas..).step_by(4).zip(rtas::ENTRY) {
        put(memory, address, &word.to_be_bytes())?;
    }
    let mut seed = [0; 32];
    for piece in seed.chunks_exact_mut(8) {
        piece.copy_from_slice(&cpu::random().unwrap_or_else(cpu::timebase).to_be_bytes());
    }
    let spec = Spec {
        name: &plan.name,
        number: lpid as u32,
        bytes: memory.bytes(),
        vcpus: plan.vcpus as u32,
        bootargs: &plan.bootargs,
        initrd: places.initrd,
        rtas: places.rtas as u32,
        seed,
        exploits,
        bridges,
    };
    let cpus = start::tree().and_then(|tree| tree.find("/cpus"));
    let processor = cpus.and_then(|cpus| {
        cpus.children()
            .find(|node| node.text("device_type") == Some("cpu"))
    });
    let processor = processor.ok_or("the machine's tree has no processor")?;
    let written = tree::build(&spec, &processor).map_err(|error| alloc::format!("{error}"))?;
    if written.len() as u64 > TREE_ROOM {
        return Err(alloc::format!(
            "the tree of {} vCPUs and {} groups of devices takes {} bytes, and there is room for {TREE_ROOM}",
            plan.vcpus,
            bridges.len(),
            written.len()
        ));
    }
    put(memory, places.tree, &written)?;
    cpu::publish_code();
    Ok(Loaded {
        entry,
        tree: GuestAddr::new(places.tree),
    })
}

fn put(memory: &Space, at: u64, bytes: &[u8]) -> Result<(), String> {
    if memory.write(GuestAddr::new(at), bytes) {
        Ok(())
    } else {
        Err(alloc::format!(
            "{} bytes at {at:#x} do not fit",
            bytes.len()
        ))
    }
}
