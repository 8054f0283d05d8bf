//! Partitions' XIVEs: virtual processors, sources and pages, as firmware has
//! them. What a partition may ask for is in `papr::xive`.
//!
//! A vCPU's interrupt context is on its thread while the vCPU has its turn, and
//! what comes for it reaches the partition without Pinion. Else the controller
//! keeps it for the next turn. If the vCPU waits (H_CEDE), the first one also
//! *escalates*: a source of Pinion's fires, whose handler wakes the vCPU. While it
//! does not wait that source is held (PQ = 10): it is silent, but remembers.

use super::memory::Space;
use super::{kick, partitions};
use crate::addr::{GuestAddr, HostAddr};
use crate::boot::interrupts::{self, Hardware, delivery};
use crate::boot::runtime::{self, OPAL};
use crate::irq::esb::{Esb, Flags, State};
use crate::irq::xive::Context;
use crate::irq::{Bus, IrqError, Kind, Name, Outcome, Source};
use crate::machine::{Exploitation, InterruptController};
use crate::memory::frames::FrameError;
use crate::memory::radix::RadixError;
use crate::opal::{OpalError, OpalStatus, VpQueue, XiveQueue};
use crate::papr::xive::{
    self, Full, HostQueue, Lisn, Machine, PAGE_SHIFT, PRIORITIES, Purpose, Refused, THREAD_PAGES,
    Target, Xive,
};
use crate::{mmio, warning};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use spin::Mutex;

