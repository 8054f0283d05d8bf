//! The registers at an interrupt.

use core::fmt;

/// What an interrupt's first instructions save; `cpu::vectors` knows the
/// layout. It is a stack frame: its first word is the back chain.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(16))]
pub struct Frame {
    /// Back chain, CR, LR and TOC words of the ABI.
    pub abi: [u64; 4],
    /// General registers.
    pub gpr: [u64; 32],
    /// Where the interrupted code goes on.
    pub nip: u64,
    /// The machine state that it goes on with.
    pub msr: u64,
    /// Count register.
    pub ctr: u64,
    /// Link register.
    pub lr: u64,
    /// Fixed-point exception register.
    pub xer: u64,
    /// Condition register.
    pub cr: u64,
    /// The vector: 0x100, 0x200 and so on.
    pub vector: u64,
    /// SRR0 and SRR1.
    pub srr: [u64; 2],
    /// HSRR0 and HSRR1.
    pub hsrr: [u64; 2],
    /// Fault address.
    pub dar: u64,
    /// Fault status.
    pub dsisr: u64,
    /// Fault address of a guest's access.
    pub hdar: u64,
    /// Fault status of a guest's access.
    pub hdsisr: u64,
    /// Keeps the size a multiple of 16.
    pub padding: u64,
}

const _: () = assert!(size_of::<Frame>().is_multiple_of(16));

impl Frame {
    /// Whether the vector reports through HSRR0/1 rather than SRR0/1, for a
    /// hypervisor that runs with LPCR\[LPES\]=0 (Power ISA 3.0B, book III,
    /// figure 64).
    pub const fn uses_hsrr(&self) -> bool {
        matches!(
            self.vector,
            0x500 | 0x980 | 0xe00 | 0xe20 | 0xe40 | 0xe60 | 0xe80 | 0xea0 | 0xf80 | 0x1500
        )
    }

    /// Takes NIP and MSR from the pair that the vector reports through.
    pub const fn resolve(&mut self) {
        [self.nip, self.msr] = if self.uses_hsrr() {
            self.hsrr
        } else {
            self.srr
        };
    }

    /// The registers as a table.
    pub const fn registers(&self) -> Registers<'_> {
        Registers(self)
    }
}

/// A table of a frame's registers, four in a line.
pub struct Registers<'a>(&'a Frame);

impl fmt::Display for Registers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = self.0;
        let [nip, msr, lr, ctr] = [frame.nip, frame.msr, frame.lr, frame.ctr];
        writeln!(
            f,
            "  nip {nip:016x}  msr {msr:016x}  lr  {lr:016x}  ctr {ctr:016x}"
        )?;
        let [cr, xer, dar, dsisr] = [frame.cr, frame.xer, frame.dar, frame.dsisr];
        writeln!(
            f,
            "  cr  {cr:016x}  xer {xer:016x}  dar {dar:016x}  dsisr {dsisr:08x}"
        )?;
        for (row, registers) in frame.gpr.chunks(4).enumerate() {
            for (column, value) in registers.iter().enumerate() {
                write!(f, "  r{:<2} {value:016x}", row * 4 + column)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
