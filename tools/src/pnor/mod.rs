//! `target/pinion.pnor`: a flash image that firmware boots without -kernel.
//!
//! The flash holds a partition table in the FSP flash structure, version 1
//! (skiboot, libflash/ffs.h): a header of 48 bytes and an entry of 128 bytes
//! for each partition, big-endian, each closed by a word that makes the
//! exclusive or of all its words zero.

mod table;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::image::elf::Elf;
use crate::workspace::Workspace;
use table::{BLOCK, Partition, Table};

/// Where the image goes.
pub const FILE: &str = "target/pinion.pnor";

/// Bytes of the partition that holds the image; room to grow.
const KERNEL_BYTES: u32 = 0x20_0000;
/// Bytes of firmware's settings.
const NVRAM_BYTES: u32 = 0x1_2000;
/// Bytes of the version text.
const VERSION_BYTES: u32 = 0x2000;
/// Smaller partitions are refused: firmware looks for a signature's header first.
const VERSION_LEAST: usize = 0x1000;

/// Writes the flash image, `flash_bytes` long; what holds nothing is a hole.
pub fn make(workspace: &Workspace, flash_bytes: u64) -> Result<PathBuf> {
    let kernel = crate::image::read(workspace.image())?;
    // Firmware computes the size from the section headers' place, not from the table.
    let elf = Elf::parse(&kernel)?;
    let headers_end = elf.header.e_shoff.get(object::BigEndian) + 64 * elf.sections.len() as u64;
    ensure!(
        headers_end == kernel.len() as u64,
        "the section headers are not the last of {}",
        workspace.image().display()
    );

    let mut version = format!("pinion {}\n", env!("CARGO_PKG_VERSION")).into_bytes();
    version.resize(VERSION_LEAST, 0);
    let blocks = u32::try_from(flash_bytes / u64::from(BLOCK))
        .context("the flash is too large for its table")?;
    let table = Table::new(
        blocks,
        &[
            Partition::data("VERSION", VERSION_BYTES, version),
            Partition::empty("NVRAM", NVRAM_BYTES),
            Partition::data("BOOTKERNEL", KERNEL_BYTES, kernel),
        ],
    )?;
    let path = Path::new(FILE);
    let part = path.with_extension("pnor-part");
    write(&part, &table, flash_bytes)
        .and_then(|()| std::fs::rename(&part, path).context("renaming"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_path_buf())
}

fn write(path: &Path, table: &Table, flash_bytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&table.bytes())?;
    for (offset, contents) in table.contents() {
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(contents)?;
    }
    file.set_len(flash_bytes)?;
    Ok(())
}

/// Copies the flash image to `to` for one machine, which may write to it;
/// holes stay holes.
pub fn copy(from: &Path, to: &Path, flash_bytes: u64) -> Result<()> {
    use std::io::Read;
    let context = || format!("cannot copy {} to {}", from.display(), to.display());
    let mut source = File::open(from).with_context(context)?;
    let mut target = File::create(to).with_context(context)?;
    let mut block = vec![0; BLOCK as usize];
    let mut offset = 0;
    loop {
        let count = source.read(&mut block).with_context(context)?;
        if count == 0 {
            break;
        }
        if block[..count].iter().any(|byte| *byte != 0) {
            target
                .seek(SeekFrom::Start(offset))
                .and_then(|_| target.write_all(&block[..count]))
                .with_context(context)?;
        }
        offset += count as u64;
    }
    target.set_len(flash_bytes).with_context(context)
}
