//! Registering, masking, taking and ending: what drivers and the image use.

use super::esb::{Esb, EsbError};
use super::icp::{self, Port};
use super::source::{Kind, Outcome, Registration, Source};
use super::storm::Storm;
use super::table::{Refused, Slot, SlotState, Table, Use};
use super::xive::{self, Ack, Target, Tima};
use super::{Bus, Firmware};
use crate::opal::{OpalError, XiveQueue};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use thiserror::Error;

/// Most different sources without a handler that are remembered until they are
/// reported. More stay silent all the same.
const MAX_UNKNOWN: usize = 8;

/// Interrupts that a POWER8 thread takes before it looks around.
const MOST_AT_ONCE: usize = 64;

/// Why something cannot be done to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IrqError {
    /// It is registered already.
    #[error("interrupt source {0} is in use")]
    InUse(Source),
    /// No room.
    #[error("interrupt source {0} is one too many ({max} are possible)", max = super::table::MAX_SOURCES)]
    Full(Source),
    /// It is not registered.
    #[error("interrupt source {0} is not in use")]
    NotInUse(Source),
    /// The thread takes no devices' interrupts, or is unknown.
    #[error("thread {0:#x} takes no interrupts of devices")]
    NoThread(u32),
    /// A number beyond what the controller has.
    #[error("{0:#x} is no interrupt source's number")]
    Number(u32),
    /// The controller cannot do it.
    #[error("interrupt source {0} cannot be triggered by software")]
    NoTrigger(Source),
    /// The source's hardware.
    #[error(transparent)]
    Esb(#[from] EsbError),
    /// Firmware refuses.
    #[error(transparent)]
    Firmware(#[from] OpalError),
}

/// What a person should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A source was silenced until it is unmasked.
    Silenced {
        /// Which.
        source: Source,
        /// Its name.
        name: &'static str,
        /// Why.
        storm: Storm,
    },
    /// A source without a handler fired; it is masked.
    Unknown(Source),
}

/// A source as it stands.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    /// Which.
    pub source: Source,
    /// Its name and kind.
    pub registration: Registration,
    /// The thread it is routed to.
    pub server: u32,
    /// Times that its handler was called.
    pub count: u64,
    /// What is with it.
    pub state: SlotState,
}

/// The side of the controller that faces the threads.
enum Presenter {
    /// POWER8: the ICPs, in ascending order of their threads.
    Icp(Vec<Port>),
    /// POWER9 and later.
    Xive {
        tima: Tima,
        priority: u8,
        targets: Vec<Target>,
    },
}

/// Interrupt delivery of a machine. Methods may be called on any thread with
/// interrupts off, unless they say otherwise.
pub struct Interrupts<B, F> {
    bus: B,
    firmware: F,
    presenter: Presenter,
    table: Table,
    /// Sources that wait to be served outside of their handler.
    waiting: AtomicU32,
    /// Sources that were silenced without its having been said.
    untold: AtomicU32,
    unknown: [AtomicU32; MAX_UNKNOWN],
    spurious: AtomicU64,
}

impl<B: Bus, F: Firmware> Interrupts<B, F> {
    fn new(bus: B, firmware: F, presenter: Presenter) -> Self {
        Self {
            bus,
            firmware,
            presenter,
            table: Table::default(),
            waiting: AtomicU32::new(0),
            untold: AtomicU32::new(0),
            unknown: [const { AtomicU32::new(0) }; MAX_UNKNOWN],
            spurious: AtomicU64::new(0),
        }
    }

    /// POWER8, with these ICPs. Each thread then calls
    /// [`Interrupts::open_thread`].
    pub fn with_icp(bus: B, firmware: F, mut ports: Vec<Port>) -> Self {
        ports.sort_by_key(|port| port.server);
        Self::new(bus, firmware, Presenter::Icp(ports))
    }

    /// POWER9 and later, in exploitation mode: each target gets its queue.
    /// `priority` is one that the controller has, the least favored of all.
    ///
    /// `reset`: everything is reset first, which takes firmware a while. It may
    /// be left out only if nobody has used the controller since firmware started
    /// and it is in exploitation mode, as POWER10's always is: whatever an
    /// earlier system routed would go on being written to its queues.
    ///
    /// # Errors
    /// What firmware says.
    pub fn with_xive(
        bus: B,
        firmware: F,
        tima: Tima,
        priority: u8,
        targets: Vec<Target>,
        reset: bool,
    ) -> Result<Self, OpalError> {
        if reset {
            firmware.reset_xive(true)?;
        }
        for target in &targets {
            let queue = XiveQueue {
                page: target.queue.page().get(),
                shift: super::queue::QUEUE_SHIFT,
            };
            firmware.set_queue(target.server, priority, Some(queue))?;
        }
        let presenter = Presenter::Xive {
            tima,
            priority,
            targets,
        };
        Ok(Self::new(bus, firmware, presenter))
    }

