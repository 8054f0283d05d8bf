//! Interrupts by XIVE, which the partition uses itself: set up by calls, and then
//! by loads and stores alone.

use crate::call::{
    CEDE, INT_GET_SOURCE_INFO, INT_RESET, INT_SET_QUEUE_CONFIG, INT_SET_SOURCE_CONFIG, hypervisor,
};
use crate::checks::{MILLISECOND, Outcome, last, set_external, want};
use crate::cost::{KNOWN, known};
use crate::vectors::timebase;
use crate::{println, set};

/// The thread's page (`reg` of the interrupt controller's node): priority, and
/// where interrupts are acknowledged.
const THREAD: u64 = 0x6_0302_0319_0000;
const CPPR: u64 = THREAD + 0x11;
const ACKNOWLEDGE: u64 = THREAD + 0x810;

/// Loads of a source's page that set its state, and return the one before.
const READY: u64 = 0xc00;
const OFF: u64 = 0xd00;

/// A load that returns it and changes nothing.
const STATE: u64 = 0x800;

/// Where the queue is, and its entries.
const QUEUE: u64 = 12 << 20;
pub const ENTRIES: u64 = 1024;

const PRIORITY: u64 = 6;
const NUMBER: u32 = 0x1234_5678;

/// What a source's page tells of it (H_INT_GET_SOURCE_INFO).
const LEVEL: u64 = 4;
const CALL_ONLY: u64 = 8;
const PAGE_TRIGGERS: u64 = 2;

/// Where `entry.s` acknowledges an external interrupt, and what that said.
const ACKNOWLEDGED_AT: u64 = 0x1040;
const ACKNOWLEDGED: u64 = 0x1048;

/// Whether the partition has a XIVE.
pub fn is_there() -> bool {
    hypervisor(INT_GET_SOURCE_INFO, &[0, 0]).0 == 0
}

/// All sources off, no queue.
pub fn reset() -> Outcome {
    want(hypervisor(INT_RESET, &[0]).0 == 0, "H_INT_RESET fails")
}

fn load<T>(at: u64) -> T {
    // SAFETY: registers or memory of the partition that Rust does not know.
    unsafe { (at as *const T).read_volatile() }
}

fn store<T>(at: u64, value: T) {
    // SAFETY: as above.
    unsafe { (at as *mut T).write_volatile(value) };
}

/// A source that is on, and the reader's side of the queue that it goes to.
pub struct Source {
    management: u64,
    trigger: u64,
    is_level: bool,
    taken: u64,
}

