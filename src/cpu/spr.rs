//! Special-purpose registers: numbers (Power ISA 3.0B, book III, 5.4.4; book
//! II for the timebase) and access.

/// Fault address of a data access.
pub const DAR: u32 = 19;
/// Status of a data access fault.
pub const DSISR: u32 = 18;
/// Directed privileged doorbells that are pending.
pub const DPDES: u32 = 176;
/// Completed-instruction breakpoint.
pub const CIABR: u32 = 187;
/// Process identity.
pub const PIDR: u32 = 48;
/// Program priority.
pub const PPR: u32 = 896;
/// What a partition may use (POWER8 and later).
pub const HFSCR: u32 = 190;
/// Which authority bits a partition may change.
pub const AMOR: u32 = 349;
/// A guest's real address that was not mapped (POWER9 and later).
pub const ASDR: u32 = 816;
/// Data watchpoint 0: what it watches.
pub const DAWRX0: u32 = 188;
/// What data watchpoint 0 looks for.
pub const DAWR0: u32 = 180;
/// Data watchpoint 1 (POWER10 and later).
pub const DAWR1: u32 = 181;
/// What it watches.
pub const DAWRX1: u32 = 189;
/// Processor compatibility: what of a newer architecture is switched off.
pub const PCR: u32 = 338;
/// Performance monitor control 0.
pub const MMCR0: u32 = 795;
/// All counters are frozen.
pub const MMCR0_FREEZE: u64 = 1 << 31;
/// Decrementer.
pub const DEC: u32 = 22;
/// Return address of an interrupt.
pub const SRR0: u32 = 26;
/// Machine state before an interrupt.
pub const SRR1: u32 = 27;
/// Timebase.
pub const TB: u32 = 268;
/// Processor version.
pub const PVR: u32 = 287;
/// Hypervisor scratch: the thread's area.
pub const HSPRG0: u32 = 304;
/// Hypervisor scratch: r13 while an interrupt is taken.
pub const HSPRG1: u32 = 305;
/// Fault status of a guest's access.
pub const HDSISR: u32 = 306;
/// Fault address of a guest's access.
pub const HDAR: u32 = 307;
/// Hypervisor decrementer.
pub const HDEC: u32 = 310;
/// Hypervisor real-mode offset.
pub const HRMOR: u32 = 313;
/// Return address of a hypervisor interrupt.
pub const HSRR0: u32 = 314;
/// Machine state before a hypervisor interrupt.
pub const HSRR1: u32 = 315;
/// Logical partitioning control.
pub const LPCR: u32 = 318;
/// Logical partition identity.
pub const LPIDR: u32 = 319;
/// Hypervisor maintenance: what happened.
pub const HMER: u32 = 336;
/// Hypervisor maintenance: what interrupts.
pub const HMEER: u32 = 337;
/// Hypervisor emulation assistance: the instruction.
pub const HEIR: u32 = 339;
/// Partition table (POWER9 and later).
pub const PTCR: u32 = 464;
/// Run latch, to be read.
pub const CTRL_READ: u32 = 136;
/// Run latch, to be written.
pub const CTRL_WRITE: u32 = 152;
/// Where the processor came from: address of the last branch taken.
pub const CFAR: u32 = 28;
/// A store to it flushes the L1 data cache, where firmware says so.
pub const TRIG2: u32 = 882;
/// Processor stop status and control (POWER9 and later).
pub const PSSCR: u32 = 855;
/// Hardware implementation: `attn` and others.
pub const HID0: u32 = 1008;
/// Processor identification.
pub const PIR: u32 = 1023;

/// Reads a special-purpose register by number.
#[macro_export]
macro_rules! mfspr {
    ($number:expr) => {{
        let value: u64;
        // SAFETY: reading one of the registers of `cpu::spr` has no effect on
        // memory or on the flow of the program; the caller knows that this
        // processor has it.
        unsafe {
            core::arch::asm!("mfspr {}, {}", out(reg) value, const $number, options(nomem, nostack))
        };
        value
    }};
}

/// Writes a special-purpose register by number. `unsafe`: what the register
/// governs must allow the value.
#[macro_export]
macro_rules! mtspr {
    ($number:expr, $value:expr) => {
        core::arch::asm!("mtspr {1}, {0}", in(reg) $value as u64, const $number, options(nostack))
    };
}
