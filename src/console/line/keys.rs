//! Bytes of a terminal to keys.

/// A key, as far as the editor knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A printable ASCII character.
    Character(char),
    Enter,
    Abandon,
    Tab,
    Clear,
    Left,
    Right,
    Up,
    Down,
    Home,
    End,
    Backspace,
    Delete,
    CutToStart,
    CutToEnd,
    CutWord,
    Unknown,
}

/// Where in an escape sequence the bytes are.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    state: State,
    // The last byte was a carriage return: a newline behind it is the same key.
    after_return: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Plain,
    Escape,
    /// Behind the bracket, with the first number of the sequence.
    Sequence {
        number: u16,
        first: bool,
    },
}

impl Decoder {
    /// Takes a byte; a key once one is complete.
    pub(super) fn take(&mut self, byte: u8) -> Option<Key> {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match (&mut self.state, byte) {
            (State::Escape, b'[' | b'O') => {
                self.state = State::Sequence {
                    number: 0,
                    first: true,
                };
                None
            }
            (State::Sequence { number, first }, b'0'..=b'9' | b';') => {
                if byte == b';' {
                    *first = false;
                } else if *first {
                    let digit = u16::from(byte - b'0');
                    *number = number.saturating_mul(10).saturating_add(digit);
                }
                None
            }
            (State::Sequence { number, .. }, last) => {
                let key = sequence(*number, last);
                self.state = State::Plain;
                Some(key)
            }
            (State::Escape, _) => {
                self.state = State::Plain;
                Some(Key::Unknown)
            }
            (State::Plain, 0x1b) => {
                self.state = State::Escape;
                None
            }
            (State::Plain, b'\n') if after_return => None,
            (State::Plain, byte) => Some(plain(byte)),
        }
    }
}

fn plain(byte: u8) -> Key {
    const fn control(letter: u8) -> u8 {
        letter & 0x1f
    }
    const A: u8 = control(b'A');
    const B: u8 = control(b'B');
    const C: u8 = control(b'C');
    const D: u8 = control(b'D');
    const E: u8 = control(b'E');
    const F: u8 = control(b'F');
    const K: u8 = control(b'K');
    const L: u8 = control(b'L');
    const N: u8 = control(b'N');
    const P: u8 = control(b'P');
    const U: u8 = control(b'U');
    const W: u8 = control(b'W');
    match byte {
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        b' '..=b'~' => Key::Character(char::from(byte)),
        0x08 | 0x7f => Key::Backspace,
        A => Key::Home,
        B => Key::Left,
        C => Key::Abandon,
        D => Key::Delete,
        E => Key::End,
        F => Key::Right,
        K => Key::CutToEnd,
        L => Key::Clear,
        N => Key::Down,
        P => Key::Up,
        U => Key::CutToStart,
        W => Key::CutWord,
        _ => Key::Unknown,
    }
}

/// The end of a sequence: cursor keys by letter, others by number (VT220, and
/// what xterm and rxvt make of Home and End).
fn sequence(number: u16, last: u8) -> Key {
    match (last, number) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', 1 | 7) => Key::Home,
        (b'F', _) | (b'~', 4 | 8) => Key::End,
        (b'~', 3) => Key::Delete,
        _ => Key::Unknown,
    }
}