    fn port(&self, server: u32) -> Option<&Port> {
        match &self.presenter {
            Presenter::Icp(ports) => {
                let index = ports.binary_search_by_key(&server, |port| port.server);
                index.ok().and_then(|index| ports.get(index))
            }
            Presenter::Xive { .. } => None,
        }
    }

    fn own_port(&self) -> Option<&Port> {
        self.port(self.bus.running_thread())
    }

    /// Lets the running thread take interrupts: those of devices that are routed
    /// to it if `devices`, else only those that threads send each other.
    pub fn open_thread(&self, devices: bool) {
        match &self.presenter {
            Presenter::Icp(_) => {
                let cppr = if devices {
                    icp::ACCEPT_ALL
                } else {
                    icp::ACCEPT_IPI
                };
                if let Some(port) = self.own_port() {
                    port.open(&self.bus, cppr);
                }
            }
            Presenter::Xive { tima, .. } if devices => tima.accept(&self.bus, xive::ACCEPT_ALL),
            // Threads send each other doorbells: nothing else is to come.
            Presenter::Xive { tima, .. } => tima.accept(&self.bus, xive::ACCEPT_NONE),
        }
    }

    /// Puts the running thread's side of the controller back as firmware has it:
    /// before the thread goes back to firmware.
    pub fn close_thread(&self) {
        match &self.presenter {
            Presenter::Icp(_) => {
                if let Some(port) = self.own_port() {
                    port.close(&self.bus);
                }
            }
            Presenter::Xive { tima, .. } => tima.accept(&self.bus, xive::ACCEPT_NONE),
        }
    }

    /// Sends an IPI to a thread, which ends its sleep. `false` if the controller
    /// is not how threads wake each other here (POWER9 and later have
    /// doorbells). Stores before this are visible to the thread when it wakes.
    pub fn send_ipi(&self, server: u32) -> bool {
        let port = self.port(server);
        if let Some(port) = port {
            port.send_ipi(&self.bus);
        }
        port.is_some()
    }

    /// IPIs that a thread has taken.
    pub fn ipis(&self, server: u32) -> u64 {
        self.port(server).map_or(0, Port::ipis)
    }

    /// Interrupts behind which nothing was found.
    pub fn spurious(&self) -> u64 {
        self.spurious.load(Ordering::Relaxed)
    }

    /// Registers a source, routed to thread `server`, masked. Whatever an earlier
    /// system left in it is gone.
    ///
    /// # Errors
    /// It is in use, cannot be used, or firmware refuses.
    pub fn register(
        &self,
        source: Source,
        mut registration: Registration,
        server: u32,
    ) -> Result<(), IrqError> {
        let mut esb = None;
        match &self.presenter {
            Presenter::Icp(_) => {
                self.port(server).ok_or(IrqError::NoThread(server))?;
                if source.get() >> 24 != 0 || source.get() <= icp::IPI {
                    return Err(IrqError::Number(source.get()));
                }
            }
            Presenter::Xive { targets, .. } => {
                let mut servers = targets.iter().map(|target| target.server);
                if !servers.any(|known| known == server) {
                    return Err(IrqError::NoThread(server));
                }
                let pages = Esb::new(source, &self.firmware.irq_info(source.get())?)?;
                registration.kind = pages.kind();
                esb = Some(pages);
            }
        }
        let contents = Use {
            registration,
            server,
            esb,
        };
        self.table
            .add(source, contents)
            .map_err(|refused| match refused {
                Refused::Taken => IrqError::InUse(source),
                Refused::Full => IrqError::Full(source),
            })?;
        let prepared = self.prepare(source, &contents);
        if prepared.is_err() {
            self.table.remove(source);
        }
        prepared
    }

