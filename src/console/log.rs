//! The log: lines with a level and a time stamp. Everything goes into a ring
//! that a memory dump shows; what is important enough goes to the console too.

use super::ring::Ring;
use super::sink::{ByteSink, Patience, write_text};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use spin::Mutex;

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something failed.
    Error = 0,
    /// Something is not as it should be.
    Warning = 1,
    /// What a person wants to see.
    Info = 2,
    /// What helps to find a mistake.
    Debug = 3,
}

impl Level {
    /// The level with this number, 0 to 3.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Error),
            1 => Some(Self::Warning),
            2 => Some(Self::Info),
            3 => Some(Self::Debug),
            _ => None,
        }
    }

    /// The level of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        (0..4)
            .filter_map(Self::from_number)
            .find(|level| level.name() == name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Bytes that the ring keeps.
pub const LOG_SIZE: usize = 16 * 1024;

/// Where lines go besides the ring, and when they are said.
pub struct Output {
    ring: Option<&'static Mutex<Ring<LOG_SIZE>>>,
    sink: Option<&'static dyn ByteSink>,
    lost: u64,
    time: Option<Time>,
}

/// Time, and what to do with it while a sink takes nothing.
#[derive(Clone, Copy)]
pub struct Time {
    /// Microseconds since the start.
    pub now: fn() -> u64,
    /// Called while a sink takes nothing.
    pub poll: fn(),
}

/// How long a sink may take nothing before output is lost, in microseconds.
const PATIENCE: u64 = 3_000_000;

static OUTPUT: Mutex<Output> = Mutex::new(Output {
    ring: None,
    sink: None,
    lost: 0,
    time: None,
});

/// Level + 1, so that all zero means "not set": info.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// The cursor is behind a prompt and what is typed at it.
static PROMPT: AtomicBool = AtomicBool::new(false);

/// Lines that were warnings or errors.
static COMPLAINTS: AtomicU64 = AtomicU64::new(0);

/// Patience for one piece of text. Without a clock there is none.
struct Waiting {
    time: Option<Time>,
    since: Option<u64>,
}

impl Waiting {
    fn new(time: Option<Time>) -> Self {
        Self { time, since: None }
    }
}

impl Patience for Waiting {
    fn wait(&mut self) -> bool {
        let Some(time) = self.time else { return false };
        (time.poll)();
        let now = (time.now)();
        now.saturating_sub(*self.since.get_or_insert(now)) < PATIENCE
    }

    fn reset(&mut self) {
        self.since = None;
    }
}

impl Output {
    fn keep(&self, text: &str) {
        if let Some(ring) = self.ring {
            ring.lock().push(text.as_bytes());
        }
    }
}

/// The ring and the console.
struct Both<'a>(&'a mut Output);

impl Write for Both<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.keep(text);
        if let Some(sink) = self.0.sink {
            if PROMPT.swap(false, Ordering::Relaxed) {
                // Back to the line's start, and clear to its end.
                let _ = write_text(sink, "\r\x1b[K", &mut Waiting::new(self.0.time));
            }
            let lost = write_text(sink, text, &mut Waiting::new(self.0.time));
            self.0.lost += lost as u64;
        }
        Ok(())
    }
}

struct RingOnly<'a>(&'a Output);

impl Write for RingOnly<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.keep(text);
        Ok(())
    }
}

/// Sets the ring that keeps what is said.
pub fn set_ring(ring: &'static Mutex<Ring<LOG_SIZE>>) {
    OUTPUT.lock().ring = Some(ring);
}

/// Sets the clock, for stamps and for patience.
pub fn set_time(time: Time) {
    OUTPUT.lock().time = Some(time);
}

/// Sets where lines go. `replay`: what the ring holds is said first, for a sink
/// that comes up after the first lines.
pub fn set_sink(sink: &'static dyn ByteSink, replay: bool) {
    let mut output = OUTPUT.lock();
    let replay = replay && output.sink.is_none();
    output.sink = Some(sink);
    if !replay {
        return;
    }
    let Some(ring) = output.ring else { return };
    let ring = ring.lock();
    let (older, newer) = ring.contents();
    for piece in [older, newer] {
        let mut waiting = Waiting::new(output.time);
        let text = core::str::from_utf8(piece).unwrap_or("(log is not text)\n");
        output.lost += write_text(sink, text, &mut waiting) as u64;
    }
}

