//! TCE kill straight at the PHB's registers (skiboot hw/phb4.c, phb4_tce_kill;
//! include/phb3-regs.h, include/phb4-regs.h). The caller holds the PHB's lock.

use super::{PhbHardware, RegisterWork};
use crate::pci::Generation;
use crate::seam::{KillScope, PhbError};

/// PHB_DMARD_SYNC (PHB3), PHB_DMA_READ_WRITE_SYNC.
pub(super) const DMA_SYNC: u64 = 0x200;
pub(super) const SYNC_START: u64 = 1 << 63;
pub(super) const SYNC_COMPLETE: u64 = 1 << 62;
const WRITE_SYNC_COMPLETE: u64 = 1 << 60;

/// PHB_TCE_KILL.
pub(super) const TCE_KILL: u64 = 0x210;
const KILL_ALL: u64 = 1 << 63;
const KILL_PE: u64 = 1 << 62;
const KILL_ONE: u64 = 1 << 61;

/// PHB_Q_DMA_R, and its bit while a kill is under way.
const QUEUE: u64 = 0x888;
const KILL_RUNS: u64 = 1 << 56;

/// A kill takes microseconds; one that takes longer than this never ends.
pub const LIMIT_US: u64 = 100_000;

/// Loads of a register in which it is mostly over: about a millisecond's.
const QUICK_LOOKS: u32 = 1 << 10;

/// A kill, as work on a PHB's registers.
pub(super) struct Kill {
    pub(super) generation: Generation,
    pub(super) pe: u16,
    pub(super) scope: KillScope,
}

impl RegisterWork for Kill {
    type Done = Result<(), PhbError>;

    #[inline]
    fn on<H: PhbHardware>(self, hardware: &H) -> Self::Done {
        kill(hardware, self.generation, self.pe, self.scope)
    }
}

/// A kill of a whole PE at a PHB4, or a PHB5, as work on its registers: the shortest
/// of all, and most are this. Without a clock, so what does not come in some looks is
/// not complete.
pub(super) struct QuickKill {
    pub(super) pe: u16,
    pub(super) is_phb5: bool,
}

impl RegisterWork for QuickKill {
    /// Whether it is complete.
    type Done = bool;

    #[inline(always)] // A call is a sixth of what it costs.
    fn on<H: PhbHardware>(self, hardware: &H) -> bool {
        hardware.barrier();
        let command = KILL_PE | u64::from(self.pe);
        kill4::<H, Quickly>(hardware, self.is_phb5, command).is_ok()
    }
}

/// How a kill waits for what a register is to say.
trait Waiting {
    /// What is told if it does not come.
    type Error;

    /// Waits until `register & mask == wanted`, which is not so at the first look.
    fn look_again<H: PhbHardware>(
        hardware: &H,
        register: u64,
        mask: u64,
        wanted: u64,
    ) -> Result<(), Self::Error>;

    /// Waits until `register & mask == wanted`.
    #[inline(always)] // For those to whom a call is dear.
    fn wait<H: PhbHardware>(
        hardware: &H,
        register: u64,
        mask: u64,
        wanted: u64,
    ) -> Result<(), Self::Error> {
        match is_there(hardware.load(register), mask, wanted) {
            true => Ok(()),
            false => Self::look_again(hardware, register, mask, wanted),
        }
    }
}

/// For so many looks.
struct Quickly;

impl Waiting for Quickly {
    type Error = ();

    #[cold]
    fn look_again<H: PhbHardware>(
        hardware: &H,
        register: u64,
        mask: u64,
        wanted: u64,
    ) -> Result<(), ()> {
        let mut looks = (1..QUICK_LOOKS).map(|_| hardware.load(register));
        match looks.any(|value| is_there(value, mask, wanted)) {
            true => Ok(()),
            false => Err(()),
        }
    }
}

/// By the clock.
struct Patiently;

impl Waiting for Patiently {
    type Error = PhbError;

