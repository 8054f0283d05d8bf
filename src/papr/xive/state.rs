//! Sources and queues of a partition.

use super::{
    FIRST_DEVICE, HostQueue, LISNS, Lisn, Machine, PRIORITIES, Purpose, QUEUE_SHIFTS, Refused,
    Source, Target,
};
use crate::addr::{GuestAddr, HostAddr};
use alloc::boxed::Box;
use alloc::vec;

/// ESB load that turns a source off (skiboot include/xive-regs.h).
const SET_PQ_01: u64 = 0xd00;

/// No LISN is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the partition has {LISNS} interrupt sources already")]
pub struct Full;

/// A source that the partition has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// As firmware has it.
    pub source: Source,
    /// Where it goes; `None`: nowhere.
    pub target: Option<Target>,
    /// What its queue shows.
    pub number: u32,
}

/// A vCPU's queue, as the partition gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its page.
    pub page: GuestAddr,
    /// Base-2 logarithm of its bytes.
    pub shift: u32,
}

/// Why a queue was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueError {
    Size,
    Page,
    Refused,
}

type Queues = [Option<Queue>; PRIORITIES as usize];

/// A partition's XIVE. Without a heap once it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xive {
    /// By LISN.
    sources: Box<[Option<Assigned>]>,
    /// By vCPU.
    queues: Box<[Queues]>,
}

impl Xive {
    /// Without any source, for this many vCPUs.
    pub fn new(vcpus: u32) -> Self {
        Self {
            sources: vec![None; LISNS as usize].into_boxed_slice(),
            queues: vec![[None; PRIORITIES as usize]; vcpus as usize].into_boxed_slice(),
        }
    }

    /// vCPUs.
    pub fn vcpus(&self) -> u32 {
        self.queues.len() as u32
    }

    /// Gives the partition a source that goes nowhere and is off.
    ///
    /// # Errors
    /// No LISN is left.
    pub fn give(&mut self, source: Source, purpose: Purpose) -> Result<Lisn, Full> {
        let range = match purpose {
            Purpose::Ipi => 0..FIRST_DEVICE,
            Purpose::Device => FIRST_DEVICE..LISNS,
        };
        let mut free = range.map(Lisn::new);
        let lisn = free.find(|lisn| self.source(*lisn).is_none()).ok_or(Full)?;
        let slot = self.slot(lisn).ok_or(Full)?;
        *slot = Some(Assigned {
            source,
            target: None,
            number: lisn.get(),
        });
        Ok(lisn)
    }

    /// Takes a source away, which the partition cannot reach any more: it is off, and
    /// nothing of it is on its way to a queue. Its number may be given again.
    ///
    /// # Errors
    /// Firmware's: the partition has it still. May be tried again.
    pub fn take(&mut self, machine: &mut dyn Machine, lisn: Lisn) -> Result<(), Refused> {
        self.turn_off(machine, lisn)?;
        if let Some(slot) = self.slot(lisn) {
            *slot = None;
        }
        Ok(())
    }

    /// A source.
    pub fn source(&self, lisn: Lisn) -> Option<&Assigned> {
        self.sources.get(lisn.get() as usize)?.as_ref()
    }

    /// The LISN of a source that the partition has, by what firmware knows it by:
    /// functions may share a line.
    pub fn lisn_of(&self, number: u32) -> Option<Lisn> {
        let has = |it: &Option<Assigned>| it.is_some_and(|it| it.source.number == number);
        let place = self.sources.iter().position(has)?;
        Some(Lisn::new(place as u32))
    }

    fn slot(&mut self, lisn: Lisn) -> Option<&mut Option<Assigned>> {
        self.sources.get_mut(lisn.get() as usize)
    }

    /// All sources.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().flatten().map(|it| &it.source)
    }

    /// A queue that has a page.
    pub fn queue(&self, target: Target) -> Option<&Queue> {
        let queues = self.queues.get(target.vcpu as usize)?;
        queues.get(usize::from(target.priority))?.as_ref()
    }

    fn set(&mut self, target: Target, queue: Option<Queue>) {
        let queues = self.queues.get_mut(target.vcpu as usize);
        let place = queues.and_then(|queues| queues.get_mut(usize::from(target.priority)));
        if let Some(place) = place {
            *place = queue;
        }
    }

    /// Routes a source; the target has a queue.
    pub(super) fn route(
        &mut self,
        machine: &mut dyn Machine,
        lisn: Lisn,
        target: Option<Target>,
        number: u32,
    ) -> Result<(), Refused> {
        let Some(Some(assigned)) = self.slot(lisn) else {
            return Ok(());
        };
        machine.route(&assigned.source, target, number)?;
        assigned.target = target;
        assigned.number = number;
        Ok(())
    }

    /// Gives a queue its page; if it had one, it starts anew.
    pub(super) fn give_queue(
        &mut self,
        machine: &mut dyn Machine,
        target: Target,
        queue: Queue,
    ) -> Result<(), QueueError> {
        let Queue { page, shift } = queue;
        if !QUEUE_SHIFTS.contains(&shift) {
            return Err(QueueError::Size);
        }
        let place = match page.is_aligned(shift) {
            true => machine.memory(page, 1 << shift),
            false => None,
        };
        let host = place.filter(|host: &HostAddr| host.is_aligned(shift));
        let page = host.ok_or(QueueError::Page)?;
        machine
            .set_queue(target, Some(HostQueue { page, shift }))
            .map_err(|Refused| QueueError::Refused)?;
        self.set(target, Some(queue));
        Ok(())
    }

    /// Takes a queue's page away; what went there goes nowhere.
    pub(super) fn take_queue(
        &mut self,
        machine: &mut dyn Machine,
        target: Target,
    ) -> Result<(), Refused> {
        if self.queue(target).is_none() {
            return Ok(());
        }
        for lisn in (0..LISNS).map(Lisn::new) {
            let Some(assigned) = self.source(lisn).copied() else {
                continue;
            };
            if assigned.target == Some(target) {
                machine.sync(&assigned.source)?;
                self.route(machine, lisn, None, assigned.number)?;
            }
        }
        machine.set_queue(target, None)?;
        self.set(target, None);
        Ok(())
    }

    /// A source, if there is one, is off and goes nowhere.
    fn turn_off(&mut self, machine: &mut dyn Machine, lisn: Lisn) -> Result<(), Refused> {
        let Some(assigned) = self.source(lisn).copied() else {
            return Ok(());
        };
        machine.load(&assigned.source, SET_PQ_01);
        let synced = machine.sync(&assigned.source);
        synced.and(self.route(machine, lisn, None, lisn.get()))
    }

    /// Everything as it was at the start: sources off and routed nowhere, no
    /// queues. Also at the end of a partition, whose memory is in use by the
    /// controller until this has succeeded.
    ///
    /// # Errors
    /// Firmware's first; the rest is tried all the same.
    pub fn reset(&mut self, machine: &mut dyn Machine) -> Result<(), Refused> {
        let mut result = Ok(());
        for lisn in (0..LISNS).map(Lisn::new) {
            result = result.and(self.turn_off(machine, lisn));
        }
        for vcpu in 0..self.vcpus() {
            for priority in 0..PRIORITIES {
                result = result.and(self.take_queue(machine, Target { vcpu, priority }));
            }
        }
        result
    }
}
