//! What is pending is taken and handed to the handlers; what handlers leave
//! undone, and what a person should know, is found again.

use super::error::Notice;
use super::icp::Port;
use super::interrupts::{Interrupts, Presenter};
use super::name::Name;
use super::source::{Outcome, Source};
use super::table::SlotState;
use super::xive::{self, Ack, Target, Tima};
use super::{Bus, Firmware, icp};
use core::sync::atomic::Ordering;

/// Interrupts that a POWER8 thread takes before it looks around.
const MOST_AT_ONCE: usize = 64;

impl<B: Bus, F: Firmware> Interrupts<B, F> {
    /// Takes what is pending for the running thread and calls the handlers: from
    /// the external interrupt's (POWER8) and the hypervisor virtualization
    /// interrupt's (POWER9 and later) vector only.
    pub fn take(&self) {
        match &self.presenter {
            Presenter::Icp(_) => self.take_from_icp(),
            Presenter::Xive { tima, .. } => self.take_from_xive(tima),
        }
    }

    fn take_from_icp(&self) {
        let Some(port) = self.own_port() else {
            return;
        };
        if self.collect(port) == 0 {
            self.spurious.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Handles what the running thread's ICP has; returns how much.
    pub(super) fn collect(&self, port: &Port) -> usize {
        for number in 0..MOST_AT_ONCE {
            match port.take(&self.bus) {
                icp::Taken::Nothing => return number,
                icp::Taken::Ipi => {
                    port.count_ipi();
                    port.withdraw(&self.bus);
                }
                icp::Taken::Source(source) => {
                    if !self.deliver(source) {
                        port.hold(&self.bus);
                    }
                }
            }
        }
        MOST_AT_ONCE
    }

    pub(super) fn own_target(&self) -> Option<&Target> {
        match &self.presenter {
            Presenter::Icp(_) => None,
            Presenter::Xive { targets, .. } => {
                let running = self.bus.running_thread();
                targets.iter().find(|target| target.server == running)
            }
        }
    }

    fn take_from_xive(&self, tima: &Tima) {
        let ack = tima.acknowledge(&self.bus);
        let Some(target) = self.own_target() else {
            self.spurious.fetch_add(1, Ordering::Relaxed);
            tima.accept(&self.bus, xive::ACCEPT_NONE);
            return;
        };
        // The queue is looked into whatever the acknowledge says: an entry may
        // be there before its notification.
        let taken = self.drain(target);
        if taken == 0 && !matches!(ack, Ack::Foreign(_)) {
            self.spurious.fetch_add(1, Ordering::Relaxed);
        }
        tima.accept(&self.bus, xive::ACCEPT_ALL);
    }

    /// Handles all entries of the running thread's queue; returns how many.
    pub(super) fn drain(&self, target: &Target) -> usize {
        let mut taken = 0;
        while let Some(number) = target.queue.next(&self.bus) {
            // What the device wrote before it fired is read after the entry.
            self.bus.barrier();
            taken += 1;
            if let Some(source) = Source::new(number) {
                self.deliver(source);
            }
        }
        taken
    }

    /// Handles one interrupt. `false`: it was not ended.
    fn deliver(&self, source: Source) -> bool {
        let Some((slot, contents)) = self
            .table
            .find(source)
            .and_then(|slot| Some((slot, slot.contents()?)))
        else {
            self.remember_unknown(source);
            return false;
        };
        if slot.state().contains(SlotState::MASKED) {
            slot.set(SlotState::HELD | SlotState::MISSED);
            return false;
        }
        slot.count_one();
        let mut storm = slot.watch.fired(self.bus.round());
        let outcome = (contents.registration.handler)(contents.registration.data);
        match outcome {
            Outcome::Served | Outcome::Kept => slot.watch.served(),
            Outcome::NotMine => storm = storm.or(slot.watch.fruitless()),
            Outcome::Later => {
                storm = storm.or(slot.watch.later(self.bus.seconds()));
                if !slot
                    .set(SlotState::WAITING | SlotState::HELD)
                    .contains(SlotState::WAITING)
                {
                    self.waiting.fetch_add(1, Ordering::Release);
                }
            }
        }
        if let Some(storm) = storm {
            slot.watch.blame(storm);
            let bits = SlotState::MASKED | SlotState::STORM | SlotState::UNTOLD;
            if !slot.set(bits).contains(SlotState::UNTOLD) {
                self.untold.fetch_add(1, Ordering::Release);
            }
        }
        if slot.state().contains(SlotState::MASKED) {
            // Silenced just now, or masked by its own handler.
            slot.set(SlotState::HELD);
            return false;
        }
        if matches!(outcome, Outcome::Later | Outcome::Kept) {
            return false;
        }
        self.finish(source, &contents).is_ok()
    }

    fn remember_unknown(&self, source: Source) {
        self.spurious.fetch_add(1, Ordering::Relaxed);
        // Kept as number + 1; an entry with the same number says it all.
        let key = source.get() + 1;
        for entry in &self.unknown {
            match entry.compare_exchange(0, key, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(other) if other == key => return,
                Err(_) => {}
            }
        }
    }

    /// A source whose handler answered [`Outcome::Later`] and that has not been
    /// handed out yet. [`Interrupts::end`] follows when it is served.
    pub fn next_waiting(&self) -> Option<Source> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return None;
        }
        let found = self
            .table
            .iter()
            .find(|(_, slot)| slot.clear(SlotState::WAITING).contains(SlotState::WAITING));
        let (source, _) = found?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(source)
    }

    /// Something that a person should know, once.
    pub fn next_notice(&self) -> Option<Notice> {
        for entry in &self.unknown {
            let key = entry.swap(0, Ordering::AcqRel);
            if let Some(source) = key.checked_sub(1).and_then(Source::new) {
                self.silence_unknown(source);
                return Some(Notice::Unknown(source));
            }
        }
        if self.untold.load(Ordering::Acquire) == 0 {
            return None;
        }
        let (source, slot) = self
            .table
            .iter()
            .find(|(_, slot)| slot.clear(SlotState::UNTOLD).contains(SlotState::UNTOLD))?;
        self.untold.fetch_sub(1, Ordering::Relaxed);
        Some(Notice::Silenced {
            source,
            name: slot
                .contents()
                .map_or(Name::Fixed(""), |contents| contents.registration.name),
            storm: slot.watch.blamed(),
        })
    }

    /// Masks a source that nobody registered. That it was not ended keeps it
    /// silent even if firmware refuses.
    fn silence_unknown(&self, source: Source) {
        let (number, running) = (source.get(), self.bus.running_thread());
        match &self.presenter {
            Presenter::Icp(_) => {
                let masked = self.firmware.set_xive(number, running, icp::NO_PRIORITY);
                if let (Ok(()), Some(port)) = (masked, self.own_port()) {
                    port.end(&self.bus, number);
                }
            }
            Presenter::Xive { .. } => {
                let _ = self
                    .firmware
                    .route(number, running, icp::NO_PRIORITY, number);
            }
        }
    }
}
