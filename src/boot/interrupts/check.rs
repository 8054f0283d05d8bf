//! Self-tests of interrupt delivery.

use super::super::secondaries;
use super::{delivery, register, server};
use crate::irq::{Kind, Notice, Outcome, Source};
use crate::{cpu, println};
use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering};

/// Times that [`count`] was called, and what it answers next.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Served at once.
fn count(_: usize) -> Outcome {
    SEEN.fetch_add(1, Ordering::Relaxed);
    Outcome::Served
}

/// Never has anything to do, and fires again.
fn storm(number: usize) -> Outcome {
    let source = u32::try_from(number).ok().and_then(Source::new);
    if let (Some(delivery), Some(source)) = (delivery(), source) {
        // Q is set, so that the end fires it again.
        let _ = delivery.trigger(source);
    }
    Outcome::NotMine
}

/// Long enough for an interrupt that is on its way, in ticks.
fn moment() -> u64 {
    cpu::timebase_hz() / 500
}

/// Lets interrupts in until `SEEN` is `wanted` or a moment has passed, then a
/// moment longer; returns `SEEN`.
fn seen_after(wanted: u64) -> u64 {
    for _ in 0..50 {
        if SEEN.load(Ordering::Relaxed) >= wanted {
            break;
        }
        cpu::idle::sleep(moment());
    }
    cpu::idle::sleep(moment());
    SEEN.load(Ordering::Relaxed)
}

fn expect(what: &str, got: u64, wanted: u64) -> Result<(), String> {
    if got == wanted {
        return Ok(());
    }
    Err(alloc::format!("{what}: {got} came, not {wanted}"))
}

/// What is sent arrives, exactly once.
pub fn delivery_of_one() -> Result<String, String> {
    let Some(delivery) = delivery() else {
        return Ok("left out: nothing delivers interrupts here".into());
    };
    let boot = server(cpu::pir());
    let before = delivery.ipis(boot);
    if delivery.send_ipi(boot) {
        cpu::idle::sleep(moment());
        cpu::idle::sleep(moment());
        expect("IPI to itself", delivery.ipis(boot) - before, 1)?;
        return Ok(alloc::format!(
            "an IPI by MFRR arrived once; {} sources",
            delivery.snapshot().len()
        ));
    }
    let error = |error| alloc::format!("{error}");
    let source = delivery.allocate().map_err(error)?;
    let told = exercise(source);
    let gone = delivery.unregister(source).map_err(error);
    let freed = delivery.free(source).map_err(error);
    told?;
    gone?;
    freed?;
    Ok(alloc::format!(
        "source {source} triggered by its ESB arrived once, once after a mask, and was silenced in a storm; {} sources",
        delivery.snapshot().len()
    ))
}

/// Fires a source by its ESB in all ways.
fn exercise(source: Source) -> Result<(), String> {
    let delivery = delivery().ok_or("no delivery")?;
    let error = |error| alloc::format!("{error}");
    SEEN.store(0, Ordering::Relaxed);
    register(source, "self-test".into(), Kind::Msi, count, 0).map_err(error)?;
    // Off: what is sent now is lost.
    delivery.trigger(source).map_err(error)?;
    expect("before unmask", seen_after(1), 0)?;
    delivery.unmask(source).map_err(error)?;
    expect("at unmask", seen_after(1), 0)?;
    for round in 1..=3 {
        delivery.trigger(source).map_err(error)?;
        expect("triggered", seen_after(round), round)?;
    }
    // Masked: what is sent comes once, after the unmask.
    delivery.mask(source).map_err(error)?;
    delivery.trigger(source).map_err(error)?;
    delivery.trigger(source).map_err(error)?;
    expect("while masked", seen_after(4), 3)?;
    delivery.unmask(source).map_err(error)?;
    expect("after the mask", seen_after(4), 4)?;
    delivery.unregister(source).map_err(error)?;

    let number = source.get() as usize;
    register(source, "self-test".into(), Kind::Msi, storm, number).map_err(error)?;
    delivery.unmask(source).map_err(error)?;
    delivery.trigger(source).map_err(error)?;
    cpu::idle::sleep(moment());
    cpu::idle::sleep(moment());
    match delivery.next_notice() {
        Some(Notice::Silenced { source: which, .. }) if which == source => Ok(()),
        other => Err(alloc::format!("a storm led to {other:?}")),
    }
}

/// Threads wake when they are called, however often and fast.
pub fn wake_ups() -> Result<String, String> {
    static DONE: AtomicU64 = AtomicU64::new(0);
    const ROUNDS: u64 = 200;
    fn work(_: &'static cpu::Area) {
        DONE.fetch_add(1, Ordering::Relaxed);
    }
    let others = secondaries::all().len() as u64;
    if others == 0 {
        return Ok("left out: there is one thread".into());
    }
    DONE.store(0, Ordering::Relaxed);
    let start = cpu::timebase();
    for round in 1..=ROUNDS {
        let done = secondaries::run_on_all(work, 1000) as u64;
        if done != others {
            return Err(alloc::format!(
                "round {round}: {done} of {others} threads did their work within a second"
            ));
        }
    }
    expect(
        "pieces of work",
        DONE.load(Ordering::Relaxed),
        ROUNDS * others,
    )?;
    let each = (cpu::timebase() - start) / ROUNDS / (cpu::timebase_hz() / 1_000_000).max(1);
    Ok(alloc::format!(
        "{others} other(s) called {ROUNDS} times, {each} us a round"
    ))
}

/// Somebody types, and the terminal's interrupt says so.
pub fn typing() -> Result<String, String> {
    let before = super::served();
    println!("Type something within a minute.");
    let start = cpu::timebase();
    while cpu::timebase() - start < 60 * cpu::timebase_hz() {
        cpu::idle::sleep(cpu::timebase_hz() / 50);
        // Interrupts only: firmware is not polled.
        let events = super::serve();
        let served = super::served() - before;
        if served > 0 && events.contains(crate::opal::EventBits::CONSOLE_INPUT) {
            let mut buffer = [0; 64];
            let count = crate::console::log::sink().map_or(0, |sink| sink.read(&mut buffer));
            return Ok(alloc::format!(
                "{count} byte(s) came with {served} served interrupt(s)"
            ));
        }
    }
    Err("no interrupt brought input".into())
}
