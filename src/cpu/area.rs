//! What belongs to one hardware thread: found through HSPRG0, read and written
//! by the first instructions of an interrupt, which know its layout.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes of each of a thread's stacks for interrupts.
pub const INTERRUPT_STACK: u64 = 12 * 1024;

/// A thread's area. 128-byte aligned: no cache line is shared by two threads.
#[repr(C, align(128))]
pub struct Area {
    /// Top of the stack that the thread runs on.
    pub(super) stack_top: AtomicU64,
    /// Saved by an interrupt's first instructions.
    pub(super) save_r10: u64,
    pub(super) save_cr: u64,
    pub(super) save_r11: u64,
    pub(super) save_r12: u64,
    pub(super) save_ctr: u64,
    pub(super) save_cfar: u64,
    /// Where those instructions go on: `interrupt_entry` in the image.
    pub(super) handler: u64,
    /// Lowest address and top of the stacks: ordinary interrupts, machine
    /// check, system reset.
    pub(super) stacks: [[u64; 2]; 3],
    /// The image's TOC pointer.
    pub(super) toc: u64,
    /// Physical thread id.
    pub(super) pir: u64,
    /// Index among the threads that run, 0 for the boot thread.
    pub(super) index: u32,
    /// Lowest address of the stack that the thread runs on.
    pub(super) stack_low: AtomicU64,
    /// Nesting of machine-check handlers: OPAL refuses to be called inside.
    pub(super) in_machine_check: AtomicU32,
    /// Nesting of the crash path.
    pub(super) crashes: AtomicU32,
    /// Hypervisor maintenance interrupts that OPAL handled.
    pub(super) maintenance: AtomicU64,
    /// Work for a parked thread: address of a function, 0 for none.
    pub(super) work: AtomicU64,
    /// What the thread is doing; a [`ThreadState`] as a number.
    pub(super) state: AtomicU32,
    /// Times that the thread left its parking loop.
    pub(super) wakes: AtomicU64,
    /// Windows in which interrupts were taken.
    pub(super) windows: AtomicU32,
    /// POWER8: stack pointer of the parking loop, from which `nap` returns
    /// through the system-reset vector; 0 while the thread does not nap.
    pub(super) nap_stack: AtomicU64,
    /// Nesting of firmware calls: a crash inside one must not make another.
    pub(super) in_firmware: AtomicU32,
    /// A system reset that came inside firmware: 0, or one of the values below.
    reset: AtomicU32,
    /// Calls of firmware so far.
    firmware_calls: AtomicU64,
    /// The vCPU that runs, or ran last: what `guest_exit` fills.
    pub(super) guest: u64,
    /// Stack pointer of Pinion while a vCPU runs.
    pub(super) guest_stack: u64,
    /// What `handler` is while Pinion runs, and while a vCPU does.
    pub(super) handlers: [AtomicU64; 2],
    /// The vCPU whose registers that Pinion does not use are in the thread;
    /// 0 for none.
    pub(super) loaded: AtomicU64,
    /// LPID of the partition that ran last; 0 for none, or one that has ended.
    pub(super) last: AtomicU64,
    /// How the L1 data cache is flushed at each entry of a partition; 0 for not.
    pub(super) flush: AtomicU64,
    /// What displaces it.
    pub(super) displacement: AtomicU64,
    /// Where the thread notes DMA operations: an address, 0 for nowhere.
    notes: AtomicU64,
}

/// [`Area::reset`]: it waits for firmware's return.
const RESET_WAITS: u32 = 1;
/// [`Area::reset`]: firmware has returned.
const RESET_TAKEN: u32 = 2;

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ThreadState {
    /// It has not arrived yet.
    Starting = 0,
    /// It waits for work in the cheapest way the processor has.
    Parked = 1,
    /// It runs work, or is the boot thread.
    Running = 2,
    /// It is on its way back to OPAL.
    Returned = 3,
    /// It has crashed.
    Crashed = 4,
}

/// An entry of the list that `secondary_entry` searches.
#[repr(C)]
pub(super) struct AreaEntry {
    pub(super) pir: u64,
    pub(super) area: *const Area,
}

