//! What a partition must not do, and how it is told: instructions of the hypervisor's,
//! addresses where it has nothing, calls of a process.

use crate::call::hypervisor;
use crate::checks::{Outcome, interrupts_so_far, last, last_vector, want};
use crate::set;
use core::arch::asm;

/// Runs one instruction and returns the vector it led to.
macro_rules! provoke {
    ($word:literal) => {{
        let count = last()[6];
        // SAFETY: the instruction traps, and the vector leaves it out.
        unsafe { asm!(concat!(".long ", $word), in("4") 0u64, options(nostack)) };
        let found = last();
        if found[6] == count { 0 } else { found[0] }
    }};
}

/// What an instruction that a partition must not execute leads to.
pub fn traps() -> Outcome {
    want(
        provoke!("0x00000000") == 0x700,
        "an illegal instruction does not trap",
    )?;
    want(provoke!("0x7fe00008") == 0x700, "a trap does not trap")?;
    // hrfid, mtspr LPCR, mtspr HSRR0, mfspr PTCR: the hypervisor's.
    want(provoke!("0x4c000224") == 0x700, "hrfid does not trap")?;
    want(provoke!("0x7c9e4ba6") == 0x700, "mtspr LPCR does not trap")?;
    want(provoke!("0x7c9a4ba6") == 0x700, "mtspr HSRR0 does not trap")?;
    want(
        provoke!("0x7c8092a6") != 0xe40,
        "an interrupt of the hypervisor arrived",
    )?;
    let [_, _, status, ..] = last();
    want(
        status & (1 << 60) == 0,
        "the partition sees hypervisor state",
    )
}

/// Loads and stores where it has no memory.
pub fn wild() -> Outcome {
    for address in [1u64 << 40, (1 << 52) - 8, 1 << 32] {
        let count = last()[6];
        // SAFETY: nothing is there: the vector leaves the load out.
        unsafe { asm!("ld 4, 0({0})", in(reg) address, out("4") _, options(nostack)) };
        let [vector, _, _, dar, dsisr, _, now] = last();
        want(
            now == count + 1 && vector == 0x300,
            "a load from nowhere is no data storage interrupt",
        )?;
        want(dar == address, "DAR is not the address of the load")?;
        want(dsisr & 0x0200_0000 == 0, "a load is told as a store")?;
        // SAFETY: as above.
        unsafe { asm!("std 4, 0({0})", in(reg) address, options(nostack)) };
        want(last()[4] & 0x0200_0000 != 0, "a store is told as a load")?;
    }
    Ok(())
}

/// Fetches from where it has no memory.
pub fn wild_fetch() -> Outcome {
    for address in [1u64 << 40, (1 << 52) - 4096, 1 << 32] {
        let count = interrupts_so_far();
        // SAFETY: nothing is there: the vector comes back behind the call.
        unsafe {
            asm!(
                "mtctr {0}", "bctrl", in(reg) address,
                out("ctr") _, out("lr") _, out("3") _, out("4") _,
            );
        }
        let [vector, srr0, srr1, .., now] = last();
        want(
            now == count + 1 && vector == 0x400,
            "a fetch from nowhere is no instruction storage interrupt",
        )?;
        want(srr0 == address, "SRR0 is not the address of the fetch")?;
        want(srr1 & 0x4000_0000 != 0, "it is not told as untranslated")?;
    }
    Ok(())
}

/// Loads with translation on.
fn load_translated(address: u64) {
    // SAFETY: goes back to real mode, or the vector does.
    unsafe {
        asm!(
            "mfmsr 5", "ori 4, 5, 0x10", "mtmsrd 4", "isync", "ld 4, 0({0})", "mtmsrd 5", "isync",
            in(reg) address, out("4") _, out("5") _, options(nostack)
        );
    }
}

/// Has its processor walk tables that lie where it has no memory: the process
/// table, then a root.
pub fn wild_tables() -> Outcome {
    let roots = [(1u64 << 40, ROOT), (PROCESS_TABLE, 1 << 40)];
    for (table, root) in roots {
        translate()?;
        // SAFETY: its own process table.
        unsafe { (PROCESS_TABLE as *mut u64).write_volatile(5 << 5 | 2 << 61 | root | 13) };
        want(
            hypervisor(0x37c, &[0x1d, table, 0, 4]).0 == 0,
            "H_REGISTER_PROC_TBL fails",
        )?;
        let count = interrupts_so_far();
        load_translated(0x8000);
        want(
            interrupts_so_far() == count + 1 && last_vector() == 0x300,
            "a walk of tables that are nowhere is no data storage interrupt",
        )?;
        want(last()[3] == 0x8000, "DAR is not the address of the load")?;
    }
    translate()?;
    let count = interrupts_so_far();
    load_translated(0x8000);
    want(
        interrupts_so_far() == count,
        "sound tables do not translate",
    )
}

/// Where this partition has its process table, and its radix tree of two levels.
const PROCESS_TABLE: u64 = 8 << 20;
const ROOT: u64 = 9 << 20;
const SECOND: u64 = ROOT + (64 << 10);

/// Maps the first GiB to itself, for processes too.
fn translate() -> Outcome {
    let put = |at: u64, value: u64| {
        // SAFETY: memory that this program uses for nothing else.
        unsafe { (at as *mut u64).write_volatile(value) };
    };
    put(PROCESS_TABLE, 5 << 5 | 2 << 61 | ROOT | 13);
    put(ROOT, 1 << 63 | SECOND | 9);
    put(SECOND, 3 << 62 | 0x180 | 7);
    set!(48, 0u64);
    set!(29, 0u64);
    let (status, _) = hypervisor(0x37c, &[0x1d, PROCESS_TABLE, 0, 4]);
    // SAFETY: barriers.
    unsafe { asm!("ptesync", "isync", options(nostack)) };
    want(status == 0, "H_REGISTER_PROC_TBL fails")
}

/// A call of a process is none: it is told so, and keeps its registers.
pub fn problem_state() -> Outcome {
    translate()?;
    let count = last()[6];
    let (r0, r11, r12, ctr): (u64, u64, u64, u64);
    // SAFETY: goes to problem state behind itself; the call traps, and the
    // vector comes back in privileged state.
    unsafe {
        asm!(
            "bcl 20, 31, 1f",
            "1: mflr 4",
            "addi 4, 4, 2f - 1b",
            "mtspr 26, 4",
            "mfmsr 4",
            "ori 4, 4, 0x4000",
            "mtspr 27, 4",
            "li 3, 0x300",
            "li 0, 17",
            "li 11, 34",
            "li 12, 51",
            "mtctr 11",
            "rfid",
            "2: sc 1",
            "mfctr 4",
            out("0") r0, out("3") _, out("4") ctr, out("11") r11, out("12") r12,
            out("lr") _, out("ctr") _,
            options(nostack)
        );
    }
    let [vector, _, status, .., now] = last();
    want(
        now == count + 1 && vector == 0x700,
        "a call from problem state is no program interrupt",
    )?;
    want(status & 0x4_0000 != 0, "it is not told as privileged")?;
    want(
        (r0, r11, r12, ctr) == (17, 34, 51, 34),
        "a process that calls loses registers",
    )
}
