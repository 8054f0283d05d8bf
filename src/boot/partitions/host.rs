//! The machine behind a partition's calls.

use super::{Activity, Partition, Slot, console, kick};
use crate::addr::GuestAddr;
use crate::boot::pci::platform::Platform;
use crate::boot::{clock, runtime};
use crate::cpu::guest::{Breakpoints, Vcpu, lpcr};
use crate::cpu::{self, msr};
use crate::error;
use crate::papr::config::View;
use crate::papr::ddw::WindowCalls;
use crate::papr::icp::Icp;
use crate::papr::messages::{Messages, Sender};
use crate::papr::tce::{List, TceCalls};
use crate::papr::xive::{Machine, Xive};
use crate::papr::{self, Breakpoint, Tables};
use crate::pci::ConfigAccess;
use crate::processor::Generation;
use core::sync::atomic::Ordering;

/// A vCPU that calls.
pub(super) struct Caller<'a> {
    pub(super) partition: &'a Partition,
    pub(super) this: usize,
    /// LPCR of the vCPU that calls.
    pub(super) lpcr: &'a mut u64,
    /// Its breakpoints.
    pub(super) breakpoints: &'a mut Breakpoints,
}

impl Caller<'_> {
    fn slot(&self, vcpu: u64) -> Option<&Slot> {
        self.partition.slots.get(usize::try_from(vcpu).ok()?)
    }

    /// For the vCPU that calls, and for those that are started later: kernels
    /// ask before they start any.
    fn set_lpcr(&mut self, bits: u64, on: bool) {
        let change = |value: u64| if on { value | bits } else { value & !bits };
        *self.lpcr = change(*self.lpcr);
        let partition = &self.partition.lpcr;
        partition.store(change(partition.load(Ordering::Relaxed)), Ordering::Relaxed);
    }
}

impl Tables for Partition {
    type Platform = Platform;

    #[inline]
    fn tces(&self) -> Option<TceCalls<'_, Platform>> {
        Some(self.defined.tces())
    }

    #[inline]
    fn words(&self, from: GuestAddr, count: usize, to: &mut List<'_>) -> bool {
        self.memory.words(from, count, to)
    }
}

impl Tables for Caller<'_> {
    type Platform = Platform;

    fn tces(&self) -> Option<TceCalls<'_, Platform>> {
        self.partition.tces()
    }

    fn words(&self, from: GuestAddr, count: usize, to: &mut List<'_>) -> bool {
        self.partition.words(from, count, to)
    }
}