pub(super) const AREA_STACK_TOP: usize = offset_of!(Area, stack_top);
pub(super) const AREA_R10: usize = offset_of!(Area, save_r10);
pub(super) const AREA_CR: usize = offset_of!(Area, save_cr);
pub(super) const AREA_R11: usize = offset_of!(Area, save_r11);
pub(super) const AREA_R12: usize = offset_of!(Area, save_r12);
pub(super) const AREA_CTR: usize = offset_of!(Area, save_ctr);
pub(super) const AREA_CFAR: usize = offset_of!(Area, save_cfar);
pub(super) const AREA_HANDLER: usize = offset_of!(Area, handler);
pub(super) const AREA_STACKS: usize = offset_of!(Area, stacks);
pub(super) const AREA_TOC: usize = offset_of!(Area, toc);
pub(super) const AREA_NAP_STACK: usize = offset_of!(Area, nap_stack);
pub(super) const AREA_GUEST: usize = offset_of!(Area, guest);
pub(super) const AREA_GUEST_STACK: usize = offset_of!(Area, guest_stack);
pub(super) const AREA_HOST_HANDLER: usize = offset_of!(Area, handlers);
pub(super) const AREA_FLUSH: usize = offset_of!(Area, flush);
pub(super) const AREA_DISPLACEMENT: usize = offset_of!(Area, displacement);
pub(super) const AREA_GUEST_HANDLER: usize = offset_of!(Area, handlers) + 8;

/// A new area; each pair is a lowest address and a top.
pub(super) fn new(
    pir: u64,
    index: u32,
    stack: [u64; 2],
    stacks: [[u64; 2]; 3],
    state: ThreadState,
) -> Area {
    let interrupt = super::vectors::interrupt_entry as *const () as u64;
    Area {
        stack_top: AtomicU64::new(stack[1]),
        save_r10: 0,
        save_cr: 0,
        save_r11: 0,
        save_r12: 0,
        save_ctr: 0,
        save_cfar: 0,
        handler: interrupt,
        stacks,
        toc: toc(),
        pir,
        index,
        stack_low: AtomicU64::new(stack[0]),
        in_machine_check: AtomicU32::new(0),
        crashes: AtomicU32::new(0),
        maintenance: AtomicU64::new(0),
        work: AtomicU64::new(0),
        state: AtomicU32::new(state as u32),
        wakes: AtomicU64::new(0),
        windows: AtomicU32::new(0),
        nap_stack: AtomicU64::new(0),
        in_firmware: AtomicU32::new(0),
        reset: AtomicU32::new(0),
        firmware_calls: AtomicU64::new(0),
        guest: 0,
        guest_stack: 0,
        handlers: [interrupt, super::guest::exit_address(false)].map(AtomicU64::new),
        loaded: AtomicU64::new(0),
        last: AtomicU64::new(0),
        flush: AtomicU64::new(0),
        displacement: AtomicU64::new(0),
        notes: AtomicU64::new(0),
    }
}

/// What r2 holds in all of the image.
fn toc() -> u64 {
    let value: u64;
    // SAFETY: reads r2, which the ABI reserves for the TOC.
    unsafe { core::arch::asm!("mr {}, 2", out(reg) value, options(nomem, nostack)) };
    value
}

impl Area {
    /// Physical thread id.
    pub fn pir(&self) -> u64 {
        self.pir
    }

    /// Index among the threads that run; 0 is the boot thread.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Lowest address and top of each of the thread's stacks.
    pub fn stack_ranges(&self) -> [[u64; 2]; 4] {
        let [ordinary, machine_check, system_reset] = self.stacks;
        [
            [&self.stack_low, &self.stack_top].map(|word| word.load(Ordering::Relaxed)),
            ordinary,
            machine_check,
            system_reset,
        ]
    }

    /// What the thread is doing.
    pub fn state(&self) -> ThreadState {
        match self.state.load(Ordering::Acquire) {
            0 => ThreadState::Starting,
            1 => ThreadState::Parked,
            2 => ThreadState::Running,
            3 => ThreadState::Returned,
            _ => ThreadState::Crashed,
        }
    }

