//! A newc cpio archive, as kernels take an initrd: files by name.

/// Bytes of a header: six of magic, thirteen numbers of eight hexadecimal digits.
const HEADER: usize = 110;

/// The first file of this name. `None`: there is none before the archive's end,
/// or before what cannot be read.
pub fn find<'a>(archive: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut rest = archive;
    loop {
        if !rest.starts_with(b"070701") {
            return None;
        }
        let number = |index: usize| {
            let digits = rest.get(6 + 8 * index..14 + 8 * index)?;
            usize::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
        };
        let (size, name_size) = (number(6)?, number(11)?);
        // The name has a zero at its end; both are padded to four bytes.
        let found = rest.get(HEADER..HEADER.checked_add(name_size)?)?;
        let found = found.strip_suffix(&[0])?;
        let start = (HEADER + name_size).next_multiple_of(4);
        let end = start.checked_add(size)?;
        let bytes = rest.get(start..end)?;
        if found == b"TRAILER!!!" {
            return None;
        }
        if found == name.as_bytes() {
            return Some(bytes);
        }
        rest = rest.get(end.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
        let mut out = b"070701".to_vec();
        for index in 0..13 {
            let number = match index {
                6 => bytes.len(),
                11 => name.len() + 1,
                _ => 0,
            };
            out.extend(format!("{number:08x}").bytes());
        }
        out.extend(name.bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn files_are_found_and_damage_is_not_followed() {
        let archive = [
            file("a", b"12345"),
            file("kernel", b"x"),
            file("TRAILER!!!", b""),
        ]
        .concat();
        assert_eq!(find(&archive, "a"), Some(&b"12345"[..]));
        assert_eq!(find(&archive, "kernel"), Some(&b"x"[..]));
        assert_eq!(find(&archive, "kern"), None);
        assert_eq!(find(&archive, "TRAILER!!!"), None);
        for cut in 0..archive.len() {
            find(&archive[..cut], "none");
        }
        let mut bad = archive.clone();
        bad[6..super::HEADER].fill(b'f');
        assert_eq!(find(&bad, "kernel"), None);
    }
}
