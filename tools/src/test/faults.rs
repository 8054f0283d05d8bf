//! What QEMU calls errors of the guest, compared with what a test expects:
//! each expected one comes, and no other.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::transcript::find;

/// Lines of the log that a test must cause.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// A text of the line; `*` stands for anything within it.
    pub line: String,
    /// The least number of such lines.
    #[serde(default = "once")]
    pub min: usize,
    /// The largest; none unless said.
    pub max: Option<usize>,
    /// Boards, where it is not for all of the test's.
    pub boards: Option<Vec<String>>,
}

fn once() -> usize {
    1
}

/// Lines that come without anything being wrong.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Harmless {
    /// A text of the line; `*` stands for anything within it.
    pub line: String,
    /// Why it is harmless.
    pub why: String,
    /// Boards, where it is not for all.
    pub boards: Option<Vec<String>>,
}

/// With this a machine stops for good; registers follow.
const CHECKSTOP: &str = "Entering checkstop state";

/// What is expected of the log of one case.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// What must come.
    pub faults: Vec<Fault>,
    /// What may come.
    pub harmless: Vec<String>,
}

impl Expected {
    /// What holds on `board`.
    ///
    /// # Errors
    /// A line could match anything, a count cannot be met, or a reason is missing.
    pub fn on(board: &str, faults: &[Fault], harmless: &[Harmless]) -> Result<Self> {
        let here = |boards: &Option<Vec<String>>| {
            boards
                .as_ref()
                .is_none_or(|boards| boards.iter().any(|name| name == board))
        };
        let says = |line: &str| line.chars().any(|letter| letter.is_alphanumeric());
        for fault in faults {
            ensure!(says(&fault.line), "fault {:?} fits any line", fault.line);
            ensure!(
                fault.max.is_none_or(|max| fault.min <= max),
                "fault {:?}: at least {} and at most {} cannot be",
                fault.line,
                fault.min,
                fault.max.unwrap_or(0)
            );
        }
        for line in harmless {
            ensure!(says(&line.line), "harmless {:?} fits any line", line.line);
            ensure!(
                !line.why.trim().is_empty(),
                "harmless {:?} does not say why",
                line.line
            );
        }
        Ok(Self {
            faults: faults.iter().filter(|f| here(&f.boards)).cloned().collect(),
            harmless: harmless
                .iter()
                .filter(|h| here(&h.boards))
                .map(|h| h.line.clone())
                .collect(),
        })
    }

    /// What is wrong with `log`, or nothing. A line that fits several counts for each.
    pub fn compare(&self, log: &str) -> Option<String> {
        let lines: Vec<&str> = log
            .lines()
            .take_while(|line| !line.starts_with(CHECKSTOP))
            .filter(|line| !super::trace::is_line(line) && !line.trim().is_empty())
            .collect();
        let fits = |line: &str, pattern: &str| find(line, pattern).is_some();
        let mut unexpected = lines.iter().filter(|line| {
            !self.faults.iter().any(|fault| fits(line, &fault.line))
                && !self.harmless.iter().any(|pattern| fits(line, pattern))
        });
        if let Some(first) = unexpected.next() {
            let more = match unexpected.count() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            return Some(format!("unexpected guest error: {first:?}{more}"));
        }
        self.faults.iter().find_map(|fault| {
            let seen = lines.iter().filter(|line| fits(line, &fault.line)).count();
            if seen < fault.min {
                Some(format!(
                    "guest error seen {seen} times, not at least {}: {:?}",
                    fault.min, fault.line
                ))
            } else if fault.max.is_some_and(|max| seen > max) {
                Some(format!(
                    "guest error seen {seen} times, not at most {}: {:?}",
                    fault.max.unwrap_or(0),
                    fault.line
                ))
            } else {
                None
            }
        })
    }
}

/// QEMU's log, with U+FFFD for what is no text: a guest's garbage may be in it.
pub fn read(path: &Path) -> Result<String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        // QEMU makes the file with the first line.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: &str, min: usize, max: Option<usize>) -> Fault {
        Fault {
            line: line.to_owned(),
            min,
            max,
            boards: None,
        }
    }

    fn harmless(line: &str, why: &str) -> Harmless {
        Harmless {
            line: line.to_owned(),
            why: why.to_owned(),
            boards: None,
        }
    }

    const LOG: &str = "OPB write failed at @0xd001002e\n\
                       phb4[0:0]: TCE access fault at 0x1000\n\
                       phb4[0:0]:  xlate 100:W TVE=12\n\
                       phb4[0:0]: TCE access fault at 0x1008\n\
                       phb4[0:0]:  xlate 104:W TVE=12\n";

    #[test]
    fn what_is_not_expected_is_told() {
        let opb = [harmless("OPB write failed", "firmware probes")];
        let expected = Expected::on("powernv9", &[], &opb).unwrap();
        let text = expected.compare(LOG).unwrap();
        assert!(
            text.contains("phb4[0:0]: TCE access fault at 0x1000") && text.contains("3 more"),
            "{text}"
        );
        assert_eq!(
            expected.compare("OPB write failed at @0xd001002e\n\n"),
            None
        );
        assert_eq!(expected.compare(""), None);
    }

    #[test]
    fn what_is_expected_must_come_that_often() {
        let verdict = |min, max| {
            let faults = [
                fault("phb4[*]: TCE access fault", min, max),
                fault(" xlate *:W", 1, None),
            ];
            Expected::on(
                "powernv9",
                &faults,
                &[harmless("OPB write failed", "firmware probes")],
            )
            .unwrap()
            .compare(LOG)
        };
        assert_eq!(verdict(1, None), None);
        assert_eq!(verdict(2, Some(2)), None);
        assert!(
            verdict(3, None)
                .unwrap()
                .contains("2 times, not at least 3")
        );
        assert!(
            verdict(1, Some(1))
                .unwrap()
                .contains("2 times, not at most 1")
        );
        assert!(verdict(0, Some(0)).is_some());
    }

    #[test]
    fn registers_of_a_stopped_machine_and_traces_are_no_errors() {
        let expected = Expected::default();
        let log = "memory_region_ops_write cpu 0 mr 0x1 addr 0x2 value 0x3 size 8 name 'x'\n\
                   Entering checkstop state: host executed attn\nNIP 00 LR 00\n";
        assert_eq!(expected.compare(log), None);
        assert!(expected.compare("NIP 00 LR 00\n").is_some());
    }

    #[test]
    fn boards_choose() {
        let mut only = fault("phb3", 1, None);
        only.boards = Some(vec!["powernv8".to_owned()]);
        let mut known = harmless("XIVE", "early");
        known.boards = Some(vec!["powernv9".to_owned()]);
        let on = |board: &str| {
            Expected::on(
                board,
                std::slice::from_ref(&only),
                std::slice::from_ref(&known),
            )
            .unwrap()
        };
        assert!(on("powernv8").compare("").is_some());
        assert_eq!(on("powernv9").compare("XIVE: END\n"), None);
        assert!(on("powernv10").compare("XIVE: END\n").is_some());
    }

    #[test]
    fn a_comparison_that_cannot_fail_is_refused() {
        assert!(Expected::on("x", &[fault("*", 1, None)], &[]).is_err());
        assert!(Expected::on("x", &[fault("phb", 2, Some(1))], &[]).is_err());
        assert!(Expected::on("x", &[], &[harmless("phb", " ")]).is_err());
        assert!(Expected::on("x", &[], &[harmless("", "always")]).is_err());
    }
}
