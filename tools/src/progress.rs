//! Progress on standard error: a live line on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Whether standard error is a terminal.
pub fn is_live() -> bool {
    std::io::stderr().is_terminal()
}

/// Something that takes a while: shown from `start` to `done`.
///
/// Dropped without [`Step::done`], it disappears: the error says what went wrong.
pub struct Step {
    what: String,
    start: Instant,
    bar: Option<ProgressBar>,
}

impl Step {
    /// Announces `what`, which reads like "building the image".
    pub fn start(what: impl Into<String>) -> Self {
        let what = what.into();
        let bar = is_live().then(|| {
            let style = ProgressStyle::with_template("{spinner} {prefix} {wide_msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar =
                ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
            bar.set_prefix(what.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            eprintln!("{what} ...");
        }
        Self {
            what,
            start: Instant::now(),
            bar,
        }
    }

    /// Where it stands; only a live line shows it.
    pub fn detail(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// Ends the step with its time.
    pub fn done(self) {
        let line = format!(
            "{}: done in {:.1} s",
            self.what,
            self.start.elapsed().as_secs_f64()
        );
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{line}");
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
