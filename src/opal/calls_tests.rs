//! The typed calls against a firmware that pretends.

use super::*;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// Answers calls from a list, and remembers what was asked.
#[derive(Default)]
pub(super) struct Pretend {
    pub(super) answers: RefCell<VecDeque<i64>>,
    pub(super) asked: RefCell<Vec<(Token, [u64; 8])>>,
    /// Bytes for the buffer that a call passes as this argument.
    pub(super) fills: Cell<Option<(usize, &'static [u8])>>,
}

impl Pretend {
    pub(super) fn answering(answers: &[i64]) -> Self {
        Self {
            answers: RefCell::new(answers.iter().copied().collect()),
            ..Self::default()
        }
    }
}

// SAFETY: writes only where `fills` says, which each test fits to its call.
unsafe impl RawOpal for &Pretend {
    // # Safety: as the trait says.
    unsafe fn call(&self, token: Token, arguments: [u64; 8]) -> Result<i64, OpalError> {
        self.asked.borrow_mut().push((token, arguments));
        if let Some((argument, bytes)) = self.fills.get() {
            // SAFETY: the test knows that the argument points to so many bytes.
            unsafe {
                let buffer = arguments[argument] as *mut u8;
                buffer.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            }
        }
        Ok(self.answers.borrow_mut().pop_front().unwrap_or(0))
    }
}

#[derive(Default)]
pub(super) struct Counted(Cell<u64>);

impl Waiter for &Counted {
    fn wait_ms(&self, milliseconds: u64) {
        self.0.set(self.0.get() + milliseconds);
    }
}

fn tokens(raw: &Pretend) -> Vec<Token> {
    raw.asked.borrow().iter().map(|(token, _)| *token).collect()
}

#[test]
fn busy_is_tried_again_and_busy_event_polls_in_between() {
    let (raw, waited) = (Pretend::answering(&[-2, -12, 0, 0]), Counted::default());
    Opal::new(&raw, &waited).power_down().unwrap();
    let down = Token::PowerDown;
    assert_eq!(tokens(&raw), [down, down, Token::PollEvents, down]);
    assert_eq!(waited.0.get(), 2);
}

#[test]
fn busy_for_ever_ends_with_an_error_that_says_how_long() {
    let (raw, waited) = (Pretend::answering(&[-2; 20_000]), Counted::default());
    let error = Opal::new(&raw, &waited).power_down().unwrap_err();
    assert_eq!(
        error,
        OpalError::StillBusy {
            token: Token::PowerDown,
            milliseconds: 10_000
        }
    );
}

#[test]
fn a_status_keeps_its_call_and_its_number() {
    let (raw, waited) = (Pretend::answering(&[-1, -99]), Counted::default());
    let opal = Opal::new(&raw, &waited);
    let error = opal.cpu_status(7).unwrap_err();
    assert_eq!(error.status(), Some(OpalStatus::Parameter));
    assert_eq!(error.to_string(), "OPAL QueryCpuStatus: bad parameter (-1)");
    let error = opal.cpu_status(7).unwrap_err();
    assert_eq!(error.status(), Some(OpalStatus::Other(-99)));
}

#[test]
fn a_console_that_is_full_takes_nothing_and_one_that_lies_is_an_error() {
    let (raw, waited) = (Pretend::answering(&[-2, 0]), Counted::default());
    let opal = Opal::new(&raw, &waited);
    assert_eq!(opal.console_write(0, b"hello"), Ok(0));
    raw.fills.set(Some((1, &[0, 0, 0, 0, 0, 0, 0, 200])));
    let lie = OpalError::Nonsense {
        token: Token::ConsoleWrite,
        value: 200,
    };
    assert_eq!(opal.console_write(0, b"hello"), Err(lie));
    raw.fills.set(Some((1, &[0, 0, 0, 0, 0, 0, 0, 3])));
    assert_eq!(opal.console_write(0, b"hello"), Ok(3));
}

#[test]
fn no_message_is_none_and_a_message_is_big_endian() {
    let (raw, waited) = (Pretend::answering(&[-10, 0]), Counted::default());
    let opal = Opal::new(&raw, &waited);
    assert_eq!(opal.message(), Ok(None));
    raw.fills.set(Some((
        0,
        &[0, 0, 0, 3, 0, 0, 0, 72, 0, 0, 0, 0, 0, 0, 0, 1],
    )));
    let message = opal.message().unwrap().unwrap();
    assert_eq!((message.kind, message.parameters[0]), (3, 1));
}

#[test]
fn events_are_big_endian_and_unknown_bits_stay() {
    let (raw, waited) = (Pretend::default(), Counted::default());
    raw.fills.set(Some((0, &[0x80, 0, 0, 0, 0, 0, 0x08, 0x10])));
    let events = Opal::new(&raw, &waited).poll_events().unwrap();
    assert!(events.contains(EventBits::CONSOLE_INPUT | EventBits::MESSAGE_PENDING));
    assert_eq!(events.bits() >> 63, 1);
}

#[test]
fn the_older_maintenance_call_serves_where_the_newer_is_missing() {
    let (raw, waited) = (Pretend::answering(&[-1, 0]), Counted::default());
    assert_eq!(Opal::new(&raw, &waited).handle_maintenance(), Ok(0));
    assert_eq!(tokens(&raw), [Token::HandleHmi2, Token::HandleHmi]);
}

#[test]
fn a_thread_in_a_state_that_does_not_exist_is_nonsense() {
    let (raw, waited) = (Pretend::default(), Counted::default());
    let opal = Opal::new(&raw, &waited);
    raw.fills.set(Some((1, &[9])));
    let nonsense = OpalError::Nonsense {
        token: Token::QueryCpuStatus,
        value: 9,
    };
    assert_eq!(opal.cpu_status(0), Err(nonsense));
    raw.fills.set(Some((1, &[2])));
    assert_eq!(opal.cpu_status(0), Ok(CpuStatus::Unavailable));
}
