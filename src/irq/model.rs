//! A model of both interrupt controllers and of firmware's part, for tests on a
//! PC. It is as strict as hardware: a wrong access size, an address that is no
//! register, or a queue in memory that nobody gave is a panic.

use super::{Bus, Firmware, esb, icp, xive};
use crate::addr::HostAddr;
use crate::opal::{OpalError, OpalStatus, Token, XiveIrqInfo, XiveQueue};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where the model's registers are.
const TIMA: u64 = 0x1_0000;
const ICP: u64 = 0x10_0000;
const ESB: u64 = 0x1000_0000;

/// Which controller the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// POWER8.
    Icp,
    /// POWER9: messages are ended by loads.
    Xive,
    /// POWER10: messages are ended by stores.
    XiveStoreEoi,
}

/// A source as the model knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Origin {
    is_level: bool,
    asserted: bool,
    /// XIVE: P is bit 1, Q bit 0.
    pq: u8,
    /// XICS: a message that waits to be presented; one that was presented.
    pending: bool,
    presented: bool,
    /// XICS: an ICP has it, with this priority, though its source was masked
    /// since: a mask does not take it back.
    latched: Option<u8>,
    server: u32,
    priority: u8,
    number: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    cppr: u8,
    mfrr: u8,
    /// XIVE: a bit per priority whose queue has news.
    news: u8,
}

#[derive(Clone, Copy, Debug)]
struct EventQueue {
    page: u64,
    length: u64,
    index: u64,
    generation: bool,
}

#[derive(Default)]
struct State {
    sources: BTreeMap<u32, Origin>,
    threads: BTreeMap<u32, Thread>,
    queues: BTreeMap<(u32, u8), EventQueue>,
    memory: BTreeMap<u64, u32>,
    exploitation: bool,
    running: u32,
    round: u32,
    seconds: u64,
    phb3_ends: Vec<(u64, u32)>,
    refuse: Option<Token>,
    allocated: u32,
}

/// The machine's interrupt hardware.
pub struct Hardware {
    kind: Controller,
    state: Mutex<State>,
}

/// The first number that [`Firmware::allocate`] hands out.
const FIRST_ALLOCATED: u32 = 0x100;