    /// Makes the hardware agree with a source that was just added.
    fn prepare(&self, source: Source, contents: &Use) -> Result<(), IrqError> {
        match (&self.presenter, contents.esb) {
            (Presenter::Xive { priority, .. }, Some(esb)) => {
                esb.off(&self.bus);
                let number = source.get();
                self.firmware
                    .route(number, contents.server, *priority, number)?;
            }
            _ => {
                self.firmware
                    .set_xive(source.get(), contents.server, icp::NO_PRIORITY)?;
                // One that was taken and never ended would stay silent for ever
                // (skiboot hw/psi.c ends its own like this at a fast reboot).
                if let Some(port) = self.own_port() {
                    port.end(&self.bus, source.get());
                }
            }
        }
        Ok(())
    }

    fn slot(&self, source: Source) -> Result<(&Slot, Use), IrqError> {
        self.table
            .find(source)
            .and_then(|slot| Some((slot, slot.contents()?)))
            .ok_or(IrqError::NotInUse(source))
    }

    /// Lets a source fire, again or for the first time. `true`: an interrupt
    /// came while it was masked and cannot be repeated by hardware, so the
    /// driver has to look at its device.
    ///
    /// # Errors
    /// It is not registered, or firmware refuses.
    pub fn unmask(&self, source: Source) -> Result<bool, IrqError> {
        let (slot, contents) = self.slot(source)?;
        let before = slot
            .clear(SlotState::MASKED | SlotState::MISSED | SlotState::STORM | SlotState::UNTOLD);
        if !before.contains(SlotState::MASKED) {
            return Ok(false);
        }
        if before.contains(SlotState::UNTOLD) {
            self.untold.fetch_sub(1, Ordering::Relaxed);
        }
        slot.watch.reset();
        let started = slot.set(SlotState::STARTED).contains(SlotState::STARTED);
        if contents.esb.is_none() {
            self.firmware
                .set_xive(source.get(), contents.server, icp::DEVICE_PRIORITY)?;
        }
        match contents.esb {
            Some(esb) if !started => {
                esb.start(&self.bus);
                return Ok(false);
            }
            // Its end, which is still to come, does the rest.
            _ if before.contains(SlotState::WAITING) => return Ok(false),
            Some(_) => {}
            None if !before.contains(SlotState::HELD) => return Ok(false),
            None => {}
        }
        slot.clear(SlotState::HELD);
        self.finish(source, &contents)?;
        if !before.contains(SlotState::MISSED) || contents.registration.kind == Kind::Lsi {
            // A level that is still there fires by itself.
            return Ok(false);
        }
        Ok(!contents.esb.is_some_and(|esb| esb.trigger(&self.bus)))
    }

    /// Keeps a source from calling its handler. What it sends meanwhile is
    /// remembered: once, however often it comes.
    ///
    /// # Errors
    /// It is not registered, or firmware refuses.
    pub fn mask(&self, source: Source) -> Result<(), IrqError> {
        let (slot, contents) = self.slot(source)?;
        let before = slot.set(SlotState::MASKED);
        if before.intersects(SlotState::MASKED | SlotState::HELD) {
            // Silent already.
            return Ok(());
        }
        match contents.esb {
            Some(esb) => {
                if esb.hold(&self.bus).is_queued() {
                    slot.set(SlotState::MISSED);
                }
            }
            None => {
                self.firmware
                    .set_xive(source.get(), contents.server, icp::NO_PRIORITY)?;
            }
        }
        Ok(())
    }

    /// Ends an interrupt whose handler answered [`Outcome::Later`].
    ///
    /// # Errors
    /// It is not registered, or firmware refuses.
    pub fn end(&self, source: Source) -> Result<(), IrqError> {
        let (slot, contents) = self.slot(source)?;
        let state = slot.state();
        if state.contains(SlotState::MASKED) || !state.contains(SlotState::HELD) {
            return Ok(());
        }
        slot.clear(SlotState::HELD);
        self.finish(source, &contents)
    }

    /// Tells the controller that an interrupt is over.
    fn finish(&self, source: Source, contents: &Use) -> Result<(), IrqError> {
        if let Some(esb) = contents.esb {
            esb.end(&self.bus);
            return Ok(());
        }
        if let Kind::Phb3Msi { phb } = contents.registration.kind {
            self.firmware.end_phb3_msi(phb, source.get())?;
        }
        if let Some(port) = self.own_port() {
            port.end(&self.bus, source.get());
        }
        Ok(())
    }

