//! What a partition starts with in its memory: kernel, initrd, device tree.

use super::Plan;
use super::memory::Space;
use crate::addr::GuestAddr;
use crate::boot::start;
use crate::cpu;
use crate::papr::bridge::Bridge;
use crate::papr::layout::{File, Layout, TREE_ROOM};
use crate::papr::tree::{self, Spec};
use crate::papr::{archive, rtas};
use crate::partition::manifest::MAX_BOOTARGS;
use alloc::string::{String, ToString};

/// Where a partition starts.
pub(super) struct Loaded {
    pub(super) entry: GuestAddr,
    pub(super) tree: GuestAddr,
}

/// What the file asks for: a kernel alone, or an archive with `kernel`, and
/// perhaps `initrd` and `bootargs`.
pub(super) fn plan(file: &'static [u8], bytes: u64, vcpus: usize) -> Result<Plan, String> {
    let of_archive = |name: &str| {
        let bytes = archive::find(file, name)?;
        let name = name.to_string();
        Some(File { name, bytes })
    };
    let kernel = of_archive("kernel").unwrap_or_else(|| File {
        name: "initrd".into(),
        bytes: file,
    });
    let bootargs = archive::find(file, "bootargs").unwrap_or(&[]);
    let bootargs =
        core::str::from_utf8(bootargs).map_err(|error| alloc::format!("bootargs: {error}"))?;
    if bootargs.len() > MAX_BOOTARGS {
        return Err(alloc::format!(
            "bootargs: expected at most {MAX_BOOTARGS} bytes, found {}",
            bootargs.len()
        ));
    }
    let initrd = of_archive("initrd");
    Layout::new(&kernel, initrd.as_ref(), bytes).map_err(|error| error.to_string())?;
    Ok(Plan {
        name: String::new(),
        bytes,
        vcpus,
        kernel: Some(kernel),
        initrd,
        bootargs: bootargs.trim().to_string(),
        shares: false,
    })
}

/// Copies everything into the partition's memory, which is zero.
pub(super) fn load(
    plan: &Plan,
    memory: &Space,
    lpid: u64,
    exploits: bool,
    bridges: &[Bridge],
) -> Result<Loaded, String> {
    let kernel = plan.kernel.as_ref().ok_or("it has no kernel")?;
    let layout = Layout::new(kernel, plan.initrd.as_ref(), memory.bytes());
    let layout = layout.map_err(|error| error.to_string())?;
    for segment in layout.elf.segments() {
        let segment = segment.map_err(|error| alloc::format!("kernel: {error}"))?;
        put(memory, segment.at.get(), layout.elf.bytes(&segment))?;
    }
    if let (Some((start, _)), Some(file)) = (layout.initrd, &plan.initrd) {
        put(memory, start.get(), file.bytes)?;
    }
    for (address, word) in (layout.rtas.get()..).step_by(4).zip(rtas::ENTRY) {
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
        initrd: layout.initrd.map(|(start, end)| (start.get(), end.get())),
        rtas: layout.rtas.get() as u32,
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
    put(memory, layout.tree.get(), &written)?;
    cpu::publish_code();
    Ok(Loaded {
        entry: layout.entry,
        tree: layout.tree,
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
