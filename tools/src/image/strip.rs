//! The file that firmware loads: contents and the least of section headers.
//!
//! skiboot runs the ELF file in place. It takes `e_entry` for a function
//! descriptor unless a section header marks that address as executable, and
//! it reads the headers again at each fast reboot; a flash loader takes the
//! end of the section headers for the file's size. So they come last in the
//! file, in room that the linker script keeps free inside the loaded segment,
//! where nothing overwrites them.

use anyhow::{Result, ensure};
use object::BigEndian;
use object::elf;
use object::read::elf::{FileHeader, SectionHeader};

use super::elf::Elf;

/// The section of the linker script that keeps room for the headers.
pub const ROOM: &str = ".section_headers";

const HEADER_BYTES: usize = 64;

/// Makes the file from a linked one with symbols.
///
/// # Errors
/// The linked file has not the shape that every loader accepts, or no room.
pub fn strip(bytes: &[u8]) -> Result<Vec<u8>> {
    let file = Elf::parse(bytes)?;
    let load = file.load()?;
    let start = load.p_offset.get(BigEndian);
    let end = start + load.p_filesz.get(BigEndian);
    ensure!(
        end <= bytes.len() as u64,
        "the loaded segment ends outside the file"
    );
    ensure!(
        load.p_filesz == load.p_memsz,
        "the loaded segment is larger in memory than in the file"
    );
    let base = load.p_vaddr.get(BigEndian);
    let entry = file.header.e_entry(BigEndian);
    let sections = file.loaded()?;
    let Some(text) = sections.iter().find(|s| {
        let address = s.header.sh_addr(BigEndian);
        (address..address + s.header.sh_size(BigEndian)).contains(&entry)
    }) else {
        anyhow::bail!("no section holds the entry {entry:#x}");
    };
    let text_end = text.header.sh_addr(BigEndian) + text.header.sh_size(BigEndian);
    let names = b"\0.text\0.image\0.shstrtab\0";
    let table_bytes = 4 * HEADER_BYTES + names.len().next_multiple_of(8);
    let Some(room) = sections.iter().find(|s| s.name == ROOM) else {
        anyhow::bail!("the linked file has no section {ROOM}");
    };
    let room_offset = room.header.sh_offset(BigEndian);
    ensure!(
        room_offset + room.header.sh_size(BigEndian) == end,
        "{ROOM} is not the last of the loaded segment"
    );
    ensure!(
        room.header.sh_size(BigEndian) >= table_bytes as u64,
        "{ROOM} has {} bytes, {table_bytes} are needed",
        room.header.sh_size(BigEndian)
    );

    // Names first, so that the table ends where the file ends.
    let mut out = bytes[..end as usize].to_vec();
    let table = out.len() - 4 * HEADER_BYTES;
    let strings = table - names.len().next_multiple_of(8);
    out[strings..strings + names.len()].copy_from_slice(names);
    let code = elf::SHF_ALLOC.0 | elf::SHF_EXECINSTR.0;
    let data = elf::SHF_ALLOC.0 | elf::SHF_WRITE.0;
    let headers = [
        SectionFields::default(),
        SectionFields {
            name: 1,
            kind: 1,
            flags: code,
            address: base,
            offset: start,
            size: text_end - base,
        },
        SectionFields {
            name: 7,
            kind: 1,
            flags: data,
            address: text_end,
            offset: start + (text_end - base),
            size: room_offset - (start + (text_end - base)),
        },
        SectionFields {
            name: 14,
            kind: 3,
            flags: 0,
            address: 0,
            offset: strings as u64,
            size: names.len() as u64,
        },
    ];
    for (index, header) in headers.iter().enumerate() {
        header.write(&mut out[table + index * HEADER_BYTES..][..HEADER_BYTES]);
    }
    // e_shoff, e_shentsize, e_shnum, e_shstrndx of the file header.
    out[0x28..0x30].copy_from_slice(&(table as u64).to_be_bytes());
    out[0x3a..0x3c].copy_from_slice(&(HEADER_BYTES as u16).to_be_bytes());
    out[0x3c..0x3e].copy_from_slice(&(headers.len() as u16).to_be_bytes());
    out[0x3e..0x40].copy_from_slice(&3u16.to_be_bytes());
    Elf::parse(&out)?;
    Ok(out)
}

/// The fields of a section header that are not zero here.
#[derive(Default)]
struct SectionFields {
    name: u32,
    kind: u32,
    flags: u64,
    address: u64,
    offset: u64,
    size: u64,
}

impl SectionFields {
    fn write(&self, out: &mut [u8]) {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(self.name.to_be_bytes());
        bytes.extend(self.kind.to_be_bytes());
        for field in [self.flags, self.address, self.offset, self.size] {
            bytes.extend(field.to_be_bytes());
        }
        // sh_link and sh_info, then the alignment.
        bytes.extend([0; 8]);
        bytes.extend(u64::from(self.kind != 0).to_be_bytes());
        bytes.extend([0; 8]);
        out.copy_from_slice(&bytes);
    }
}
