//! What operations cost, in instructions: `bench` at the prompt. Each line is
//! for a program to read; `cargo xtask bench` makes tables of them.
//!
//! Figures mean something on an emulator that counts instructions only.

mod engine;
mod interrupt;
mod kill;
mod lists;
mod making;
mod rows;
pub mod window;

use super::runtime;
use crate::cpu::{self, counter};
use crate::println;
use alloc::format;
use alloc::string::String;
use rows::Row;

/// Turns of the calibration loop.
const TURNS: u64 = 10_000;

/// Which rows were asked for.
#[derive(Clone, Copy)]
pub struct Asked<'w>(&'w str);

impl Asked<'_> {
    /// Whether the row `id` was.
    pub fn has(self, id: &str) -> bool {
        match self.0.strip_prefix('=') {
            Some(exactly) => id == exactly,
            None => id.starts_with(self.0),
        }
    }
}

/// Measures everything, the rows whose names begin with `part`, or the one row
/// whose name is behind a `=`.
pub fn run(part: &str) {
    let asked = Asked(part);
    let printed = rows::printed();
    counter::start();
    let result = calibrate().and_then(|()| {
        boot(asked);
        kill::run(asked)?;
        interrupt::run(asked)?;
        let before = free_bytes();
        engine::run(asked)?;
        making::run(asked)?;
        match free_bytes() {
            after if after == before => Ok(()),
            after => Err(format!("{before} bytes were free, now {after}")),
        }
    });
    counter::stop();
    match result {
        Ok(()) if rows::printed() == printed => println!("bench: no row is named {part}"),
        Ok(()) => println!("bench: done"),
        Err(why) => println!("bench: failed {why}"),
    }
}

/// Counts a loop of known length.
fn calibrate() -> Result<(), String> {
    let empty = rows::count(|| Ok(()))?;
    let counted = rows::count(|| {
        counter::known_loop(TURNS);
        Ok(())
    })?;
    // The call itself is a handful of instructions.
    let counted = counted.saturating_sub(empty);
    println!(
        "bench: calibration expected={} counted={counted}",
        2 * TURNS + 1
    );
    Ok(())
}

/// From the first instruction of Rust to the banner, by the clock: the counter
/// was off.
fn boot(asked: Asked<'_>) {
    let Some(ticks) = super::banner::ticks_at_banner() else {
        return;
    };
    let hz = cpu::timebase_hz().max(1);
    // One instruction takes one nanosecond of an emulated machine's time.
    let instructions = u64::try_from(u128::from(ticks) * 1_000_000_000 / u128::from(hz));
    if asked.has("boot") {
        Row::one("boot").print(&mut [instructions.unwrap_or(u64::MAX)], None);
    }
}

/// An error as the line that ends a benchmark.
#[cold]
fn told(row: &str, error: impl core::fmt::Display) -> String {
    format!("{row}: {error}")
}

/// Free memory before and after must be the same.
fn free_bytes() -> u64 {
    runtime::frames().0
}