    /// Takes a source out of use. When this returns its handler is not called
    /// any more by the running thread; another that is inside it comes out by
    /// itself.
    ///
    /// # Errors
    /// It is not registered, or firmware refuses: then it stays, masked.
    pub fn unregister(&self, source: Source) -> Result<(), IrqError> {
        let (slot, contents) = self.slot(source)?;
        let before = slot.set(SlotState::MASKED);
        self.turn_off(source, &contents)?;
        if let Some(target) = self.own_target() {
            // What is on its way is in the queue by now, and finds its source.
            self.drain(target);
        }
        if contents.esb.is_none() && slot.state().contains(SlotState::HELD) {
            self.finish(source, &contents)?;
        }
        if before.contains(SlotState::WAITING) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        if before.contains(SlotState::UNTOLD) {
            self.untold.fetch_sub(1, Ordering::Relaxed);
        }
        self.table.remove(source);
        Ok(())
    }

    fn turn_off(&self, source: Source, contents: &Use) -> Result<(), IrqError> {
        let number = source.get();
        match contents.esb {
            Some(esb) => {
                esb.off(&self.bus);
                // Before the route goes: it says which queue to wait for.
                self.firmware.sync(number)?;
                self.firmware
                    .route(number, contents.server, icp::NO_PRIORITY, number)?;
            }
            None => self
                .firmware
                .set_xive(number, contents.server, icp::NO_PRIORITY)?,
        }
        Ok(())
    }

    /// A new source that only software triggers (XIVE).
    ///
    /// # Errors
    /// There is none (POWER8), or firmware refuses.
    pub fn allocate(&self) -> Result<Source, IrqError> {
        let number = self.firmware.allocate()?;
        Source::new(number).ok_or(IrqError::Number(number))
    }

    /// Gives back a source of [`Interrupts::allocate`], not registered any more.
    ///
    /// # Errors
    /// Firmware refuses.
    pub fn free(&self, source: Source) -> Result<(), IrqError> {
        Ok(self.firmware.free(source.get())?)
    }

    /// Makes a registered source fire.
    ///
    /// # Errors
    /// It is not registered, or software cannot.
    pub fn trigger(&self, source: Source) -> Result<(), IrqError> {
        let (_, contents) = self.slot(source)?;
        match contents.esb {
            Some(esb) if esb.trigger(&self.bus) => Ok(()),
            _ => Err(IrqError::NoTrigger(source)),
        }
    }

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
        for number in 0..MOST_AT_ONCE {
            match port.take(&self.bus) {
                icp::Taken::Nothing => {
                    if number == 0 {
                        self.spurious.fetch_add(1, Ordering::Relaxed);
                    }
                    return;
                }
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
    }

    fn own_target(&self) -> Option<&Target> {
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
    fn drain(&self, target: &Target) -> usize {
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
            Outcome::Served => slot.watch.served(),
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
        if outcome == Outcome::Later {
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
                .map_or("", |contents| contents.registration.name),
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

    /// All registered sources, in ascending order.
    pub fn snapshot(&self) -> Vec<Snapshot> {
        let mut all: Vec<Snapshot> = self
            .table
            .iter()
            .filter_map(|(source, slot)| {
                let contents = slot.contents()?;
                Some(Snapshot {
                    source,
                    registration: contents.registration,
                    server: contents.server,
                    count: slot.count(),
                    state: slot.state(),
                })
            })
            .collect();
        all.sort_by_key(|snapshot| snapshot.source);
        all
    }

    /// Everything off: before the machine goes back to firmware. All other threads have called
    /// [`Interrupts::close_thread`]; this does it for the running one.
    ///
    /// Nothing is routed and there are no queues, so no memory is written any
    /// more. That is all firmware needs for a reboot: a fast one resets each
    /// thread's side and the whole XIVE by itself, and goes back to the emulation
    /// of XICS (skiboot core/fast-reboot.c, cleanup_cpu_state and
    /// fast_reboot_entry; reset_cpu_icp on POWER8).
    ///
    /// # Errors
    /// The first thing that failed; everything was tried.
    pub fn shut_down(&self) -> Result<(), IrqError> {
        let mut result = Ok(());
        for (source, slot) in self.table.iter() {
            let Some(contents) = slot.contents() else {
                continue;
            };
            slot.set(SlotState::MASKED);
            result = result.and(self.turn_off(source, &contents));
            if contents.esb.is_none() && slot.state().contains(SlotState::HELD) {
                result = result.and(self.finish(source, &contents));
            }
        }
        self.close_thread();
        if let Presenter::Xive {
            priority, targets, ..
        } = &self.presenter
        {
            for target in targets {
                let gone = self.firmware.set_queue(target.server, *priority, None);
                result = result.and(gone.map_err(IrqError::from));
            }
        }
        result
    }
}
