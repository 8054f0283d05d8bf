//! The person's terminal: raw while a console runs, then as it was.

use std::io::{IsTerminal, stdin};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Passes keys through as they are typed, until dropped. Ctrl-C still ends
/// the tool. Does nothing where standard input is no terminal.
pub struct Raw(());

impl Raw {
    /// Switches the terminal over.
    pub fn enter() -> Self {
        if stdin().is_terminal()
            && let Ok(saved) = tcgetattr(stdin())
        {
            let mut raw = saved.clone();
            raw.make_raw();
            // Output stays as it is: the image may end its lines with \n alone.
            raw.output_modes = saved.output_modes;
            // Ctrl-C raises SIGINT; Ctrl-Z and Ctrl-\ go to the machine.
            raw.local_modes |= rustix::termios::LocalModes::ISIG;
            for code in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
                raw.special_codes[code] = 0;
            }
            *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
            // A terminal that refuses stays line-buffered: usable still.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &raw);
        }
        Self(())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was found.
pub fn restore() {
    if let Some(saved) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Nothing better can be done with an error here.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &saved);
    }
}