impl Source {
    /// Routes a source, which was off, and turns it on.
    pub fn route(lisn: u64) -> Result<Self, &'static str> {
        let (status, [flags, management, trigger]) = hypervisor(INT_GET_SOURCE_INFO, &[0, lisn]);
        want(status == 0, "there is no such source")?;
        want(flags & CALL_ONLY == 0, "a source can be used by calls only")?;
        for at in (QUEUE..QUEUE + 4 * ENTRIES).step_by(8) {
            store(at, 0u64);
        }
        want(
            hypervisor(INT_SET_QUEUE_CONFIG, &[1, 0, PRIORITY, QUEUE, 12]).0 == 0,
            "there is no queue",
        )?;
        let number = u64::from(NUMBER);
        want(
            hypervisor(INT_SET_SOURCE_CONFIG, &[2, lisn, 0, PRIORITY, number]).0 == 0,
            "a source is not routed",
        )?;
        want(
            load::<u64>(management + READY) == 1,
            "a source was not off at the start",
        )?;
        store(CPPR, 0xff_u8);
        store(ACKNOWLEDGED_AT, ACKNOWLEDGE);
        store(ACKNOWLEDGED, 0u64);
        Ok(Self {
            management,
            trigger: match flags & PAGE_TRIGGERS {
                0 => trigger,
                _ => management,
            },
            is_level: flags & LEVEL != 0,
            taken: 0,
        })
    }

    /// Where its state is loaded.
    pub fn page(&self) -> u64 {
        self.management + STATE
    }

    pub fn is_level(&self) -> bool {
        self.is_level
    }

    /// Makes it fire.
    fn trigger(&self) {
        store(self.trigger, 0u64);
    }

    /// What it does is lost from now on.
    pub fn off(&self) {
        load::<u64>(self.management + OFF);
    }

    /// Whether it is in the queue, within a millisecond.
    pub fn is_queued(&mut self) -> bool {
        let generation = (self.taken / ENTRIES) & 1;
        let at = QUEUE + 4 * (self.taken % ENTRIES);
        let end = timebase() + MILLISECOND;
        loop {
            let entry: u32 = load(at);
            if u64::from(entry >> 31) != generation {
                self.taken += 1;
                return entry & 0x7fff_ffff == NUMBER;
            }
            if timebase() > end {
                return false;
            }
        }
    }

    /// Ends it; returns whether it was pending.
    pub fn end(&self) -> bool {
        let is_pending = match self.is_level {
            // Fires again if the level is there still.
            true => {
                let state = load::<u64>(self.management + STATE);
                load::<u64>(self.management);
                state & 2 != 0
            }
            false => load::<u64>(self.management + READY) == 2,
        };
        store(CPPR, 0xff_u8);
        is_pending
    }

    /// One that is seen, acknowledged and ended without being taken.
    pub fn is_seen(&mut self) -> bool {
        let is_queued = self.is_queued();
        let acknowledged: u16 = load(ACKNOWLEDGE);
        is_queued && acknowledged == 0x8000 | PRIORITY as u16 && self.end()
    }

    /// One that the vector has taken, since there were `count` interrupts.
    pub fn was_taken(&mut self, count: u64) -> Outcome {
        want(last()[6] > count, "no interrupt came")?;
        want(
            load::<u64>(ACKNOWLEDGED) == 0x8000 | PRIORITY,
            "no external interrupt came, or another one",
        )?;
        store(ACKNOWLEDGED, 0u64);
        want(self.is_queued(), "it is not in the queue")?;
        want(self.end(), "it was not pending")
    }
}

/// Instructions that `what` takes each time; `None` if it fails once.
pub fn cost(rounds: u64, mut what: impl FnMut() -> bool) -> Option<u64> {
    let ticks = known().max(1);
    let start = timebase();
    let all = (0..rounds).all(|_| what());
    let passed = timebase() - start;
    all.then(|| passed * KNOWN / ticks / rounds)
}

/// IPIs of the vCPU to itself: while it runs, taken, and out of H_CEDE.
pub fn interrupts() -> Outcome {
    if !is_there() {
        return Ok(());
    }
    let mut ipi = Source::route(0)?;
    want(
        !ipi.is_level && ipi.trigger != ipi.management,
        "an IPI is told as something else",
    )?;
    let each = cost(3 * ENTRIES, || {
        ipi.trigger();
        ipi.is_seen()
    });
    let each = each.ok_or("an IPI did not come as it should")?;
    println!("probe: cost  IPI to itself: {each} instructions");

    let count = last()[6];
    ipi.trigger();
    set_external(true);
    set_external(false);
    ipi.was_taken(count)?;

    let count = last()[6];
    let start = timebase();
    set!(22, 500 * MILLISECOND);
    ipi.trigger();
    want(hypervisor(CEDE, &[]).0 == 0, "H_CEDE fails")?;
    set_external(false);
    set!(22, 0x7fff_ffffu64);
    want(
        timebase() - start < 100 * MILLISECOND,
        "an IPI does not end H_CEDE",
    )?;
    ipi.was_taken(count)?;

    ipi.off();
    ipi.trigger();
    want(!ipi.is_queued(), "a source that is off fires")?;
    reset()?;
    want(
        load::<u64>(ipi.management + READY) == 1,
        "H_INT_RESET does not turn sources off",
    )?;
    ipi.trigger();
    want(!ipi.is_queued(), "a source without a queue fires")?;
    ipi.off();
    Ok(())
}
