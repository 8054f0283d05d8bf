//! One row: repeated, counted, printed.

use crate::cpu::counter;
use crate::println;
use alloc::string::String;
use alloc::vec::Vec;

/// How often each operation is measured.
const REPEATS: usize = 7;

/// What is measured.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// Its name.
    pub id: &'a str,
    /// Units that one measurement does.
    pub units: u64,
}

/// Instructions of one `what`, with those of counting.
pub fn count(what: impl FnOnce() -> Result<(), String>) -> Result<u64, String> {
    let before = counter::instructions();
    what()?;
    let after = counter::instructions();
    Ok(u64::from(after.wrapping_sub(before)))
}

impl Row<'_> {
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
        self.print(&mut counts);
        Ok(())
    }

    /// Prints the row.
    pub fn print(self, counts: &mut [u64]) {
        counts.sort_unstable();
        let min = counts.first().copied().unwrap_or(0);
        let median = counts.get(counts.len() / 2).copied().unwrap_or(0);
        let Row { id, units } = self;
        println!("bench: row id={id} units={units} min={min} median={median}");
    }
}
