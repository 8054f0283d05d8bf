//! A program between firmware and the image: another device tree, or the
//! state that kexec-lite leaves. Its code is `tests/trampoline`.

mod tree;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use object::BigEndian;
use serde_json::json;

use crate::emulator::machine::Machine;
use crate::emulator::qemu::Setting;
use crate::image::{self, build, elf::Elf};
use crate::workspace::Workspace;
pub use tree::Change;

/// What is placed behind it starts on a page of this size.
const PAGE: usize = 0x10000;
/// Where the settings are, from the start.
const SETTINGS: usize = 0x100;
/// The word that marks them.
const MAGIC: u64 = 0x5452_4d50_4c49_4e45;
/// An endless loop in the program: the place to stop at.
const PARK: u64 = 0x60;
/// Where firmware puts a kernel.
const KERNEL_BASE: u64 = 0x2000_0000;
/// Where a hostile entry puts the image: an odd multiple of 64 KiB in low memory.
const LOW_ADDRESS: u64 = 0x0289_0000;
/// Firmware that has not reached the kernel by then never will.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the image is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// As firmware does.
    Plain,
    /// As kexec-lite does, at an odd low address, with stale state.
    Hostile,
}

/// The program's code.
pub struct Trampoline {
    code: Vec<u8>,
}

impl Trampoline {
    /// Builds it.
    pub fn build(workspace: &Workspace) -> Result<Self> {
        let linked = image::read(&build::cargo(workspace, "pinion-trampoline", "trampoline")?)?;
        let code = contents(&linked)?;
        ensure!(
            word(&code, SETTINGS) == Some(MAGIC),
            "the trampoline's settings are not at {SETTINGS:#x}"
        );
        ensure!(
            code.len() <= PAGE,
            "the trampoline is larger than {PAGE} bytes"
        );
        Ok(Self { code })
    }

    /// A raw binary that enters `image`, an ELF file, with `tree` if one is given.
    pub fn with_image(&self, image: &[u8], tree: Option<&[u8]>, entry: Entry) -> Result<Vec<u8>> {
        let payload = contents(image)?;
        let mut out = self.code.clone();
        out.resize(PAGE, 0);
        out.extend(&payload);
        out.resize(out.len().next_multiple_of(PAGE), 0);
        let tree_offset = if tree.is_some() { out.len() as u64 } else { 0 };
        if let Some(tree) = tree {
            out.extend(tree);
            out.resize(out.len().next_multiple_of(PAGE), 0);
        }
        let hostile = entry == Entry::Hostile;
        let load_address = if hostile { LOW_ADDRESS } else { 0 };
        let settings = [
            PAGE as u64,
            payload.len() as u64,
            load_address,
            tree_offset,
            u64::from(hostile),
        ];
        set(&mut out, &settings);
        Ok(out)
    }

    /// Starts the machine of `setting` up to the point where firmware enters
    /// the kernel, and returns the device tree that it hands over.
    pub fn dump_tree(&self, setting: &Setting, folder: &Path) -> Result<Vec<u8>> {
        let mut parked = self.code.clone();
        set(&mut parked, &[PARK, 0, 0, 0, 0]);
        let kernel = folder.join("park.bin");
        image::write_if_changed(&kernel, &parked)?;
        let mut setting = setting.clone();
        setting.kernel = Some(kernel);
        let mut machine = Machine::start(&setting, std::process::Stdio::null())?;
        let mut control = machine.control(&setting)?;
        let end = Instant::now() + PATIENCE;
        let tree = loop {
            // The console must be drained, or firmware waits for it.
            let _ = machine.read(Duration::from_millis(50));
            let registers = control.execute(
                "human-monitor-command",
                Some(json!({"command-line": "info registers"})),
            )?;
            let registers = registers.as_str().unwrap_or_default();
            if register(registers, "NIP") == Some(KERNEL_BASE + PARK) {
                break register(registers, "GPR00")
                    .and(third_register(registers))
                    .context("QEMU shows no registers")?;
            }
            if Instant::now() > end {
                bail!(
                    "firmware does not reach the kernel within {} s",
                    PATIENCE.as_secs()
                );
            }
        };
        let file = std::path::absolute(folder.join("firmware.dtb")).context("no current folder")?;
        let mut save = |bytes: u64| -> Result<Vec<u8>> {
            let arguments = json!({"val": tree, "size": bytes, "filename": file});
            control.execute("pmemsave", Some(arguments))?;
            image::read(&file)
        };
        let head = save(8)?;
        let size = word(&head, 0).context("no device tree")?;
        ensure!(size >> 32 == 0xd00d_feed, "no device tree at {tree:#x}");
        save(size & 0xffff_ffff)
    }

    /// The tree of `setting`'s machine with `changes` made, also left in `folder`.
    pub fn changed_tree(
        &self,
        setting: &Setting,
        changes: &[Change],
        folder: &Path,
    ) -> Result<Vec<u8>> {
        let tree = self.dump_tree(setting, folder)?;
        tree::change(tree, changes, &folder.join("changed.dtb"))
    }
}

/// The bytes of an ELF file as they lie in memory.
fn contents(bytes: &[u8]) -> Result<Vec<u8>> {
    let elf = Elf::parse(bytes)?;
    let load = elf.load()?;
    let start = load.p_offset.get(BigEndian) as usize;
    let end = start + load.p_filesz.get(BigEndian) as usize;
    Ok(bytes
        .get(start..end)
        .context("the loaded segment ends outside the file")?
        .to_vec())
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_be_bytes(std::array::from_fn(|i| bytes[i])))
}

fn set(code: &mut [u8], settings: &[u64; 5]) {
    for (index, value) in settings.iter().enumerate() {
        let at = SETTINGS + 8 + 8 * index;
        code[at..at + 8].copy_from_slice(&value.to_be_bytes());
    }
}

/// The number behind `name` in QEMU's list of registers.
fn register(text: &str, name: &str) -> Option<u64> {
    let rest = text[text.find(name)? + name.len()..].trim_start();
    u64::from_str_radix(rest.split_whitespace().next()?, 16).ok()
}

/// r3: the fourth number of the line that begins with r0.
fn third_register(text: &str) -> Option<u64> {
    let rest = &text[text.find("GPR00")? + 5..];
    u64::from_str_radix(rest.split_whitespace().nth(3)?, 16).ok()
}

/// Writes a raw binary for one machine.
pub fn write(folder: &Path, bytes: &[u8]) -> Result<PathBuf> {
    let path = folder.join("kernel.bin");
    image::write_if_changed(&path, bytes)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read() {
        let text = "CPU#0\nNIP 0000000020000060   LR 000000003000 CTR 0\n\
                    GPR00 0000000000000000 0000000000000001 0000000000000002 000000003080cfd0\n";
        assert_eq!(register(text, "NIP"), Some(0x2000_0060));
        assert_eq!(third_register(text), Some(0x3080_cfd0));
    }
}
