//! What firmware wants to be noticed: events, messages, its interrupts.

use super::runtime::OPAL;
use super::{power, secondaries};
use crate::cpu;
use crate::machine::Machine;
use crate::opal::{Event, EventBits, Reboot, Response, decode_message};
use crate::{debug, error, info, warning};
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;

/// Ticks between two looks at firmware while nothing happens: 20 ms, so that
/// typing feels at once, and far below any `ibm,heartbeat-ms`.
fn interval() -> u64 {
    cpu::timebase_hz() / 50
}

static SOURCES: Once<alloc::vec::Vec<u32>> = Once::new();

static ROUNDS: AtomicU64 = AtomicU64::new(0);

/// Every so many rounds firmware's interrupt sources are served, fired or not:
/// once a second.
const ROUNDS_PER_SERVICE: u64 = 50;

/// Takes the interrupt sources from the tree.
pub fn init(machine: &Machine) {
    let firmware = machine.firmware.as_ref();
    let sources = firmware
        .map(|firmware| firmware.interrupts.clone())
        .unwrap_or_default();
    debug!("firmware has {} interrupt sources", sources.len());
    SOURCES.call_once(|| sources);
}

/// One round: sleeps a little, then serves firmware. Returns whether a
/// terminal has input.
pub fn wait() -> bool {
    cpu::idle::sleep(interval());
    serve()
}

/// Serves firmware once.
pub fn serve() -> bool {
    let mut events = OPAL.poll_events().unwrap_or(EventBits::empty());
    if ROUNDS
        .fetch_add(1, Ordering::Relaxed)
        .is_multiple_of(ROUNDS_PER_SERVICE)
    {
        for &source in SOURCES.get().map_or(&[][..], |sources| sources) {
            match OPAL.handle_interrupt(source) {
                Ok(more) => events |= more,
                Err(error) => debug!("interrupt {source:#x}: {error}"),
            }
        }
    }
    if events.contains(EventBits::MESSAGE_PENDING) {
        serve_messages();
    }
    events.contains(EventBits::CONSOLE_INPUT)
}

fn serve_messages() {
    loop {
        match OPAL.message() {
            Ok(Some(message)) => act(decode_message(&message)),
            Ok(None) => return,
            Err(error) => {
                warning!("{error}");
                return;
            }
        }
    }
}

fn act(event: Event) {
    match event.response() {
        Response::PowerOff(why) => {
            error!("{event}");
            power::off(why);
        }
        Response::Reboot(why) => power::reboot(Reboot::Normal, why),
        Response::Complain => warning!("{event}"),
        Response::Tell => info!("{event}"),
    }
}

/// Serves a hypervisor maintenance interrupt on the running thread.
pub fn maintenance() {
    match OPAL.handle_maintenance() {
        Ok(_) => cpu::area().count_maintenance(),
        Err(error) => error!("thread {:#x}: {error}", cpu::pir()),
    }
}

/// Hypervisor maintenance interrupts on all threads so far.
pub fn maintenance_count() -> u64 {
    let others: u64 = secondaries::all()
        .iter()
        .map(|area| area.maintenance())
        .sum();
    others + cpu::area().maintenance()
}
