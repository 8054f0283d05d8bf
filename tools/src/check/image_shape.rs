//! The shape that skiboot, kexec-tools and kexec-lite all accept.

use anyhow::Result;
use object::BigEndian;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

use super::Findings;
use crate::image::BUDGET;
use crate::image::elf::Elf;

/// Kernels that start the image by kexec have pages of this size.
const PAGE: u64 = 0x10000;

/// The only relocation that the start code applies.
const R_PPC64_RELATIVE: u32 = 22;

/// Bytes of one relocation with addend.
const RELA_BYTES: usize = 24;

/// kexec-tools stores a word here, so nothing else may be there ...
const KEXEC_WORD: usize = 0x5c;
/// ... and other threads spin here.
const KEXEC_SPIN: usize = 0x60;
/// The instruction `b .`.
const BRANCH_TO_SELF: u32 = 0x4800_0000;

/// Checks the linked file and the one made of it for firmware.
pub fn check(linked: &[u8], stripped: &[u8]) -> Result<Findings> {
    let elf = Elf::parse(linked)?;
    let mut findings = segments(&elf);
    findings.extend(sections(&elf)?);
    findings.extend(relocations(&elf)?);
    findings.extend(kexec_words(&elf));
    findings.extend(
        segments(&Elf::parse(stripped)?)
            .into_iter()
            .map(|finding| format!("stripped: {finding}")),
    );
    if stripped.len() as u64 > BUDGET {
        findings.push(format!(
            "{} bytes, {} over the budget of {BUDGET}",
            stripped.len(),
            stripped.len() as u64 - BUDGET
        ));
    }
    Ok(findings)
}

fn segments(elf: &Elf<'_>) -> Findings {
    let mut findings = Findings::new();
    let loads = elf.loads().len();
    if loads != 1 {
        findings.push(format!(
            "{loads} segments are loaded, loaders take exactly one"
        ));
    }
    let Some(first) = elf.segments.first() else {
        findings.push("no program header".to_owned());
        return findings;
    };
    if first.p_type(BigEndian) != elf::PT_LOAD {
        findings.push(
            "the first program header is not the loaded one: kexec-tools enters the first"
                .to_owned(),
        );
        return findings;
    }
    let (offset, address) = (first.p_offset.get(BigEndian), first.p_vaddr.get(BigEndian));
    if first.p_align.get(BigEndian) != PAGE || offset % PAGE != 0 || address % PAGE != 0 {
        findings.push("the loaded segment is not aligned to 64 KiB".to_owned());
    }
    if offset == 0 {
        findings.push(
            "the loaded segment starts at file offset 0: skiboot takes the entry for absent"
                .to_owned(),
        );
    }
    if elf.header.e_entry(BigEndian) != address {
        findings.push(
            "the entry is not the segment's first byte: kexec-tools ignores the entry".to_owned(),
        );
    }
    if first.p_filesz != first.p_memsz {
        findings.push("the file lacks .bss: skiboot reserves nothing behind the file".to_owned());
    }
    for segment in elf.segments {
        if segment.p_type(BigEndian) == elf::PT_INTERP {
            findings.push("PT_INTERP: kexec-tools refuses it".to_owned());
        }
    }
    findings
}

fn sections(elf: &Elf<'_>) -> Result<Findings> {
    let mut findings = Findings::new();
    for section in elf.loaded()? {
        let size = section.header.sh_size(BigEndian);
        if size > 0
            && matches!(
                section.name.as_str(),
                ".data" | ".sdata" | ".tdata" | ".tbss" | ".init_array"
            )
        {
            findings.push(format!(
                "{} holds {size} bytes: a reboot in place runs with what the last run left there",
                section.name
            ));
        }
    }
    Ok(findings)
}

fn relocations(elf: &Elf<'_>) -> Result<Findings> {
    let mut findings = Findings::new();
    for section in elf.loaded()?.iter().filter(|s| s.name.starts_with(".rela")) {
        findings
            .extend(relocations_of(section.data).map(|text| format!("{}: {text}", section.name)));
    }
    Ok(findings)
}

