//! The consoles of partitions on the one serial line: what each prints is tagged
//! with its name, and a person types at one of them.

use super::{PARTITIONS, Partition, partitions, roster};
use crate::{print, println};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;

/// LPID of the partition that the keyboard belongs to; 0 for none.
static ATTACHED: AtomicU64 = AtomicU64::new(0);

/// Whether the keyboard belongs to a partition. Says so when it does no more,
/// because the partition has ended.
pub fn is_attached() -> bool {
    let lpid = ATTACHED.load(Ordering::Relaxed);
    if lpid == 0 {
        return false;
    }
    let runs = partitions().iter().any(|run| run.lpid == lpid);
    if !runs {
        ATTACHED.store(0, Ordering::Relaxed);
        println!("\nThe partition has ended; this is the prompt again.");
    }
    runs
}

/// Leaves a partition's console: Ctrl-].
const ESCAPE: u8 = 0x1d;

/// Gives a byte that was typed to the partition that the keyboard belongs to;
/// `false` if it belongs to none.
pub fn take_typed(byte: u8) -> bool {
    let lpid = ATTACHED.load(Ordering::Relaxed);
    if lpid == 0 {
        return false;
    }
    if byte == ESCAPE {
        ATTACHED.store(0, Ordering::Relaxed);
        println!();
        return true;
    }
    let all = partitions();
    match all.iter().find(|partition| partition.lpid == lpid) {
        Some(partition) => partition.terminal.lock().type_byte(byte),
        None => {
            ATTACHED.store(0, Ordering::Relaxed);
            return false;
        }
    };
    true
}

/// `console NAME`.
pub fn console(name: &str) {
    let found = partitions()
        .iter()
        .find(|run| run.name() == name)
        .map(Arc::clone);
    let Some(run) = found else {
        match roster::find(name) {
            Ok(it) => println!("{name} is {}: it has no console now.", it.life().state()),
            Err(why) => println!("console: {why}."),
        }
        return;
    };
    println!("Console of {name}. Ctrl-] comes back to the prompt.");
    print!("{}", run.terminal.lock().unfinished());
    ATTACHED.store(run.lpid, Ordering::Relaxed);
}

/// What a partition prints.
pub(super) fn say(partition: &Partition, bytes: &[u8]) {
    let attached = ATTACHED.load(Ordering::Relaxed);
    let mut terminal = partition.terminal.lock();
    if attached == partition.lpid {
        print!("{}", Printable(bytes));
        terminal.print(bytes, |_| {});
    } else {
        terminal.print(bytes, |line| tag(attached, partition.name(), line));
    }
}

/// Shows a line of a partition that nobody is attached to. The line that the
/// attached one has begun, often with what a person types, comes again below.
fn tag(attached: u64, name: &str, line: &str) {
    // Locks are only tried: who holds them may wait for this terminal's.
    let runs = PARTITIONS.get().and_then(Mutex::try_lock);
    let run = runs.as_ref().and_then(|runs| {
        let mut runs = runs.iter();
        runs.find(|run| run.lpid == attached)
    });
    match run.and_then(|run| run.terminal.try_lock()) {
        Some(terminal) if !terminal.unfinished().is_empty() => {
            print!("\r\x1b[K[{name}] {line}\n{}", terminal.unfinished());
        }
        _ => println!("[{name}] {line}"),
    }
}

/// What a partition prints, to the person who is attached to it: control
/// sequences included, which is what being attached means.
struct Printable<'a>(&'a [u8]);

impl core::fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for &byte in self.0 {
            if byte != 0 && byte != b'\r' {
                core::fmt::Write::write_char(f, char::from(byte & 0x7f))?;
            }
        }
        Ok(())
    }
}
