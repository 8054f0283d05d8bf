//! The bundle: an initrd with the manifest and the files that it names, a cpio
//! archive of the kind "newc" (Linux Documentation/driver-api/early-userspace/
//! buffer-format.rst).
//!
//! [`Bundle::check`] walks the archive once; what is read later stays inside
//! what was checked. Nothing is allocated or copied.

use core::str;

/// Name of the compiled manifest in a bundle.
pub const MANIFEST: &str = "manifest.dtb";

/// Most entries of an archive, directories included.
pub const MAX_ENTRIES: usize = 512;

/// Longest name, in bytes.
pub const MAX_NAME: usize = 255;

const HEADER: usize = 110;
const MAGIC: &[u8] = b"070701";
const TRAILER: &str = "TRAILER!!!";
const TYPE: u32 = 0o170_000;
const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// Why an archive is no bundle. Offsets are in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not the magic number of an entry.
    #[error("no cpio entry (newc, not compressed) at offset {0:#x}")]
    Magic(usize),
    /// A field of a header that is not hexadecimal.
    #[error("a field of the cpio entry at offset {0:#x} is not hexadecimal")]
    Field(usize),
    /// The entry, or the end of the archive, lies behind the last byte.
    #[error("the archive ends within the cpio entry at offset {0:#x}")]
    Truncated(usize),
    /// A name that is empty, too long, absolute, not ended, or not UTF-8.
    #[error("the cpio entry at offset {0:#x} has no proper name")]
    Name(usize),
    /// Neither a file nor a directory.
    #[error("the cpio entry at offset {at:#x} is neither file nor directory (mode {mode:#o})")]
    Kind {
        /// Of the entry.
        at: usize,
        /// Its mode.
        mode: u32,
    },
    /// A name that an earlier entry has.
    #[error("the cpio entry at offset {0:#x} has the name of an earlier one")]
    Duplicate(usize),
    /// Too many entries.
    #[error("more than {MAX_ENTRIES} entries")]
    TooMany,
}

/// A file of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// Its name, as the manifest gives it.
    pub name: &'a str,
    /// What is in it.
    pub contents: &'a [u8],
}

/// An archive that has passed [`Bundle::check`].
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    archive: &'a [u8],
}

/// One entry of an archive.
struct Entry<'a> {
    file: File<'a>,
    is_file: bool,
    next: usize,
}

impl<'a> Bundle<'a> {
    /// Checks a whole archive and takes it. What follows its last entry is
    /// ignored, as loaders pad.
    ///
    /// # Errors
    /// The first thing that is wrong with it, with its offset.
    pub fn check(archive: &'a [u8]) -> Result<Self, BundleError> {
        let mut at = 0;
        for _ in 0..=MAX_ENTRIES {
            let Some(entry) = read(archive, at)? else {
                return Ok(Self { archive });
            };
            let earlier = Self { archive };
            if earlier
                .entries()
                .take_while(|&(start, _)| start < at)
                .any(|(_, other)| other.file.name == entry.file.name)
            {
                return Err(BundleError::Duplicate(at));
            }
            at = entry.next;
        }
        Err(BundleError::TooMany)
    }

    fn entries(self) -> impl Iterator<Item = (usize, Entry<'a>)> {
        let mut at = 0;
        core::iter::from_fn(move || {
            let start = at;
            let entry = read(self.archive, at).ok()??;
            at = entry.next;
            Some((start, entry))
        })
    }

    /// The files, in their order.
    pub fn files(self) -> impl Iterator<Item = File<'a>> {
        self.entries()
            .filter(|(_, entry)| entry.is_file)
            .map(|(_, entry)| entry.file)
    }

    /// The contents of the file of this name.
    pub fn file(self, name: &str) -> Option<&'a [u8]> {
        self.files()
            .find(|file| file.name == name)
            .map(|file| file.contents)
    }
}

/// The entry at `at`; `None` for the one that ends the archive.
fn read(archive: &[u8], at: usize) -> Result<Option<Entry<'_>>, BundleError> {
    let truncated = BundleError::Truncated(at);
    let entry = archive.get(at..).ok_or(truncated)?;
    if entry.is_empty() {
        return Err(truncated);
    }
    let header = entry.get(..HEADER);
    if !entry.starts_with(MAGIC) {
        // The beginning of a magic number at the end was cut off.
        return Err(if MAGIC.starts_with(entry) {
            truncated
        } else {
            BundleError::Magic(at)
        });
    }
    let header = header.ok_or(truncated)?;
    let field = |number: usize| -> Result<u32, BundleError> {
        let start = MAGIC.len() + number * 8;
        let digits = header.get(start..start + 8);
        hexadecimal(digits.unwrap_or(&[])).ok_or(BundleError::Field(at))
    };
    let (mode, size, name_size) = (field(1)?, field(6)? as usize, field(11)? as usize);
    if !(2..=MAX_NAME + 1).contains(&name_size) {
        return Err(BundleError::Name(at));
    }
    let name_end = HEADER + name_size;
    let name = entry.get(HEADER..name_end).ok_or(truncated)?;
    let name = name
        .split_last()
        .filter(|&(&last, name)| last == 0 && !name.contains(&0))
        .and_then(|(_, name)| str::from_utf8(name).ok())
        .filter(|name| !name.starts_with('/'))
        .ok_or(BundleError::Name(at))?;
    if name == TRAILER {
        return Ok(None);
    }
    let is_file = match mode & TYPE {
        FILE => true,
        DIRECTORY => false,
        _ => return Err(BundleError::Kind { at, mode }),
    };
    // Entries begin at multiples of four bytes, so offsets in one do too.
    let start = name_end.next_multiple_of(4);
    let end = start.checked_add(size).ok_or(truncated)?;
    let contents = entry.get(start..end).ok_or(truncated)?;
    let next = at + end.checked_next_multiple_of(4).ok_or(truncated)?;
    Ok(Some(Entry {
        file: File { name, contents },
        is_file,
        next,
    }))
}

/// Eight hexadecimal digits; `from_str_radix` would take a sign.
fn hexadecimal(digits: &[u8]) -> Option<u32> {
    if digits.len() != 8 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}