    pub(super) fn set_state(&self, state: ThreadState) {
        self.state.store(state as u32, Ordering::Release);
    }

    /// Counts a crash on this thread; returns how many there were before.
    pub fn count_crash(&self) -> u32 {
        self.set_state(ThreadState::Crashed);
        self.crashes.fetch_add(1, Ordering::AcqRel)
    }

    /// Whether the thread has crashed.
    pub fn has_crashed(&self) -> bool {
        self.crashes.load(Ordering::Relaxed) != 0
    }

    /// Marks the thread as inside firmware; `false` if it is there already: it
    /// crashed inside a call.
    pub fn enter_firmware(&self) -> bool {
        // This thread alone writes it.
        let calls = self.firmware_calls().wrapping_add(1);
        self.firmware_calls.store(calls, Ordering::Relaxed);
        self.in_firmware.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Calls of firmware that the thread has made.
    pub fn firmware_calls(&self) -> u64 {
        self.firmware_calls.load(Ordering::Relaxed)
    }

    /// Marks the thread as out of firmware again.
    pub fn leave_firmware(&self) {
        self.in_firmware.fetch_sub(1, Ordering::Relaxed);
    }

    /// A system reset interrupted the thread: whether it waits until firmware
    /// returns, since the thread is inside and none has waited yet.
    pub fn postpone_reset(&self) -> bool {
        self.in_firmware.load(Ordering::Relaxed) != 0 && self.step_reset(0, RESET_WAITS)
    }

    /// Whether a system reset has waited for firmware's return, which this is.
    pub fn take_reset(&self) -> bool {
        self.step_reset(RESET_WAITS, RESET_TAKEN)
    }

    /// Whether [`Area::take_reset`] found one.
    pub fn reset_waited(&self) -> bool {
        self.reset.load(Ordering::Relaxed) == RESET_TAKEN
    }

    fn step_reset(&self, from: u32, to: u32) -> bool {
        // This thread alone writes it.
        let is_there = self.reset.load(Ordering::Relaxed) == from;
        if is_there {
            self.reset.store(to, Ordering::Relaxed);
        }
        is_there
    }

    /// Whether the thread may call firmware: not from inside a machine-check
    /// handler, and not if it crashed inside a call, whose locks are held.
    pub fn may_call_firmware(&self) -> bool {
        !self.in_machine_check() && self.in_firmware.load(Ordering::Relaxed) == 0
    }

    /// Whether the thread is inside its machine-check handler.
    pub fn in_machine_check(&self) -> bool {
        self.in_machine_check.load(Ordering::Relaxed) != 0
    }

    /// Marks the thread as inside its machine-check handler.
    pub fn enter_machine_check(&self) {
        self.in_machine_check.store(1, Ordering::Relaxed);
    }

    /// Marks the thread as outside of it again.
    pub fn leave_machine_check(&self) {
        self.in_machine_check.store(0, Ordering::Relaxed);
    }

    /// Counts a hypervisor maintenance interrupt that firmware has handled.
    pub fn count_maintenance(&self) {
        self.maintenance.fetch_add(1, Ordering::Relaxed);
    }

    /// Hypervisor maintenance interrupts so far.
    pub fn maintenance(&self) -> u64 {
        self.maintenance.load(Ordering::Relaxed)
    }

    /// Windows in which the thread took interrupts, modulo 2^32: the number
    /// changes each time it gets on with its work.
    pub fn windows(&self) -> u32 {
        self.windows.load(Ordering::Relaxed)
    }

    /// Times that the thread left its parking loop.
    pub fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }

    /// What [`Area::set_notes`] was given last; 0 for nothing.
    #[inline]
    pub fn notes(&self) -> u64 {
        self.notes.load(Ordering::Acquire)
    }

    /// The same, of the thread that runs: it was given before the thread's work was.
    #[inline]
    pub fn own_notes(&self) -> u64 {
        self.notes.load(Ordering::Relaxed)
    }

    /// Remembers where the thread notes DMA operations: an address that means
    /// something to the caller only.
    pub fn set_notes(&self, address: u64) {
        self.notes.store(address, Ordering::Release);
    }
}
