//! Waiting without work: `stop` on POWER9 and later, `nap` on POWER8.
//!
//! Pinion runs with external interrupts masked (EE=0). What is pending ends
//! power saving all the same, and is taken in a window of a few instructions
//! that this file opens. So no interrupt ever comes at another place.

use super::vectors::nap_until_event;
use super::{Area, msr, spr};
use crate::processor::Generation;
use crate::{mfspr, mtspr};
use core::arch::asm;
use core::sync::atomic::Ordering;

/// Puts the decrementer as far away as it goes: 2^31 - 1 ticks on POWER8, with
/// LPCR\[LD\] a little less than 2^55.
pub(super) fn disarm_decrementer() {
    let far: u64 = match Generation::of_pvr(super::pvr()) {
        Some(Generation::Power8) => 0x7fff_ffff,
        _ => (1 << 55) - 1,
    };
    set_decrementer(far);
    // SAFETY: HDICE is off: the hypervisor decrementer interrupts nobody.
    unsafe { mtspr!(spr::HDEC, far) };
}

/// Makes the decrementer interrupt in so many ticks.
fn set_decrementer(ticks: u64) {
    // SAFETY: the decrementer only ends power saving, or interrupts in the
    // window below, where it is expected.
    unsafe { mtspr!(spr::DEC, ticks) };
}

/// Sleeps for at most `ticks`, less if anything happens, and takes what is
/// pending.
pub fn sleep(ticks: u64) {
    set_decrementer(ticks.clamp(1, 0x7fff_ffff));
    wait_for_event();
    disarm_decrementer();
    take_interrupts();
}

/// Lets so many milliseconds go by asleep, taking what comes. Nothing may be
/// locked that a handler needs.
pub fn pause_ms(milliseconds: u64) {
    let start = super::timebase();
    let ticks = (super::timebase_hz() / 1000).saturating_mul(milliseconds);
    loop {
        let passed = super::timebase().wrapping_sub(start);
        if passed >= ticks {
            return;
        }
        sleep(ticks - passed);
    }
}

/// Sleeps until something happens, or about a second, and takes what is
/// pending. The second is for a wake-up that was lost.
pub(super) fn sleep_until_event() {
    sleep(super::timebase_hz());
    doorbell_barrier();
}

/// Behind a sleep that a doorbell may have ended: what its sender stored is seen.
pub fn doorbell_barrier() {
    // What a doorbell's sender stored is not ordered against the doorbell until
    // its receiver says so (Power ISA 3.0B, book III, 10.3.1): msgsync, which
    // the assembler does not know, then lwsync.
    if Generation::of_pvr(super::pvr()) != Some(Generation::Power8) {
        // SAFETY: barriers.
        unsafe { asm!(".long 0x7c0006ec", "lwsync", options(nostack)) };
    }
}

/// Opens the window: pending interrupts are taken here and nowhere else.
pub fn take_interrupts() {
    super::area().windows.fetch_add(1, Ordering::Relaxed);
    // SAFETY: interrupts go to Pinion's own vectors, which keep all registers;
    // nothing is locked here.
    unsafe {
        asm!(
            "mtmsrd {open}, 1",
            "nop",
            "mtmsrd {shut}, 1",
            open = in(reg) msr::EE | msr::RI,
            shut = in(reg) msr::RI,
            options(nostack)
        )
    };
}

fn wait_for_event() {
    match Generation::of_pvr(super::pvr()) {
        Some(Generation::Power8) => nap(),
        _ => stop(),
    }
}

/// `stop` with ESL=EC=0 and the lowest level: no state is lost, any exception
/// that is pending goes on behind it (Power ISA 3.0B, book III, 3.3.2).
fn stop() {
    // A vCPU's may be in it.
    let kept = mfspr!(spr::PSSCR);
    // SAFETY: PSSCR = 0 asks for exactly that.
    unsafe {
        mtspr!(spr::PSSCR, 0u64);
        asm!("ptesync", "stop", options(nostack));
        mtspr!(spr::PSSCR, kept);
    }
}

fn nap() {
    let area = core::ptr::from_ref(super::area()).cast_mut();
    // SAFETY: the area is the thread's own; the system-reset handler goes on in
    // `nap_resume`, which clears nothing but what `end_nap` has read.
    unsafe { nap_until_event(area) };
}

/// If the thread naps: where and with which stack its nap ends. For the
/// system-reset handler of a wake-up.
pub fn end_nap() -> Option<(u64, u64)> {
    let stack = super::area().nap_stack.swap(0, Ordering::Relaxed);
    (stack != 0).then_some((super::vectors::nap_resume as *const () as u64, stack))
}

const _: () = assert!(core::mem::align_of::<Area>() == 128);
