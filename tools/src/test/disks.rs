//! Disks of a test: raw files in its folder, made anew for each run.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// One disk. A device uses it by `drive=ID`.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Disk {
    /// 1 MiB of zeros.
    Plain(String),
    /// Something else.
    Full(Box<FullDisk>),
}

/// A disk that is not just 1 MiB of zeros.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FullDisk {
    /// The name.
    pub id: String,
    /// Bytes, with K, M or G behind: 1M unless said.
    pub size: Option<String>,
    /// A text, over and over from the first byte to the last; zeros unless said.
    pub pattern: Option<String>,
    /// Sectors of 512 bytes that cannot be read.
    #[serde(default)]
    pub bad_sectors: Vec<u64>,
    /// What the disk must hold after the test.
    #[serde(default)]
    pub after: Vec<Held>,
}

/// A text at a place of a disk.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Offset in bytes.
    pub at: u64,
    /// The text.
    pub text: String,
}

/// The usual size.
const BYTES: u64 = 1 << 20;
/// More than any test needs.
const MOST_BYTES: u64 = 1 << 32;

impl Disk {
    /// Its name.
    pub fn id(&self) -> &str {
        match self {
            Self::Plain(id) => id,
            Self::Full(disk) => &disk.id,
        }
    }

    fn full(&self) -> FullDisk {
        match self {
            Self::Plain(id) => FullDisk {
                id: id.clone(),
                size: None,
                pattern: None,
                bad_sectors: Vec::new(),
                after: Vec::new(),
            },
            Self::Full(disk) => (**disk).clone(),
        }
    }

    fn file(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.img", self.id()))
    }

    /// Makes the file; the answer is QEMU's -drive.
    pub fn make(&self, folder: &Path) -> Result<String> {
        let disk = self.full();
        let path = self.file(folder);
        let make = || -> Result<()> {
            let mut file = File::create(&path)?;
            let bytes = disk.bytes()?;
            match &disk.pattern {
                None => file.set_len(bytes)?,
                Some(text) => {
                    let whole = text.repeat(bytes as usize / text.len() + 1);
                    file.write_all(&whole.as_bytes()[..bytes as usize])?;
                }
            }
            Ok(())
        };
        make().with_context(|| format!("cannot make the disk {}", path.display()))?;
        let file = if disk.bad_sectors.is_empty() {
            path.display().to_string()
        } else {
            let rules = folder.join(format!("{}.blkdebug", disk.id));
            std::fs::write(&rules, disk.rules())
                .with_context(|| format!("cannot write {}", rules.display()))?;
            format!("blkdebug:{}:{}", rules.display(), path.display())
        };
        // A flush is for power failures, of which the host has none; on a busy one
        // it takes longer than a driver waits.
        Ok(format!(
            "file={file},format=raw,cache=unsafe,if=none,id={}",
            disk.id
        ))
    }

    /// What is wrong with the disk after the test, or nothing.
    pub fn compare(&self, folder: &Path) -> Result<Option<String>> {
        let path = self.file(folder);
        for held in self.full().after {
            let mut found = vec![0; held.text.len()];
            let mut file =
                File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
            file.seek(SeekFrom::Start(held.at))?;
            file.read_exact(&mut found)
                .with_context(|| format!("{} ends before {:#x}", path.display(), held.at))?;
            if found != held.text.as_bytes() {
                return Ok(Some(format!(
                    "disk {} holds {:?} at {:#x}, not {:?}",
                    self.id(),
                    String::from_utf8_lossy(&found),
                    held.at,
                    held.text
                )));
            }
        }
        Ok(None)
    }
}

