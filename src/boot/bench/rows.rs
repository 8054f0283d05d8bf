//! One row: repeated, counted, printed.

use crate::boot::pci::SPY;
use crate::cpu::{self, counter};
use crate::println;
use crate::spy::Sight;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

/// How often each operation is measured.
const REPEATS: usize = 7;

/// Rows printed so far.
static PRINTED: AtomicU64 = AtomicU64::new(0);

/// Rows printed so far.
pub fn printed() -> u64 {
    PRINTED.load(Ordering::Relaxed)
}

/// What is measured.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// Its name.
    pub id: &'a str,
    /// Units that one measurement does.
    pub units: u64,
}

/// What an operation does outside of the processor: what costs most on
/// hardware.
#[derive(Clone, Copy)]
pub struct Outside {
    /// Accesses to PHBs' registers.
    pub mmio: u64,
    /// Calls of firmware.
    pub opal: u64,
}

/// Instructions of one `what`, with those of counting.
pub fn count(what: impl FnOnce() -> Result<(), String>) -> Result<u64, String> {
    let before = counter::instructions();
    what()?;
    let after = counter::instructions();
    Ok(u64::from(after.wrapping_sub(before)))
}

/// What one `what` does outside. The spy on PHBs' registers counts, so that
/// nothing does while instructions are counted.
pub fn outside(what: impl FnOnce() -> Result<(), String>) -> Result<Outside, String> {
    SPY.arm(|| Sight { tce: 0, pins: 0 });
    let calls = cpu::area().firmware_calls();
    let done = what();
    let opal = cpu::area().firmware_calls().wrapping_sub(calls);
    let mmio = SPY.accesses();
    SPY.disarm();
    done.map(|()| Outside { mmio, opal })
}

impl<'a> Row<'a> {
    /// A row of one unit.
    pub fn one(id: &'a str) -> Self {
        Self { id, units: 1 }
    }

    /// Measures `what`; `undo` puts things back, uncounted. The first round is
    /// not counted: it makes what later ones find.
    pub fn measure(
        self,
        mut what: impl FnMut() -> Result<(), String>,
        mut undo: impl FnMut() -> Result<(), String>,
    ) -> Result<(), String> {
        let overhead = count(|| Ok(()))?;
        let mut counts = Vec::with_capacity(REPEATS);
        for round in 0..=REPEATS {
            let cost = count(&mut what)?.saturating_sub(overhead);
            undo()?;
            if round > 0 {
                counts.push(cost);
            }
        }
        let outside = outside(what)?;
        undo()?;
        self.print(&mut counts, Some(outside));
        Ok(())
    }

    /// Prints the row.
    pub fn print(self, counts: &mut [u64], outside: Option<Outside>) {
        counts.sort_unstable();
        let min = counts.first().copied().unwrap_or(0);
        let median = counts.get(counts.len() / 2).copied().unwrap_or(0);
        let Row { id, units } = self;
        let outside = outside.map_or_else(String::new, |it| {
            format!(" mmio={} opal={}", it.mmio, it.opal)
        });
        PRINTED.fetch_add(1, Ordering::Relaxed);
        println!("bench: row id={id} units={units} min={min} median={median}{outside}");
    }
}
