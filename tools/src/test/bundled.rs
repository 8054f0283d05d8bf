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
/// `file=NAME:FROM:CHANGES` (one more for the manifest to name, see [`changed`]),
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
    let (more, words): (Vec<_>, Vec<_>) = words.partition(|word| word.starts_with("file="));
    let mut placed = files.to_vec();
    for word in more {
        placed.push(changed(word, files, folder)?);
    }
    let (source, files) = match (kind, what) {
        (Some("bundle"), Some(source)) => (PathBuf::from(source), &placed[..]),
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

/// Makes what `file=NAME:FROM:CHANGES` asks for, and returns where it is: FROM is
/// one of `files` or a path, and the changes, with commas between them, are
/// `cut=BYTES` or `OFFSET=HEX` (bytes from there on).
fn changed(word: &str, files: &[String], folder: &Path) -> Result<String> {
    let what = word.strip_prefix("file=").unwrap_or(word);
    let mut parts = what.splitn(3, ':');
    let (Some(name), Some(from)) = (parts.next(), parts.next()) else {
        bail!("initrd: {word}: expected file=NAME:FROM or file=NAME:FROM:CHANGES");
    };
    let mut placed = files.iter().filter_map(|pair| pair.split_once('='));
    let place = placed.find(|(name, _)| *name == from);
    let mut bytes = image::read(Path::new(place.map_or(from, |(_, path)| path)))?;
    for change in parts.next().into_iter().flat_map(|list| list.split(',')) {
        let pair = change.split_once('=').with_context(|| {
            format!("initrd: {word}: {change}: expected cut=BYTES or OFFSET=HEX")
        })?;
        if let ("cut", left) = pair {
            bytes.truncate(left.parse()?);
            continue;
        }
        let (mut at, hex) = (pair.0.parse::<usize>()?, pair.1);
        for digits in hex.as_bytes().chunks(2) {
            let byte = bytes.get_mut(at);
            *byte.with_context(|| format!("initrd: {word}: {at} is behind the file"))? =
                u8::from_str_radix(std::str::from_utf8(digits)?, 16)?;
            at += 1;
        }
    }
    let path = folder.join(name);
    image::write_if_changed(&path, &bytes)?;
    Ok(format!("{name}={}", path.display()))
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
