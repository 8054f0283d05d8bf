//! Initrds with a manifest, for tests: sound ones and damaged ones.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::{bundle, image};

/// The magic number of a device tree.
const MAGIC: [u8; 4] = 0xd00d_feed_u32.to_be_bytes();

/// Whether an initrd of this name is one with the probe in it.
pub fn needs_probe(initrd: &str) -> bool {
    source(initrd).is_some()
}

/// Whether an initrd of this name is one with Debian's kernel in it.
pub fn needs_linux(initrd: &str) -> bool {
    source(initrd).is_some_and(|path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.contains("\"vmlinux\"")
    })
}

/// The manifest of `bundle FILE.dts ...`.
fn source(initrd: &str) -> Option<&str> {
    initrd.strip_prefix("bundle ")?.split(' ').next()
}

/// The initrd that `words` ask for, in `folder`; `None` if they do not ask for
/// one of these:
/// `bundle FILE.dts`, with the files that `files` place, and behind that
/// `cut=BYTES` (that many are left), `damaged` (the manifest's magic number),
/// `swap=OLD/NEW` (the first OLD, as long as NEW) or `blank=OLD` (with NULs): the
/// manifest comes first; `partitions N`, of 2 MiB each.
///
/// # Errors
/// dtc refuses the source, or words that mean nothing.
pub fn make(words: &str, files: &[String], folder: &Path) -> Result<Option<PathBuf>> {
    let output = folder.join("bundle.cpio");
    let mut words = words.split(' ');
    let (kind, what) = (words.next(), words.next());
    let (source, files) = match (kind, what) {
        (Some("bundle"), Some(source)) => (PathBuf::from(source), files),
        (Some("partitions"), Some(count)) => {
            let path = folder.join("manifest.dts");
            image::write_if_changed(&path, many(count.parse()?).as_bytes())?;
            (path, &[][..])
        }
        _ => return Ok(None),
    };
    bundle::make(&source, &output, files, &folder.join("manifest.dtb"))?;
    let mut bytes = image::read(&output)?;
    for word in words {
        if let Some(left) = word.strip_prefix("cut=") {
            bytes.truncate(left.parse()?);
        } else if word == "damaged" {
            put(&mut bytes, &MAGIC, &[0; 4])?;
        } else if let Some((old, new)) = word
            .strip_prefix("swap=")
            .and_then(|pair| pair.split_once('/'))
        {
            put(&mut bytes, old.as_bytes(), new.as_bytes())?;
        } else if let Some(old) = word.strip_prefix("blank=") {
            put(&mut bytes, old.as_bytes(), &vec![0; old.len()])?;
        } else {
            bail!("initrd: {word}: expected cut=BYTES, damaged, swap=OLD/NEW or blank=OLD");
        }
    }
    image::write_if_changed(&output, &bytes)?;
    Ok(Some(output))
}

/// Puts `new` in the place of the first `old`.
fn put(bytes: &mut [u8], old: &[u8], new: &[u8]) -> Result<()> {
    ensure!(old.len() == new.len(), "{new:?} is not as long as {old:?}");
    let at = bytes.windows(old.len()).position(|piece| piece == old);
    let at = at.with_context(|| format!("the bundle has no {old:?}"))?;
    bytes[at..at + old.len()].copy_from_slice(new);
    Ok(())
}

fn many(count: u32) -> String {
    let mut source = String::from("/dts-v1/;\n/ {\n\tcompatible = \"pinion,manifest-v1\";\n");
    for number in 0..count {
        let _ = writeln!(
            source,
            "\tp{number} {{ memory = <0 0x200000>; cpus = <1>; }};"
        );
    }
    source.push_str("};\n");
    source
}
