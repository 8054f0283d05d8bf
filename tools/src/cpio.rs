//! Archives in the format that Linux unpacks as initramfs: cpio, "newc".

use anyhow::{Context, Result, ensure};

/// An archive that grows entry by entry.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// Bits of an entry's mode that say what it is.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

impl Archive {
    /// Adds a directory; those above it must have been added.
    pub fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(name, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// Adds a file with permission bits such as 0o755.
    pub fn file(&mut self, name: &str, permissions: u32, contents: &[u8]) -> Result<()> {
        self.entry(name, FILE | permissions, (0, 0), contents)
    }

    /// Adds a character device by its numbers.
    pub fn character_device(&mut self, name: &str, major: u32, minor: u32) -> Result<()> {
        self.entry(name, CHARACTER_DEVICE | 0o600, (major, minor), &[])
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), contents: &[u8]) -> Result<()> {
        ensure!(
            !name.is_empty() && !name.starts_with('/'),
            "{name:?} is no name for an archive"
        );
        let size = u32::try_from(contents.len())
            .with_context(|| format!("{name} is too large for an archive"))?;
        self.entries += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor
        // rdevminor namesize check; no times, so that equal input gives equal output.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
        Ok(())
    }

    /// Entries start at multiples of four bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.entry(TRAILER, 0, (0, 0), &[])?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn headers_and_padding_are_as_the_format_says() {
        let mut archive = Archive::default();
        archive.file("a", 0o644, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[14..22], b"000081a4");
        assert_eq!(&bytes[110..112], b"a\0");
        assert_eq!(&bytes[112..117], b"hello");
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.windows(11).any(|w| w == b"TRAILER!!!\0"));
    }

    #[test]
    fn names_that_would_escape_are_refused() {
        assert!(Archive::default().file("/etc/passwd", 0o644, b"").is_err());
        assert!(Archive::default().directory("").is_err());
    }

    #[test]
    fn cpio_itself_reads_it_where_it_is_there() {
        let Ok(mut child) = Command::new("cpio")
            .args(["-it", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            eprintln!("skipped: there is no cpio on this machine");
            return;
        };
        let mut archive = Archive::default();
        archive.directory("dev").unwrap();
        archive.character_device("dev/console", 5, 1).unwrap();
        archive.file("init", 0o755, b"#!/bin/sh\n").unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(&archive.finish().unwrap())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "dev\ndev/console\ninit\n"
        );
    }
}
