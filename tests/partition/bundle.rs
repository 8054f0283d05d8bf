//! The reader of cpio archives.

use pinion::partition::bundle::{Bundle, BundleError, MAX_ENTRIES};

fn entry(name: &str, mode: u32, contents: &[u8]) -> Vec<u8> {
    let mut bytes = b"070701".to_vec();
    let size = contents.len() as u32;
    for field in [
        1,
        mode,
        0,
        0,
        1,
        0,
        size,
        0,
        0,
        0,
        0,
        name.len() as u32 + 1,
        0,
    ] {
        bytes.extend(format!("{field:08x}").bytes());
    }
    bytes.extend(name.bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(contents);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.extend(entry("TRAILER!!!", 0, b""));
    bytes
}

const FILE: u32 = 0o100_644;

#[test]
fn files_are_found_and_directories_skipped() {
    let mut bytes = archive(&[
        entry("boot", 0o040_755, b""),
        entry("boot/vmlinux", FILE, b"kernel"),
        entry("empty", FILE, b""),
    ]);
    bytes.extend([0; 512]);
    let bundle = Bundle::check(&bytes).unwrap();
    assert_eq!(bundle.file("boot/vmlinux"), Some(&b"kernel"[..]));
    assert_eq!(bundle.file("empty"), Some(&b""[..]));
    assert_eq!(bundle.file("boot"), None);
    assert_eq!(bundle.file("vmlinux"), None);
    assert_eq!(bundle.files().count(), 2);
}

/// Wherever the archive is cut, that is said, and nothing of it is taken.
#[test]
fn a_truncated_archive_is_refused() {
    let bytes = archive(&[entry("a", FILE, b"hello"), entry("b", FILE, b"world!!")]);
    // The padding behind the name that ends the archive may be missing.
    let whole = bytes.len() - 3;
    for length in 0..whole {
        let error = Bundle::check(&bytes[..length]).map(|_| ()).unwrap_err();
        assert!(
            matches!(error, BundleError::Truncated(at) if at <= length.next_multiple_of(4)),
            "{length}: {error}"
        );
    }
    assert!(Bundle::check(&bytes[..whole]).is_ok());
}

#[test]
fn bad_entries_are_named() {
    let check = |bytes: &[u8]| Bundle::check(bytes).map(|_| ()).unwrap_err();
    assert_eq!(check(b"\x1f\x8b\x08\0"), BundleError::Magic(0));
    let first = entry("a", FILE, b"1");
    let at = first.len();
    let twice = archive(&[first.clone(), first.clone()]);
    assert_eq!(check(&twice), BundleError::Duplicate(at));
    assert_eq!(
        check(&archive(&[entry("/etc", FILE, b"")])),
        BundleError::Name(0)
    );
    assert_eq!(
        check(&archive(&[entry("", FILE, b"")])),
        BundleError::Name(0)
    );
    assert_eq!(
        check(&archive(&[entry(&"x".repeat(300), FILE, b"")])),
        BundleError::Name(0)
    );
    assert_eq!(
        check(&archive(&[entry("a\0b", FILE, b"")])),
        BundleError::Name(0)
    );
    assert_eq!(
        check(&archive(&[entry("link", 0o120_777, b"a")])),
        BundleError::Kind {
            at: 0,
            mode: 0o120_777
        }
    );
    let mut signed = archive(std::slice::from_ref(&first));
    signed[54] = b'+';
    assert_eq!(check(&signed), BundleError::Field(0));
    let mut huge = archive(&[first]);
    huge[54..62].copy_from_slice(b"ffffffff");
    assert_eq!(check(&huge), BundleError::Truncated(0));
    let many: Vec<_> = (0..=MAX_ENTRIES)
        .map(|number| entry(&number.to_string(), FILE, b""))
        .collect();
    assert!(Bundle::check(&archive(&many[..MAX_ENTRIES])).is_ok());
    assert_eq!(check(&archive(&many)), BundleError::TooMany);
}

/// Damage anywhere is refused, or what is read stays inside.
#[test]
fn random_damage_is_survived() {
    let good = archive(&[entry("a", FILE, b"hello"), entry("bc", FILE, b"world!!")]);
    let mut rng = pinion::sim::Rng::new(1);
    let mut taken = 0;
    for _ in 0..50_000 {
        let mut bytes = good.clone();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.below(256) as u8;
        }
        if let Ok(bundle) = Bundle::check(&bytes) {
            taken += 1;
            assert!(bundle.files().all(|file| file.contents.len() < good.len()));
        }
    }
    assert!(taken > 1000, "damage to contents is not seen: {taken}");
}