impl Hardware {
    /// With threads of these numbers; the first one runs.
    pub fn new(kind: Controller, threads: &[u32]) -> Self {
        let quiet = Thread {
            mfrr: icp::NO_PRIORITY,
            ..Thread::default()
        };
        let state = State {
            threads: threads.iter().map(|&server| (server, quiet)).collect(),
            running: threads.first().copied().unwrap_or(0),
            ..State::default()
        };
        Self {
            kind,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Address of the hypervisor's page of the TIMA.
    pub fn tima(&self) -> HostAddr {
        HostAddr::new(TIMA)
    }

    /// Address of a thread's ICP.
    pub fn icp(&self, server: u32) -> HostAddr {
        HostAddr::new(ICP + u64::from(server) * 0x1000)
    }

    /// Makes a source.
    pub fn add_source(&self, number: u32, is_level: bool) {
        let origin = Origin {
            is_level,
            pq: 1,
            priority: icp::NO_PRIORITY,
            ..Origin::default()
        };
        self.state().sources.insert(number, origin);
    }

    /// A message source fires.
    pub fn fire(&self, number: u32) {
        let mut state = self.state();
        if self.kind == Controller::Icp {
            state.source(number).pending = true;
        } else {
            state.trigger(number);
        }
    }

    /// A level source is asserted, or not.
    pub fn level(&self, number: u32, asserted: bool) {
        let mut state = self.state();
        state.source(number).asserted = asserted;
        if asserted && self.kind != Controller::Icp {
            state.trigger(number);
        }
    }

    /// Whether the interrupt line of a thread is high.
    pub fn line(&self, server: u32) -> bool {
        let state = self.state();
        if self.kind == Controller::Icp {
            state.best(server).is_some()
        } else {
            let thread = state.threads[&server];
            (0..8).any(|priority| {
                thread.news & 1 << priority != 0 && icp::presents(priority, thread.cppr)
            })
        }
    }

    /// Makes another thread the running one.
    pub fn run_thread(&self, server: u32) {
        self.state().running = server;
    }

    /// The running thread gets on with its work.
    pub fn next_round(&self) {
        self.state().round += 1;
    }

    /// Lets a second pass.
    pub fn next_second(&self) {
        self.state().seconds += 1;
    }

    /// Makes the next call of this kind fail.
    pub fn refuse(&self, token: Token) {
        self.state().refuse = Some(token);
    }

    /// Bridges and sources of all ends of PHB3 messages.
    pub fn phb3_ends(&self) -> Vec<(u64, u32)> {
        self.state().phb3_ends.clone()
    }

    /// CPPR of a thread.
    pub fn cppr(&self, server: u32) -> u8 {
        self.state().threads[&server].cppr
    }

    /// Whether no source can reach any thread, and no memory is written.
    pub fn is_quiet(&self) -> bool {
        let state = self.state();
        let masked = |origin: &Origin| origin.priority == icp::NO_PRIORITY;
        let mut threads = state.threads.values();
        state.sources.values().all(masked)
            && state.queues.is_empty()
            && threads.all(|thread| thread.mfrr == icp::NO_PRIORITY && thread.cppr == 0)
    }

    fn asked(&self, token: Token) -> Result<(), OpalError> {
        let mut state = self.state();
        if state.refuse == Some(token) {
            state.refuse = None;
            return Err(refusal(token, OpalStatus::Hardware));
        }
        Ok(())
    }

    fn is_xive(&self) -> bool {
        self.kind != Controller::Icp
    }
}

fn refusal(token: Token, status: OpalStatus) -> OpalError {
    OpalError::Status { token, status }
}

impl State {
    fn source(&mut self, number: u32) -> &mut Origin {
        self.sources
            .get_mut(&number)
            .expect("a source of the model")
    }

    fn thread(&mut self, server: u32) -> &mut Thread {
        self.threads
            .get_mut(&server)
            .expect("a thread of the model")
    }

    /// XIVE: an event comes to the source's ESB.
    fn trigger(&mut self, number: u32) {
        let origin = self.source(number);
        match origin.pq {
            0 => {
                origin.pq = 2;
                self.send(number);
            }
            // Q does nothing at a level.
            2 if !origin.is_level => origin.pq = 3,
            _ => {}
        }
    }

    fn send(&mut self, number: u32) {
        let origin = *self.source(number);
        let key = (origin.server, origin.priority);
        // Priority 0xff drops it, with P set.
        let Some(queue) = self.queues.get_mut(&key) else {
            return;
        };
        let entry = u32::from(queue.generation) << 31 | origin.number;
        self.memory.insert(queue.page + queue.index * 4, entry);
        queue.index += 1;
        if queue.index == queue.length {
            queue.index = 0;
            queue.generation = !queue.generation;
        }
        self.thread(origin.server).news |= 1 << origin.priority;
    }

    /// XIVE: ends an interrupt.
    fn end(&mut self, number: u32) {
        let origin = self.source(number);
        let again = origin.pq == 3 || origin.is_level && origin.asserted;
        origin.pq = 0;
        if again {
            self.trigger(number);
        }
    }

    /// XICS: the most favored request that the thread's CPPR lets through, as
    /// priority and number.
    fn best(&self, server: u32) -> Option<(u8, u32)> {
        let thread = self.threads[&server];
        let ipi = (thread.mfrr, icp::IPI);
        let ready = self.sources.iter().filter(|(_, origin)| {
            let wants = if origin.is_level {
                origin.asserted
            } else {
                origin.pending
            };
            let wants = wants || origin.latched.is_some();
            wants && !origin.presented && origin.server == server
        });
        ready
            .map(|(&number, origin)| (origin.latched.unwrap_or(origin.priority), number))
            .chain([ipi])
            .filter(|&(priority, _)| icp::presents(priority, thread.cppr))
            .min()
    }
}

/// The source whose ESB pages an address lies in, and the offset.
fn in_esb(at: HostAddr) -> Option<(u32, u64)> {
    let offset = at.get().checked_sub(ESB)?;
    Some(((offset / 0x2000) as u32, offset % 0x2000))
}

/// The thread whose ICP an address lies in, and the offset.
fn in_icp(at: HostAddr) -> Option<(u32, u64)> {
    let offset = at.get().checked_sub(ICP).filter(|_| at.get() < ESB)?;
    Some(((offset / 0x1000) as u32, offset % 0x1000))
}

impl Bus for &Hardware {
    fn load8(&self, at: HostAddr) -> u8 {
        panic!("no register of one byte is loaded: {at}");
    }

    fn load16(&self, at: HostAddr) -> u16 {
        assert!(self.is_xive() && at.get() == TIMA + xive::ACK_HV, "{at}");
        let mut state = self.state();
        let running = state.running;
        let thread = state.thread(running);
        let cppr = thread.cppr;
        let found = (0..8)
            .find(|&priority| thread.news & 1 << priority != 0 && icp::presents(priority, cppr));
        match found {
            Some(priority) => {
                thread.news &= !(1 << priority);
                thread.cppr = priority;
                2 << 14 | u16::from(priority)
            }
            None => u16::from(cppr),
        }
    }

    fn load32(&self, at: HostAddr) -> u32 {
        let Some((server, icp::XIRR)) = in_icp(at) else {
            panic!("no register of four bytes at {at}");
        };
        let mut state = self.state();
        assert_eq!(server, state.running, "another thread's XIRR");
        let best = state.best(server);
        let before = u32::from(state.threads[&server].cppr) << 24;
        let Some((priority, number)) = best else {
            return before;
        };
        state.thread(server).cppr = priority;
        if number != icp::IPI {
            let origin = state.source(number);
            origin.presented = true;
            origin.pending = false;
            origin.latched = None;
        }
        before | number
    }

    fn load64(&self, at: HostAddr) -> u64 {
        let Some((number, offset)) = in_esb(at) else {
            panic!("no register of eight bytes at {at}");
        };
        let offset = offset
            .checked_sub(0x1000)
            .expect("loads of the trigger page");
        let mut state = self.state();
        let before = u64::from(state.source(number).pq);
        let ordered = offset & esb::BEHIND_STORES != 0;
        let by_store = self.kind == Controller::XiveStoreEoi;
        match offset & !esb::BEHIND_STORES {
            esb::LOAD_EOI => state.end(number),
            esb::GET => {}
            esb::SET_PQ_00 => state.source(number).pq = 0,
            esb::SET_PQ_01 => state.source(number).pq = 1,
            esb::SET_PQ_10 => state.source(number).pq = 2,
            _ => panic!("offset {offset:#x} of an ESB"),
        }
        assert!(
            ordered == by_store || offset == esb::LOAD_EOI,
            "a load that may overtake a store"
        );
        before
    }

    fn store8(&self, at: HostAddr, value: u8) {
        let mut state = self.state();
        let running = state.running;
        if self.is_xive() {
            assert_eq!(at.get(), TIMA + xive::HV_CPPR);
            state.thread(running).cppr = value;
            return;
        }
        match in_icp(at) {
            Some((server, icp::MFRR)) => state.thread(server).mfrr = value,
            Some((server, icp::XIRR)) => {
                assert_eq!(server, running, "another thread's CPPR");
                state.thread(server).cppr = value;
            }
            _ => panic!("no register of a byte at {at}"),
        }
    }

    fn store32(&self, at: HostAddr, value: u32) {
        let Some((server, icp::XIRR)) = in_icp(at) else {
            panic!("no register of four bytes at {at}");
        };
        let mut state = self.state();
        assert_eq!(server, state.running, "another thread's XIRR");
        state.thread(server).cppr = (value >> 24) as u8;
        let number = value & 0xff_ffff;
        if number != icp::IPI {
            state.source(number).presented = false;
        }
    }

    fn store64(&self, at: HostAddr, _: u64) {
        match in_esb(at) {
            Some((number, 0)) => self.state().trigger(number),
            Some((number, 0x1400)) if self.kind == Controller::XiveStoreEoi => {
                self.state().end(number);
            }
            _ => panic!("no register of eight bytes at {at}"),
        }
    }

    fn load_memory32(&self, at: HostAddr) -> u32 {
        let state = self.state();
        let inside = |queue: &EventQueue| (0..queue.length * 4).contains(&(at.get() - queue.page));
        assert!(state.queues.values().any(inside), "{at} is in no queue");
        state.memory.get(&at.get()).copied().unwrap_or(0)
    }

    fn barrier(&self) {}

    fn running_thread(&self) -> u32 {
        self.state().running
    }

    fn round(&self) -> u32 {
        self.state().round
    }

    fn seconds(&self) -> u64 {
        self.state().seconds
    }
}

impl Firmware for &Hardware {
    fn reset_xive(&self, exploitation: bool) -> Result<(), OpalError> {
        self.asked(Token::XiveReset)?;
        let mut state = self.state();
        state.exploitation = exploitation;
        state.queues.clear();
        for origin in state.sources.values_mut() {
            origin.pq = 1;
            origin.priority = icp::NO_PRIORITY;
        }
        for thread in state.threads.values_mut() {
            thread.cppr = 0;
            thread.news = 0;
        }
        Ok(())
    }

    fn irq_info(&self, source: u32) -> Result<XiveIrqInfo, OpalError> {
        let token = Token::XiveGetIrqInfo;
        self.asked(token)?;
        let state = self.state();
        if !state.exploitation {
            return Err(refusal(token, OpalStatus::WrongState));
        }
        let origin = state.sources.get(&source);
        let origin = origin.ok_or(refusal(token, OpalStatus::Parameter))?;
        let mut flags = esb::Flags::TRIGGER_PAGE;
        flags.set(esb::Flags::LSI, origin.is_level);
        let by_store = self.kind == Controller::XiveStoreEoi;
        flags.set(esb::Flags::STORE_EOI_ORDERED, by_store);
        let base = ESB + u64::from(source) * 0x2000;
        Ok(XiveIrqInfo {
            flags: flags.bits(),
            eoi_page: base + 0x1000,
            trigger_page: if origin.is_level { 0 } else { base },
            page_shift: 12,
            chip: 0,
        })
    }

    fn route(&self, source: u32, server: u32, priority: u8, number: u32) -> Result<(), OpalError> {
        let token = Token::XiveSetIrqConfig;
        self.asked(token)?;
        let mut state = self.state();
        let exists = state.queues.contains_key(&(server, priority));
        if priority != icp::NO_PRIORITY && !exists {
            return Err(refusal(token, OpalStatus::Parameter));
        }
        let origin = state.source(source);
        origin.server = server;
        origin.priority = priority;
        origin.number = number;
        Ok(())
    }

    fn set_queue(
        &self,
        server: u32,
        priority: u8,
        queue: Option<XiveQueue>,
    ) -> Result<(), OpalError> {
        self.asked(Token::XiveSetQueueInfo)?;
        let mut state = self.state();
        match queue {
            Some(queue) => {
                assert!(HostAddr::new(queue.page).is_aligned(queue.shift));
                let new = EventQueue {
                    page: queue.page,
                    length: (1 << queue.shift) / 4,
                    index: 0,
                    generation: true,
                };
                state.queues.insert((server, priority), new);
            }
            None => {
                state.queues.remove(&(server, priority));
            }
        }
        Ok(())
    }

    fn sync(&self, _: u32) -> Result<(), OpalError> {
        self.asked(Token::XiveSync)
    }

    fn allocate(&self) -> Result<u32, OpalError> {
        self.asked(Token::XiveAllocateIrq)?;
        let number = {
            let mut state = self.state();
            state.allocated += 1;
            FIRST_ALLOCATED + state.allocated
        };
        self.add_source(number, false);
        Ok(number)
    }

    fn free(&self, source: u32) -> Result<(), OpalError> {
        self.asked(Token::XiveFreeIrq)?;
        self.state().sources.remove(&source);
        Ok(())
    }

    fn set_xive(&self, source: u32, server: u32, priority: u8) -> Result<(), OpalError> {
        let token = Token::SetXive;
        self.asked(token)?;
        let mut state = self.state();
        let before = state.sources.get(&source);
        let before = *before.ok_or(refusal(token, OpalStatus::Parameter))?;
        // The one that the thread would take next is with its ICP already.
        let best = state
            .threads
            .contains_key(&before.server)
            .then(|| state.best(before.server))
            .flatten();
        let origin = state.source(source);
        if priority == icp::NO_PRIORITY
            && let Some((latched, _)) = best.filter(|&(_, number)| number == source)
        {
            origin.latched = Some(latched);
            origin.pending = false;
        }
        origin.server = server;
        origin.priority = priority;
        Ok(())
    }

    fn end_phb3_msi(&self, phb: u64, source: u32) -> Result<(), OpalError> {
        self.asked(Token::PciMsiEoi)?;
        self.state().phb3_ends.push((phb, source));
        Ok(())
    }
}
