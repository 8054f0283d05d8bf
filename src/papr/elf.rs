//! The ELF file of a partition's kernel: where its pieces go, and where it is
//! entered. 64-bit, of either endianness.

use crate::addr::GuestAddr;
use core::ops::Range;
use thiserror::Error;

/// Why a file is no kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ElfError {
    /// The magic number is missing.
    #[error("not an ELF file")]
    Magic,
    /// 32-bit, or an endianness that does not exist.
    #[error("not a 64-bit ELF file (class {class}, data {data})")]
    Class {
        /// EI_CLASS.
        class: u8,
        /// EI_DATA.
        data: u8,
    },
    /// For another processor.
    #[error("an ELF file for machine {0}, not PowerPC64 (21)")]
    Machine(u16),
    /// Not something that can be run.
    #[error("an ELF file of type {0}: neither an executable (2) nor position-independent (3)")]
    Type(u16),
    /// It ends too early.
    #[error("the file ends before byte {0:#x}, which it speaks of")]
    Cut(u64),
    /// A piece that is larger in the file than in memory.
    #[error("a segment has {file:#x} bytes in the file and {memory:#x} in memory")]
    Segment {
        /// In the file.
        file: u64,
        /// In memory.
        memory: u64,
    },
    /// Nothing is loaded.
    #[error("the file has no segment to load")]
    Empty,
    /// The pieces do not fit below what is left free.
    #[error("it needs memory up to {needed:#x}, and {limit:#x} is there")]
    TooLarge {
        /// End of the highest piece.
        needed: u64,
        /// What there is.
        limit: u64,
    },
    /// The entry lies in no piece.
    #[error("its entry {0:#x} is in no segment")]
    Entry(u64),
}

/// A piece: bytes of the file, and bytes of memory from an address on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it goes.
    pub at: GuestAddr,
    /// Its bytes in the file.
    pub file: Range<usize>,
    /// Its size in memory; what the file does not have is zero.
    pub memory: u64,
}

/// A file that was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Elf<'a> {
    bytes: &'a [u8],
    little: bool,
    entry: u64,
    headers: (u64, u16, u16),
}

/// Kernels are linked at the start of a region: the upper bits name it.
const REGION: u64 = 0xf << 60;

/// PT_LOAD.
const LOAD: u32 = 1;

fn field<const N: usize>(bytes: &[u8], at: u64) -> Result<[u8; N], ElfError> {
    let end = at.saturating_add(N as u64);
    usize::try_from(at)
        .ok()
        .and_then(|at| bytes.get(at..)?.first_chunk::<N>())
        .copied()
        .ok_or(ElfError::Cut(end))
}

impl<'a> Elf<'a> {
    /// Looks at a file.
    ///
    /// # Errors
    /// It is not an ELF file for this machine.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ElfError> {
        if !bytes.starts_with(b"\x7fELF") {
            return Err(ElfError::Magic);
        }
        let [class, data] = field::<2>(bytes, 4)?;
        let little = match (class, data) {
            (2, 1) => true,
            (2, 2) => false,
            _ => return Err(ElfError::Class { class, data }),
        };
        let mut elf = Self {
            bytes,
            little,
            entry: 0,
            headers: (0, 0, 0),
        };
        let machine = elf.half(18)?;
        if machine != 21 {
            return Err(ElfError::Machine(machine));
        }
        let kind = elf.half(16)?;
        if kind != 2 && kind != 3 {
            return Err(ElfError::Type(kind));
        }
        elf.entry = elf.double(24)?;
        elf.headers = (elf.double(32)?, elf.half(54)?, elf.half(56)?);
        Ok(elf)
    }

    fn half(&self, at: u64) -> Result<u16, ElfError> {
        let bytes = field(self.bytes, at)?;
        Ok(if self.little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    }

    fn word(&self, at: u64) -> Result<u32, ElfError> {
        let bytes = field(self.bytes, at)?;
        Ok(if self.little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    }

    fn double(&self, at: u64) -> Result<u64, ElfError> {
        let bytes = field(self.bytes, at)?;
        Ok(if self.little {
            u64::from_le_bytes(bytes)
        } else {
            u64::from_be_bytes(bytes)
        })
    }

    /// The pieces, in the file's order.
    pub fn segments(&self) -> impl Iterator<Item = Result<Segment, ElfError>> + '_ {
        let (start, size, count) = self.headers;
        (0..count).filter_map(move |index| {
            let at = start.saturating_add(u64::from(size) * u64::from(index));
            self.segment(at).transpose()
        })
    }

    fn segment(&self, at: u64) -> Result<Option<Segment>, ElfError> {
        if self.word(at)? != LOAD {
            return Ok(None);
        }
        let double = |offset| self.double(at.saturating_add(offset));
        let (offset, address) = (double(8)?, double(24)?);
        let (file, memory) = (double(32)?, double(40)?);
        if memory == 0 {
            return Ok(None);
        }
        if file > memory {
            return Err(ElfError::Segment { file, memory });
        }
        let end = offset.saturating_add(file);
        if end > self.bytes.len() as u64 {
            return Err(ElfError::Cut(end));
        }
        Ok(Some(Segment {
            at: GuestAddr::new(address & !REGION),
            file: offset as usize..end as usize,
            memory,
        }))
    }

    /// Checks that all pieces lie below `limit`, and the entry in one of them;
    /// returns the end of the highest, and the entry.
    ///
    /// # Errors
    /// What does not fit.
    pub fn plan(&self, limit: u64) -> Result<(u64, GuestAddr), ElfError> {
        let entry = self.entry & !REGION;
        let (mut top, mut inside) = (0, false);
        for segment in self.segments() {
            let segment = segment?;
            let start = segment.at.get();
            let end = start.saturating_add(segment.memory);
            if end > limit {
                return Err(ElfError::TooLarge { needed: end, limit });
            }
            inside |= (start..end).contains(&entry);
            top = top.max(end);
        }
        match (top, inside) {
            (0, _) => Err(ElfError::Empty),
            (_, false) => Err(ElfError::Entry(self.entry)),
            _ => Ok((top, GuestAddr::new(entry))),
        }
    }

    /// Bytes of a piece.
    pub fn bytes(&self, segment: &Segment) -> &'a [u8] {
        self.bytes.get(segment.file.clone()).unwrap_or(&[])
    }
}
