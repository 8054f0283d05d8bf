//! The ELF file of a partition's kernel: where its pieces go, and where it is
//! entered. 64-bit, of either endianness.

use crate::addr::GuestAddr;
use core::ops::Range;
use thiserror::Error;

/// Why a file is no kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ElfError {
    /// It begins with something else, or ends before.
    #[error("expected an ELF file, which begins with 0x7f454c46, found {0:#010x}")]
    Magic(u32),
    /// 32-bit, or an endianness that does not exist.
    #[error("expected a 64-bit ELF file (class 2, data 1 or 2), found class {class}, data {data}")]
    Class {
        /// EI_CLASS.
        class: u8,
        /// EI_DATA.
        data: u8,
    },
    /// For another processor.
    #[error("expected an ELF file for PowerPC64 (machine 21), found machine {0}{name}", name = known(*.0))]
    Machine(u16),
    /// Not something that can be run.
    #[error("expected an executable (ELF type 2 or 3), found type {0}")]
    Type(u16),
    /// Program headers that are too small to be any.
    #[error("expected program headers of {HEADER} bytes or more, found {0}")]
    Headers(u16),
    /// It ends too early.
    #[error(
        "expected a file of at least {0:#x} bytes, by what it says of itself, found a shorter one"
    )]
    Cut(u64),
    /// A piece that is larger in the file than in memory.
    #[error(
        "expected a segment no larger in the file than in memory, {memory:#x}, found {file:#x}"
    )]
    Segment {
        /// In the file.
        file: u64,
        /// In memory.
        memory: u64,
    },
    /// Nothing is loaded.
    #[error("expected a segment to load, found none")]
    Empty,
    /// Two pieces over each other, or not in order.
    #[error(
        "expected segments in the order of their addresses, the next from {end:#x} on, found one at {start:#x}"
    )]
    Order {
        /// Start of a piece.
        start: u64,
        /// End of the one before.
        end: u64,
    },
    /// The pieces do not fit below what is left free.
    #[error("expected segments below the memory's end at {limit:#x}, found one up to {needed:#x}")]
    TooLarge {
        /// End of the highest piece.
        needed: u64,
        /// What there is.
        limit: u64,
    },
    /// The entry lies in no piece.
    #[error("expected its entry in one of its segments, found {0:#x}")]
    Entry(u64),
}

/// Machines whose files are at hand where kernels are mixed up.
fn known(machine: u16) -> &'static str {
    match machine {
        3 => " (i386)",
        20 => " (32-bit PowerPC)",
        22 => " (s390)",
        62 => " (x86-64)",
        183 => " (AArch64)",
        243 => " (RISC-V)",
        _ => "",
    }
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

/// Bytes of a program header.
const HEADER: u16 = 56;

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
            let first = bytes.first_chunk().copied().unwrap_or_default();
            return Err(ElfError::Magic(u32::from_be_bytes(first)));
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
        let (_, size, count) = elf.headers;
        if count > 0 && size < HEADER {
            return Err(ElfError::Headers(size));
        }
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

    /// Checks that all pieces lie below `limit` and none over another, as the file's
    /// order of them has it, and the entry in one of them;
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
            if start < top {
                return Err(ElfError::Order { start, end: top });
            }
            if end > limit {
                return Err(ElfError::TooLarge { needed: end, limit });
            }
            inside |= (start..end).contains(&entry);
            top = end;
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A little-endian or big-endian file with one segment.
    pub(in crate::papr) fn file(little: bool) -> Vec<u8> {
        let mut bytes = vec![0u8; 0x80];
        bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, if little { 1 } else { 2 }, 1]);
        let mut put = |at: usize, size: usize, value: u64| {
            let be = value.to_be_bytes();
            let mut field = be[8 - size..].to_vec();
            if little {
                field.reverse();
            }
            bytes[at..at + size].copy_from_slice(&field);
        };
        put(16, 2, 2);
        put(18, 2, 21);
        put(24, 8, 0xc000_0000_0000_1010);
        put(32, 8, 64);
        put(54, 2, 56);
        put(56, 2, 1);
        put(64, 4, 1);
        put(64 + 8, 8, 0x78);
        put(64 + 24, 8, 0xc000_0000_0000_1000);
        put(64 + 32, 8, 8);
        put(64 + 40, 8, 0x100);
        bytes
    }

    #[test]
    fn segments_and_entry_are_found() {
        for little in [false, true] {
            let bytes = file(little);
            let elf = Elf::read(&bytes).unwrap();
            let segments: Vec<_> = elf.segments().map(Result::unwrap).collect();
            assert_eq!(segments.len(), 1);
            assert_eq!((segments[0].at.get(), segments[0].memory), (0x1000, 0x100));
            assert_eq!(elf.bytes(&segments[0]).len(), 8);
            let (top, entry) = elf.plan(0x2000).unwrap();
            assert_eq!((top, entry.get()), (0x1100, 0x1010));
        }
    }

    #[test]
    fn files_that_are_no_kernels_are_refused() {
        let good = file(true);
        let with = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            match Elf::read(&bad) {
                Ok(elf) => elf.plan(0x2000).unwrap_err(),
                Err(error) => error,
            }
        };
        assert_eq!(with(0, b"MZ"), ElfError::Magic(0x4d5a_4c46));
        assert_eq!(with(4, &[1]), ElfError::Class { class: 1, data: 1 });
        assert_eq!(with(18, &[62, 0]), ElfError::Machine(62));
        assert_eq!(with(16, &[1, 0]), ElfError::Type(1));
        assert_eq!(with(54, &[55]), ElfError::Headers(55));
        assert_eq!(with(64, &[2]), ElfError::Empty);
        assert_eq!(with(64 + 32, &[9]), ElfError::Cut(0x81));
        assert!(matches!(
            with(64 + 41, &[0, 1]),
            ElfError::TooLarge { .. } | ElfError::Segment { .. } | ElfError::Entry(_)
        ));
        assert!(matches!(with(64 + 46, &[1]), ElfError::TooLarge { .. }));
        assert!(matches!(with(24, &[0, 0x20]), ElfError::Entry(_)));
        assert!(matches!(with(38, &[1]), ElfError::Cut(_)));
        // Two headers of one segment: over each other.
        let mut twice = good.clone();
        twice.extend_from_slice(&good[64..120]);
        twice[56] = 2;
        twice[32] = 64;
        twice.copy_within(64..120, 120);
        let refused = Elf::read(&twice).unwrap().plan(0x2000).unwrap_err();
        let (start, end) = (0x1000, 0x1100);
        assert_eq!(refused, ElfError::Order { start, end });
        for length in 0..good.len() {
            let cut = &good[..length];
            let refused = Elf::read(cut).is_ok_and(|elf| elf.plan(0x2000).is_ok());
            assert!(!refused, "{length}");
        }
    }
}
