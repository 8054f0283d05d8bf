//! Why an interrupt came, in words. Bits are numbered as the Power ISA does,
//! from the left; the tables for machine checks are those of the POWER8 and
//! POWER9 processor user's manuals.

use super::Frame;
use crate::processor::Generation;
use core::fmt;

/// A cause: what happened, and the address that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What happened.
    pub what: &'static str,
    /// The address: of the access, or of the instruction.
    pub address: Option<u64>,
    /// Whether a store did it.
    pub store: bool,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        if self.store {
            f.write_str(", by a store")?;
        }
        match self.address {
            Some(address) => write!(f, ", at {address:#018x}"),
            None => Ok(()),
        }
    }
}

/// The name of a vector (Power ISA 3.0B, book III, figure 64).
pub const fn vector_name(vector: u64) -> &'static str {
    match vector {
        0x100 => "system reset",
        0x200 => "machine check",
        0x300 => "data storage",
        0x380 => "data segment",
        0x400 => "instruction storage",
        0x480 => "instruction segment",
        0x500 => "external",
        0x600 => "alignment",
        0x700 => "program",
        0x800 => "floating-point unavailable",
        0x900 => "decrementer",
        0x980 => "hypervisor decrementer",
        0xa00 => "directed privileged doorbell",
        0xc00 => "system call",
        0xd00 => "trace",
        0xe00 => "hypervisor data storage",
        0xe20 => "hypervisor instruction storage",
        0xe40 => "hypervisor emulation assistance",
        0xe60 => "hypervisor maintenance",
        0xe80 => "directed hypervisor doorbell",
        0xea0 => "hypervisor virtualization",
        0xf00 => "performance monitor",
        0xf20 => "vector unavailable",
        0xf40 => "VSX unavailable",
        0xf60 => "facility unavailable",
        0xf80 => "hypervisor facility unavailable",
        0x1500 => "soft patch",
        _ => "unknown",
    }
}

/// Bit `n` of a 64-bit word, counted from the left.
const fn bit(n: u32) -> u64 {
    1 << (63 - n)
}

/// Why this frame's interrupt came.
pub fn cause(frame: &Frame, generation: Generation) -> Cause {
    let plain = |what| Cause {
        what,
        address: None,
        store: false,
    };
    let at_nip = |what| Cause {
        what,
        address: Some(frame.nip),
        store: false,
    };
    match frame.vector {
        0x100 => plain("system reset: another thread or an operator asked for it"),
        0x200 => machine_check(frame, generation),
        0x300 => Cause {
            what: data_storage(frame.dsisr),
            address: Some(frame.dar),
            store: frame.dsisr & bit(38) != 0,
        },
        0x380 => Cause {
            what: "no segment for the address",
            address: Some(frame.dar),
            store: false,
        },
        0x400 | 0x480 => at_nip("instruction fetch from an address without translation"),
        0x600 => Cause {
            what: "misaligned access",
            address: Some(frame.dar),
            store: false,
        },
        0x700 => at_nip(program(frame.msr)),
        0x800 | 0xf20 | 0xf40 => {
            at_nip("floating-point or vector instruction, which the image must not hold")
        }
        0xc00 => at_nip("system call from Pinion itself"),
        0xe00 => Cause {
            what: data_storage(frame.hdsisr),
            address: Some(frame.hdar),
            store: frame.hdsisr & bit(38) != 0,
        },
        0xe40 => at_nip("illegal instruction"),
        0xf60 | 0xf80 => at_nip("a facility that is switched off"),
        _ => plain("unexpected interrupt"),
    }
}

/// DSISR of a data storage interrupt (Power ISA 3.0B, book III, 6.5.3).
fn data_storage(dsisr: u64) -> &'static str {
    match () {
        () if dsisr & bit(33) != 0 => "no translation for the address",
        () if dsisr & bit(36) != 0 => "access is not permitted",
        () if dsisr & bit(42) != 0 => "access by a key that does not allow it",
        () if dsisr & bit(44) != 0 => "unsupported radix tree configuration",
        () => "data access failed",
    }
}

/// SRR1 of a program interrupt (Power ISA 3.0B, book III, 6.5.9).
fn program(srr1: u64) -> &'static str {
    match () {
        () if srr1 & bit(43) != 0 => "floating-point exception",
        () if srr1 & bit(44) != 0 => "illegal instruction",
        () if srr1 & bit(45) != 0 => "privileged instruction",
        () if srr1 & bit(46) != 0 => "trap instruction",
        () => "program interrupt without a reason",
    }
}

fn machine_check(frame: &Frame, generation: Generation) -> Cause {
    let by_data = frame.srr[1] & bit(42) != 0;
    if by_data {
        let store_reported = frame.srr[1] & (bit(36) | bit(43) | bit(45));
        // An asynchronous error of a store: hardware gives no address then, the
        // emulator does.
        if generation >= Generation::Power9 && store_reported == bit(36) | bit(43) | bit(45) {
            return Cause {
                what: "no memory and no device answers (asynchronous)",
                address: Some(frame.dar),
                store: true,
            };
        }
        let what = match generation {
            Generation::Power8 => data_error_power8(frame.dsisr),
            _ => data_error_power9(frame.dsisr),
        };
        return Cause {
            what,
            address: Some(frame.dar),
            store: false,
        };
    }
    let what = match generation {
        Generation::Power8 => fetch_error_power8(frame.srr[1]),
        _ => fetch_error_power9(frame.srr[1]),
    };
    Cause {
        what,
        address: Some(frame.srr[0]),
        store: false,
    }
}

