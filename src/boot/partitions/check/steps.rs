//! DMA is tried behind every step of a stop, by a device that goes on mastering
//! the bus: it reaches memory while the partition's window is open, and nothing
//! from the moment on that its TVE is off.

use super::attacker::{Attacker, SMALL};
use super::subject::{Counts, PAGE_SHIFT, Subject, disobey, members, pins};
use crate::boot::pci::check::edu::{holds, put};
use crate::boot::pci::device::Buffer;
use crate::boot::pci::passed::{self, Passed};
use crate::boot::pci::platform::Platform;
use crate::boot::pci::{SPY, check::expect};
use crate::memory::ledger::Holdings;
use crate::spy::Sight;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use spin::Mutex;

/// The partition's pages: what is to be read, what is to be written, and what
/// the device was given to write it.
const SECRET: u64 = 0;
const TARGET: u64 = 1 << PAGE_SHIFT;
const SOURCE: u64 = 2 << PAGE_SHIFT;
const PAGES: u64 = 3;
const BYTES: u64 = 64 << 10;

/// How each is filled; the target before each try.
const OF_SECRET: u8 = 0x71;
const OF_SOURCE: u8 = 0x31;
const OF_TARGET: u8 = 0x91;

/// Tries during a kill: its barrier, its store, its end.
const OF_KILL: usize = 3;

/// When DMA was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Running,
    Behind(Passed),
    Killing,
    Stopped,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("while it runs"),
            Self::Behind(step) => write!(f, "behind {step:?}"),
            Self::Killing => f.write_str("during the kill"),
            Self::Stopped => f.write_str("when it has stopped"),
        }
    }
}

/// A try: the piece of the device's buffer that it read into is 1 more than its
/// place in the list.
struct Try {
    when: When,
    has_written: bool,
    /// Of the partition's memory at that time.
    pins: u64,
}

/// What tries, what it tries to reach, and what became of it.
struct Trial {
    attacker: Attacker,
    target: Buffer,
    holdings: Arc<Holdings<Platform>>,
    tries: Vec<Try>,
    error: Option<String>,
}

impl Trial {
    fn attempt(&mut self, when: When) -> u64 {
        let piece = 1 + self.tries.len() as u64;
        put(&mut self.target, OF_TARGET);
        let tried = self.attacker.write(0, TARGET);
        let tried = tried.and_then(|()| self.attacker.read(piece, SECRET));
        self.error = self.error.take().or(tried.err());
        let pins = pins(&self.holdings);
        self.tries.push(Try {
            when,
            has_written: holds(&self.target, OF_SOURCE),
            pins,
        });
        pins
    }

    fn count(&self, when: When) -> usize {
        self.tries.iter().filter(|it| it.when == when).count()
    }
}

type Shared = Arc<Mutex<Trial>>;

/// The self-test's part `stop-steps`.
pub fn stop_steps() -> Result<String, String> {
    let Some(attacker) = Attacker::find()? else {
        return Ok("left out: there is no edu that is nobody's".into());
    };
    let devices = members(attacker.place);
    let before = Counts::now()?;
    let told = Subject::with("steps", BYTES, &devices, |subject| {
        let tried = with(subject, attacker);
        // Whatever happened: they refer to the partition's memory.
        passed::end();
        SPY.disarm();
        tried
    })?;
    // The heap's lists grow the first time.
    before.memory_is_back()?;
    Ok(told)
}

fn with(subject: &Subject, mut attacker: Attacker) -> Result<String, String> {
    let (id, pe, place) = (attacker.id, attacker.pe, attacker.place);
    subject.start()?;
    subject.map(pe, 0, PAGES)?;
    let piece = |at| subject.memory(at, SMALL);
    put(&mut piece(SOURCE)?, OF_SOURCE);
    put(&mut piece(SECRET)?, OF_SECRET);
    attacker.read(0, SOURCE)?;
    let trial = Arc::new(Mutex::new(Trial {
        attacker,
        target: piece(TARGET)?,
        holdings: subject.holdings(),
        tries: Vec::with_capacity(32),
        error: None,
    }));
    trial.lock().attempt(When::Running);
    let listening = Arc::clone(&trial);
    passed::listen(move |_, step| {
        // What obeys could not show that the next step holds.
        let disobeys = disobey(place, true).err();
        let mut trial = listening.lock();
        trial.error = trial.error.take().or(disobeys);
        trial.attempt(When::Behind(step));
        if step == Passed::TveOff {
            SPY.arm(at_kill(&listening));
        }
    });
    subject.stop()?;
    passed::end();
    SPY.disarm();
    subject.is_all(0)?;
    put(&mut piece(SECRET)?, OF_SECRET);
    let mut trial = Arc::into_inner(trial)
        .ok_or("somebody still listens")?
        .into_inner();
    trial.attempt(When::Stopped);
    disobey(place, false)?;
    if let Some(why) = trial.error.take() {
        return Err(why);
    }
    // What the device has read shows when it is let write again.
    subject.start()?;
    subject.map(pe, 0, PAGES)?;
    for piece in 0..=trial.tries.len() as u64 {
        trial.attacker.write(piece, SOURCE + piece * SMALL)?;
    }
    judge(&trial, |number| {
        let read = subject.memory(SOURCE + (1 + number) * SMALL, SMALL)?;
        Ok(holds(&read, OF_SECRET))
    })?;
    let tries = trial.tries.len();
    drop(trial);
    subject.stop()?;
    Ok(format!(
        "{id} tried DMA {tries} times during a stop: nothing was in reach once its window was closed"
    ))
}

/// What the spy calls while the PHB is locked: tries, a few times.
fn at_kill(trial: &Shared) -> impl Fn() -> Sight + Send + use<> {
    let trial = Arc::clone(trial);
    move || {
        let mut trial = trial.lock();
        let pins = match trial.count(When::Killing) < OF_KILL {
            true => trial.attempt(When::Killing),
            false => pins(&trial.holdings),
        };
        Sight { tce: 0, pins }
    }
}

/// Which tries had to reach memory and which had not, that pins stayed as long as
/// they had to, and that all moments came.
fn judge(trial: &Trial, has_read: impl Fn(u64) -> Result<bool, String>) -> Result<(), String> {
    let is_open = |when| matches!(when, When::Running | When::Behind(Passed::BusMasterOff));
    for (number, it) in (0..).zip(&trial.tries) {
        let when = it.when;
        let (wrote, read) = (it.has_written, has_read(number)?);
        if (wrote, read) != (is_open(when), is_open(when)) {
            let pins = it.pins;
            return Err(format!(
                "try {number}, {when}: written {wrote}, read {read}, with {pins} pins"
            ));
        }
        // Until all is off and reset the memory must not be another's.
        let is_held = !matches!(when, When::Behind(Passed::Landed) | When::Stopped);
        let held = if is_held { PAGES } else { 0 };
        if it.pins != held {
            return Err(format!(
                "try {number}, {when}: {} pins, not {held}",
                it.pins
            ));
        }
    }
    for step in [
        Passed::BusMasterOff,
        Passed::TveOff,
        Passed::Reset,
        Passed::Thawed,
    ] {
        let count = trial.count(When::Behind(step));
        expect(count > 0, &format!("no try behind {step:?}"))?;
    }
    expect(trial.count(When::Killing) == OF_KILL, "the kill was missed")
}