impl papr::Host for Caller<'_> {
    fn with_windows(&mut self, act: &mut dyn FnMut(&WindowCalls<'_, Platform>)) -> Option<()> {
        self.partition.defined.with_windows(|calls| act(calls));
        Some(())
    }

    fn with_function(
        &mut self,
        config: u32,
        buid: u64,
        act: &mut dyn FnMut(&View, &mut dyn ConfigAccess),
    ) -> Option<()> {
        let mut groups = self.partition.groups.iter();
        groups.find(|it| it.buid() == buid)?.access(config, act)
    }

    fn with_messages(
        &mut self,
        config: u32,
        buid: u64,
        act: &mut dyn FnMut(&Messages, &mut dyn Sender),
    ) -> Option<()> {
        let mut groups = self.partition.groups.iter();
        groups.find(|it| it.buid() == buid)?.messages(config, act)
    }

    fn read(&self, from: GuestAddr, to: &mut [u8]) -> bool {
        self.partition.memory.read(from, to)
    }

    fn write(&mut self, to: GuestAddr, bytes: &[u8]) -> bool {
        self.partition.memory.write(to, bytes)
    }

    fn put_terminal(&mut self, bytes: &[u8]) -> bool {
        console::say(self.partition, bytes);
        true
    }

    fn get_terminal(&mut self, to: &mut [u8]) -> usize {
        self.partition.terminal.lock().read(to)
    }

    fn set_process_table(&mut self, entry: u64) {
        self.partition.memory.set_process_table(entry);
    }

    fn set_little_endian(&mut self, on: bool) {
        self.set_lpcr(lpcr::ILE, on);
    }

    fn set_relocation(&mut self, on: bool) -> bool {
        // On POWER9 AIL would relocate Pinion's own interrupts too; POWER10 has
        // LPCR[HAIL] for those, which stays 0.
        if on && Generation::of_pvr(cpu::pvr()) == Some(Generation::Power9) {
            return false;
        }
        self.set_lpcr(lpcr::AIL, on);
        true
    }

    fn set_breakpoint(&mut self, breakpoint: Breakpoint) -> bool {
        match breakpoint {
            Breakpoint::Instruction(ciabr) => {
                self.breakpoints.set_instruction(ciabr);
                true
            }
            Breakpoint::Data {
                number,
                address,
                what,
            } => self.breakpoints.set_data(number, address, what),
        }
    }

    fn characteristics(&self) -> [u64; 2] {
        let machine = runtime::machine();
        machine.map_or([0; 2], |it| {
            [it.speculation.characteristics, it.speculation.behaviour]
        })
    }

    fn random(&mut self) -> Option<u64> {
        cpu::random()
    }

    fn vcpus(&self) -> u64 {
        self.partition.slots.len() as u64
    }

    fn this(&self) -> u64 {
        self.this as u64
    }

    fn prod(&mut self, vcpu: u64) {
        if let Some(slot) = self.slot(vcpu) {
            slot.prodded.store(true, Ordering::Release);
            kick(slot.thread);
        }
    }

    fn shares_threads(&self) -> bool {
        self.partition.defined.plan().shares
    }

    fn set_area(&mut self, vcpu: u64, at: Option<GuestAddr>) {
        if let Some(slot) = self.slot(vcpu) {
            slot.area
                .store(at.map_or(0, GuestAddr::get), Ordering::Release);
            slot.tell_dispatches(&self.partition.memory);
        }
    }

    fn dispatches(&self, vcpu: u64) -> u32 {
        self.slot(vcpu).map_or(0, Slot::dispatches)
    }

    fn favour(&mut self, vcpu: u64) {
        let (Some(own), Some(other)) = (self.slot(self.this as u64), self.slot(vcpu)) else {
            return;
        };
        if own.thread.index() == other.thread.index() {
            own.lend(other);
        } else {
            kick(other.thread);
        }
    }

    fn with_icp(&mut self, vcpu: u64, act: &mut dyn FnMut(&mut Icp)) -> Option<()> {
        let slot = self.slot(vcpu)?;
        if self.partition.xive.is_some() {
            return None;
        }
        let pending = {
            let mut icp = slot.icp.lock();
            act(&mut icp);
            icp.is_pending()
        };
        if pending {
            kick(slot.thread);
        }
        Some(())
    }

    fn with_xive(&mut self, act: &mut dyn FnMut(&mut Xive, &mut dyn Machine)) -> Option<()> {
        let exploited = self.partition.xive.as_ref()?;
        exploited.with(&self.partition.memory, act);
        Some(())
    }

    fn is_stopped(&self, vcpu: u64) -> Option<bool> {
        self.slot(vcpu)
            .map(|slot| slot.activity() == Activity::Stopped)
    }

    fn start(&mut self, vcpu: u64, at: GuestAddr, r3: u64) -> bool {
        let lpcr = self.partition.lpcr.load(Ordering::Relaxed);
        let Some(slot) = self.slot(vcpu) else {
            return false;
        };
        if !slot.claim() {
            return false;
        }
        // SAFETY: it was stopped and is claimed: nobody else touches it until its
        // activity changes.
        unsafe {
            let vcpu = slot.vcpu.get();
            vcpu.write(Vcpu::new(self.partition.lpid, lpcr, at.get()));
            self.partition.adopt(&mut *vcpu);
            (*vcpu).gpr[3] = r3;
            (*vcpu).msr = msr::SF | msr::ME;
        }
        slot.set_activity(Activity::Runs);
        kick(slot.thread);
        true
    }

    fn time(&mut self) -> Option<(u64, u32)> {
        clock::now()
    }

    fn last_words(&mut self, text: &str) {
        let name = self.partition.name();
        match text {
            "" => error!("partition {name}: it gave up, without a reason"),
            _ => error!("partition {name}: it gave up: {text}"),
        }
    }
}
