//! Rows of interrupts: from a trigger to its handler, and to its end.

use super::rows::Row;
use super::{Asked, told};
use crate::boot::interrupts::{delivery, register};
use crate::cpu::{self, counter};
use crate::irq::{Kind, Outcome, Source};
use crate::println;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

/// The counter when the handler ran.
static AT_HANDLER: AtomicU32 = AtomicU32::new(0);

/// Calls of the handler.
static SEEN: AtomicU32 = AtomicU32::new(0);

const REPEATS: u32 = 7;

fn handler(_: usize) -> Outcome {
    AT_HANDLER.store(counter::instructions(), Ordering::Relaxed);
    SEEN.fetch_add(1, Ordering::Relaxed);
    Outcome::Served
}

/// A source that its own ESB triggers, where there are such.
pub fn run(asked: Asked<'_>) -> Result<(), String> {
    let names = ["interrupt-latency", "interrupt"];
    if !names.iter().any(|name| asked.has(name)) {
        return Ok(());
    }
    let Some((delivery, source)) = delivery().and_then(|it| Some((it, it.allocate().ok()?))) else {
        println!("bench: skip interrupt: no source could be had");
        return Ok(());
    };
    let measured = measure(source);
    let gone = delivery.unregister(source);
    delivery.free(source).map_err(|error| told("free", error))?;
    let (mut to_handler, mut whole) = measured?;
    gone.map_err(|error| told("unregister", error))?;
    for (name, counts) in names.into_iter().zip([&mut to_handler, &mut whole]) {
        if asked.has(name) {
            Row::one(name).print(counts, None);
        }
    }
    Ok(())
}

fn measure(source: Source) -> Result<(Vec<u64>, Vec<u64>), String> {
    let delivery = delivery().ok_or("no delivery")?;
    register(source, "benchmark".into(), Kind::Msi, handler, 0)
        .map_err(|error| told("register", error))?;
    delivery
        .unmask(source)
        .map_err(|error| told("unmask", error))?;
    SEEN.store(0, Ordering::Relaxed);
    let (mut to_handler, mut whole) = (Vec::new(), Vec::new());
    for round in 0..=REPEATS {
        let before = counter::instructions();
        delivery
            .trigger(source)
            .map_err(|error| told("trigger", error))?;
        cpu::idle::take_interrupts();
        let after = counter::instructions();
        if SEEN.load(Ordering::Relaxed) != round + 1 {
            return Err(told("interrupt", "it did not come at once"));
        }
        // The first makes what later ones find.
        if round > 0 {
            let at = AT_HANDLER.load(Ordering::Relaxed);
            to_handler.push(u64::from(at.wrapping_sub(before)));
            whole.push(u64::from(after.wrapping_sub(before)));
        }
    }
    Ok((to_handler, whole))
}
