//! Which distribution this is.

/// What `/etc/os-release` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// The name for people.
    pub name: String,
    /// The release's code name, `bookworm`; empty where there is none.
    pub codename: String,
    ids: Vec<String>,
}

impl OsRelease {
    /// Reads the system's file; an unreadable one gives an unknown system.
    pub fn read() -> Self {
        let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned())
        };
        let mut ids: Vec<String> = value("ID").into_iter().collect();
        ids.extend(
            value("ID_LIKE")
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned),
        );
        Self {
            name: value("PRETTY_NAME").unwrap_or_else(|| "an unknown system".to_owned()),
            codename: value("VERSION_CODENAME").unwrap_or_default(),
            ids,
        }
    }

    /// Whether Debian's package names and tools can be expected.
    pub fn is_debian_like(&self) -> bool {
        self.ids.iter().any(|id| id == "debian" || id == "ubuntu")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_derivatives_are_told_apart_from_others() {
        let debian = OsRelease::parse(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n",
        );
        assert_eq!(debian.codename, "bookworm");
        assert!(debian.is_debian_like());
        let ubuntu = OsRelease::parse("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n");
        assert!(ubuntu.is_debian_like());
        let fedora = OsRelease::parse("ID=fedora\nVERSION_CODENAME=\"\"\n");
        assert!(!fedora.is_debian_like());
        assert_eq!(OsRelease::parse("").name, "an unknown system");
    }
}