    #[cold]
    fn look_again<H: PhbHardware>(
        hardware: &H,
        register: u64,
        mask: u64,
        wanted: u64,
    ) -> Result<(), PhbError> {
        let start = hardware.microseconds();
        loop {
            // The clock first: a thread that was held up still looks once more.
            let late = hardware.microseconds().wrapping_sub(start) > LIMIT_US;
            let value = hardware.load(register);
            if value == u64::MAX {
                return Err(PhbError::Fenced);
            }
            if value & mask == wanted {
                return Ok(());
            }
            if late {
                return Err(PhbError::TimedOut);
            }
            core::hint::spin_loop();
        }
    }
}

/// Invalidates, waits until that is complete, and until the DMA reads that used
/// old entries are over.
#[inline]
pub(super) fn kill<H: PhbHardware>(
    hardware: &H,
    generation: Generation,
    pe: u16,
    scope: KillScope,
) -> Result<(), PhbError> {
    // Table stores first: lwsync would not order them before the kill.
    hardware.barrier();
    match generation {
        Generation::Phb3 => kill3(hardware, pe, scope),
        Generation::Phb4 | Generation::Phb5 => {
            let is_phb5 = generation == Generation::Phb5;
            kill4::<H, Patiently>(hardware, is_phb5, whole(pe, scope))
        }
    }
}

/// [`kill`] on a PHB4 or a PHB5: `command` goes to its register.
#[inline(always)]
fn kill4<H: PhbHardware, W: Waiting>(
    hardware: &H,
    is_phb5: bool,
    command: u64,
) -> Result<(), W::Error> {
    W::wait(hardware, TCE_KILL, KILL_ALL | KILL_PE | KILL_ONE, 0)?;
    hardware.store(TCE_KILL, command);
    let keep = match is_phb5 {
        // The register holds two syncs: the other one's state stays.
        true => hardware.load(DMA_SYNC) & (SYNC_COMPLETE | WRITE_SYNC_COMPLETE),
        false => 0,
    };
    hardware.store(DMA_SYNC, keep | SYNC_START);
    W::wait(hardware, QUEUE, KILL_RUNS, 0)?;
    W::wait(hardware, DMA_SYNC, SYNC_COMPLETE, SYNC_COMPLETE)
}

/// A kill of pages may be dropped on PHB4 and later (HW560152): the PE then.
#[inline]
fn whole(pe: u16, scope: KillScope) -> u64 {
    match scope {
        KillScope::All => KILL_ALL,
        KillScope::Pe | KillScope::Pages { .. } => KILL_PE | u64::from(pe),
    }
}

/// [`kill`] on a PHB3.
#[cold]
fn kill3<H: PhbHardware>(hardware: &H, pe: u16, scope: KillScope) -> Result<(), PhbError> {
    post3(hardware, pe, scope);
    // No completion is defined for PHB3 (Linux and skiboot wait for none). Inferred:
    // the load cannot pass the posted kill, and the read sync drains what was
    // translated before.
    if hardware.load(TCE_KILL) == u64::MAX {
        return Err(PhbError::Fenced);
    }
    hardware.store(DMA_SYNC, SYNC_START);
    Patiently::wait(hardware, DMA_SYNC, SYNC_COMPLETE, SYNC_COMPLETE)
}

fn post3<H: PhbHardware>(hardware: &H, pe: u16, scope: KillScope) {
    let pe = u64::from(pe & 0xff);
    match scope {
        KillScope::All => hardware.store(TCE_KILL, KILL_ALL),
        KillScope::Pe => hardware.store(TCE_KILL, KILL_PE | pe),
        KillScope::Pages {
            bus,
            pages,
            page_shift,
        } => {
            // The PHB knows the page size from the TVE.
            let mut address = bus.get() & !((1 << page_shift) - 1) & (KILL_ONE - 1);
            for _ in 0..pages {
                hardware.store(TCE_KILL, KILL_ONE | address | pe);
                address = address.wrapping_add(1 << page_shift);
            }
        }
    }
}

/// All ones is a fence. If the bits are to be 0, it is told by them.
#[inline(always)]
fn is_there(value: u64, mask: u64, wanted: u64) -> bool {
    value & mask == wanted && (wanted == 0 || value != u64::MAX)
}
