//! The system's package sources, read to learn which mirror this machine uses.

use std::path::Path;

/// One archive: where it is and what signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The mirror's address.
    pub uri: String,
    /// A release such as `bookworm` or `bookworm-security`.
    pub suite: String,
    /// The keyring that signs it, if one is named.
    pub signed_by: Option<String>,
    /// `main` and others.
    pub components: Vec<String>,
}

impl Archive {
    /// This archive's mirror with another release.
    pub fn with_suite(&self, suite: &str) -> Self {
        Self {
            suite: suite.to_owned(),
            ..self.clone()
        }
    }

    /// As a line of a sources list; `options` go into the brackets.
    pub fn line(&self, options: &str) -> String {
        let signed = self
            .signed_by
            .as_ref()
            .map_or(String::new(), |key| format!("signed-by={key}"));
        let brackets = [options, &signed]
            .iter()
            .filter(|s| !s.is_empty())
            .map(|s| (*s).to_owned())
            .collect::<Vec<_>>()
            .join(" ");
        let brackets = if brackets.is_empty() {
            String::new()
        } else {
            format!("[{brackets}] ")
        };
        format!(
            "deb {brackets}{} {} {}",
            self.uri,
            self.suite,
            self.components.join(" ")
        )
    }
}

/// Reads every enabled binary archive the system knows. Unreadable files are
/// skipped: apt itself would complain about them.
pub fn system_archives() -> Vec<Archive> {
    let mut archives = Vec::new();
    let mut files = vec![Path::new("/etc/apt/sources.list").to_path_buf()];
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        let mut parts: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        parts.sort();
        files.extend(parts);
    }
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => archives.extend(parse_lines(&text)),
            Some("sources") => archives.extend(parse_paragraphs(&text)),
            _ => {}
        }
    }
    archives
}

/// One-line format: `deb [options] uri suite component...`.
fn parse_lines(text: &str) -> Vec<Archive> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Archive> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb ")?.trim_start();
    let mut signed_by = None;
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) = options.split_once(']')?;
        signed_by = options
            .split_whitespace()
            .find_map(|o| o.strip_prefix("signed-by="))
            .map(str::to_owned);
        rest = after.trim_start();
    }
    let mut words = rest.split_whitespace();
    let archive = Archive {
        uri: words.next()?.trim_end_matches('/').to_owned(),
        suite: words.next()?.to_owned(),
        signed_by,
        components: words.map(str::to_owned).collect(),
    };
    is_remote(&archive.uri).then_some(archive)
}

/// Paragraph format: `Types:`, `URIs:`, `Suites:`, `Components:`, `Signed-By:`.
fn parse_paragraphs(text: &str) -> Vec<Archive> {
    let mut archives = Vec::new();
    let without_comments: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for paragraph in without_comments.split(|line| line.trim().is_empty()) {
        let field = |name: &str| {
            paragraph
                .iter()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
        };
        let words = |name: &str| -> Vec<String> {
            field(name)
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect()
        };
        let disabled = field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        if disabled || !words("Types").iter().any(|t| t == "deb") {
            continue;
        }
        for uri in words("URIs").iter().filter(|uri| is_remote(uri)) {
            for suite in words("Suites") {
                archives.push(Archive {
                    uri: uri.trim_end_matches('/').to_owned(),
                    suite,
                    // A key written out in the file spans lines: leave it out.
                    signed_by: field("Signed-By").filter(|key| key.starts_with('/')),
                    components: words("Components"),
                });
            }
        }
    }
    archives
}

fn is_remote(uri: &str) -> bool {
    ["http://", "https://", "mirror+", "file:"]
        .iter()
        .any(|scheme| uri.starts_with(scheme))
}

/// The archives of the release the system itself runs: the one `codename`
/// names, or, where the system's sources do not know it, the first they name.
///
/// The first archive returned is the main one.
pub fn of_release(archives: &[Archive], codename: &str) -> Vec<Archive> {
    let is_main =
        |a: &&Archive| a.components.iter().any(|c| c == "main") && !a.suite.contains(['-', '/']);
    let Some(main) = archives
        .iter()
        .filter(is_main)
        .find(|a| a.suite == codename)
        .or_else(|| archives.iter().find(is_main))
    else {
        return Vec::new();
    };
    let family = format!("{}-", main.suite);
    let wanted = |suite: &str| {
        suite
            .strip_prefix(&family)
            .is_some_and(|kind| kind == "updates" || kind == "security")
    };
    let mut chosen = vec![main.clone()];
    chosen.extend(archives.iter().filter(|a| wanted(&a.suite)).cloned());
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let lines = "# comment\ndeb [arch=amd64 signed-by=/k.gpg] http://mirror/debian/ bookworm main contrib\n\
                     deb-src http://mirror/debian bookworm main\ndeb cdrom:[x] bookworm main\n";
        let archives = parse_lines(lines);
        assert_eq!(archives.len(), 1);
        assert_eq!(archives[0].uri, "http://mirror/debian");
        assert_eq!(archives[0].signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(
            archives[0].line(""),
            "deb [signed-by=/k.gpg] http://mirror/debian bookworm main contrib"
        );

        let paragraphs = "Types: deb\n# why\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n\
                          Components: main\nSigned-By: /k.gpg\n\nTypes: deb\nEnabled: no\nURIs: http://other\nSuites: x\n";
        let archives = parse_paragraphs(paragraphs);
        assert_eq!(
            archives
                .iter()
                .map(|a| a.suite.as_str())
                .collect::<Vec<_>>(),
            ["bookworm", "bookworm-updates"]
        );
    }

    #[test]
    fn only_the_systems_own_release_is_taken() {
        let text = "deb http://other/ubuntu focal universe\ndeb http://m/debian bookworm main\n\
                    deb http://m/debian trixie main\ndeb http://m/debian bookworm-updates main\n\
                    deb http://s/debian-security bookworm-security main\ndeb http://m/debian bookworm-backports main\n";
        let archives = parse_lines(text);
        let suites = |codename: &str| -> Vec<String> {
            of_release(&archives, codename)
                .into_iter()
                .map(|a| a.suite)
                .collect()
        };
        assert_eq!(
            suites("bookworm"),
            ["bookworm", "bookworm-updates", "bookworm-security"]
        );
        // The system's sources decide where they disagree with its name.
        assert_eq!(
            suites("forky"),
            ["bookworm", "bookworm-updates", "bookworm-security"]
        );
        assert!(of_release(&[], "bookworm").is_empty());
    }
}
