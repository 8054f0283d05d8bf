//! What a machine has printed, and the search in it.

/// Output so far, with the place up to which steps have been satisfied.
#[derive(Debug, Default)]
pub struct Transcript {
    text: String,
    rest: Vec<u8>,
    cursor: usize,
    checked: usize,
}

impl Transcript {
    /// Adds bytes. Those that are no text become U+FFFD.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.rest.extend(bytes);
        // A character may be cut in two by the end of the bytes.
        let whole = match std::str::from_utf8(&self.rest) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.rest.len(),
        };
        let text: Vec<u8> = self.rest.drain(..whole).collect();
        self.text.push_str(&String::from_utf8_lossy(&text));
    }

    /// Whether a line from the cursor on holds `pattern`; the cursor moves
    /// behind the match. The last line need not be complete: a prompt counts.
    pub fn expect(&mut self, pattern: &str) -> bool {
        let mut start = self.cursor;
        for line in self.text[self.cursor..].split_inclusive('\n') {
            if let Some(end) = find(line, pattern) {
                self.cursor = start + end;
                return true;
            }
            start += line.len();
        }
        false
    }

    /// The line of the last match, up to its end.
    pub fn matched(&self) -> &str {
        let before = &self.text[..self.cursor];
        before.rfind('\n').map_or(before, |at| &before[at + 1..])
    }

    /// The first line that holds one of `patterns`, which must not come.
    /// Looks at complete lines only, at each once.
    pub fn forbidden(&mut self, patterns: &[String]) -> Option<String> {
        let end = self.text.rfind('\n').map_or(0, |at| at + 1);
        if end <= self.checked {
            return None;
        }
        let lines = &self.text[self.checked..end];
        let bad = lines
            .lines()
            .find(|line| patterns.iter().any(|p| find(line, p).is_some()));
        let bad = bad.map(|line| line.trim_end().to_owned());
        self.checked = end;
        bad
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The last `count` lines.
    pub fn tail(&self, count: usize) -> Vec<&str> {
        let lines: Vec<&str> = self.text.lines().collect();
        lines[lines.len().saturating_sub(count)..].to_vec()
    }
}

/// Where in `line` a match of `pattern` ends. `*` matches anything.
pub fn find(line: &str, pattern: &str) -> Option<usize> {
    let mut at = 0;
    for piece in pattern.split('*') {
        at += line[at..].find(piece)? + piece.len();
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_within_a_line() {
        assert_eq!(
            find("Pinion 0.1 on powernv9", "Pinion * on power"),
            Some(19)
        );
        assert_eq!(find("Pinion 0.1", "on * Pinion"), None);
        assert_eq!(find("anything", ""), Some(0));
    }

    #[test]
    fn lines_must_come_in_order() {
        let mut transcript = Transcript::default();
        transcript.feed(b"first\r\nsecond\r\nprom");
        assert!(!transcript.expect("third"));
        assert!(transcript.expect("*ond"));
        assert_eq!(transcript.matched(), "second");
        assert!(!transcript.expect("first"), "order counts");
        assert!(!transcript.expect("prompt>"));
        transcript.feed(b"pt> ");
        assert!(transcript.expect("prompt>"), "an unfinished line counts");
        assert!(!transcript.expect("prompt>"), "a line is used once");
    }

    #[test]
    fn a_pattern_does_not_reach_over_lines() {
        let mut transcript = Transcript::default();
        transcript.feed(b"a\nb\n");
        assert!(!transcript.expect("a*b"));
    }

    #[test]
    fn forbidden_lines_are_found_once() {
        let mut transcript = Transcript::default();
        let never = ["panicked *".to_owned()];
        transcript.feed(b"fine\nCPU panicked at");
        assert_eq!(transcript.forbidden(&never), None, "the line may go on");
        transcript.feed(b" x\nmore\n");
        assert_eq!(
            transcript.forbidden(&never).as_deref(),
            Some("CPU panicked at x")
        );
        assert_eq!(transcript.forbidden(&never), None);
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_it() {
        let mut transcript = Transcript::default();
        transcript.feed(b"caf\xc3");
        transcript.feed(b"\xa9 \xff ok\n");
        assert!(transcript.expect("caf\u{e9} * ok"));
        assert_eq!(transcript.tail(1), ["caf\u{e9} \u{fffd} ok"]);
    }
}
