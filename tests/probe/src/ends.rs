//! What the partition does instead of its checks, if its arguments say so.

use crate::call;
use crate::checks::{Outcome, spin};
use crate::cost;
use crate::device::{BOTH, BUFFERS, Device, PAGE};
use crate::edu::Edu;
use crate::get;
use crate::hostile;
use crate::println;
use crate::signals;
use crate::state;
use crate::tree;
use crate::vectors::timebase;
use crate::words;

/// RTAS: the partition's last words.
const OS_TERM: u32 = 5;

/// Pages that stay mapped.
const HELD: u64 = 3;

/// `probe=check` provokes a machine check, `probe=half` says what it gets of a thread that it shares with one other, then
/// spins for ever; `probe=crash` gives up, `probe=wait` waits for ever, `probe=hold` maps pages
/// for its edu, lets it use one, and then waits for ever, `probe=keep` keeps an
/// interrupt of its edu until that is taken away, and then waits for ever,
/// `probe=hostile` does what it must not, `probe=state` watches its own state,
/// `probe=yield` gives its thread to others whenever it gets it.
pub fn if_told(tree: u64) {
    if words::told(tree, "probe=check") {
        check();
    }
    if words::told(tree, "probe=half") {
        half();
    }
    if words::told(tree, "probe=crash") {
        println!("probe: gives up");
        let text = c"told to crash";
        call::rtas(OS_TERM, &[text.as_ptr() as u32], &mut [0]);
    }
    if words::told(tree, "probe=hold") {
        match hold(tree) {
            Ok(()) => println!("probe: holds {HELD} pages"),
            Err(why) => println!("probe: FAIL hold: {why}"),
        }
        wait();
    }
    if words::told(tree, "probe=state") {
        state::run(tree);
    }
    if words::told(tree, "probe=keep") {
        if let Err(why) = keep(tree) {
            println!("probe: FAIL keep: {why}");
        }
        wait();
    }
    if words::told(tree, "probe=hostile") {
        hostile::run();
    }
    if words::told(tree, "probe=yield") {
        loop {
            cost::give_way();
        }
    }
    if words::told(tree, "probe=wait") {
        println!("probe: waits");
        wait();
    }
}

/// Loads a byte from a page of its XIVE, which answers doublewords only: a machine
/// check.
fn check() -> ! {
    let (_, [_, page, _]) = call::hypervisor(call::INT_GET_SOURCE_INFO, &[0, 0]);
    println!("probe: loads a byte at {page:#x}");
    // SAFETY: none: a machine check is what is asked for.
    let byte: u64;
    unsafe { core::arch::asm!("lbz {0}, 0({1})", out(reg) byte, in(reg_nonzero) page) };
    println!("probe: still here with {byte:#x}");
    wait()
}

/// Spins, with interrupts off; the first second is for the other one to begin.
fn half() -> ! {
    println!("probe: spins");
    spin(1000);
    let (start, ran) = (timebase(), get!(849));
    spin(2000);
    let (time, ran) = (timebase() - start, get!(849) - ran);
    let part = ran * 1000 / time;
    let verdict = if (480..=520).contains(&part) {
        "ok   "
    } else {
        "FAIL "
    };
    println!("probe: {verdict} half: it had {part} of 1000");
    loop {}
}

fn wait() -> ! {
    loop {
        call::hypervisor(call::CEDE, &[]);
    }
}

fn hold(tree: u64) -> Outcome {
    let bridge = tree::bridge(tree).ok_or("there is no device in the tree")?;
    let device = Device { tree, bridge };
    for page in 0..HELD {
        if device.put(page, (BUFFERS + page * PAGE) | BOTH) != 0 {
            return Err("H_PUT_TCE fails");
        }
    }
    Edu::new(bridge.registers.0)?.round_trip(0x800)
}

fn keep(tree: u64) -> Outcome {
    let bridge = tree::bridge(tree).ok_or("there is no device in the tree")?;
    signals::keep(&Device { tree, bridge })
}
