//! H_SET_MODE (LoPAR 2.9, 14.5.4.3.22): how interrupts come, breakpoints.

use super::{Host, code};

/// A breakpoint of the vCPU that calls. None of them is the hypervisor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakpoint {
    /// On an instruction: CIABR (Power ISA 3.0B, book III, 8.3).
    Instruction(u64),
    /// On data: 0 or 1, DAWR and DAWRX (8.4).
    Data {
        /// Which one.
        number: usize,
        /// The doubleword that it begins with.
        address: u64,
        /// What it watches.
        what: u64,
    },
}

/// CIABR: 3 in the last two bits is the hypervisor's state.
const CIABR_STATE: u64 = 3;
const CIABR_HYPERVISOR: u64 = 3;

/// DAWRX: accesses in hypervisor state.
const DAWRX_HYPERVISOR: u64 = 4;

/// r4: what; r5: of which resource; r6 and r7: values.
#[inline(never)]
pub fn set(gpr: &[u64; 32], host: &mut impl Host) -> i64 {
    let (flags, first, second) = (gpr[4], gpr[6], gpr[7]);
    let resource = gpr[5];
    if matches!(resource, 3 | 4) {
        if first != 0 {
            return code::P3;
        }
        if second != 0 {
            return code::P4;
        }
    }
    match (resource, flags) {
        // Interrupts with translation on.
        (3, 0 | 3) => told(host.set_relocation(flags == 3)),
        // Endianness of interrupts.
        (4, 0 | 1) => {
            host.set_little_endian(flags == 1);
            code::SUCCESS
        }
        (1, 0) if first & CIABR_STATE == CIABR_HYPERVISOR => code::P3,
        (1, 0) if second != 0 => code::P4,
        (1, 0) => told(host.set_breakpoint(Breakpoint::Instruction(first))),
        (2 | 5, 0) if second & DAWRX_HYPERVISOR != 0 => code::P4,
        (2 | 5, 0) => told(host.set_breakpoint(Breakpoint::Data {
            number: usize::from(resource == 5),
            address: first,
            what: second,
        })),
        (1..=5, _) => code::UNSUPPORTED_FLAG,
        _ => code::P2,
    }
}

/// `false`: this processor does not have the resource.
fn told(is_done: bool) -> i64 {
    if is_done { code::SUCCESS } else { code::P2 }
}
