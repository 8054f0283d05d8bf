//! What firmware wants to be noticed: events, messages, its interrupts.

use super::runtime::OPAL;
use super::{interrupts, pci, power, secondaries};
use crate::cpu;
use crate::opal::{Event, EventBits, Reboot, Response, decode_message};
use crate::{error, info, warning};

/// Ticks between two looks at firmware while nothing happens: 20 ms, so that
/// typing feels at once even where a terminal has no interrupt, and far below
/// any `ibm,heartbeat-ms`.
fn interval() -> u64 {
    cpu::timebase_hz() / 50
}

/// One round: sleeps a little, at most so many ticks, then serves firmware.
/// Returns whether a terminal has input.
pub fn wait_at_most(ticks: u64) -> bool {
    cpu::idle::sleep(interval().min(ticks));
    serve()
}

/// Serves firmware once: the interrupts of its own that have fired, and what it
/// has to do by itself. A source that has not fired is left alone: asked for a
/// PHB's error source, firmware would take an error as pending.
pub fn serve() -> bool {
    let mut events = interrupts::serve();
    events |= OPAL.poll_events().unwrap_or(EventBits::empty());
    if events.contains(EventBits::MESSAGE_PENDING) {
        serve_messages();
    }
    if events.contains(EventBits::PCI_ERROR) {
        pci::errors::serve();
    } else {
        pci::errors::look_now_and_then();
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
            match event {
                Event::Shutdown { .. } => info!("{event}"),
                _ => error!("{event}"),
            }
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
