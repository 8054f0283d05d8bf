//! Versions of three numbers, read from what programs and packages say.

use std::fmt;

/// Major, minor and patch, ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32, u32, u32);

impl Version {
    /// The version `major.minor.patch`.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self(major, minor, patch)
    }

    /// Reads the numbers a text starts with: `10.0.2+ds-2` is 10.0.2.
    pub fn leading(text: &str) -> Option<Self> {
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let mut parts = text[..end].split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        let patch = parts.next().map_or(Some(0), |part| part.parse().ok())?;
        Some(Self(major, minor, patch))
    }

    /// Reads `QEMU emulator version 10.0.2 (...)`.
    pub fn of_qemu_banner(text: &str) -> Option<Self> {
        let rest = text
            .lines()
            .next()?
            .strip_prefix("QEMU emulator version ")?;
        Self::leading(rest)
    }

    /// Reads a Debian package version, with or without an epoch: `1:7.2+dfsg-7`.
    pub fn of_debian_package(text: &str) -> Option<Self> {
        Self::leading(text.split_once(':').map_or(text, |(_, rest)| rest))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banners_and_packages_are_read() {
        let banner = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright";
        assert_eq!(
            Version::of_qemu_banner(banner),
            Some(Version::new(10, 0, 2))
        );
        assert_eq!(Version::of_qemu_banner("qemu-img version 7.2"), None);
        assert_eq!(
            Version::of_debian_package("1:7.2+dfsg-7+deb12u18"),
            Some(Version::new(7, 2, 0))
        );
        assert_eq!(
            Version::of_debian_package("1.95.0+dfsg1-1"),
            Some(Version::new(1, 95, 0))
        );
        assert_eq!(Version::of_debian_package("unknown"), None);
    }

    #[test]
    fn an_older_emulator_is_older() {
        assert!(Version::new(7, 2, 22) < Version::new(10, 0, 2));
        assert!(Version::new(10, 0, 1) < Version::new(10, 0, 2));
        assert!(Version::new(10, 1, 0) > Version::new(10, 0, 2));
    }
}
