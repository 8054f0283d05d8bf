//! Reading the image's ELF file: 64-bit, big-endian.

use anyhow::{Context, Result, bail, ensure};
use object::BigEndian;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable};

/// The file's header type.
pub type Header = FileHeader64<BigEndian>;
/// A program header.
pub type Segment = ProgramHeader64<BigEndian>;
/// A section header.
pub type Section = SectionHeader64<BigEndian>;

/// An ELF file with its tables.
pub struct Elf<'data> {
    /// The whole file.
    pub bytes: &'data [u8],
    /// The header at its start.
    pub header: &'data Header,
    /// Program headers.
    pub segments: &'data [Segment],
    /// Section headers with their names.
    pub sections: SectionTable<'data, Header>,
}

/// One section's place and contents.
pub struct SectionView<'data> {
    /// `.text` and so on.
    pub name: String,
    /// Its header.
    pub header: &'data Section,
    /// Its bytes in the file; empty for one without contents.
    pub data: &'data [u8],
}

impl<'data> Elf<'data> {
    /// Reads the tables.
    ///
    /// # Errors
    /// The file is no big-endian 64-bit PowerPC ELF, or its tables are damaged.
    pub fn parse(bytes: &'data [u8]) -> Result<Self> {
        let header = Header::parse(bytes).context("not an ELF file")?;
        let endian = BigEndian;
        ensure!(header.is_big_endian(), "the ELF file is little-endian");
        let machine = header.e_machine.get(endian);
        ensure!(
            machine == elf::EM_PPC64,
            "the ELF file is for another machine ({machine:?})"
        );
        let segments = header
            .program_headers(endian, bytes)
            .context("damaged program headers")?;
        let sections = header
            .sections(endian, bytes)
            .context("damaged section headers")?;
        Ok(Self {
            bytes,
            header,
            segments,
            sections,
        })
    }

    /// The segments that are loaded.
    pub fn loads(&self) -> Vec<&'data Segment> {
        self.segments
            .iter()
            .filter(|s| s.p_type(BigEndian) == elf::PT_LOAD)
            .collect()
    }

    /// The one segment that is loaded.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn load(&self) -> Result<&'data Segment> {
        match self.loads()[..] {
            [one] => Ok(one),
            ref loads => bail!("{} segments are loaded, exactly one is needed", loads.len()),
        }
    }

    /// The sections that take room in memory.
    pub fn loaded(&self) -> Result<Vec<SectionView<'data>>> {
        let mut views = Vec::new();
        for header in self.sections.iter() {
            if header.sh_flags(BigEndian).0 & elf::SHF_ALLOC.0 == 0 {
                continue;
            }
            let name = self
                .sections
                .section_name(BigEndian, header)
                .context("a section without a name")?;
            let data = header
                .data(BigEndian, self.bytes)
                .context("a section outside the file")?;
            views.push(SectionView {
                name: String::from_utf8_lossy(name).into_owned(),
                header,
                data,
            });
        }
        Ok(views)
    }
}

/// Name and size in bytes of each loaded section that is not empty.
pub fn loaded_sections(bytes: &[u8]) -> Result<Vec<(String, u64)>> {
    let elf = Elf::parse(bytes)?;
    let sizes = elf
        .loaded()?
        .into_iter()
        .map(|view| (view.name, view.header.sh_size.get(BigEndian)));
    Ok(sizes.filter(|(_, size)| *size > 0).collect())
}