impl FullDisk {
    fn bytes(&self) -> Result<u64> {
        let Some(text) = &self.size else {
            return Ok(BYTES);
        };
        let (digits, shift) = match text.as_bytes().last() {
            Some(b'K') => (&text[..text.len() - 1], 10),
            Some(b'M') => (&text[..text.len() - 1], 20),
            Some(b'G') => (&text[..text.len() - 1], 30),
            _ => (text.as_str(), 0),
        };
        let Some(bytes) = digits
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(1 << shift))
        else {
            bail!("disk {}: {text:?} is no size", self.id);
        };
        ensure!(
            bytes > 0 && bytes % 512 == 0 && bytes <= MOST_BYTES,
            "disk {}: {text} is no number of sectors from 512 bytes to 4G",
            self.id
        );
        Ok(bytes)
    }

    /// QEMU's blkdebug: each read of such a sector fails with EIO.
    fn rules(&self) -> String {
        self.bad_sectors
            .iter()
            .map(|sector| {
                format!(
                    "[inject-error]\nevent = \"read_aio\"\nsector = \"{sector}\"\nerrno = \"5\"\n"
                )
            })
            .collect()
    }
}

/// Checks the disks of one test.
///
/// # Errors
/// A name is no file name or comes twice, or a size or a place makes no sense.
pub fn check(disks: &[Disk]) -> Result<()> {
    for (index, disk) in disks.iter().enumerate() {
        let id = disk.id();
        ensure!(
            !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
            "disk {id:?}: a name has letters, digits and - only"
        );
        ensure!(
            !disks[..index].iter().any(|other| other.id() == id),
            "two disks are named {id}"
        );
        let full = disk.full();
        let bytes = full.bytes()?;
        ensure!(
            full.pattern.as_ref().is_none_or(|text| !text.is_empty()),
            "disk {id}: the pattern is empty"
        );
        for sector in &full.bad_sectors {
            ensure!(*sector < bytes / 512, "disk {id} has no sector {sector}");
        }
        for held in &full.after {
            ensure!(
                !held.text.is_empty()
                    && held
                        .at
                        .checked_add(held.text.len() as u64)
                        .is_some_and(|end| end <= bytes),
                "disk {id}: nothing can be at {:#x}",
                held.at
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disks(text: &str) -> Vec<Disk> {
        #[derive(Deserialize)]
        struct File {
            disks: Vec<Disk>,
        }
        toml::from_str::<File>(text).unwrap().disks
    }

    #[test]
    fn a_disk_is_made_and_looked_at() {
        let folder = std::env::temp_dir().join(format!("pinion-disks-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let list = disks(
            r#"disks = ["zero", { id = "full", size = "4K", pattern = "abc", bad-sectors = [3], after = [{ at = 3, text = "abca" }] }]"#,
        );
        check(&list).unwrap();
        let zero = list[0].make(&folder).unwrap();
        assert!(
            zero.ends_with("zero.img,format=raw,cache=unsafe,if=none,id=zero"),
            "{zero}"
        );
        assert_eq!(
            std::fs::read(folder.join("zero.img")).unwrap(),
            vec![0; 1 << 20]
        );
        let full = list[1].make(&folder).unwrap();
        assert!(full.starts_with("file=blkdebug:"), "{full}");
        assert!(
            std::fs::read_to_string(folder.join("full.blkdebug"))
                .unwrap()
                .contains("sector = \"3\"")
        );
        let bytes = std::fs::read(folder.join("full.img")).unwrap();
        assert_eq!((bytes.len(), &bytes[..4]), (4096, b"abca".as_slice()));
        assert_eq!(list[1].compare(&folder).unwrap(), None);
        std::fs::write(folder.join("full.img"), vec![b'x'; 4096]).unwrap();
        let text = list[1].compare(&folder).unwrap().unwrap();
        assert_eq!(text, "disk full holds \"xxxx\" at 0x3, not \"abca\"");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_disk_that_cannot_be_is_refused() {
        for text in [
            r#"disks = ["a", "a"]"#,
            r#"disks = ["../a"]"#,
            r#"disks = [""]"#,
            r#"disks = [{ id = "a", size = "1X" }]"#,
            r#"disks = [{ id = "a", size = "100" }]"#,
            r#"disks = [{ id = "a", size = "8G" }]"#,
            r#"disks = [{ id = "a", size = "0" }]"#,
            r#"disks = [{ id = "a", pattern = "" }]"#,
            r#"disks = [{ id = "a", size = "1K", bad-sectors = [2] }]"#,
            r#"disks = [{ id = "a", size = "512", after = [{ at = 511, text = "ab" }] }]"#,
        ] {
            assert!(check(&disks(text)).is_err(), "{text}");
        }
    }
}
