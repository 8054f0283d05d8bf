//! Interrupts by XIVE, which the partition uses itself: set up by calls, and then
//! by loads and stores alone.

use crate::call::{
    CEDE, INT_GET_SOURCE_INFO, INT_RESET, INT_SET_QUEUE_CONFIG, INT_SET_SOURCE_CONFIG, hypervisor,
};
use crate::checks::{MILLISECOND, last, set_external, want};
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

/// Where the queue is, and its entries.
const QUEUE: u64 = 10 << 20;
const ENTRIES: u64 = 1024;

const PRIORITY: u64 = 6;
const NUMBER: u32 = 0x1234_5678;

/// Where `entry.s` acknowledges an external interrupt, and what that said.
const ACKNOWLEDGED_AT: u64 = 0x1040;
const ACKNOWLEDGED: u64 = 0x1048;

/// Whether the partition has a XIVE.
pub fn is_there() -> bool {
    hypervisor(INT_GET_SOURCE_INFO, &[0, 0]).0 == 0
}

fn load<T>(at: u64) -> T {
    // SAFETY: registers or memory of the partition that Rust does not know.
    unsafe { (at as *const T).read_volatile() }
}

fn store<T>(at: u64, value: T) {
    // SAFETY: as above.
    unsafe { (at as *mut T).write_volatile(value) };
}

/// The source that is this vCPU's own, and the reader's side of the queue.
struct Ipi {
    management: u64,
    trigger: u64,
    taken: u64,
}

impl Ipi {
    /// The next entry, within a millisecond.
    fn next(&mut self) -> Option<u32> {
        let generation = (self.taken / ENTRIES) & 1;
        let at = QUEUE + 4 * (self.taken % ENTRIES);
        let end = timebase() + MILLISECOND;
        loop {
            let entry: u32 = load(at);
            if u64::from(entry >> 31) != generation {
                self.taken += 1;
                return Some(entry & 0x7fff_ffff);
            }
            if timebase() > end {
                return None;
            }
        }
    }

    fn end(&self) -> u64 {
        let state = load::<u64>(self.management + READY);
        store(CPPR, 0xff_u8);
        state
    }

    /// One that is sent, seen, acknowledged and ended without being taken.
    fn round(&mut self) -> bool {
        store(self.trigger, 0u64);
        let seen = self.next();
        let acknowledged: u16 = load(ACKNOWLEDGE);
        let state = self.end();
        seen == Some(NUMBER) && acknowledged == 0x8000 | PRIORITY as u16 && state == 2
    }
}

fn set_up() -> Result<Ipi, &'static str> {
    let (_, [flags, management, trigger]) = hypervisor(INT_GET_SOURCE_INFO, &[0, 0]);
    want(flags & 0xe == 0, "an IPI is told as something else")?;
    want(
        hypervisor(INT_SET_QUEUE_CONFIG, &[1, 0, PRIORITY, QUEUE, 12]).0 == 0,
        "there is no queue",
    )?;
    want(
        hypervisor(
            INT_SET_SOURCE_CONFIG,
            &[2, 0, 0, PRIORITY, u64::from(NUMBER)],
        )
        .0 == 0,
        "the IPI is not routed",
    )?;
    want(
        load::<u64>(management + READY) == 1,
        "the IPI was not off at the start",
    )?;
    store(CPPR, 0xff_u8);
    Ok(Ipi {
        management,
        trigger,
        taken: 0,
    })
}

fn taken(ipi: &mut Ipi, count: u64) -> Result<(), &'static str> {
    let found = last();
    want(
        found[6] == count + 1 && found[0] == 0x500,
        "no external interrupt came",
    )?;
    want(
        load::<u64>(ACKNOWLEDGED) == 0x8000 | PRIORITY,
        "it is acknowledged as something else",
    )?;
    want(ipi.next() == Some(NUMBER), "it is not in the queue")?;
    want(ipi.end() == 2, "it was not pending")
}

/// IPIs of the vCPU to itself: while it runs, taken, and out of H_CEDE.
pub fn interrupts() -> Result<(), &'static str> {
    if !is_there() {
        return Ok(());
    }
    let mut ipi = set_up()?;
    let rounds = 3 * ENTRIES;
    let ticks = known().max(1);
    let start = timebase();
    let all = (0..rounds).all(|_| ipi.round());
    let passed = timebase() - start;
    want(all, "an IPI did not come as it should")?;
    let each = passed * KNOWN / ticks / rounds;
    println!("probe: cost  IPI to itself: {each} instructions");

    store(ACKNOWLEDGED_AT, ACKNOWLEDGE);
    let count = last()[6];
    store(ipi.trigger, 0u64);
    set_external(true);
    set_external(false);
    taken(&mut ipi, count)?;

    let count = last()[6];
    let start = timebase();
    set!(22, 500 * MILLISECOND);
    store(ipi.trigger, 0u64);
    want(hypervisor(CEDE, &[]).0 == 0, "H_CEDE fails")?;
    set_external(false);
    set!(22, 0x7fff_ffffu64);
    want(
        timebase() - start < 100 * MILLISECOND,
        "an IPI does not end H_CEDE",
    )?;
    taken(&mut ipi, count)?;

    load::<u64>(ipi.management + OFF);
    store(ipi.trigger, 0u64);
    want(ipi.next().is_none(), "a source that is off fires")?;
    want(
        hypervisor(INT_RESET, &[0]).0 == 0 && load::<u64>(ipi.management + READY) == 1,
        "H_INT_RESET does not turn sources off",
    )?;
    store(ipi.trigger, 0u64);
    want(ipi.next().is_none(), "a source without a queue fires")?;
    load::<u64>(ipi.management + OFF);
    Ok(())
}
