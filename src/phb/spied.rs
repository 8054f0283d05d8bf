//! A PHB's hardware with a spy on it: each barrier, each access to a register,
//! and the end of each TCE kill.

use super::kill::{DMA_SYNC, SYNC_COMPLETE, SYNC_START, TCE_KILL};
use super::{PhbHardware, RegisterWork};
use crate::addr::HostAddr;
use crate::seam::sync::{AtomicU32, Ordering};
use crate::spy::Spy;

/// `hardware`, whose registers are at `registers`, watched by `spy`.
pub struct Spied<'s, H> {
    hardware: H,
    registers: HostAddr,
    spy: &'s Spy,
    // Whether a sync was started and not yet seen to be complete. The register
    // keeps telling of the one before.
    syncing: AtomicU32,
}

impl<'s, H: PhbHardware + Copy> Spied<'s, H> {
    /// Puts `spy` on `hardware`.
    pub fn new(hardware: H, registers: HostAddr, spy: &'s Spy) -> Self {
        Self {
            hardware,
            registers,
            spy,
            syncing: AtomicU32::new(0),
        }
    }

    #[cold]
    fn saw(&self, offset: u64, value: u64) {
        self.spy.access();
        // All ones is a fence, not a completion.
        if offset == DMA_SYNC
            && value & SYNC_COMPLETE != 0
            && value != u64::MAX
            && self.syncing.swap(0, Ordering::Relaxed) != 0
        {
            self.spy.done();
        }
    }

    #[cold]
    fn watched<W: RegisterWork>(&self, work: W) -> W::Done {
        work.on(self)
    }
}

impl<H: PhbHardware + Copy> PhbHardware for Spied<'_, H> {
    #[inline]
    fn load(&self, offset: u64) -> u64 {
        let value = self.hardware.load(offset);
        if self.spy.is_armed() {
            self.saw(offset, value);
        }
        value
    }

    #[inline]
    fn store(&self, offset: u64, value: u64) {
        if self.spy.is_armed() {
            self.spy.access();
            if offset == DMA_SYNC && value & SYNC_START != 0 {
                self.syncing.store(1, Ordering::Relaxed);
            }
            let register = HostAddr::new(self.registers.get().wrapping_add(offset));
            self.spy.write(register, value, offset == TCE_KILL);
        }
        self.hardware.store(offset, value);
    }

    #[inline]
    fn barrier(&self) {
        self.hardware.barrier();
        self.spy.barrier();
    }

    fn memory16(&self, at: HostAddr) -> u16 {
        self.hardware.memory16(at)
    }

    fn memory64(&self, at: HostAddr) -> u64 {
        self.hardware.memory64(at)
    }

    fn microseconds(&self) -> u64 {
        self.hardware.microseconds()
    }

    fn wait_ms(&self, milliseconds: u64) {
        self.hardware.wait_ms(milliseconds);
    }

    fn thread(&self) -> u64 {
        self.hardware.thread()
    }

    #[inline(always)]
    fn unwatched<W: RegisterWork>(&self, work: W) -> Option<W::Done> {
        match self.spy.is_armed() {
            true => None,
            // A copy, which is a way to the same registers, is kept in registers.
            false => Some(work.on(&{ self.hardware })),
        }
    }

    #[inline]
    fn quickly<W: RegisterWork>(&self, work: W) -> W::Done {
        match self.spy.is_armed() {
            true => self.watched(work),
            false => work.on(&self.hardware),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kill::{Kill, kill};
    use super::*;
    use crate::addr::BusAddr;
    use crate::pci::Generation;
    use crate::seam::KillScope;
    use crate::spy::{Event, Sight};
    use std::vec::Vec;

    /// Registers that say at once that all is complete, the sync before too.
    #[derive(Clone, Copy)]
    struct Ready;

    impl PhbHardware for Ready {
        fn load(&self, offset: u64) -> u64 {
            if offset == DMA_SYNC { SYNC_COMPLETE } else { 0 }
        }
        fn store(&self, _: u64, _: u64) {}
        fn barrier(&self) {}
        fn memory16(&self, _: HostAddr) -> u16 {
            0
        }
        fn memory64(&self, _: HostAddr) -> u64 {
            0
        }
        fn microseconds(&self) -> u64 {
            0
        }
        fn wait_ms(&self, _: u64) {}
        fn thread(&self) -> u64 {
            0
        }
    }

    fn record(generation: Generation, scope: KillScope) -> Vec<Event> {
        let spy = Spy::new();
        let hardware = Spied::new(Ready, HostAddr::new(0x1000), &spy);
        spy.arm(|| Sight { tce: 3, pins: 1 });
        kill(&hardware, generation, 5, scope).unwrap();
        spy.disarm().0
    }

    #[test]
    fn accesses_of_a_kill_are_counted_while_it_records() {
        let spy = Spy::new();
        let hardware = Spied::new(Ready, HostAddr::new(0x1000), &spy);
        let kill = |generation| Kill {
            generation,
            pe: 5,
            scope: KillScope::Pe,
        };
        for (generation, accesses) in [(Generation::Phb4, 5), (Generation::Phb5, 6)] {
            spy.arm(|| Sight { tce: 0, pins: 0 });
            hardware.quickly(kill(generation)).unwrap();
            assert_eq!(spy.accesses(), accesses);
            assert!(!spy.disarm().0.is_empty());
            hardware.quickly(kill(generation)).unwrap();
            assert_eq!(spy.accesses(), accesses);
        }
    }

    #[test]
    fn a_kill_is_seen_with_its_barrier_and_one_completion() {
        let sight = Sight { tce: 3, pins: 1 };
        let write = |offset, value, kill| Event::Write {
            register: HostAddr::new(0x1000 + offset),
            value,
            kill,
        };
        for generation in [Generation::Phb3, Generation::Phb4, Generation::Phb5] {
            let keep = match generation {
                Generation::Phb5 => SYNC_COMPLETE,
                _ => 0,
            };
            let expected = [
                Event::Barrier(sight),
                write(TCE_KILL, 1 << 62 | 5, Some(sight)),
                write(DMA_SYNC, SYNC_START | keep, None),
                Event::Done(sight),
            ];
            assert_eq!(record(generation, KillScope::Pe), expected);
        }
    }

    #[test]
    fn a_kill_by_pages_is_a_store_for_each() {
        let scope = KillScope::Pages {
            bus: BusAddr::new(0x2000),
            pages: 3,
            page_shift: 12,
        };
        let is_kill = |it: &&Event| matches!(it, Event::Write { kill: Some(_), .. });
        let kills = |generation| record(generation, scope).iter().filter(is_kill).count();
        assert_eq!(kills(Generation::Phb3), 3);
        assert_eq!(kills(Generation::Phb4), 1);
    }

    #[test]
    fn a_sleeping_spy_changes_nothing() {
        let spy = Spy::new();
        let hardware = Spied::new(Ready, HostAddr::new(0x1000), &spy);
        kill(&hardware, Generation::Phb4, 5, KillScope::Pe).unwrap();
        assert_eq!(hardware.load(DMA_SYNC), SYNC_COMPLETE);
        assert_eq!(spy.disarm().0, []);
    }
}
