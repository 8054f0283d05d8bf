//! Entering firmware.
//!
//! Contract of `opal_enter(arguments)` (skiboot asm/head.S, opal_entry):
//!
//! 1. r3 = address of a [`Call`]: entry, base, token, eight arguments.
//! 2. MSR = SF|HV, IR=DR=LE=EE=0; ME as it is.
//! 3. Firmware gets r0 = token, r2 = base, r3..r10 = arguments, and returns by
//!    LR with its answer in r3. It uses a stack of its own, keeps r1 and
//!    r13..r31, and may change all else.

use super::gate::Gate;
use super::{OpalError, RawOpal, Token};
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

global_asm!(
    r#"
    .section .text.opal_enter, "ax"
    .globl opal_enter
opal_enter:
    mflr    0
    std     0, 16(1)
    mfcr    0
    std     0, 8(1)                 // CR2..CR4 are the caller's
    stdu    1, -64(1)
    std     2, 24(1)
    mr      12, 3
    ld      0, {ENTRY}(12)
    mtctr   0
    ld      2, {BASE}(12)
    ld      0, {TOKEN}(12)
    ld      3, {ARGUMENTS}+0*8(12)
    ld      4, {ARGUMENTS}+1*8(12)
    ld      5, {ARGUMENTS}+2*8(12)
    ld      6, {ARGUMENTS}+3*8(12)
    ld      7, {ARGUMENTS}+4*8(12)
    ld      8, {ARGUMENTS}+5*8(12)
    ld      9, {ARGUMENTS}+6*8(12)
    ld      10, {ARGUMENTS}+7*8(12)
    bctrl
    ld      2, 24(1)
    addi    1, 1, 64
    ld      0, 8(1)
    mtcr    0
    ld      0, 16(1)
    mtlr    0
    blr
    .previous
"#,
    ENTRY = const offset_of!(Call, entry),
    BASE = const offset_of!(Call, base),
    TOKEN = const offset_of!(Call, token),
    ARGUMENTS = const offset_of!(Call, arguments),
);

#[repr(C)]
struct Call {
    entry: u64,
    base: u64,
    token: u64,
    arguments: [u64; 8],
}

// SAFETY: the assembly above has this signature.
unsafe extern "C" {
    fn opal_enter(call: *const Call) -> i64;
}

/// Where firmware is entered: `opal-base-address` and `opal-entry-address` of
/// `/ibm,opal`.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What r2 has to be.
    pub base: u64,
    /// The address to call.
    pub address: u64,
}

/// The machine's firmware: unusable until [`Firmware::set`].
pub struct Firmware {
    base: AtomicU64,
    address: AtomicU64,
    /// A bit per token that firmware has, once they were asked for.
    present: [AtomicU64; 4],
    checked: AtomicBool,
    gate: Gate,
}

impl Firmware {
    /// No firmware yet.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            base: AtomicU64::new(0),
            address: AtomicU64::new(0),
            present: [const { AtomicU64::new(0) }; 4],
            checked: AtomicBool::new(false),
            gate: Gate::new(),
        }
    }

    /// Says where firmware is.
    ///
    /// # Safety
    /// `entry` comes from a checked device tree of the running machine.
    pub unsafe fn set(&self, entry: Entry) {
        self.base.store(entry.base, Ordering::Relaxed);
        self.address.store(entry.address, Ordering::Release);
    }

    /// Says which calls there are: from now on others are refused here, since
    /// firmware answers an unknown token with a bad parameter.
    pub fn set_present(&self, tokens: impl Iterator<Item = Token>) {
        for token in tokens {
            let number = token as usize;
            if let Some(word) = self.present.get(number / 64) {
                word.fetch_or(1 << (number % 64), Ordering::Relaxed);
            }
        }
        self.checked.store(true, Ordering::Release);
    }

    /// Whether firmware was asked for the call and does not have it.
    pub fn is_absent(&self, token: Token) -> bool {
        let number = token as usize;
        let word = self
            .present
            .get(number / 64)
            .map_or(0, |word| word.load(Ordering::Relaxed));
        self.checked.load(Ordering::Acquire) && word >> (number % 64) & 1 == 0
    }

    /// The gate that keeps it out of a PHB's IODA tables.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Whether there is one.
    pub fn has_entry(&self) -> bool {
        self.address.load(Ordering::Relaxed) != 0
    }
}

// SAFETY: enters firmware and nothing else.
unsafe impl RawOpal for &Firmware {
    // # Safety: as the trait says.
    unsafe fn call(&self, token: Token, arguments: [u64; 8]) -> Result<i64, OpalError> {
        let entry = self.address.load(Ordering::Acquire);
        if entry == 0 {
            return Err(OpalError::NoFirmware { token });
        }
        if crate::cpu::in_machine_check() {
            return Err(OpalError::InMachineCheck { token });
        }
        if self.is_absent(token) {
            return Err(OpalError::Absent { token });
        }
        let base = self.base.load(Ordering::Relaxed);
        let call = Call {
            entry,
            base,
            token: token as u64,
            arguments,
        };
        let area = crate::cpu::area();
        // A thread that is given back never comes out again.
        let _inside = match token {
            Token::ReturnCpu => None,
            _ => match self.gate.enter(area.pir()) {
                None => return Err(OpalError::Gated { token }),
                inside => inside,
            },
        };
        if !area.enter_firmware() {
            area.leave_firmware();
            return Err(OpalError::Reentered { token });
        }
        // By the fast path of a partition's call too: a kill through firmware, or a
        // freeze after one that failed.
        let _host = crate::cpu::guest::as_host();
        // SAFETY: the entry comes from the device tree; Pinion runs with what
        // point 2 of the contract asks for (EE is on only in `cpu::idle`, which
        // calls nothing); the caller answers for the arguments.
        let answer = unsafe { opal_enter(&call) };
        area.leave_firmware();
        if area.take_reset() {
            crate::cpu::reset_self();
        }
        Ok(answer)
    }
}
