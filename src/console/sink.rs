//! The seam to whatever takes bytes: firmware's terminal, a UART, a test.
#![forbid(unsafe_code)]

/// Takes and gives bytes. Each call does what it can at once and returns.
pub trait ByteSink: Sync {
    /// Takes as many of the bytes as it can; returns how many. 0 means "later".
    fn write(&self, bytes: &[u8]) -> usize;

    /// Pushes out what was taken; `true` once nothing is left.
    fn flush(&self) -> bool;

    /// Gives what has been typed; returns how many bytes of `buffer` it filled.
    fn read(&self, buffer: &mut [u8]) -> usize;

    /// What it is, for a person.
    fn name(&self) -> &'static str;
}

/// Time, for whoever waits for a sink.
pub trait Patience {
    /// Called each time a sink takes nothing; `false` to give up.
    fn wait(&mut self) -> bool;

    /// Called each time a sink takes something: waiting begins anew.
    fn reset(&mut self) {}
}

/// Writes all of `text` to a sink, each line end as CR LF; returns how many
/// bytes were lost because patience ran out.
pub fn write_text(sink: &dyn ByteSink, text: &str, patience: &mut dyn Patience) -> usize {
    let mut lost = 0;
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => {
                lost += write_bytes(sink, line.as_bytes(), patience);
                lost += write_bytes(sink, b"\r\n", patience);
            }
            None => lost += write_bytes(sink, line.as_bytes(), patience),
        }
    }
    lost
}

fn write_bytes(sink: &dyn ByteSink, mut bytes: &[u8], patience: &mut dyn Patience) -> usize {
    while !bytes.is_empty() {
        let taken = sink.write(bytes);
        bytes = bytes.get(taken..).unwrap_or(&[]);
        if taken != 0 {
            patience.reset();
        } else if !patience.wait() {
            return bytes.len();
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Takes three bytes at a time, and nothing every other time.
    #[derive(Default)]
    struct Slow(Mutex<(Vec<u8>, u32)>);

    impl ByteSink for Slow {
        fn write(&self, bytes: &[u8]) -> usize {
            let mut state = self.0.lock().unwrap();
            state.1 += 1;
            if state.1.is_multiple_of(2) {
                return 0;
            }
            let taken = bytes.len().min(3);
            state.0.extend_from_slice(&bytes[..taken]);
            taken
        }
        fn flush(&self) -> bool {
            true
        }
        fn read(&self, _: &mut [u8]) -> usize {
            0
        }
        fn name(&self) -> &'static str {
            "slow"
        }
    }

    struct Tries(u32);

    impl Patience for Tries {
        fn wait(&mut self) -> bool {
            self.0 = self.0.saturating_sub(1);
            self.0 > 0
        }
    }

    #[test]
    fn back_pressure_loses_nothing_while_there_is_patience() {
        let sink = Slow::default();
        assert_eq!(
            write_text(&sink, "one\ntwo, and more\n", &mut Tries(100)),
            0
        );
        assert_eq!(sink.0.lock().unwrap().0, b"one\r\ntwo, and more\r\n");
    }

    #[test]
    fn what_is_lost_is_counted() {
        let sink = Slow::default();
        assert_eq!(write_text(&sink, "abcdefgh", &mut Tries(1)), 5);
    }
}