fn data_error_power8(dsisr: u64) -> &'static str {
    match () {
        () if dsisr & bit(48) != 0 => "uncorrectable error, or no memory and no device answers",
        () if dsisr & bit(49) != 0 => "uncorrectable error in a table walk",
        () if dsisr & (bit(52) | bit(53)) != 0 => "ERAT or TLB multi-hit",
        () if dsisr & (bit(55) | bit(56)) != 0 => "SLB parity error or multi-hit",
        () if dsisr & bit(57) != 0 => "no memory and no device answers",
        () => "data access failed",
    }
}

fn data_error_power9(dsisr: u64) -> &'static str {
    match () {
        () if dsisr & bit(48) != 0 => "uncorrectable memory error",
        () if dsisr & bit(49) != 0 => "uncorrectable error in a table walk",
        () if dsisr & bit(50) != 0 => "time-out of a load from another chip or a device",
        () if dsisr & bit(51) != 0 => "time-out in a table walk",
        () if dsisr & (bit(52) | bit(53)) != 0 => "ERAT or TLB multi-hit",
        () if dsisr & bit(54) != 0 => "tlbie with bad operands",
        () if dsisr & (bit(55) | bit(56)) != 0 => "SLB parity error or multi-hit",
        () if dsisr & bit(57) != 0 => "no memory and no device answers",
        () if dsisr & (bit(58) | bit(59)) != 0 => "table walk to an address without memory",
        () if dsisr & bit(60) != 0 => "access to an address of another's space",
        () => "data access failed",
    }
}

fn fetch_error_power8(srr1: u64) -> &'static str {
    match srr1 >> 18 & 7 {
        1 => "uncorrectable error in an instruction fetch",
        2 => "SLB parity error in an instruction fetch",
        3 => "SLB multi-hit in an instruction fetch",
        4 => "ERAT multi-hit in an instruction fetch",
        5 => "TLB multi-hit in an instruction fetch",
        6 | 7 => "uncorrectable error in a table walk for an instruction fetch",
        _ => "machine check without a reason",
    }
}

fn fetch_error_power9(srr1: u64) -> &'static str {
    // SRR1 bits 36, 43, 44 and 45 make one code.
    let code = (srr1 >> 27 & 1) << 3 | srr1 >> 18 & 7;
    match code {
        1 => "uncorrectable error in an instruction fetch",
        2 => "SLB parity error in an instruction fetch",
        3 => "SLB multi-hit in an instruction fetch",
        4 => "ERAT multi-hit in an instruction fetch",
        5 => "TLB multi-hit in an instruction fetch",
        6 => "uncorrectable error in a table walk for an instruction fetch",
        8 => "time-out of an instruction fetch",
        9 => "time-out in a table walk for an instruction fetch",
        0xb => "instruction fetch from an address where nothing answers",
        0xc => "table walk for an instruction fetch to an address without memory",
        0xd => "uncorrectable error of a store (asynchronous)",
        0xe => "time-out of a store (asynchronous)",
        _ => "machine check without a reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(vector: u64, srr1: u64, dsisr: u64) -> Frame {
        let mut frame = Frame {
            vector,
            srr: [0x1000, srr1],
            dsisr,
            dar: 0xdead_0000,
            ..Frame::default()
        };
        frame.resolve();
        frame
    }

    #[test]
    fn an_unbacked_load_is_reported_with_its_address() {
        let told = cause(&frame(0x200, bit(42), bit(57)), Generation::Power9);
        assert_eq!(told.address, Some(0xdead_0000));
        assert_eq!(told.what, "no memory and no device answers");
    }

    #[test]
    fn an_unbacked_store_is_told_from_a_load() {
        let srr1 = bit(42) | bit(36) | bit(43) | bit(45);
        let told = cause(&frame(0x200, srr1, 0), Generation::Power10);
        assert!(told.store);
        assert_eq!(told.address, Some(0xdead_0000));
    }

    #[test]
    fn generations_are_told_by_the_upper_half() {
        let of = Generation::of_pvr;
        for pvr in [0x004b_0201, 0x004c_0100, 0x004d_0200] {
            assert_eq!(of(pvr), Some(Generation::Power8));
        }
        assert_eq!(of(0x004e_1202), Some(Generation::Power9));
        assert_eq!(of(0x0080_1200), Some(Generation::Power10));
        for unknown in [0, 0x003f_0201, 0x004a_0000, 0x004f_0000, 0x0081_0000, !0] {
            assert_eq!(of(unknown), None);
        }
    }

    #[test]
    fn a_trap_is_a_trap() {
        assert_eq!(
            cause(&frame(0x700, bit(46), 0), Generation::Power8).what,
            "trap instruction"
        );
    }

    #[test]
    fn each_hypervisor_vector_takes_its_own_pair() {
        let mut frame = Frame {
            vector: 0xe40,
            hsrr: [7, 8],
            ..Frame::default()
        };
        frame.resolve();
        assert_eq!((frame.nip, frame.msr), (7, 8));
    }
}
