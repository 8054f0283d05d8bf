//! The self-test's closing line: `selftest: N passed, M failed`.

/// Looks for the closing line in output that comes in pieces.
#[derive(Debug, Default)]
pub struct Watch {
    line: Vec<u8>,
    result: Option<(u32, u32)>,
}

impl Watch {
    /// Looks at the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                let line = String::from_utf8_lossy(&self.line);
                self.result = parse(&line).or(self.result);
                self.line.clear();
            } else if self.line.len() < 512 {
                self.line.push(byte);
            }
        }
    }

    /// The outcome as a sentence: good or bad.
    pub fn verdict(&self) -> Result<String, String> {
        match self.result {
            Some((0, 0)) => Err("the self-test ran no test".to_owned()),
            Some((passed, 0)) => Ok(format!("self-test: {passed} passed")),
            Some((passed, failed)) => Err(format!("self-test: {passed} passed, {failed} failed")),
            None => Err("the machine went off without the self-test's closing line".to_owned()),
        }
    }
}

/// Reads a closing line; anything may stand before it.
fn parse(line: &str) -> Option<(u32, u32)> {
    let (_, rest) = line.rsplit_once("selftest: ")?;
    let (passed, rest) = rest.split_once(" passed, ")?;
    let failed = rest.trim().strip_suffix(" failed")?;
    Some((passed.parse().ok()?, failed.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closing_line_without_failures_is_good() {
        let verdict = |text: &str| {
            let mut watch = Watch::default();
            for piece in text.as_bytes().chunks(3) {
                watch.feed(piece);
            }
            watch.verdict()
        };
        assert!(verdict("[0.1] selftest: 12 passed, 0 failed\r\n").is_ok());
        assert!(verdict("selftest: 12 passed, 1 failed\n").is_err());
        assert!(verdict("selftest: 0 passed, 0 failed\n").is_err());
        assert!(verdict("selftest: twelve passed, 0 failed\n").is_err());
        assert!(verdict("").is_err());
    }
}