/// The sink, if there is one.
pub fn sink() -> Option<&'static dyn ByteSink> {
    OUTPUT.lock().sink
}

/// Sets what goes to the console: this level and what is more important.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8 + 1, Ordering::Relaxed);
}

/// What goes to the console.
pub fn level() -> Level {
    match LEVEL.load(Ordering::Relaxed) {
        0 => Level::Info,
        number => Level::from_number(number - 1).unwrap_or(Level::Debug),
    }
}

/// Says that the cursor is behind a prompt: whatever is said next takes the line
/// from it. Returns whether the cursor was still there.
pub fn set_prompt(on: bool) -> bool {
    PROMPT.swap(on, Ordering::Relaxed)
}

/// Warnings and errors so far.
pub fn complaints() -> u64 {
    COMPLAINTS.load(Ordering::Relaxed)
}

/// Bytes that no console took.
pub fn lost() -> u64 {
    OUTPUT.lock().lost
}

/// Says a line with its level and time. Use the macros.
pub fn say(level: Level, line: fmt::Arguments<'_>) {
    if level <= Level::Warning {
        COMPLAINTS.fetch_add(1, Ordering::Relaxed);
    }
    let mut output = OUTPUT.lock();
    let microseconds = output.time.map_or(0, |time| (time.now)());
    let (seconds, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
    let mark = match level {
        Level::Error => "ERROR: ",
        Level::Warning => "warning: ",
        Level::Info | Level::Debug => "",
    };
    let stamped = format_args!("[{seconds:5}.{rest:06}] {mark}{line}\n");
    // Neither of the two ever fails.
    let _ = if level <= self::level() {
        Both(&mut output).write_fmt(stamped)
    } else {
        RingOnly(&output).write_fmt(stamped)
    };
}

/// Prints without a stamp, whatever the level. Use the macros.
pub fn print(text: fmt::Arguments<'_>) {
    let mut output = OUTPUT.lock();
    // Never fails.
    let _ = Both(&mut output).write_fmt(text);
}

/// Pushes out what the sink has taken, as long as `patience` lasts.
pub fn flush(mut go_on: impl FnMut() -> bool) {
    let Some(sink) = sink() else { return };
    while !sink.flush() && go_on() {}
}

/// For the crash path: the lock under which everything is said, so that it can
/// be taken from whoever was interrupted.
pub fn output_lock() -> &'static Mutex<Output> {
    &OUTPUT
}

/// For the crash path: another sink, whatever there was.
pub fn replace_sink(sink: Option<&'static dyn ByteSink>) {
    OUTPUT.lock().sink = sink;
}

/// Says that something failed.
#[macro_export]
macro_rules! error {
    ($($text:tt)*) => {
        $crate::console::log::say($crate::console::log::Level::Error, format_args!($($text)*))
    };
}

/// Says that something is not as it should be.
#[macro_export]
macro_rules! warning {
    ($($text:tt)*) => {
        $crate::console::log::say($crate::console::log::Level::Warning, format_args!($($text)*))
    };
}

/// Says what a person wants to see.
#[macro_export]
macro_rules! info {
    ($($text:tt)*) => {
        $crate::console::log::say($crate::console::log::Level::Info, format_args!($($text)*))
    };
}

/// Says what helps to find a mistake.
#[macro_export]
macro_rules! debug {
    ($($text:tt)*) => {
        $crate::console::log::say($crate::console::log::Level::Debug, format_args!($($text)*))
    };
}

/// Prints text as it is.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => { $crate::console::log::print(format_args!($($text)*)) };
}

/// Prints a line as it is.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($text:tt)+) => {
        $crate::console::log::print(format_args!("{}\n", format_args!($($text)+)))
    };
}