/// Why a partition has no XIVE.
#[derive(Debug, thiserror::Error)]
pub enum XiveError {
    /// A call to firmware.
    #[error("{0}")]
    Opal(#[from] OpalError),
    /// A source of Pinion's.
    #[error("{0}")]
    Irq(#[from] IrqError),
    /// Its address space.
    #[error("{0}")]
    Radix(#[from] RadixError),
    /// Memory for firmware's tables.
    #[error("{0} for firmware's tables")]
    Frames(#[from] FrameError),
    /// Too many sources.
    #[error("{0}")]
    Full(#[from] Full),
    /// A source whose pages have another size.
    #[error("source {0} has pages that are not of 64K")]
    Pages(Source),
    /// The controller may still use the partition's memory.
    #[error("the interrupt controller does not let go of its sources and queues")]
    Held,
    /// A function may still send what was a partition's interrupt.
    #[error("the PHB does not take vectors back")]
    Vectors,
}

/// What the machine offers, if a partition can use it and does not decline as
/// Linux' parameter says it.
pub(super) fn offered(bootargs: &str) -> Option<&'static Exploitation> {
    if bootargs.split_whitespace().any(|word| word == "xive=off") {
        return None;
    }
    delivery()?.dispatcher()?;
    match &runtime::machine()?.interrupts {
        Some(InterruptController::Xive { exploitation, .. }) => exploitation.as_ref(),
        _ => None,
    }
}

/// Pages of the thread's context that each partition with a XIVE reaches.
pub(super) fn thread_pages() -> Vec<HostAddr> {
    let interrupts = runtime::machine().and_then(|machine| machine.interrupts.as_ref());
    match interrupts {
        Some(InterruptController::Xive {
            exploitation: Some(offer),
            ..
        }) => [offer.user_page, offer.os_page].map(HostAddr::new).into(),
        _ => Vec::new(),
    }
}

/// Virtual processors of a block at least, as a base-2 logarithm: firmware does
/// not take back fewer than twice as many as there are chips, of which it knows
/// 16 at most.
const MIN_ORDER: u32 = 5;

/// Pages that firmware asks for, for one block, at most.
const MOST_DONATIONS: usize = 16;

/// A vCPU's side.
struct Presence {
    context: Mutex<Context>,
    /// What fires when something comes for it while it waits.
    escalation: Source,
    pages: Esb,
}

/// A partition's XIVE, for one run.
pub(super) struct Exploited {
    state: Mutex<Xive>,
    /// The first vCPU's virtual processor.
    base: u64,
    /// By vCPU.
    presences: Vec<Presence>,
    /// Sources that were made for IPIs.
    ipis: Vec<u32>,
}

impl Exploited {
    /// A XIVE with an IPI for each vCPU, its pages in the partition's address
    /// space.
    ///
    /// # Errors
    /// What firmware lacks; nothing is kept.
    pub(super) fn new(offer: &Exploitation, vcpus: u32, space: &Space) -> Result<Self, XiveError> {
        let order = vcpus.next_power_of_two().ilog2().max(MIN_ORDER);
        let mut made = Self {
            state: Mutex::new(Xive::new(vcpus)),
            base: allocate(order, offer)?,
            presences: Vec::with_capacity(vcpus as usize),
            ipis: Vec::with_capacity(vcpus as usize),
        };
        match made.fill(offer, vcpus, space) {
            Ok(()) => Ok(made),
            Err(error) => {
                made.release();
                Err(error)
            }
        }
    }

    fn fill(&mut self, offer: &Exploitation, vcpus: u32, space: &Space) -> Result<(), XiveError> {
        let mut at = THREAD_PAGES.get();
        for page in [offer.user_page, offer.os_page] {
            map(space, GuestAddr::new(at), HostAddr::new(page))?;
            at += 1 << PAGE_SHIFT;
        }
        for vcpu in 0..vcpus {
            let vp = self.base + u64::from(vcpu);
            OPAL.xive_set_vp(vp, true)?;
            let presence = present(vp, space.lpid(), vcpu)?;
            self.presences.push(presence);
            let number = OPAL.xive_allocate_irq(None)?;
            self.ipis.push(number);
            let source = Source::new(number).ok_or(IrqError::Number(number))?;
            self.give(source, Purpose::Ipi, space)?;
        }
        Ok(())
    }

    /// Gives the partition a source, which is turned off and which nobody else
    /// uses until the run has ended; one that it has already stays as it is. Returns
    /// the number that the partition knows it by; its pages are in the partition's
    /// address space.
    ///
    /// # Errors
    /// What is not possible; the partition must not be run.
    pub(super) fn give(
        &self,
        source: Source,
        purpose: Purpose,
        space: &Space,
    ) -> Result<Lisn, XiveError> {
        if let Some(known) = self.state.lock().lisn_of(source.get()) {
            return Ok(known);
        }
        let info = OPAL.xive_irq_info(source.get())?;
        let pages = Esb::new(source, &info).map_err(IrqError::from)?;
        if let Some(delivery) = delivery() {
            pages.off(delivery.bus());
        }
        let flags = Flags::from_bits_truncate(info.flags);
        // A source of one page is triggered there too (skiboot hw/xive.c).
        let trigger = (info.trigger_page != 0 && info.trigger_page != info.eoi_page)
            .then(|| HostAddr::new(info.trigger_page));
        // The size is told for both together.
        if info.page_shift != PAGE_SHIFT + u32::from(trigger.is_some()) {
            return Err(XiveError::Pages(source));
        }
        let management = HostAddr::new(info.eoi_page);
        let lisn = self.state.lock().give(
            xive::Source {
                number: source.get(),
                management,
                trigger,
                is_level: pages.kind() == Kind::Lsi,
                ends_by_store: flags.contains(Flags::STORE_EOI_ORDERED),
            },
            purpose,
        )?;
        map(space, lisn.management_page(), management)?;
        if let Some(trigger) = trigger {
            map(space, lisn.trigger_page(), trigger)?;
        }
        Ok(lisn)
    }

    /// Takes sources away again: the partition neither gets nor changes them any more
    /// when this returns.
    ///
    /// # Errors
    /// Firmware refuses: those that are left must not be anybody else's. May be
    /// tried again.
    pub(super) fn take(&self, lisns: &[Lisn], space: &Space) -> Result<(), XiveError> {
        let both = lisns
            .iter()
            .flat_map(|it| [it.management_page(), it.trigger_page()]);
        space.unmap(both.map(|page| (page, 1 << PAGE_SHIFT)));
        let mut state = self.state.lock();
        let mut controller = Controller {
            base: self.base,
            space: None,
        };
        for lisn in lisns {
            let taken = state.take(&mut controller, *lisn);
            taken.map_err(|Refused| XiveError::Held)?;
        }
        Ok(())
    }

    /// Puts a vCPU's context on the running thread.
    pub(super) fn dispatch(&self, vcpu: usize) {
        let (Some(presence), Some(delivery)) = (self.presences.get(vcpu), delivery()) else {
            return;
        };
        presence.pages.hold(delivery.bus());
        if let Some(dispatcher) = delivery.dispatcher() {
            dispatcher.push(&presence.context.lock());
        }
    }

    /// Takes it off again.
    pub(super) fn withdraw(&self, vcpu: usize) {
        let (Some(presence), Some(delivery)) = (self.presences.get(vcpu), delivery()) else {
            return;
        };
        if let Some(dispatcher) = delivery.dispatcher() {
            dispatcher.pull(&mut presence.context.lock());
        }
    }

    /// Lets what comes for a vCPU wake it, which is withdrawn. `false`: something
    /// is there already, so that it must not wait.
    pub(super) fn may_wait(&self, vcpu: usize) -> bool {
        let (Some(presence), Some(delivery)) = (self.presences.get(vcpu), delivery()) else {
            return true;
        };
        if presence.context.lock().is_pending() {
            return false;
        }
        // What came since it was withdrawn is remembered as Q.
        presence.pages.ready(delivery.bus()) != State::Queued
    }

    /// Calls `act` with the state and the controller, for a vCPU of the
    /// partition's.
    pub(super) fn with(&self, space: &Space, act: &mut dyn FnMut(&mut Xive, &mut dyn Machine)) {
        let mut controller = Controller {
            base: self.base,
            space: Some(space),
        };
        act(&mut self.state.lock(), &mut controller);
    }

    /// Ends all use of the partition's memory by the controller: no vCPU runs any
    /// more. May be tried again.
    ///
    /// # Errors
    /// Firmware refuses: the memory must not be somebody else's.
    pub(super) fn quiet(&self) -> Result<(), XiveError> {
        let mut state = self.state.lock();
        let mut controller = Controller {
            base: self.base,
            space: None,
        };
        state
            .reset(&mut controller)
            .map_err(|Refused| XiveError::Held)
    }

    /// Gives everything back, behind [`Exploited::quiet`]. What firmware does not
    /// take is lost, and said.
    pub(super) fn release(&self) {
        let warn = |result: Result<(), XiveError>| {
            if let Err(error) = result {
                warning!("a partition's interrupts: {error}");
            }
        };
        for presence in &self.presences {
            if let Some(delivery) = delivery() {
                warn(
                    delivery
                        .unregister(presence.escalation)
                        .map_err(XiveError::from),
                );
            }
        }
        let mut offs = Ok(());
        for vcpu in 0..self.state.lock().vcpus() {
            let vp = self.base + u64::from(vcpu);
            for priority in 0..PRIORITIES {
                offs = offs.and(OPAL.xive_set_vp_queue(vp, priority, VpQueue::Off));
            }
            offs = offs.and(OPAL.xive_set_vp(vp, false));
        }
        warn(offs.map_err(XiveError::from));
        warn(OPAL.xive_free_vps(self.base).map_err(XiveError::from));
        for &number in &self.ipis {
            warn(OPAL.xive_free_irq(number).map_err(XiveError::from));
        }
    }
}

/// A block of 2^`order` virtual processors.
fn allocate(order: u32, offer: &Exploitation) -> Result<u64, XiveError> {
    for _ in 0..MOST_DONATIONS {
        let error = match OPAL.xive_allocate_vps(order) {
            Ok(base) => return Ok(base),
            Err(error) => error,
        };
        let shift = match (error.status(), offer.provision_shift) {
            (Some(OpalStatus::XiveProvisioning), Some(shift)) => shift,
            _ => return Err(error.into()),
        };
        for &chip in &offer.provision_chips {
            // Firmware's until the controller is reset, which is never.
            let page = runtime::allocate(shift, Some(chip))?.leak();
            // SAFETY: the block is fresh, and never freed.
            unsafe { (page.get() as *mut u8).write_bytes(0, 1 << shift) };
            mmio::full_barrier();
            OPAL.xive_donate_page(chip, page.get())?;
        }
    }
    Ok(OPAL.xive_allocate_vps(order)?)
}

/// Registers what fires when something comes for a vCPU that waits; held.
fn present(vp: u64, lpid: u64, vcpu: u32) -> Result<Presence, XiveError> {
    let word = OPAL.xive_vp_word(vp)?;
    let number = OPAL.xive_escalation(vp)?;
    let escalation = Source::new(number).ok_or(IrqError::Number(number))?;
    let pages = Esb::new(escalation, &OPAL.xive_irq_info(number)?).map_err(IrqError::from)?;
    let name = Name::Escalation { lpid, vcpu };
    let data = lpid as usize * MOST_VCPUS + vcpu as usize;
    interrupts::register(escalation, name, Kind::Msi, escalated, data)?;
    if let Some(delivery) = delivery() {
        delivery.unmask(escalation)?;
        pages.hold(delivery.bus());
    }
    Ok(Presence {
        context: Mutex::new(Context::new(word)),
        escalation,
        pages,
    })
}

const MOST_VCPUS: usize = super::control::MAX_VCPUS;

/// Something came for a vCPU that waits.
fn escalated(data: usize) -> Outcome {
    let (lpid, vcpu) = (data / MOST_VCPUS, data % MOST_VCPUS);
    let all = partitions();
    let run = all.iter().find(|run| run.lpid == lpid as u64);
    if let Some(slot) = run.and_then(|run| run.slots.get(vcpu)) {
        slot.prodded.store(true, Ordering::Release);
        kick(slot.thread);
    }
    Outcome::Kept
}

fn map(space: &Space, at: GuestAddr, page: HostAddr) -> Result<(), RadixError> {
    space.map_device(at, page, 1 << PAGE_SHIFT)
}

/// The controller, for calls of a partition.
struct Controller<'a> {
    base: u64,
    space: Option<&'a Space>,
}

impl Controller<'_> {
    fn at(source: &xive::Source, offset: u64) -> HostAddr {
        // A page from firmware and an offset inside of it: nothing wraps.
        HostAddr::new(source.management.get().wrapping_add(offset))
    }
}

fn told(result: Result<(), OpalError>) -> Result<(), Refused> {
    result.map_err(|error| {
        warning!("a partition's interrupts: {error}");
        Refused
    })
}

/// Priority of a source that goes nowhere.
const NOWHERE: u8 = 0xff;

impl Machine for Controller<'_> {
    fn memory(&self, at: GuestAddr, bytes: u64) -> Option<HostAddr> {
        self.space?.contiguous(at, bytes)
    }

    fn route(
        &mut self,
        source: &xive::Source,
        target: Option<Target>,
        number: u32,
    ) -> Result<(), Refused> {
        let (vp, priority) = match target {
            Some(target) => (self.base + u64::from(target.vcpu), target.priority),
            None => (self.base, NOWHERE),
        };
        told(OPAL.xive_set_irq_config(source.number, vp, priority, number))
    }

    fn set_queue(&mut self, target: Target, queue: Option<HostQueue>) -> Result<(), Refused> {
        let vp = self.base + u64::from(target.vcpu);
        let queue = match queue {
            Some(HostQueue { page, shift }) => VpQueue::Page(XiveQueue {
                page: page.get(),
                shift,
            }),
            None => VpQueue::Empty,
        };
        told(OPAL.xive_set_vp_queue(vp, target.priority, queue))
    }

    fn sync(&mut self, source: &xive::Source) -> Result<(), Refused> {
        told(OPAL.xive_sync(source.number))
    }

    fn load(&mut self, source: &xive::Source, offset: u64) -> u64 {
        let load = |bus: &Hardware| bus.load64(Self::at(source, offset));
        delivery().map_or(u64::MAX, |delivery| load(delivery.bus()))
    }

    fn store(&mut self, source: &xive::Source, offset: u64, value: u64) {
        if let Some(delivery) = delivery() {
            delivery.bus().store64(Self::at(source, offset), value);
        }
    }
}