fn relocations_of(data: &[u8]) -> impl Iterator<Item = String> {
    let whole = data.len().is_multiple_of(RELA_BYTES);
    let cut = (!whole).then(|| format!("{} bytes are no whole number of relocations", data.len()));
    let bad = data.chunks_exact(RELA_BYTES).filter_map(|rela| {
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| rela[at + i]));
        let (place, kind) = (word(0), word(8) as u32);
        if kind != R_PPC64_RELATIVE {
            return Some(format!(
                "relocation of kind {kind} at {place:#x}: only {R_PPC64_RELATIVE} is applied"
            ));
        }
        (place % 8 != 0)
            .then(|| format!("relocation at {place:#x}, which is not aligned to 8 bytes"))
    });
    cut.into_iter().chain(bad.collect::<Vec<_>>())
}

fn kexec_words(elf: &Elf<'_>) -> Findings {
    let Ok(load) = elf.load() else {
        return Findings::new();
    };
    let start = load.p_offset.get(BigEndian) as usize;
    let word = |at: usize| {
        let bytes = elf.bytes.get(start + at..start + at + 4)?;
        Some(u32::from_be_bytes(std::array::from_fn(|i| bytes[i])))
    };
    let mut findings = Findings::new();
    if word(KEXEC_WORD) != Some(0) {
        findings.push(format!(
            "the word at +{KEXEC_WORD:#x} is not zero: kexec-tools overwrites it"
        ));
    }
    if word(KEXEC_SPIN) != Some(BRANCH_TO_SELF) {
        findings.push(format!(
            "no `b .` at +{KEXEC_SPIN:#x}: threads that a kernel sends there would run wild"
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rela(place: u64, kind: u64) -> Vec<u8> {
        [place, kind, 0x100]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect()
    }

    #[test]
    fn only_relative_relocations_pass() {
        let mut data = rela(0x1000, 22);
        assert_eq!(relocations_of(&data).count(), 0);
        data.extend(rela(0x1008, 38));
        data.extend(rela(0x1004, 22));
        assert_eq!(relocations_of(&data).count(), 2);
        data.pop();
        assert!(
            relocations_of(&data)
                .next()
                .is_some_and(|text| text.contains("no whole number"))
        );
    }

    /// A file as the linker makes it, small: header, one segment, 0x80 bytes.
    fn file() -> Vec<u8> {
        let mut bytes = vec![0; 0x10000 + 0x80];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x02\x01");
        let put = |bytes: &mut Vec<u8>, at: usize, value: &[u8]| {
            bytes[at..at + value.len()].copy_from_slice(value)
        };
        put(&mut bytes, 0x10, &[0, 3, 0, 21, 0, 0, 0, 1]);
        put(&mut bytes, 0x20, &64u64.to_be_bytes());
        put(&mut bytes, 0x34, &[0, 64, 0, 56, 0, 1, 0, 64]);
        put(&mut bytes, 64, &[0, 0, 0, 1, 0, 0, 0, 7]);
        for (at, value) in [(72, 0x10000u64), (96, 0x80), (104, 0x80), (112, 0x10000)] {
            put(&mut bytes, at, &value.to_be_bytes());
        }
        put(&mut bytes, 0x10060, &BRANCH_TO_SELF.to_be_bytes());
        bytes
    }

    #[test]
    fn a_file_that_a_loader_would_refuse_is_found() {
        let found = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = file();
            change(&mut bytes);
            check(&bytes, &bytes).unwrap().join("\n")
        };
        assert_eq!(found(&|_| {}), "");
        assert!(found(&|b| b[0x1f] = 4).contains("not the segment's first byte"));
        assert!(found(&|b| b[67] = 2).contains("exactly one"));
        assert!(found(&|b| b[117] = 0).contains("aligned"));
        assert!(found(&|b| b[111] = 0x90).contains("lacks .bss"));
        assert!(found(&|b| b[0x1005c] = 1).contains("not zero"));
        assert!(found(&|b| b[0x10060] = 0).contains("no `b .`"));
        assert!(found(&|b| b.resize(BUDGET as usize + 1, 0)).contains("over the budget"));
    }
}
