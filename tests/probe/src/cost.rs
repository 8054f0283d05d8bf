//! What calls cost, in instructions as the emulator counts them: time by the
//! timebase, compared with a loop whose instructions are known. Each line is a
//! row for `cargo xtask bench`.

use crate::call::{CONFER, CPPR, NOTHING, hypervisor};
use crate::device::{BOTH, BUFFERS, GET_TCE, LIST, PAGE, PUT_TCE, PUT_TCE_INDIRECT, STUFF_TCE};
use crate::device::{Device, write_list};
use crate::println;
use crate::tree;
use crate::vectors::timebase;
use crate::words;
use core::arch::asm;

/// Measurements of a row.
const REPEATS: usize = 7;

/// Instructions of the loop that time is compared with.
pub const KNOWN: u64 = 1_000_000;

/// Entries of a list.
const ENTRIES: u64 = 512;

/// Ticks of a loop of [`KNOWN`] instructions.
pub fn known() -> u64 {
    let start = timebase();
    // SAFETY: counts down.
    unsafe { asm!("mtctr {}", "1: bdnz 1b", in(reg) KNOWN, out("ctr") _, options(nostack)) };
    timebase() - start
}

/// What is measured, and how it is counted.
struct Bench {
    tree: u64,
    /// Ticks of [`KNOWN`] instructions.
    ticks: u64,
}

impl Bench {
    /// Prints a row: what `calls` times `what` cost, each of which does `units`.
    /// `between` puts things back. On hardware the numbers mean nothing:
    /// instructions take their time there.
    fn row(
        &self,
        id: &str,
        (calls, units): (u64, u64),
        mut what: impl FnMut(u64),
        mut between: impl FnMut(),
    ) {
        if !words::asked(self.tree, id) {
            return;
        }
        let mut counts = [0; REPEATS];
        for count in &mut counts {
            between();
            let start = timebase();
            for number in 0..calls {
                what(number);
            }
            *count = (timebase() - start) * KNOWN / self.ticks;
        }
        between();
        counts.sort_unstable();
        let (min, median) = (counts[0], counts[REPEATS / 2]);
        let units = calls * units;
        println!("bench: row id={id} units={units} min={min} median={median}");
    }

    /// Calls about the entries of a device's window: single ones, then lists of
    /// pages that are nowhere side by side.
    fn entries(&self, device: &Device) {
        let liobn = device.bridge.liobn;
        let call = |token, page: u64, what, count| {
            let ioba = device.bridge.base + page * PAGE;
            let (status, _) = hypervisor(token, &[liobn, ioba, what, count]);
            assert!(status == 0, "call {token:#x} fails: {status}");
        };
        let page = |number: u64| (BUFFERS + (number * 7 % ENTRIES) * PAGE) | BOTH;
        write_list((0..ENTRIES).map(page));
        let clear = || call(STUFF_TCE, 0, 0, ENTRIES);
        let fill = || call(PUT_TCE_INDIRECT, 0, LIST, ENTRIES);
        let many = (100, 1);
        self.row("h-put-tce", many, |n| call(PUT_TCE, n, page(n), 0), clear);
        self.row("h-put-tce-unmap", many, |n| call(PUT_TCE, n, 0, 0), fill);
        self.row("h-get-tce", many, |n| call(GET_TCE, n, 0, 0), fill);
        clear();
        let list = (1, ENTRIES);
        self.row("h-put-tce-indirect-512", list, |_| fill(), clear);
        self.row("h-stuff-tce-512", list, |_| clear(), fill);
        clear();
        self.row("h-stuff-tce-512-empty", list, |_| clear(), || {});
    }
}

/// Gives the thread to the others that share it.
pub fn give_way() {
    hypervisor(CONFER, &[u64::MAX, 0]);
}

/// Measures all rows, or the one that the arguments ask for.
pub fn measure(tree: u64) {
    let ticks = known().max(1);
    let bench = Bench { tree, ticks };
    // Beside one that gives way at once: only if it is asked for.
    if words::told(tree, "row=world-switch") {
        bench.row("world-switch", (100, 2), |_| give_way(), || {});
    }
    for (id, token) in [("null-hcall", NOTHING), ("full-exit", CPPR)] {
        let call = |_| {
            hypervisor(token, &[0]);
        };
        bench.row(id, (100, 1), call, || {});
    }
    if let Some(bridge) = tree::bridge(tree) {
        bench.entries(&Device { tree, bridge });
    }
}
